"""A simulcast that somebody watches over a line, in virtual time: all but the sockets and SRTP.

The candidate's pictures are as large as a browser's, the observer asks for what is missing, tells
what came, and shows what it can, as the load tester's does: `loadtest.watching` counts freezes.
"""

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

from loadtest.arrivals import Arrivals
from loadtest.media import TEMPORAL_IDS
from loadtest.network import Impairments, Link
from loadtest.packets import packetise_opus, packetise_vp8, starts_frame, vp8_descriptor
from loadtest.receiver import TrackReceiver
from loadtest.sender import Extensions, TrackSender
from loadtest.stamp import find_stamp
from loadtest.watching import Screen
from server.core import rtcp, rtp
from server.core.frames import Codec, TrackName
from server.media.observer import Observer, Outgoing
from server.media.peer import HURRY_INTERVAL_S, LOOK_INTERVAL_S, PeerState
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import Fresh, UpTrack, assemble
from server.media.sdp.formats import RtpFormat
from server.media.sdp.offer import MediaSection
from server.media.source import Source
from server.media.transport.dtls import Certificate
from server.media.transport.router import Router
from tests.media.streams import receive

NOW = 1_800_000_000.0
FPS, CLOCK_HZ = 20, 90_000
#: Size and bitrate of each layer, the smallest first.
LAYERS = {"l": (320, 180, 150e3), "m": (640, 360, 360e3), "h": (1280, 720, 1200e3)}
#: Of a picture by its temporal layer, and of a keyframe, as part of the mean.
SHARES, KEYFRAME_SHARE = (1.6, 0.8, 0.8), 5.0
#: The candidate's way to the server, and the observer's: its feedback.
UP_S, BACK_S = 0.03, 0.03
#: A browser asks its encoder for no two keyframes within this.
KEYFRAME_SPACING_S = 0.3
#: A picture that stands for so long is asked for anew, as libwebrtc has it.
PATIENCE_S = 3.0
OURS = Certificate()
_COUNTED = {
    TrackName.CAMERA: Outgoing([RtpFormat(120, "vp8", CLOCK_HZ, rtx=121)], 3),
    TrackName.MICROPHONE: Outgoing([RtpFormat(109, "opus", 48_000)], 3),
}


class Watcher(Observer):
    """An observer whose packets go to `sent` unencrypted, and whose timers are `at`."""

    sent: Callable[[bytes], None]
    at: Callable[[float, Callable[[], None]], None]

    def _send_rtp(self, header: bytes, payload: bytes) -> None:
        self.sent(header + payload)

    def _send_rtcp(self, packet: bytes) -> None:
        """Reports are not looked at."""

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.at(self._clock() + delay_s, callback)


