"""The result of a run, computed from what its peers have measured. Pure."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from loadtest.growth import judged_mb_per_hour, memory_growth_per_hour
from loadtest.histogram import Histogram, merged
from loadtest.levels import Level, judge
from loadtest.results import GeneratorCost, InterviewResult, RecordingResult
from loadtest.series import Moment, Percentiles, percentiles
from loadtest.truth import Offsets
from loadtest.validity import found_in_generator, found_in_interviews

#: Nothing is emulated.
NO_NETWORKS: Mapping[str, list[str]] = {}
NO_SETTING: Mapping[str, str] = {}


class BrowserReport(msgspec.Struct, frozen=True):
    """What a real browser in the crowd showed its two people; None where it is not known."""

    error: str | None = "it did not join"
    join_ms: float | None = None  #: from the click to the sign of recording
    first_frame_ms: float | None = None  #: from the click to the first frame that is recorded
    first_picture_ms: float | None = None  #: from the opening of the observer's page
    first_picture_again_ms: float | None = None  #: likewise, by a browser that knows the page
    frames_per_s: float | None = None
    frames_dropped: int | None = None
    freezes: int | None = None
    longest_freeze_ms: float | None = None
    sound_dbfs: float | None = None  #: root mean square of the loudest 43 ms


class OffsetMs(msgspec.Struct, frozen=True):
    """How much later than its sound the picture comes, in milliseconds, second by second.

    Stated error: 5 ms, the sender's grid.
    """

    p50: float | None  #: with its sign
    p95: float | None  #: of its size
    max: float | None  #: of its size
    samples: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    interviews: int
    joined: int
    duration_s: float
    interrupted: bool
    valid: bool
    invalid_because: list[str]
    generator_faults: list[str]  #: those of them that say that this tool was the bottleneck
    errors: list[str]  #: each text once
    connections_lost: int
    join_ms: Percentiles
    rejoin_ms: Percentiles  #: after a lost network
    first_picture_ms: Percentiles
    forward_latency_ms: Percentiles
    indicator_latency_ms: Percentiles
    packets_sent: int
    packets_retransmitted: int
    packets_received: int
    packets_lost: int
    packets_duplicated: int
    #: Shares that did not come at the first try, as the server's and the observers' requests for
    #: repairs tell; what the uplink lost is also missed by the observer, until it is repaired.
    uplink_loss: float | None
    downlink_loss: float | None
    max_bitrate_bps: int | None  #: the least that a candidate was told to keep (REMB)
    #: By a candidate, all its tracks: the mean of the whole run, and of its poorest moment.
    sent_kbps: float | None
    sent_kbps_lowest: float | None
    networks: dict[str, list[str]]  #: emulated before "candidates" and "observers"
    scenario: str
    setting: dict[str, str]  #: what else was asked for: it makes the same run again
    frames_sent: int
    frames_received: int
    frame_completeness: float | None
    audio_completeness: float | None
    #: Of simulcasts; pictures of the recordings by layer, 0 the largest.
    layers_offered: int
    layers_accepted: int
    layers_recorded: dict[str, int] | None
    layer_switches: int  #: that observers saw
    layer_switch_ms: Percentiles  #: how long the picture stood then
    #: Screens shared beside the camera, its second video.
    screens_offered: int
    screens_accepted: int  #: by the server
    screens_recorded: int | None  #: None: no recording of one that was accepted was checked
    screen_frames_sent: int
    screen_frames_received: int
    screen_completeness: float | None
    frames_misrouted: int
    frames_shown: int
    frames_lost: int  #: never whole
    frames_duplicated: int
    frames_out_of_order: int
    freezes: int  #: a picture stood longer than 200 ms
    freeze_ms: Percentiles
    av_offset_ms: OffsetMs
    recordings_checked: int
    recording_completeness: float | None  #: of pictures and sounds together
    recording_frames_missing: int | None
    recording_frames_undeclared: int | None  #: missing, and not said to be
    recording_gaps_declared: int | None
    recording_gaps_undeclared: int | None
    recording_av_offset_ms: OffsetMs
    #: The largest of all recordings; None where all were too short to tell.
    recording_drift_ms_per_hour: float | None
    levels: list[Level]
    #: CPU of the server: "total" and by process; None where its process is not known.
    server_cpu_ms_per_interview_second: dict[str, float] | None
    #: How fast the resident memory grew, by process, bytes an hour; None for a short run.
    server_memory_growth_per_hour: dict[str, int] | None
    server_event_loop_lag_max_ms: float | None
    #: CPU of this tool for a candidate together with its observer.
    generator_cpu_ms_per_candidate_second: float | None
    generator_cpu_share: float
    generator_lateness_ms: Percentiles
    browser: BrowserReport | None  #: None: there was none
    series: list[Moment]


def make_report(
    results: list[InterviewResult],
    duration_s: float,
    generator: GeneratorCost,
    server_cpu_s: dict[str, float] | None,
    loop_lag_s: float | None,
    interrupted: bool = False,
    series: list[Moment] | None = None,
    browser: BrowserReport | None = None,
    networks: Mapping[str, list[str]] = NO_NETWORKS,
    scenario: str = "steady",
    setting: Mapping[str, str] = NO_SETTING,
) -> Report:
    """`duration_s`: of the time in which CPU was measured, with all interviews joined."""
    joined = [each for each in results if each.error is None]
    seconds = sum(duration_s if e.up_s is None else min(e.up_s, duration_s) for e in joined)
    # The server works for the browser, too.
    served_s = seconds + duration_s * (browser is not None and browser.error is None)
    generator_faults = found_in_generator(results, duration_s, generator)
    faults = found_in_interviews(results) + generator_faults
    if browser is not None and browser.error is not None:
        faults.append(f"the browser: {browser.error}")
    recordings = [each.recording for each in joined if each.recording is not None]
    return Report(
        interviews=len(results),
        joined=len(joined),
        duration_s=round(duration_s, 3),
        interrupted=interrupted,
        valid=not faults,
        invalid_because=faults,
        generator_faults=generator_faults,
        errors=sorted(
            {text for each in results for text in (each.error, each.connection_lost) if text}
            | {f"recording: {each.error}" for each in recordings if each.error}
            | ({browser.error} if browser is not None and browser.error else set())
        ),
        connections_lost=sum(each.connection_lost is not None for each in results),
        join_ms=percentiles(Histogram(e.join_s for e in joined if e.join_s is not None)),
        rejoin_ms=percentiles(merged(each.rejoin_s for each in joined)),
        first_picture_ms=percentiles(
            Histogram(e.first_picture_s for e in joined if e.first_picture_s is not None)
        ),
        forward_latency_ms=percentiles(merged(e.forward_latency_s for e in joined)),
        indicator_latency_ms=percentiles(merged(e.indicator_latency_s for e in joined)),
        packets_sent=sum(each.packets_sent for each in joined),
        packets_retransmitted=sum(each.packets_retransmitted for each in joined),
        packets_received=sum(each.packets_received for each in joined),
        packets_lost=sum(each.packets_lost for each in joined),
        packets_duplicated=sum(each.packets_duplicated for each in joined),
        **_losses(joined),
        **_bitrates(series or []),
        networks=dict(networks),
        scenario=scenario,
        setting=dict(setting),
        frames_sent=(frames_sent := sum(each.frames_sent for each in joined)),
        frames_received=(frames_received := sum(each.frames_received for each in joined)),
        frame_completeness=_share(frames_received, frames_sent),
        audio_completeness=_share(
            sum(each.audio_frames_received for each in joined),
            sum(each.audio_frames_sent for each in joined),
        ),
        **_layers(joined, recordings),
        **_screens(joined, recordings),
        frames_misrouted=sum(each.frames_misrouted for each in joined),
        frames_shown=sum(each.frames_shown for each in joined),
        frames_lost=max(0, frames_sent - frames_received),
        frames_duplicated=sum(each.frames_duplicated for each in joined),
        frames_out_of_order=sum(each.frames_out_of_order for each in joined),
        freezes=sum(each.freezes_s.count for each in joined),
        freeze_ms=percentiles(merged(each.freezes_s for each in joined)),
        av_offset_ms=_offset_ms([each.av_offsets for each in joined]),
        **_recorded(recordings),
        levels=judge(
            _measured(results, joined, recordings)
            | _memory(judged_mb_per_hour(series or [], scenario))
        ),
        server_cpu_ms_per_interview_second=_per_second(server_cpu_s, served_s),
        server_memory_growth_per_hour=memory_growth_per_hour(series or []),
        server_event_loop_lag_max_ms=None if loop_lag_s is None else round(loop_lag_s * 1000, 3),
        generator_cpu_ms_per_candidate_second=_ms_per(generator.cpu_s, seconds),
        generator_cpu_share=round(_cpu_share(generator, duration_s), 4),
        generator_lateness_ms=percentiles(generator.lateness_s),
        browser=browser,
        series=series or [],
    )


def _bitrates(series: list[Moment]) -> dict[str, Any]:
    """The fields of `Report` about what candidates sent."""
    known = [each.sent_kbps for each in series if each.sent_kbps is not None]
    return {
        "sent_kbps": round(sum(known) / len(known), 1) if known else None,
        "sent_kbps_lowest": min(known, default=None),
    }


def _losses(joined: list[InterviewResult]) -> dict[str, Any]:
    """The fields of `Report` about what the network, emulated or not, did to packets."""
    received = sum(each.packets_received for each in joined)
    lost = sum(each.packets_lost for each in joined)
    missed = lost + sum(each.packets_repaired for each in joined)
    told = [each.max_bitrate_bps for each in joined if each.max_bitrate_bps is not None]
    return {
        "uplink_loss": _share(
            sum(each.packets_asked_for for each in joined),
            sum(each.packets_sent_once for each in joined),
        ),
        "downlink_loss": _share(missed, received + lost),
        "max_bitrate_bps": min(told, default=None),
    }


def _layers(joined: list[InterviewResult], recordings: list[RecordingResult]) -> dict[str, Any]:
    """The fields of `Report` about simulcasts."""
    recorded: Counter[int] = Counter()
    for each in recordings:
        recorded.update(each.layers)
    offered = sum(each.layers_offered for each in joined)
    named = {str(layer): count for layer, count in sorted(recorded.items())}
    return {
        "layers_offered": offered,
        "layers_accepted": sum(each.layers_accepted for each in joined),
        "layers_recorded": named if offered and recordings else None,
        "layer_switches": sum(each.layer_switches_s.count for each in joined),
        "layer_switch_ms": percentiles(merged(each.layer_switches_s for each in joined)),
    }


def _screens(joined: list[InterviewResult], recordings: list[RecordingResult]) -> dict[str, Any]:
    """The fields of `Report` about shared screens."""
    sent = sum(each.screen_frames_sent for each in joined)
    received = sum(each.screen_frames_received for each in joined)
    recorded = [each.screen_recorded for each in recordings if each.screen_recorded is not None]
    return {
        "screens_offered": sum(each.screen_offered for each in joined),
        "screens_accepted": sum(each.screen_accepted for each in joined),
        "screens_recorded": sum(recorded) if recorded else None,
        "screen_frames_sent": sent,
        "screen_frames_received": received,
        "screen_completeness": _share(received, sent),
    }


def _recorded(recordings: list[RecordingResult]) -> dict[str, Any]:
    """The fields of `Report` that come from the recordings that could be read."""
    read = [each for each in recordings if each.error is None]
    missing = sum(each.frames_missing for each in read)
    sent = sum(each.frames_sent for each in read)
    drifts = [each.drift for each in read if each.drift is not None]
    drift = max(drifts, key=abs, default=None)
    return {
        "recordings_checked": len(read),
        "recording_completeness": _share(sent - missing, sent),
        "recording_frames_missing": missing if read else None,
        "recording_frames_undeclared": sum(each.frames_undeclared for each in read)
        if read
        else None,
        "recording_gaps_declared": sum(each.gaps_declared for each in read) if read else None,
        "recording_gaps_undeclared": sum(each.gaps_undeclared for each in read) if read else None,
        "recording_av_offset_ms": _offset_ms([each.av_offsets for each in read]),
        "recording_drift_ms_per_hour": None if drift is None else round(drift * 3_600_000, 3),
    }


def _measured(
    results: list[InterviewResult],
    joined: list[InterviewResult],
    recordings: list[RecordingResult],
) -> dict[str, float | None]:
    """What the service levels are about."""
    frames = _share(sum(e.frames_received for e in joined), sum(e.frames_sent for e in joined))
    sounds = sum(each.audio_frames_sent for each in joined)
    heard = sum(each.audio_frames_received for each in joined)
    measured: dict[str, float | None] = {
        "joined": _percent(_share(len(joined), len(results))),
        "frames": _percent(frames),
        "sounds": _percent(_share(heard, sounds)),
        "misrouted": sum(each.frames_misrouted for each in joined) if frames is not None else None,
        "forward": percentiles(merged(e.forward_latency_s for e in joined)).p99,
        "indicators": percentiles(merged(e.indicator_latency_s for e in joined)).p95,
    }
    if recordings:
        read = sum(each.error is None for each in recordings)
        measured["read"] = _percent(_share(read, len(recordings)))
        sent = sum(each.frames_sent for each in recordings)
        told = sent - sum(each.frames_undeclared for each in recordings)
        measured["recorded"] = _percent(_share(told, sent))
        measured["lip_sync"] = _offset_ms([each.av_offsets for each in recordings]).p95
    return measured


def _memory(mb_per_hour: float | None) -> dict[str, float | None]:
    return {} if mb_per_hour is None else {"memory": round(mb_per_hour, 3)}


def _offset_ms(parts: list[Offsets]) -> OffsetMs:
    together = Offsets()
    for each in parts:
        together.merge(each)
    p50, p95, largest = (
        None if value is None else round(value * 1000, 1)
        for value in (together.median_s(), together.size_s(95), together.size_s(100))
    )
    return OffsetMs(p50, p95, largest, together.samples)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 4)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _cpu_share(generator: GeneratorCost, duration_s: float) -> float:
    return generator.cpu_s / duration_s if duration_s > 0 else 0.0


def _ms_per(cpu_s: float, seconds: float) -> float | None:
    return round(cpu_s * 1000 / seconds, 3) if seconds > 0 else None


def _per_second(server_cpu_s: dict[str, float] | None, seconds: float) -> dict[str, float] | None:
    if server_cpu_s is None or seconds <= 0:
        return None
    split = {name: round(cpu_s * 1000 / seconds, 3) for name, cpu_s in server_cpu_s.items()}
    return {"total": round(sum(server_cpu_s.values()) * 1000 / seconds, 3)} | split
