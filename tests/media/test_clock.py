import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.rtcp import ntp_from_unix
from server.media.receiving.clock import JUMP_S, MAX_SLEW, PeerClock, TrackClock

VIDEO, AUDIO = 90_000, 48_000
START_S = 1_800_000_000.0


class Sender:
    """A track that captures in step with `true` time: RTP and wall clock with errors of their own.

    `skew`: seconds of this wall clock per true second; `delay_s`: of the network.
    """

    def __init__(
        self, rate: int, peer: PeerClock, first: int, *, wall_s: float = 0.0, skew: float = 1.0
    ) -> None:
        self.rate, self.first, self.skew = rate, first, skew
        self.wall_s = wall_s  # this wall clock minus the server's, at the start
        self.clock = TrackClock(rate, peer)

    def timestamp(self, at_s: float) -> int:
        return self.first + round((at_s - START_S) * self.rate * self.skew)

    def packet(self, at_s: float, delay_s: float) -> float:
        """The capture time the server gives to a frame captured at `at_s`."""
        timestamp = self.timestamp(at_s)
        self.clock.packet_received(timestamp, at_s + delay_s)
        return self.clock.capture_s(timestamp, at_s + delay_s)

    def report(self, at_s: float, delay_s: float) -> None:
        """A report written at `at_s` that arrives `delay_s` later."""
        wall_s = START_S + (at_s - START_S) * self.skew + self.wall_s
        self.clock.report_received(ntp_from_unix(wall_s), self.timestamp(at_s), at_s + delay_s)


def interview(
    seconds: int, *, wall_s: float = 0.0, skew: float = 1.0, late: dict[int, float] | None = None
) -> list[tuple[float, float, float]]:
    """(true time, video's capture time, audio's) each 100 ms.

    `late`: second -> how old the report is that arrives in it.
    """
    peer, noise = PeerClock(), random.Random(5)
    video = Sender(VIDEO, peer, 10**9, wall_s=wall_s, skew=skew)
    audio = Sender(AUDIO, peer, 5, wall_s=wall_s, skew=skew)
    out = []
    for tenth in range(seconds * 10):
        at_s, second = START_S + tenth / 10, tenth // 10
        if tenth % 10 == 3:
            delay_s = (late or {}).get(second, 0.0)
            video.report(at_s - delay_s, delay_s + 0.02 + noise.random() * 0.01)
        if tenth % 50 == 7:
            audio.report(at_s, 0.02 + noise.random() * 0.01)
        # Pictures are sent later than sound: this is what sender reports are for.
        out.append((at_s, video.packet(at_s, 0.09), audio.packet(at_s, 0.03)))
    return out


def test_before_any_report_the_least_delayed_packet_tells_the_time() -> None:
    sender = Sender(VIDEO, PeerClock(), 0)
    delays = [0.08, 0.05, 0.2, 0.05]
    given_s = [sender.packet(START_S + i, each) - START_S - i for i, each in enumerate(delays)]
    assert given_s == pytest.approx([0.08, 0.05, 0.05, 0.05], abs=1e-3)


def test_capture_time_of_an_unseen_track_is_refused() -> None:
    clock = TrackClock(VIDEO, PeerClock())
    with pytest.raises(ValueError, match="no packet"):
        clock.capture_s(0, START_S)
    with pytest.raises(ValueError, match="no packet"):
        clock.timestamp_at(START_S)


def test_sound_and_picture_agree_within_a_millisecond_after_their_reports() -> None:
    for wall_s in (0.0, -3600.0, 0.3):
        settled = interview(30, wall_s=wall_s)[120:]
        assert max(abs(video_s - audio_s) for _, video_s, audio_s in settled) < 0.0015
        assert all(0.015 < video_s - at_s < 0.035 for at_s, video_s, _ in settled)


def test_first_guess_is_corrected_by_slewing_not_by_a_jump() -> None:
    out = interview(10)
    steps = [after[1] - before[1] for before, after in pairwise(out)]
    assert min(steps) >= 0.1 * (1 - MAX_SLEW) - 1e-6
    assert max(steps) <= 0.1 * (1 + MAX_SLEW) + 1e-6


def test_hours_of_drift_are_followed_and_tracks_stay_together() -> None:
    """A sender 100 ppm slow: 0.7 s in two hours."""
    out = interview(7200, skew=1 - 1e-4)[100:]
    assert max(abs(video_s - audio_s) for _, video_s, audio_s in out) < 0.005
    assert max(abs(video_s - at_s) for at_s, video_s, _ in out) < 0.04


@pytest.mark.parametrize("delay_s", [0.5, JUMP_S + 0.5, 10.0])
def test_late_report_moves_nothing(delay_s: float) -> None:
    late = interview(40, late={20: delay_s})
    assert max(abs(video_s - audio_s) for _, video_s, audio_s in late[120:]) < 0.0015


@pytest.mark.parametrize("step_s", [-3600.0, -2.0, 2.0, 3600.0])
def test_wall_clock_set_by_the_sender_moves_nothing(step_s: float) -> None:
    peer = PeerClock()
    video, audio = Sender(VIDEO, peer, 0), Sender(AUDIO, peer, 0)
    for second in range(40):
        if second == 20:
            video.wall_s = audio.wall_s = step_s
        at_s = START_S + second
        video.report(at_s, 0.02)
        captured_s = video.packet(at_s, 0.05), audio.packet(at_s, 0.05)
        audio.report(at_s + 0.5, 0.02)
        if second > 5:
            assert captured_s[0] == pytest.approx(captured_s[1], abs=1e-3)
            assert captured_s[0] == pytest.approx(at_s + 0.02, abs=2e-3)


def test_report_ahead_of_the_first_packet_is_enough() -> None:
    sender = Sender(AUDIO, PeerClock(), 0)
    sender.report(START_S, 0.02)
    assert sender.packet(START_S + 0.1, 0.5) == pytest.approx(START_S + 0.12, abs=1e-6)
    assert sender.clock.pair == (ntp_from_unix(START_S), 0)


def test_own_reports_state_the_timestamp_of_a_moment() -> None:
    sender = Sender(AUDIO, PeerClock(), 77)
    sender.report(START_S, 0.0)
    assert sender.clock.timestamp_at(START_S + 2) == 77 + 2 * AUDIO


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["packet", "report"]),
            st.integers(0, 1 << 40),
            st.integers(0, (1 << 64) - 1),
            st.floats(0, 5),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_whatever_is_reported_time_never_runs_backwards_nor_ahead(
    events: list[tuple[str, int, int, float]],
) -> None:
    clock, now, last_s = TrackClock(VIDEO, PeerClock()), START_S, float("-inf")
    clock.packet_received(0, now)
    for kind, timestamp, ntp, elapsed_s in events:
        now += elapsed_s
        if kind == "report":
            clock.report_received(ntp, timestamp, now)
            continue
        clock.packet_received(timestamp, now)
        captured_s = clock.capture_s(timestamp, now)
        assert last_s <= captured_s <= now
        last_s = captured_s
