"""A candidate, a network and the up tracks in virtual time: how much a recording would hold."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from loadtest.network import Impairments, Network, parse_network
from server.core import red
from server.core.frames import Codec, EncodedFrame, Gap, TrackName
from server.core.red import Block
from server.media.receiving.carried import RedundantStream, RetransmissionStream
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import UpTrack, assemble
from tests.media.streams import receive, rtp

START_S = 1_800_000_000.0
TICK_S = 0.01
FPS, SOUNDS_PER_S, PACKETS_PER_PICTURE = 30, 50, 4
VIDEO, OPUS, RED = 96, 111, 63
VIDEO_SSRC, SOUND_SSRC, REPAIRS_SSRC = 1, 2, 3
PADDING = bytes(900)
#: libwebrtc keeps a packet so long while there are not more than 600; then it is gone.
KEPT_S = 3.0


@dataclass
class Call:
    """`run` it; then `recorded` are the numbers of the frames that came out."""

    network: Impairments
    twice: bool = True  #: sound comes as RED
    seed: str = "seed"
    now: float = START_S
    recorded: dict[TrackName, set[int]] = field(
        default_factory=lambda: {n: set() for n in TrackName}
    )
    gaps: list[Gap] = field(default_factory=list)
    longest_wait_s: float = 0.0

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._network = Network(self.network, self.seed)
        self._history: dict[tuple[int, int], tuple[float, bytes]] = {}
        self._pictures = self._sounds = self._video_seqno = self._repairs = 0
        self._keyframe_wanted = True
        clock = PeerClock()
        self._camera = self._track(TrackName.CAMERA, Codec.VP8, VIDEO, VIDEO_SSRC, clock)
        self._sound = self._track(TrackName.MICROPHONE, Codec.OPUS, OPUS, SOUND_SSRC, clock)
        self._retransmissions = RetransmissionStream(self._camera)
        self._redundant = RedundantStream(self._sound)

    def _track(
        self, name: TrackName, codec: Codec, payload_type: int, ssrc: int, clock: PeerClock
    ) -> UpTrack:
        return UpTrack(
            name,
            codec,
            payload_type,
            ssrc,
            clock,
            self._on_frame,
            self.gaps.append,
            lambda: None,
            [],
            repair=True,
        )

    def run(self, seconds: float) -> None:
        self._last_s = START_S + seconds - 1 / FPS
        for number in range(int(seconds * FPS)):
            self._at(START_S + number / FPS, self._send_picture)
        for number in range(int(seconds * SOUNDS_PER_S)):
            self._at(START_S + number / SOUNDS_PER_S, self._send_sound)
        for number in range(int((seconds + 5) / TICK_S)):
            self._at(START_S + number * TICK_S, self._tick)
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
        for up in (self._camera, self._sound):
            up.close(self.now)

    def share(self, name: TrackName) -> float:
        sent = self._pictures if name is TrackName.CAMERA else self._sounds
        return len(self.recorded[name]) / sent

    # ---- the candidate

    def _send_picture(self) -> None:
        number, self._pictures = self._pictures, self._pictures + 1
        keyframe, self._keyframe_wanted = self._keyframe_wanted, False
        for index in range(PACKETS_PER_PICTURE):
            # RFC 7741 4.2: the descriptor's S bit; 9.1: the frame tag's P bit, the start code.
            begin = b"\x10\x00\0\0\x9d\x01\x2a" if keyframe else b"\x10\x01"
            body = (begin if index == 0 else b"\0") + number.to_bytes(4, "big") + PADDING
            marker = index == PACKETS_PER_PICTURE - 1
            self._video_seqno += 1
            self._send(rtp(self._video_seqno, 3000 * number, body, marker=marker))

    def _send_sound(self) -> None:
        number, self._sounds = self._sounds, self._sounds + 1
        data = b"opus%d" % number
        if self.twice:
            earlier = [Block(OPUS, 960, b"opus%d" % (number - 1))] if number else []
            data = red.join(Block(OPUS, 0, data), earlier)
        payload_type = RED if self.twice else OPUS
        packet = rtp(number, 960 * number, data, payload_type=payload_type, ssrc=SOUND_SSRC)
        self._send(packet)

    def _send(self, packet: bytes) -> None:
        key = int.from_bytes(packet[8:12], "big"), int.from_bytes(packet[2:4], "big")
        self._history[key] = self.now, packet
        # What nothing follows no server can miss.
        arrival = partial(self._network.up.arrival, spared=self.now >= self._last_s)
        self._pass(arrival, packet, lambda: self._receive(packet))

    def _asked(self, ssrc: int, seqno: int) -> None:
        sent_s, packet = self._history.get((ssrc, seqno), (0.0, b""))
        if self.now - sent_s > KEPT_S:
            return
        if ssrc == VIDEO_SSRC:
            self._repairs += 1
            body = packet[2:4] + packet[12:]
            timestamp = int.from_bytes(packet[4:8], "big")
            marker = packet[1] > 127
            packet = rtp(self._repairs, timestamp, body, marker=marker, ssrc=REPAIRS_SSRC)
        self._pass(self._network.up.arrival, packet, lambda: self._receive(packet))

    def _keyframe_asked(self) -> None:
        self._keyframe_wanted = True

    # ---- the server

    def _receive(self, packet: bytes) -> None:
        ssrc = int.from_bytes(packet[8:12], "big")
        if ssrc == REPAIRS_SSRC:
            receive(self._retransmissions, packet, self.now)
        elif packet[1] & 0x7F == RED:
            receive(self._redundant, packet, self.now)
        else:
            up = self._camera if ssrc == VIDEO_SSRC else self._sound
            receive(up, packet, self.now)

    def _tick(self) -> None:
        for up in (self._camera, self._sound):
            assemble(up.fresh)
            for seqno in up.tick(self.now, 2 * self.network.delay_s):
                self._reply(lambda up=up, seqno=seqno: self._asked(up.ssrc, seqno))  # type: ignore[misc]
            if up.keyframe_due(self.now):
                self._reply(self._keyframe_asked)

    def _reply(self, then: Callable[[], None]) -> None:
        self._pass(self._network.down.arrival, bytes(40), then)

    def _on_frame(self, frame: EncodedFrame) -> None:
        self.longest_wait_s = max(self.longest_wait_s, frame.arrived_s - frame.capture_s)
        if frame.track is TrackName.CAMERA:
            start = 6 if frame.keyframe else 1
            number = int.from_bytes(frame.payload[start : start + 4], "big")
        else:
            number = int(frame.payload[4:])
        assert number not in self.recorded[frame.track]
        self.recorded[frame.track].add(number)

    # ---- time

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _pass(
        self,
        arrival: Callable[[int, float], float | None],
        data: bytes,
        then: Callable[[], None],
    ) -> None:
        when = arrival(len(data), self.now)
        if when is not None:
            self._at(when, then)


@pytest.mark.parametrize("burst", [1, 4])
@pytest.mark.parametrize(("loss", "goal"), [(1, 0.9999), (5, 0.999), (10, 0.99)])
def test_recordings_stay_whole_on_lossy_networks(loss: int, burst: int, goal: float) -> None:
    call = Call(parse_network(f"delay=30ms,loss={loss}%,burst={burst}"))
    call.run(60)
    assert call.share(TrackName.CAMERA) >= goal
    assert call.share(TrackName.MICROPHONE) >= goal
