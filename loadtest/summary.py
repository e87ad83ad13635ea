"""A report for the terminal. Pure."""

from loadtest.report import BrowserReport, OffsetMs, Report
from loadtest.series import Percentiles


def as_text(report: Report) -> str:
    """For people: one figure a line, what it is first."""
    cpu = report.server_cpu_ms_per_interview_second
    lines = {
        "interviews joined": f"{report.joined} of {report.interviews}, {report.duration_s:g} s"
        + (", interrupted" if report.interrupted else ""),
        "join": _text(report.join_ms),
        "first picture": _text(report.first_picture_ms),
        "forward latency": _text(report.forward_latency_ms),
        "indicator latency": _text(report.indicator_latency_ms),
        "packets": f"{report.packets_sent} sent, {report.packets_received} received, "
        f"{report.packets_lost} lost, {report.packets_retransmitted} sent again",
        "lost at first try": f"up {_percent_text(report.uplink_loss)}, "
        f"down {_percent_text(report.downlink_loss)}",
        "sent by a candidate": "unknown"
        if report.sent_kbps is None
        else f"{report.sent_kbps:g} kbit/s, at least {report.sent_kbps_lowest:g}",
        "frames complete": f"{report.frames_received} of {report.frames_sent}",
        "server CPU": "unknown"
        if cpu is None
        else ", ".join(f"{name} {ms:g}" for name, ms in cpu.items()) + " ms per interview-second",
        "server memory": "unknown"
        if report.server_memory_growth_per_hour is None
        else ", ".join(
            f"{name} {bytes_ / 1e6:+.1f}"
            for name, bytes_ in report.server_memory_growth_per_hour.items()
        )
        + " MB an hour",
        "server event loop lag": "unknown"
        if report.server_event_loop_lag_max_ms is None
        else f"max {report.server_event_loop_lag_max_ms:g} ms",
        "freezes": f"{report.freezes}, longest {report.freeze_ms.max or 0:g} ms",
        "picture after sound": _offset_text(report.av_offset_ms),
        "recordings": "not checked"
        if not report.recordings_checked
        else f"{report.recordings_checked} checked, "
        f"{report.recording_frames_missing} frames missing, "
        f"{report.recording_gaps_undeclared} gaps undeclared, "
        f"picture after sound {_offset_text(report.recording_av_offset_ms)}",
        "generator CPU": "not measured"
        if report.generator_cpu_ms_per_candidate_second is None
        else f"{report.generator_cpu_ms_per_candidate_second} ms per candidate-second",
        "generator lateness": _text(report.generator_lateness_ms),
        "valid": "yes" if report.valid else "NO: " + "; ".join(report.invalid_because),
    }
    if report.layers_offered:
        lines["layers"] = _layers_text(report)
    if report.screens_offered:
        lines["screens"] = _screens_text(report)
    if report.scenario != "steady":
        lines["scenario"] = report.scenario
    for side, networks in report.networks.items():
        if networks:
            lines[f"network of {side}"] = "; ".join(networks)
    if report.rejoin_ms.samples:
        lines["came back"] = _text(report.rejoin_ms)
    if report.browser is not None:
        lines["in a browser"] = _browser_text(report.browser)
    lines |= {f"error {number}": text for number, text in enumerate(report.errors, 1)}
    return "\n".join(f"{name:>22}  {value}" for name, value in lines.items())


def _layers_text(report: Report) -> str:
    text = f"{report.layers_accepted} of {report.layers_offered} accepted by the server"
    if report.layers_recorded is not None:
        pictures = max(1, sum(report.layers_recorded.values()))
        shares = [
            f"{layer}: {count / pictures:.1%}" for layer, count in report.layers_recorded.items()
        ]
        text += f", recorded {', '.join(shares)}"
    text += f"; observers saw {report.layer_switches} switches"
    longest_ms = report.layer_switch_ms.max
    return text if longest_ms is None else f"{text}, the longest of {longest_ms:.0f} ms"


def _screens_text(report: Report) -> str:
    text = f"{report.screens_accepted} of {report.screens_offered} accepted by the server"
    if report.screens_accepted:
        text += f", {report.screen_frames_received} of {report.screen_frames_sent} frames complete"
    if report.screens_recorded is not None:
        text += f", {report.screens_recorded} recorded"
    return text


def _percent_text(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _offset_text(value: OffsetMs) -> str:
    if value.p50 is None:
        return "not measured"
    return f"{value.p50:g} ms, p95 {value.p95:g}, max {value.max:g} to either side"


def _browser_text(browser: BrowserReport) -> str:
    if browser.error is not None:
        return browser.error
    return (
        f"joined in {browser.join_ms} ms, first frame {browser.first_frame_ms} ms, "
        f"first picture {browser.first_picture_ms} ms, {browser.first_picture_again_ms} ms again, "
        f"{browser.frames_per_s} frames/s, {browser.freezes} freezes, "
        f"sound {browser.sound_dbfs} dBFS"
    )


def _text(value: Percentiles) -> str:
    if value.p50 is None:
        return "not measured"
    return f"p50 {value.p50:g}, p95 {value.p95:g}, p99 {value.p99:g}, max {value.max:g} ms"
