"""Where the packets of one voice lie on a recording's time line. Pure.

A microphone gives packets without a hole between them; when each was captured is an estimate, which
moves while the sender's clock is found out, and a sound card runs apart from it. So packets that
were captured one after the other are laid one after the other, wherever the estimate goes, and
pictures follow the voice they are seen with: none is left out, and lips stay with the words.
"""

from server.recorder.format.tracks import SOUND_STEP_TICKS

SOUND_STEP_US = SOUND_STEP_TICKS * 1000 // 48
#: From one packet to the next the estimate moves by less (`server/media/receiving/clock.py` slews
#: by 5 %, of packets of 120 ms at most), and less than the shortest usual packet is missing.
HOLE_US = 10_000
#: A voice is laid no further than this from when it was captured: what nobody notices in a
#: conversation (ITU-T G.114), and more than an estimate is off by. Beyond it the sound card runs
#: apart from all other clocks: now and then a packet overlaps the one before it, or leaves a hole.
MAX_APART_US = 150_000


class SoundLine:
    """Contract: `lay` each packet, in their order. Times are microseconds."""

    def __init__(self) -> None:
        self.late_us = 0  #: how much later the last packet lies than it was captured
        self._start_us = 0
        self._ends_us: int | None = None
        self._captured_until_us = 0

    def lay(self, captured_us: int, duration_us: int) -> int:
        """Where a packet begins."""
        if self._ends_us is None:
            start_us = captured_us
        elif captured_us - self._captured_until_us >= HOLE_US:
            start_us = self._after_hole(captured_us, self._ends_us)
        else:
            start_us = self._next(captured_us, duration_us, self._ends_us)
        self.late_us = start_us - captured_us
        self._start_us, self._ends_us = start_us, start_us + duration_us
        self._captured_until_us = captured_us + duration_us
        return start_us

    def move(self, by_us: int) -> None:
        """What was laid lies so much later now."""
        if self._ends_us is not None:
            self.late_us += by_us
            self._start_us += by_us
            self._ends_us += by_us

    def _after_hole(self, captured_us: int, ends_us: int) -> int:
        """At the nearest step to when it was captured: a hole takes up what was apart."""
        steps = round((captured_us - ends_us) / SOUND_STEP_US)
        return ends_us + max(0, steps) * SOUND_STEP_US

    def _next(self, captured_us: int, duration_us: int, ends_us: int) -> int:
        late_us = ends_us - captured_us
        if late_us > MAX_APART_US:
            return max(ends_us - duration_us, self._start_us) + SOUND_STEP_US
        return ends_us + duration_us if late_us < -MAX_APART_US else ends_us
