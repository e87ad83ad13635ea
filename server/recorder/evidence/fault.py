"""What is found to be wrong with a recording, or with the log."""

import msgspec

from server.recorder.format.sealing import FaultKind


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong; times in seconds since the recording's start, if it has any."""

    kind: FaultKind
    file: str
    message: str
    start_s: float | None = None
    end_s: float | None = None

    def __str__(self) -> str:
        return f"{self.file}{self._span}: {self.kind}: {self.message}"

    @property
    def _span(self) -> str:
        if self.start_s is None:
            return ""
        if self.end_s is None:
            return f", from {self.start_s:.3f} s on"
        return f", {self.start_s:.3f} s to {self.end_s:.3f} s"
