"""When packets came, told as a browser tells it (transport-wide feedback). Pure."""

from server.core import rtcp
from server.core.rtp import Unwrapper, extension
from server.core.twcc import TICK_S, TransportFeedback

#: libwebrtc's usual interval; it varies from 50 to 250 ms with the bitrate.
FEEDBACK_INTERVAL_S = 0.1
#: A hole of more is an outage, of which browsers tell nothing either.
MAX_TOLD = 500


class Arrivals:
    """Contract: `add` each packet, `feedback` every FEEDBACK_INTERVAL_S."""

    def __init__(self, number: int) -> None:
        """`number`: of the extension that counts."""
        self._number = number
        self._counts = Unwrapper(16)
        self._came: dict[int, int] = {}  # in ticks
        self._next: int | None = None
        self._feedbacks = 0

    def add(self, packet: bytes, now: float) -> None:
        """`now` in Unix seconds."""
        count = extension(packet, self._number)
        if count is not None and len(count) == 2:
            extended = self._counts.unwrap(int.from_bytes(count, "big"))
            self._came.setdefault(extended, int(now / TICK_S) & 0xFFFF_FFFF)

    def feedback(self, sender_ssrc: int, media_ssrc: int) -> bytes | None:
        """What came since the last one, and what did not; None: nothing came."""
        came, self._came = self._came, {}
        if not came:
            return None
        first, end = min(came), max(came) + 1
        if self._next is not None and end - self._next <= MAX_TOLD:
            first = min(first, self._next)
        begin = max(first, end - MAX_TOLD)
        self._next = end
        arrivals = tuple(came.get(count) for count in range(begin, end))
        number = self._feedbacks & 0xFF
        self._feedbacks += 1
        told = TransportFeedback(sender_ssrc, media_ssrc, number, begin & 0xFFFF, arrivals)
        return rtcp.transport_feedback(told)
