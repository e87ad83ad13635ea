"""What an observer counts on a stream: losses, duplicates, whole frames, delays. Pure."""

from dataclasses import dataclass, field

from loadtest.histogram import Histogram
from loadtest.media import TrackName
from loadtest.stamp import find_stamp
from loadtest.truth import LipSync, Viewing
from loadtest.watching import Place, Screen, read_place
from server.core import rtcp
from server.core.rtp import Unwrapper

#: A number missing for so many newer ones is given up: about eight seconds of video packets.
WINDOW = 1024
#: Reordered packets get this long before they are asked for, and repairs before they are again.
NACK_DELAY_S = 0.01
NACK_INTERVAL_S = 0.1
MAX_NACKS = 10
#: Frames that wait for packets; a retransmission comes within a second or not at all.
MAX_OPEN_FRAMES = 64


class Sequence:
    """Which numbers of an unwrapped counter have been seen."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.highest = -1
        self.received = 0  #: each number once
        self.duplicates = 0
        self.missing: dict[int, None] = {}  #: in ascending order while nothing is late
        self._given_up = 0

    def add(self, number: int) -> bool:
        """Whether the number is new, in its order or late; a duplicate is counted as one."""
        if self.first is None:
            self.first, self.highest, self.received = number, number, 1
            return True
        if number == self.highest + 1 and not self.missing:  # nearly always
            self.highest = number
        elif number > self.highest:
            self._open_gap(number)
        elif number in self.missing:
            del self.missing[number]
        elif number < self.first and self.highest - number < WINDOW:
            self._begin_earlier(number)
        else:
            self.duplicates += 1
            return False
        self.received += 1
        return True

    @property
    def lost(self) -> int:
        return len(self.missing) + self._given_up

    @property
    def expected(self) -> int:
        return 0 if self.first is None else self.highest - self.first + 1

    def _open_gap(self, number: int) -> None:
        oldest = number - WINDOW
        self._given_up += max(0, oldest - self.highest - 1)
        self.missing.update(dict.fromkeys(range(max(self.highest + 1, oldest), number)))
        while self.missing and next(iter(self.missing)) < oldest:
            del self.missing[next(iter(self.missing))]
            self._given_up += 1
        self.highest = number

    def _begin_earlier(self, number: int) -> None:
        """The first packets came out of order."""
        assert self.first is not None
        later = self.missing
        self.missing = dict.fromkeys(range(number + 1, self.first)) | later
        self.first = number


@dataclass(slots=True)
class _OpenFrame:
    packets: int = 0
    start: int | None = None  #: unwrapped sequence number of its first packet
    end: int | None = None  #: of the packet with the marker
    number: int | None = None  #: from its stamp
    layer: int = 0
    place: Place | None = None

    @property
    def complete(self) -> bool:
        return (
            self.start is not None
            and self.end is not None
            and self.packets == self.end - self.start + 1
        )


@dataclass(slots=True)
class _Repair:
    due: float
    requests: int = 0


@dataclass(slots=True)
class TrackReceiver:
    """One RTP stream. Times are Unix seconds."""

    ssrc: int
    clock_rate: int
    sources: set[int] = field(default_factory=set)  #: of the stamps that belong here
    screen_source: int | None = None  #: that of them which stamps a shared screen
    source: int | None = None  #: of the last stamp
    packets: Sequence = field(default_factory=Sequence)
    frames: Sequence = field(default_factory=Sequence)  #: whole ones, by the stamps' numbers
    misrouted: int = 0  #: frames that another candidate has sent
    lip_sync: LipSync = field(default_factory=LipSync)  #: shared by the tracks of a stream
    latency_s: Histogram = field(default_factory=Histogram)
    viewing: Viewing = field(default_factory=Viewing)
    watched: Screen | None = None  #: of VP8: what of it can be shown
    #: Of a simulcast: from the last frame of a layer to the first one of another.
    switches_s: Histogram = field(default_factory=Histogram)
    nacks: int = 0
    repaired: int = 0  #: packets that came after they had been asked for
    _seqnos: Unwrapper = field(default_factory=lambda: Unwrapper(16))
    _open: dict[int, _OpenFrame] = field(default_factory=dict)
    _repairs: dict[int, _Repair] = field(default_factory=dict)
    _jitter: float = 0.0
    _transit: float | None = None
    _timestamp: int | None = None  # of the packet before
    _reported: tuple[int, int] = (0, 0)
    _last_report: tuple[int, float] = (0, 0.0)
    _shown: tuple[int, float] | None = None  # the layer of the last whole frame, and when it came
    _pair: tuple[float, int] | None = None  # the sender's Unix seconds, RTP timestamp

    def receive(
        self, header: tuple[int, int, int, int, int], payload: bytes, start: bool, now: float
    ) -> bool:
        """Takes a packet (its header as `unpack_header` gives it); whether it ended a frame."""
        _, second, seqno, rtp_timestamp, _ = header
        number = self._seqnos.unwrap(seqno)
        before = self.packets.highest
        if not self.packets.add(number):
            return False
        if number > before + 1 and before >= 0:
            self._plan_repairs(now)
        else:
            repair = self._repairs.pop(number, None)
            self.repaired += repair is not None and repair.requests > 0
        if rtp_timestamp != self._timestamp:
            self._timestamp = rtp_timestamp
            self._measure_jitter(rtp_timestamp, now)
        return self._join(number, rtp_timestamp, bool(second & 0x80), payload, start, now)

    def _join(
        self, seqno: int, rtp_timestamp: int, marker: bool, payload: bytes, start: bool, now: float
    ) -> bool:
        stamp = find_stamp(payload)
        if stamp is not None:
            self.latency_s.add(now - stamp.sent_s)
            self.misrouted += stamp.source not in self.sources
            self.source = stamp.source
            self._align(rtp_timestamp, stamp.sent_s)
        place = read_place(payload) if start and self.watched is not None else None
        if start and (marker or self.clock_rate != 90_000):  # all sound, and small pictures
            number, layer = (stamp.frame, stamp.layer) if stamp is not None else (None, 0)
            return self._take(number, layer, seqno, place, now)
        frame = self._open.get(rtp_timestamp)
        if frame is None:
            frame = self._open[rtp_timestamp] = _OpenFrame()
        frame.packets += 1
        if start:
            frame.start, frame.place = seqno, place
        if marker:
            frame.end = seqno
        if stamp is not None:
            frame.number, frame.layer = stamp.frame, stamp.layer
        if frame.complete:
            del self._open[rtp_timestamp]
            assert frame.start is not None
            return self._take(frame.number, frame.layer, frame.start, frame.place, now)
        if len(self._open) > MAX_OPEN_FRAMES:
            del self._open[next(iter(self._open))]
        return False

    def _take(
        self, frame: int | None, layer: int, seqno: int, place: Place | None, now: float
    ) -> bool:
        """A whole frame that begins with that packet; whether it is new, as far as it tells."""
        if self.watched is not None and place is not None:
            # By the stream's own order: after a switch another layer's picture may have a number
            # that was there already, and all that follows refers to it.
            self.watched.take(seqno, place, now)
        if frame is None:
            return True
        if self._shown is not None and self._shown[0] != layer:
            self.switches_s.add(now - self._shown[1])
        self._shown = (layer, now)
        new = self.frames.add(frame)
        if new:
            self.viewing.show(frame, now)
        return new

    def _align(self, rtp_timestamp: int, sent_s: float) -> None:
        """On the time line that the sender reports give (RFC 3550 6.4.1)."""
        name = self.name
        if self._pair is not None and name != "screen":
            report_s, report_timestamp = self._pair
            ticks = (rtp_timestamp - report_timestamp + (1 << 31)) % (1 << 32) - (1 << 31)
            self.lip_sync.add(name == "camera", sent_s, report_s + ticks / self.clock_rate)

    @property
    def name(self) -> TrackName:
        if self.clock_rate != 90_000:
            return "microphone"
        return "camera" if self.source is None or self.source != self.screen_source else "screen"

    # ---- feedback -----------------------------------------------------------------------

    def _plan_repairs(self, now: float) -> None:
        for number in self.packets.missing:
            if number not in self._repairs:
                self._repairs[number] = _Repair(now + NACK_DELAY_S)

    def nack(self, sender_ssrc: int, now: float) -> bytes | None:
        """A NACK for what is due to be asked for at `now`; call while `repairing`."""
        due = []
        for number, repair in list(self._repairs.items()):
            if number not in self.packets.missing or repair.requests == MAX_NACKS:
                del self._repairs[number]
            elif repair.due <= now:
                due.append(number)
                repair.due, repair.requests = now + NACK_INTERVAL_S, repair.requests + 1
        if not due:
            return None
        self.nacks += len(due)
        return rtcp.nack(sender_ssrc, self.ssrc, [number & 0xFFFF for number in sorted(due)])

    @property
    def repairing(self) -> bool:
        return bool(self._repairs)

    def sender_report(self, report: rtcp.SenderReport, now: float) -> None:
        self._last_report = (rtcp.ntp_middle(report.ntp), now)
        self._pair = (rtcp.unix_from_ntp(report.ntp), report.rtp_timestamp)

    def report_block(self, now: float) -> rtcp.ReportBlock:
        """RFC 3550 A.3: what was lost in all, and as a fraction since the block before."""
        sequence = self.packets
        expected = sequence.expected - self._reported[0]
        lost = expected - (sequence.received - self._reported[1])
        self._reported = (sequence.expected, sequence.received)
        fraction = min(255, max(0, lost * 256 // expected)) if expected > 0 else 0
        last, at = self._last_report
        # An emulated network rounds arrivals up: the report may be a moment ahead of us.
        delay = int(max(0.0, now - at) * 65536) if last else 0
        highest = sequence.highest & 0xFFFFFFFF
        return rtcp.ReportBlock(
            self.ssrc, fraction, sequence.lost, highest, int(self._jitter), last, delay
        )

    def _measure_jitter(self, rtp_timestamp: int, now: float) -> None:
        """RFC 3550 A.8, in clock units; of a frame the first packet counts, as in libwebrtc."""
        transit = now * self.clock_rate - rtp_timestamp
        if self._transit is not None:
            # A wrap of the timestamp changes the transit by 2**32: not a jitter.
            change = abs(transit - self._transit) % (1 << 32)
            self._jitter += (min(change, (1 << 32) - change) - self._jitter) / 16
        self._transit = transit