class Layer:
    """One of the candidate's encoders."""

    def __init__(self, rid: str, up: UpTrack, place: int) -> None:
        self.up, self.place = up, place
        self.width, self.height, self.bitrate_bps = LAYERS[rid]
        self.sender = TrackSender(
            up.ssrc, 96, CLOCK_HZ, "1", Extensions(), describe=vp8_descriptor, stamp_source=1
        )
        self.keyframe_wanted, self.keyframe_s, self.since_keyframe = True, 0.0, 0

    def picture(self, number: int, scale: float, now: float) -> list[bytes]:
        if self.keyframe_wanted and now - self.keyframe_s > KEYFRAME_SPACING_S:
            self.keyframe_wanted, self.keyframe_s, self.since_keyframe = False, now, 0
        at = self.since_keyframe % len(TEMPORAL_IDS)
        keyframe, temporal_id = self.since_keyframe == 0, TEMPORAL_IDS[at]
        self.since_keyframe += 1
        share = KEYFRAME_SHARE if keyframe else SHARES[temporal_id]
        size = self.width.to_bytes(2, "little") + self.height.to_bytes(2, "little")
        begin = b"\x10\0\0\x9d\x01\x2a" + size if keyframe else b"\x11\0\0\0\0\0"
        data = begin + bytes(round(scale * share * self.bitrate_bps / FPS / 8))
        # Each layer's pictures have numbers of their own, or one would be taken for the other.
        self.sender.frames = len(LAYERS) * number + self.place
        frame = packetise_vp8(data, temporal_id << 6 | (at in (1, 2)) << 5)
        return self.sender.begin_frame(frame, number * CLOCK_HZ // FPS).burst(len(frame), now)


class Call:
    """`run` it; `change` the line meanwhile."""

    def __init__(self, seed: str) -> None:
        self.now = NOW + Random(seed).random()
        self.seed = seed
        self.screen = Screen()
        self.sounds_sent = self.sounds_heard = 0
        self.octets = dict.fromkeys(("pictures", "repairs", "sound"), 0)  #: sent by the server
        self._random = Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._line = Link(Impairments(delay_s=0.03), seed)
        self._source, self._fresh, clock = Source("one"), list[Fresh](), PeerClock()
        self._layers = [
            Layer(rid, self._up(TrackName.CAMERA, Codec.VP8, rid, 10 + place, clock), place)
            for place, rid in enumerate(LAYERS)
        ]
        self._voice = self._up(TrackName.MICROPHONE, Codec.OPUS, "", 9, clock)
        self._sound = TrackSender(9, 111, 48_000, "0", Extensions())
        self._pictures, self._looked_s, self._asked_s = 0, 0.0, self.now
        remote = MediaSection("video", "", 9, {})
        self.watcher = Watcher(
            Router(), OURS, remote, lambda _: None, lambda: self.now, self._source, _COUNTED
        )
        self.watcher.sent, self.watcher.at = self._sent, self._at
        self.watcher._keyed = True
        self.watcher._set_state(PeerState.CONNECTED)
        self.camera_down = self.watcher.downs[TrackName.CAMERA]
        self._receiver = TrackReceiver(self.camera_down.ssrc, CLOCK_HZ, {1}, watched=self.screen)
        self._arrivals = Arrivals(3)
        for each in (self._picture, self._speak, self._tick, self._nack, self._tell, self._report):
            self._at(self.now + self._random.uniform(0, 0.02), each)

    def _up(self, name: TrackName, codec: Codec, rid: str, ssrc: int, clock: PeerClock) -> UpTrack:
        layer = self._source.layer(name, rid)
        up = UpTrack(
            name,
            codec,
            96,
            ssrc,
            clock,
            layer.on_frame,
            layer.on_gap,
            lambda: None,
            self._fresh,
            repair=True,
            rid=rid,
        )
        self._source.add_up(up, layer)
        return up

    def _at(self, time_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time_s, self.now), next(self._order), event))

    def run(self, seconds: float) -> None:
        end_s = self.now + seconds
        while self._events[0][0] <= end_s:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = end_s

    def change(self, **line: float) -> None:
        """From now on the line is another; `line`: fields of `Impairments`."""
        self._line = Link(Impairments(delay_s=0.03, **line), f"{self.seed} {line}")

    # ---- the candidate

    def _picture(self) -> None:
        for layer in self._layers:
            scale = self._random.uniform(0.7, 1.3)
            for place, data in enumerate(layer.picture(self._pictures, scale, self.now)):
                self._arrives(layer.up, data, self.now + UP_S + place * 0.0008)
        self._pictures += 1
        self._at(self.now + 1 / FPS, self._picture)

    def _speak(self) -> None:
        (data,) = self._sound.begin_frame(
            packetise_opus(bytes(80)), 960 * self._sound.frames
        ).burst(1, self.now)
        self.sounds_sent += 1
        self._arrives(self._voice, data, self.now + UP_S)
        self._at(self.now + 0.02, self._speak)

    def _arrives(self, up: UpTrack, data: bytes, time_s: float) -> None:
        self._at(time_s, lambda: receive(up, data, self.now))

    # ---- the server

    def _tick(self) -> None:
        looks = self.now - self._looked_s >= LOOK_INTERVAL_S - HURRY_INTERVAL_S / 2
        if looks:
            self._looked_s = self.now
            assemble(self._fresh)
            self._source.tick(self.now)
            for layer in self._layers:
                self._see_to_keyframe(layer)
        if looks or self.watcher.hurried:
            self.watcher.tick(self.now)
        self._at(self.now + HURRY_INTERVAL_S, self._tick)

    def _see_to_keyframe(self, layer: Layer) -> None:
        def ask() -> None:
            layer.keyframe_wanted = True

        layer.up.tick(self.now, 2 * UP_S)
        if layer.up.keyframe_due(self.now):
            self._at(self.now + UP_S, ask)

    def _report(self) -> None:
        for layer in self._layers:
            timestamp = self._pictures * CLOCK_HZ // FPS
            ntp = rtcp.ntp_from_unix(self.now)
            report = rtcp.SenderReport(layer.up.ssrc, ntp, timestamp, 0, 0)
            layer.up.sender_report_received(report, self.now)
        self._at(self.now + 1, self._report)

    def _sent(self, data: bytes) -> None:
        kinds = {120: "pictures", 121: "repairs", 109: "sound"}
        self.octets[kinds[data[1] & 0x7F]] += len(data)
        arrival = self._line.arrival(len(data) + 16, self.now)
        if arrival is not None:
            self._at(arrival, lambda: self._arrived(data))

    # ---- the observer's browser

    def _arrived(self, data: bytes) -> None:
        self._arrivals.add(data, self.now)
        first, second, seqno, timestamp, _ = rtp.unpack_header(data)
        begin, end = rtp.payload_span(data)
        payload = data[begin:end]
        if second & 0x7F == 109:
            self.sounds_heard += find_stamp(payload) is not None
            return
        if second & 0x7F == 121:
            seqno, payload = int.from_bytes(payload[:2], "big"), payload[2:]
        if not payload:
            return  # a probe
        header = first, second, seqno, timestamp, self.camera_down.ssrc
        shown = self.screen.pictures
        self._receiver.receive(header, payload, starts_frame("vp8", payload), self.now)
        if self.screen.pictures > shown:  # what is older is not asked for any more
            highest = self._receiver.packets.highest
            newest = highest - (highest - seqno & 0xFFFF)
            for each in [each for each in self._receiver._repairs if each < newest]:
                del self._receiver._repairs[each]
        if self.now - max(self.screen.freezes.shown_s or 0.0, self._asked_s) > PATIENCE_S:
            self._asked_s = self.now
            self._at(self.now + BACK_S, self._request_keyframe)

    def _request_keyframe(self) -> None:
        self.camera_down.request_keyframe(self.now)

    def _nack(self) -> None:
        nack = self._receiver.nack(1, self.now) if self._receiver.repairing else None
        if nack is not None:
            self._told(nack)
        self._at(self.now + 0.02, self._nack)

    def _tell(self) -> None:
        feedback = self._arrivals.feedback(1, self.camera_down.ssrc)
        if feedback is not None:
            self._told(feedback)
        self._at(self.now + self._random.choice((0.05, 0.1)), self._tell)

    def _told(self, data: bytes) -> None:
        items = rtcp.parse(data)
        self._at(self.now + BACK_S, lambda: self.watcher._rtcp(items, self.now))
