"""A browser in memory: real ICE checks, DTLS and SRTP through one port, without a socket."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core import red, rtcp
from server.core.frames import Codec, EncodedFrame, Gap, TrackName
from server.core.rtp import extension, is_rtcp, payload_span, unpack_header
from server.core.twcc import TransportFeedback
from server.media.forwarding.copies import APART_S
from server.media.observer import MAX_TOLD, Observer, Outgoing
from server.media.peer import (
    CONSENT_TIMEOUT_S,
    HURRY_INTERVAL_S,
    LOOK_INTERVAL_S,
    MAX_EARLY_PACKETS,
    MAX_SSRCS,
    SILENCE_S,
    Peer,
    PeerState,
)
from server.media.publisher import Incoming, Publisher
from server.media.receiving.up_track import KEYFRAME_ANSWER_S
from server.media.sdp.formats import RtpFormat
from server.media.sdp.offer import MediaSection
from server.media.source import Source
from server.media.transport.dtls import (
    INBOX,
    MAX_DATAGRAM,
    Certificate,
    DtlsRole,
    DtlsSession,
    SrtpError,
)
from server.media.transport.ice import Address, Credentials
from server.media.transport.router import Router, Session
from tests.media.streams import TICKS, pictures, rtp
from tests.media.test_ice import REMOTE, attribute, check, signed
from tests.media.test_router import arrive

NOW = 1_800_000_000.0
T = TypeVar("T")
OURS = Certificate()
FORMATS = {
    TrackName.CAMERA: Incoming(
        MediaSection("video", "", 9, {}, "1", mid_extension=4, ssrcs={20}),
        RtpFormat(96, "vp8", 90_000, feedback={"nack", "nack pli"}),
    ),
    TrackName.MICROPHONE: Incoming(
        MediaSection("audio", "", 9, {}, "0"), RtpFormat(111, "opus", 48_000)
    ),
}
#: The screen shares the camera's payload type, as browsers have it.
THREE = {
    **FORMATS,
    TrackName.SCREEN: Incoming(
        MediaSection("video", "", 9, {}, "2", mid_extension=4, ssrcs={21}),
        FORMATS[TrackName.CAMERA].format,
    ),
}
OBSERVED = {
    TrackName.CAMERA: Outgoing([RtpFormat(120, "vp8", 90_000)]),
    TrackName.MICROPHONE: Outgoing([RtpFormat(109, "opus", 48_000)]),
}
#: As browsers take it: with a stream of repairs, and a count of all packets in extension 3.
COUNTED = {
    TrackName.CAMERA: Outgoing([RtpFormat(120, "vp8", 90_000, rtx=121)], 3),
    TrackName.MICROPHONE: Outgoing([RtpFormat(109, "opus", 48_000)], 3),
}


class Sink:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.gaps: list[Gap] = []

    def on_frame(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)

    def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)


@dataclass
class Room:
    """One router, one source, and a clock that the test moves."""

    router: Router = field(default_factory=Router)
    source: Source = field(default_factory=lambda: Source("one"))
    sink: Sink = field(default_factory=Sink)
    browsers: dict[Address, "Browser"] = field(default_factory=dict)
    now: float = NOW

    paths: dict[Address, "Way"] = field(default_factory=dict)
    lost: list[bytes] = field(default_factory=list)  #: sent to where nobody is any more

    def __post_init__(self) -> None:
        self.source.add_sink(self.sink)


@dataclass(eq=False)
class Way:
    """A path to the browser at `address`; in the room's list while it has a session."""

    room: Room
    address: Address
    session: Session | None = None

    def send(self, data: bytes) -> None:
        browser = self.room.browsers.get(self.address)
        if browser is not None:
            browser.received(data)
        else:
            self.room.lost.append(data)

    def bound(self) -> None:
        self.room.paths[self.address] = self

    def released(self) -> None:
        del self.room.paths[self.address]


class Browser:
    """The far end of a peer."""

    def __init__(
        self,
        room: Room,
        make: Callable[..., Peer],
        *arguments: object,
        setup: str = "actpass",
        reduced_size: bool = True,
    ) -> None:
        self.room = room
        self.address = ("192.0.2.7", 1000 + len(room.browsers))
        room.browsers[self.address] = self
        self.certificate = Certificate()
        self.states: list[PeerState] = []
        self.changed = asyncio.Event()
        remote = MediaSection("audio", "", 9, {}, ice_ufrag=REMOTE, setup=setup)
        remote.rtcp_rsize = reduced_size
        remote.fingerprints.append(("sha-256", self.certificate.fingerprint.split()[1]))
        self.peer = make(
            room.router, OURS, remote, self.told, lambda: room.now, room.source, *arguments
        )
        role = DtlsRole.SERVER if setup == "passive" else DtlsRole.CLIENT
        self.dtls = DtlsSession(self.certificate, role, self.send)
        self.stun: list[bytes] = []
        self.rtp: list[bytes] = []
        self.replayed = 0
        self.rtcp: list[rtcp.Item] = []
        self.raw_rtcp: list[bytes] = []

    def told(self, state: PeerState) -> None:
        self.states.append(state)
        self.changed.set()

    def send(self, data: bytes) -> None:
        way = self.room.paths.get(self.address) or Way(self.room, self.address)
        arrive(self.room.router, data, way, self.room.now)

    def send_rtp(self, data: bytes) -> None:
        self.send(self.dtls.protect(data))

    def send_rtcp(self, data: bytes) -> None:
        self.send(self.dtls.protect_rtcp(data))

    def check(self) -> None:
        self.send(bytes(check(self.peer.ice, nominate=True)))

    def received(self, data: bytes) -> None:
        if data[0] < 4:
            self.stun.append(data)
        elif data[0] < 64:
            self.dtls.feed(data)
        elif is_rtcp(data):
            self.raw_rtcp.append(self.dtls.unprotect_rtcp(data))
            self.rtcp += rtcp.parse(self.raw_rtcp[-1])
        else:
            try:
                self.rtp.append(self.dtls.unprotect(data))
            except SrtpError:
                self.replayed += 1

    async def handshake(self) -> None:
        await self.dtls.handshake([("sha-256", OURS.fingerprint.split()[1])])

    def tick(self, seconds: float = 0.0) -> bool:
        self.room.now += seconds
        return self.peer.tick(self.room.now)

    def items(self, kind: type[T]) -> list[T]:
        return [each for each in self.rtcp if isinstance(each, kind)]


@contextlib.asynccontextmanager
async def joined(browser: Browser) -> AsyncIterator[Browser]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        browser.peer.start(tasks)
        browser.check()
        await browser.handshake()
        await browser.changed.wait()
        try:
            yield browser
        finally:
            await browser.peer.close()
            await browser.dtls.close()


#: Of a simulcast nothing but the RTP headers tells which layer a stream is of.
LAYERED = {
    TrackName.CAMERA: Incoming(
        MediaSection("video", "", 9, {}, "1", mid_extension=4, rid_extension=10, ssrcs={20}),
        FORMATS[TrackName.CAMERA].format,
        ("h", "l"),
    ),
}


def _never_earlier() -> float:
    return 1.0


def publisher(
    room: Room,
    incoming: Mapping[TrackName, Incoming] = FORMATS,
    *more: object,
    setup: str = "actpass",
    reduced_size: bool = True,
) -> Browser:
    make = partial(Publisher, chance=_never_earlier)
    return Browser(room, make, incoming, *more, setup=setup, reduced_size=reduced_size)


def observer(room: Room, outgoing: Mapping[TrackName, Outgoing] = OBSERVED) -> Browser:
    return Browser(room, Observer, outgoing)


def camera(count: int = 4, *, ssrc: int = 1, seqno: int = 1) -> list[bytes]:
    out: list[bytes] = []
    for index, picture in enumerate(pictures(Codec.VP8)[:count]):
        for payload in picture.payloads:
            marker = payload is picture.payloads[-1]
            at = TICKS * index
            out.append(rtp(seqno + len(out), at, payload, marker=marker, ssrc=ssrc))
    return out


def sound(seqno: int, *, ssrc: int = 2) -> bytes:
    return rtp(seqno, 960 * seqno, b"opus", payload_type=111, ssrc=ssrc)


# ---- media -------------------------------------------------------------------------------


async def test_candidate_reaches_sink_and_observer_encrypted_for_each() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        for data in [*camera(), sound(1)]:
            candidate.send_rtp(data)
    assert [each.payload for each in room.sink.frames[:4]] == [
        each.frame for each in pictures(Codec.VP8)[:4]
    ]
    assert room.sink.frames[4].payload == b"opus"
    assert [data[12:] for data in watcher.rtp] == [data[12:] for data in [*camera(), sound(1)]]
    assert [data[1] & 0x7F for data in watcher.rtp] == [120] * len(camera()) + [109]
    assert candidate.states == [PeerState.CONNECTED, PeerState.CLOSED]


async def test_frames_of_all_streams_come_in_the_order_in_which_their_packets_came() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        for number, data in enumerate(camera()):
            candidate.send_rtp(sound(number))
            candidate.send_rtp(data)
        assert room.sink.frames == [], "until the timers run"
        candidate.tick()
        sounds = [each.track.is_sound for each in room.sink.frames]
        ends = [bool(data[1] & 0x80) for data in camera()]  # with its marker a picture is whole
        assert sounds == [each for end in ends for each in ((True, False) if end else (True,))]


async def test_packets_that_overtake_the_handshake_are_kept_and_bounded() -> None:
    room = Room()
    candidate = publisher(room)
    async with joined(candidate):
        sent = [candidate.dtls.protect(sound(seqno)) for seqno in range(2 * MAX_EARLY_PACKETS)]
        candidate.peer._keyed = False
        for data in sent:
            candidate.send(data)
        assert room.sink.frames == []
        candidate.peer._connected()
        candidate.tick()
        assert len(room.sink.frames) == MAX_EARLY_PACKETS


async def test_forged_replayed_and_foreign_packets_are_refused() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(publisher(room)) as other:
        good = candidate.dtls.protect(sound(1))
        foreign = other.dtls.protect(sound(1))
        for data in (good, good, good[:-1] + b"x", foreign, sound(2), b"\x80\xc9" + bytes(30)):
            candidate.send(data)
        candidate.tick()
        assert (candidate.peer.refused, len(room.sink.frames)) == (5, 1)


async def test_unknown_payload_types_and_mixed_up_ones_are_refused() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        candidate.send_rtp(rtp(1, 1, b"x", payload_type=97, ssrc=3))
        candidate.send_rtp(sound(1))
        candidate.send_rtp(rtp(2, 2, b"\x10\x00x", payload_type=96, ssrc=2))
        candidate.tick()
        assert (candidate.peer.refused, len(room.sink.frames)) == (2, 1)


@pytest.mark.parametrize("padding", [0, 255])
async def test_a_packet_that_is_shorter_than_its_padding_is_refused(padding: int) -> None:
    """Nothing of it counts, and its number is missing; of extensions libsrtp sees to it."""
    room = Room()
    async with joined(publisher(room)) as candidate:
        short = b"\xa0" + sound(2)[1:] + bytes([padding])
        for data in (sound(1), short, sound(3)):
            candidate.send_rtp(data)
        candidate.tick()
        stats = room.source.stats(room.now).tracks[TrackName.MICROPHONE]
        assert (candidate.peer.refused, stats.packets, stats.packets_lost) == (1, 2, 1)


async def test_a_fault_of_ours_is_no_refusal_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room()

    def fail(*_: object) -> None:
        raise ValueError("ours")

    async with joined(publisher(room)) as candidate, joined(observer(room)):
        candidate.send_rtp(sound(1))
        (down,) = room.source.downs(TrackName.MICROPHONE)
        down._send = fail
        candidate.send_rtp(sound(2))
        assert (candidate.peer.refused, room.router.failed) == (0, 1)
        assert "ours" in caplog.text


async def test_new_stream_of_a_track_replaces_the_old_whose_stragglers_are_refused() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        for data in (sound(1), sound(1, ssrc=5), sound(2), sound(2, ssrc=5)):
            candidate.send_rtp(data)
        candidate.tick()
        assert (len(room.sink.frames), candidate.peer.refused) == (3, 1)


def named(data: bytes, mid: str, rid: str) -> bytes:
    """The packet with its section and layer in its header (RFC 8285 4.2)."""
    elements = [(4, mid.encode()), (10, rid.encode())]
    body = b"".join(bytes([number << 4 | len(name) - 1]) + name for number, name in elements)
    body += bytes(-len(body) % 4)
    head = b"\xbe\xde" + (len(body) // 4).to_bytes(2, "big")
    return bytes([data[0] | 0x10]) + data[1:12] + head + body + data[12:]


async def test_layers_of_a_simulcast_are_told_apart_by_their_names() -> None:
    room = Room()
    async with joined(publisher(room, LAYERED)) as candidate:
        for ssrc, rid in ((31, "h"), (32, "l")):
            first, *others = camera(1, ssrc=ssrc)
            # A name is sent until a report has told that it was understood.
            for data in [named(first, "1", rid), *others]:
                candidate.send_rtp(data)
        assert candidate.peer.refused == 0
        candidate.tick(1.0)
        assert room.source.stats(room.now).tracks[TrackName.CAMERA].frames == 2
        assert len(room.sink.frames) == 1, "of one layer"
        (report,) = candidate.items(rtcp.ReceiverReport)
        assert {block.ssrc for block in report.blocks} == {31, 32}
        asked = {each.media_ssrc for each in candidate.items(rtcp.KeyframeRequest)}
        assert asked <= {31, 32}
        (limit,) = candidate.items(rtcp.MaxBitrate)
        assert limit.bitrate_bps == pytest.approx(1_500_000 + 400_000, rel=1e-4)


async def test_layer_that_was_not_agreed_on_or_has_no_name_is_refused() -> None:
    room = Room()
    async with joined(publisher(room, LAYERED)) as candidate:
        for data in (named(camera(1)[0], "1", "x"), camera(1)[0], named(camera(1)[0], "9", "h")):
            candidate.send_rtp(data)
        assert (candidate.peer.refused, room.source.stats(room.now).tracks) == (3, {})


async def test_new_stream_of_a_layer_replaces_the_old_one_of_the_same_alone() -> None:
    room = Room()
    async with joined(publisher(room, LAYERED)) as candidate:
        for ssrc, rid in ((31, "h"), (32, "l"), (33, "h")):
            candidate.send_rtp(named(camera(1, ssrc=ssrc)[0], "1", rid))
        candidate.send_rtp(named(camera(1, ssrc=31)[1], "1", "h"))
        assert candidate.peer.refused == 1
        candidate.tick(1.0)
        (report,) = candidate.items(rtcp.ReceiverReport)
        assert {block.ssrc for block in report.blocks} == {32, 33}


# ---- repairs, and sound that is sent twice


def repair(packet: bytes, number: int, ssrc: int) -> bytes:
    """The packet as it is sent again, in payload type 97 (RFC 4588 4)."""
    second = packet[1] & 0x80 | 97
    fixed = bytes((packet[0], second)) + number.to_bytes(2, "big") + packet[4:8]
    return fixed + ssrc.to_bytes(4, "big") + packet[2:4] + packet[12:]


def repairable(repaired: dict[int, int]) -> dict[TrackName, Incoming]:
    """`repaired`: SSRCs of repairs, with what they repair, as the offer names them."""
    section = MediaSection("video", "", 9, {}, "1", mid_extension=4, repaired=repaired)
    rtp_format = RtpFormat(96, "vp8", 90_000, feedback={"nack"}, rtx=97)
    audio = RtpFormat(111, "opus", 48_000, feedback={"nack"}, red=63)
    return {
        TrackName.CAMERA: Incoming(section, rtp_format),
        TrackName.MICROPHONE: Incoming(MediaSection("audio", "", 9, {}, "0"), audio),
    }


@pytest.mark.parametrize("repaired", [{}, {30: 1}])
async def test_lost_packets_are_taken_from_the_stream_of_repairs(repaired: dict[int, int]) -> None:
    room, sequence = Room(), pictures(Codec.VP8)[:4]
    incoming = repairable(repaired)
    async with joined(publisher(room, incoming)) as candidate, joined(observer(room)) as watcher:
        sent = camera()
        for data in sent[:2] + sent[3:]:
            candidate.send_rtp(data)
        candidate.tick()
        assert room.sink.frames == []
        candidate.send_rtp(repair(sent[2], 1, 30))
        candidate.tick()
        assert [each.payload for each in room.sink.frames] == [each.frame for each in sequence]
        assert watcher.rtp[-1][12:] == sent[2][12:]
        candidate.send_rtp(repair(sent[2], 2, 30))
        candidate.tick()
        assert (len(watcher.rtp), candidate.peer.refused) == (len(sent), 0)


async def test_repairs_of_what_is_not_there_are_refused() -> None:
    room = Room()
    async with joined(publisher(room, repairable({30: 1}))) as candidate:
        sent = camera()
        candidate.send_rtp(repair(sent[0], 1, 30))  # nothing has come yet
        candidate.send_rtp(sent[0])
        candidate.send_rtp(rtp(2, 0, b"x", payload_type=97, ssrc=30))  # too short
        candidate.send_rtp(repair(sent[1], 3, 1))  # under the SSRC of the track itself
        assert candidate.peer.refused == 3


async def test_repairs_of_a_stream_that_was_replaced_are_refused() -> None:
    room = Room()
    async with joined(publisher(room, repairable({}))) as candidate:
        older, newer = camera(), camera(ssrc=9, seqno=500)
        candidate.send_rtp(older[0])
        candidate.send_rtp(repair(older[1], 1, 30))
        candidate.send_rtp(newer[0])
        candidate.send_rtp(repair(older[2], 2, 30))
        assert candidate.peer.refused == 1
        candidate.send_rtp(repair(newer[1], 1, 31))
        assert candidate.peer.refused == 1


async def test_sound_that_is_sent_twice_is_recorded_and_observed_once_and_plain() -> None:
    room = Room()
    incoming = repairable({})
    async with joined(publisher(room, incoming)) as candidate, joined(observer(room)) as watcher:
        for seqno in (1, 3):
            block = red.Block(111, 960, b"opus")
            payload = red.join(red.Block(111, 0, b"opus"), [block])
            candidate.send_rtp(rtp(seqno, 960 * seqno, payload, payload_type=63, ssrc=2))
        candidate.send_rtp(sound(4))  # too long to be sent twice
        candidate.send_rtp(rtp(5, 5, b"\xff", payload_type=63, ssrc=2))
    assert [each.payload for each in room.sink.frames] == [b"opus"] * 4
    assert [data[12:] for data in watcher.rtp] == [b"opus"] * 4
    assert candidate.peer.refused == 1


async def test_observer_cannot_publish() -> None:
    room = Room()
    async with joined(observer(room)) as watcher:
        watcher.send_rtp(sound(1))
        assert (watcher.peer.refused, room.sink.frames) == (1, [])


async def test_longest_packet_that_can_come_is_forwarded() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        longest = rtp(1, 1, bytes(MAX_DATAGRAM - 16 - 12), payload_type=111, ssrc=2)
        candidate.send_rtp(longest)
        assert [data[12:] for data in watcher.rtp] == [longest[12:]]


# ---- feedback ----------------------------------------------------------------------------


async def test_candidate_is_asked_for_lost_packets_and_keyframes() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        sent = camera()
        for data in sent[:3] + sent[4:6]:
            candidate.send_rtp(data)
        candidate.tick(0.02)
        assert [each.seqnos for each in candidate.items(rtcp.Nack)] == [(4,)]
        assert not candidate.items(rtcp.KeyframeRequest)
        candidate.tick(KEYFRAME_ANSWER_S)
        assert [each.media_ssrc for each in candidate.items(rtcp.KeyframeRequest)] == [1]


async def test_peer_is_hurried_while_a_packet_or_a_keyframe_is_waited_for() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        hurries: list[bool] = []
        candidate.peer.on_hurry = lambda: hurries.append(True)
        sent = camera()
        for data in sent[:3]:
            candidate.send_rtp(data)
        candidate.tick(0.02)
        assert not candidate.peer.hurried, "nothing is missing"
        hurries.clear()
        candidate.send_rtp(sent[4])
        assert (candidate.peer.hurried, len(hurries)) == (True, 1)
        candidate.tick(0.02)
        assert candidate.peer.hurried, "the hole is there still"
        candidate.send_rtp(sent[3])
        candidate.tick(0.02)
        assert not candidate.peer.hurried
        before = len(hurries)
        async with joined(observer(room)):
            assert (candidate.peer.hurried, len(hurries)) == (True, before + 1)
            candidate.tick(KEYFRAME_ANSWER_S)
        assert candidate.items(rtcp.KeyframeRequest)


async def test_hostile_losses_make_no_request_that_cannot_be_sent() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        for index in range(18 * 100):
            if index % 18 != 1:
                candidate.send_rtp(rtp(index, index, b"\x10\x00x"))
        for _ in range(10):
            assert candidate.tick(0.02)
        assert len({seqno for each in candidate.items(rtcp.Nack) for seqno in each.seqnos}) == 100


@pytest.mark.parametrize("reduced_size", [False, True])
async def test_feedback_stands_alone_only_where_the_candidate_takes_that(
    reduced_size: bool,
) -> None:
    room = Room()
    async with joined(publisher(room, reduced_size=reduced_size)) as candidate:
        for data in camera()[1:]:
            candidate.send_rtp(data)
        candidate.tick(0.1)
        asked, *_ = candidate.raw_rtcp  # for a keyframe
        peer = candidate.peer
        report = rtcp.receiver_report(rtcp.ReceiverReport(peer.ssrc, ()))
        before = report + rtcp.source_description(peer.ssrc, peer.id)
        loss = rtcp.picture_loss_indication(peer.ssrc, 1)
        assert asked == (loss if reduced_size else before + loss)


async def test_candidate_gets_receiver_reports_and_a_bitrate_limit() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        for data in [*camera(), sound(1)]:
            candidate.send_rtp(data)
        candidate.tick(1.0)
        (report,) = candidate.items(rtcp.ReceiverReport)
        assert {block.ssrc for block in report.blocks} == {1, 2}
        named = rtcp.source_description(candidate.peer.ssrc, candidate.peer.id)
        assert any(b"REMB" in data and named in data for data in candidate.raw_rtcp)


async def test_a_new_video_is_limited_within_a_look_and_a_screen_adds_to_it() -> None:
    room = Room()
    async with joined(publisher(room, THREE)) as candidate:
        candidate.tick()
        for ssrc in (20, 21):
            for data in camera(ssrc=ssrc):
                candidate.send_rtp(data)
            candidate.tick(LOOK_INTERVAL_S)
        limits = [each.bitrate_bps for each in candidate.items(rtcp.MaxBitrate)]
        assert limits == pytest.approx([1_500_000, 2_500_000], rel=1e-4)


async def test_candidate_who_takes_another_path_is_told_the_limit_again_at_once() -> None:
    """Chromium forgets it with the path."""
    room = Room()
    async with joined(publisher(room)) as candidate:
        for data in camera():
            candidate.send_rtp(data)
        candidate.tick()
        for moves, told in ((False, 1), (True, 2), (False, 2)):
            if moves:
                moved(candidate)
            candidate.check()
            assert candidate.peer.hurried is moves
            candidate.tick(HURRY_INTERVAL_S)
            assert len(candidate.items(rtcp.MaxBitrate)) == told


@pytest.mark.parametrize("feedback", ["goog-remb", "transport-cc", "ccm fir"])
async def test_candidate_who_may_follow_is_told_at_once_what_a_full_line_carries(
    feedback: str,
) -> None:
    """Of each second's 100 packets 30 come; whoever follows no limit is on its own."""
    section, rtp_format, _ = FORMATS[TrackName.CAMERA]
    rtp_format = replace(rtp_format, feedback=rtp_format.feedback | {feedback})
    room, counts = Room(), 3 if feedback == "transport-cc" else None
    camera_alone = {TrackName.CAMERA: Incoming(section, rtp_format)}
    async with joined(publisher(room, camera_alone, counts)) as candidate:
        for data in camera():
            candidate.send_rtp(data)
        first, told = len(camera()), []
        for look in range(6):
            for packet in (0, 4, 8):
                seqno = first + 1 + 10 * look + packet
                candidate.send_rtp(rtp(seqno, 9000 * look, b"\x10\x01" + bytes(1000)))
            candidate.tick(LOOK_INTERVAL_S)
            told.append([each.bitrate_bps for each in candidate.items(rtcp.MaxBitrate)])
        asked = candidate.items(rtcp.KeyframeRequest)
        assert bool(asked) is (feedback == "transport-cc"), "of who surely sends a smaller one"
        if feedback == "ccm fir":
            assert told[-1] == pytest.approx([1_500_000], rel=1e-4)
            return
        wire_octets = 20 + 8 + 24 + 16 + 1002
        assert told[-1][-1] == pytest.approx(0.85 * 8 * 30 * wire_octets, rel=0.25)
        assert len(told[-1]) == 2, "without waiting for the next report"


async def test_what_came_last_of_a_stream_that_has_ended_says_nothing_of_the_line() -> None:
    """It was late; the pictures that go on lose a fifth, but none of them is."""
    section, rtp_format, _ = FORMATS[TrackName.CAMERA]
    rtp_format = replace(rtp_format, feedback=rtp_format.feedback | {"goog-remb"})
    incoming = {**FORMATS, TrackName.CAMERA: Incoming(section, rtp_format)}
    room = Room()
    async with joined(publisher(room, incoming)) as candidate:
        for data in camera():
            candidate.send_rtp(data)
        for seqno in (1, 2):
            candidate.send_rtp(rtp(seqno, 960 * seqno, b"opus", payload_type=111, ssrc=2))
            candidate.tick(0.4)
        candidate.tick(0.4)
        for look in range(20):
            for packet in (0, 1, 2, 3, 5, 6, 7, 9):
                seqno = len(camera()) + 1 + 10 * look + packet
                candidate.send_rtp(rtp(seqno, 9000 * (look + 13), b"\x10\x01" + bytes(1000)))
            candidate.tick(LOOK_INTERVAL_S)
        told = candidate.items(rtcp.MaxBitrate)
        assert min(each.bitrate_bps for each in told) == pytest.approx(1_500_000, rel=1e-4)


def counted(packet: bytes, number: int) -> bytes:
    """With its transport-wide number, in extension 3."""
    element = b"\xbe\xde\x00\x01\x31" + number.to_bytes(2, "big") + b"\0"
    return bytes([packet[0] | 0x10]) + packet[1:12] + element + packet[12:]


async def test_candidate_is_told_when_what_it_counts_has_arrived() -> None:
    room = Room()
    async with joined(publisher(room, FORMATS, 3)) as candidate:
        for number, data in enumerate([*camera(), sound(1)]):
            if number != 2:
                candidate.send_rtp(counted(data, number))
        candidate.tick(0.02)
        (feedback,) = candidate.items(TransportFeedback)
        came = [each is not None for each in feedback.arrivals]
        assert (feedback.base_seqno, came[:4], all(came[3:])) == (
            0,
            [True, True, False, True],
            True,
        )
        assert feedback.media_ssrc in (1, 2), "of one of its streams: of others it does not listen"
        candidate.send_rtp(counted(rtp(0, 0, b"", payload_type=97, ssrc=77), len(came)))
        candidate.tick(0.1)
        assert len(candidate.items(TransportFeedback)) == 2, "whatever stream it is of"


async def test_candidate_that_does_not_count_is_told_nothing() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        candidate.send_rtp(counted(sound(1), 1))
        candidate.tick(0.02)
        assert not candidate.items(TransportFeedback)


async def test_round_trip_is_measured_by_the_candidates_answer() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        candidate.send_rtp(sound(1))
        candidate.tick(1.0)
        asked = rtcp.receiver_reference_time(candidate.peer.ssrc, rtcp.ntp_from_unix(room.now))
        assert any(asked in data for data in candidate.raw_rtcp)
        sent = rtcp.ntp_middle(rtcp.ntp_from_unix(room.now))
        room.now += 0.3
        delay = round(0.1 * 65536)
        block = b"\x05\x00\x00\x03" + candidate.peer.ssrc.to_bytes(4, "big")
        block += sent.to_bytes(4, "big") + delay.to_bytes(4, "big")
        candidate.send_rtcp(b"\x80\xcf\x00\x05" + (2).to_bytes(4, "big") + block)
        assert room.source.stats(room.now).round_trip_s == pytest.approx(0.2, abs=1e-3)
        block = block[:8] + (sent - (40 << 16) & 0xFFFF_FFFF).to_bytes(4, "big") + block[12:]
        candidate.send_rtcp(b"\x80\xcf\x00\x05" + (2).to_bytes(4, "big") + block)
        measured = room.source.stats(room.now).round_trip_s
        assert measured == pytest.approx(0.2, abs=1e-3), "of 40 s nobody lives to tell"


async def test_observers_requests_are_answered() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        for data in camera():
            candidate.send_rtp(data)
        candidate.tick(1.0)
        ssrc, seqno = unpack_header(watcher.rtp[3])[4], unpack_header(watcher.rtp[3])[2]
        count = len(watcher.rtp)
        nack = rtcp.nack(7, ssrc, [seqno])
        # On the wire it is what it was: a browser takes it if the first was lost, and only then.
        for data in (nack, rtcp.nack(7, ssrc ^ 1, [seqno])):
            watcher.send_rtcp(data)
        assert (watcher.replayed, len(watcher.rtp)) == (1, count)
        before = len(candidate.items(rtcp.KeyframeRequest))
        watcher.send_rtcp(rtcp.picture_loss_indication(7, ssrc))
        candidate.tick(1.0)
        assert len(candidate.items(rtcp.KeyframeRequest)) == before + 1


async def test_all_packets_to_a_browser_that_counts_them_are_counted_as_one_stream() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room, COUNTED)) as watcher:
        sent = [*camera(), sound(1)]
        for data in sent:
            candidate.send_rtp(data)
        camera_ssrc, seqno = unpack_header(watcher.rtp[3])[4], unpack_header(watcher.rtp[3])[2]
        watcher.send_rtcp(rtcp.nack(7, camera_ssrc, [seqno]))
        microphone_ssrc, seqno = (
            unpack_header(watcher.rtp[-2])[4],
            unpack_header(watcher.rtp[-2])[2],
        )
        watcher.send_rtcp(rtcp.nack(7, microphone_ssrc, [seqno]))  # no stream for its repairs
        watcher.tick(APART_S)
    counts = [int.from_bytes(extension(data, 3) or b"", "big") for data in watcher.rtp]
    assert counts == list(range(len(sent) + 2))
    spans = [slice(*payload_span(data)) for data in watcher.rtp]
    payloads = [data[span] for data, span in zip(watcher.rtp, spans, strict=True)]
    repair = watcher.rtp[3][2:4] + sent[3][12:]
    assert payloads == [*(data[12:] for data in sent), repair, repair], "it may get lost, too"
    assert watcher.rtp[-1][1] & 0x7F == 121
    assert watcher.replayed == 0


async def test_observer_that_reports_tells_its_round_trip_and_what_it_lost() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room, COUNTED)) as watcher:
        for data in camera():
            candidate.send_rtp(data)
        watcher.tick(1.0)
        (report,) = watcher.items(rtcp.SenderReport)
        room.now += 0.25
        block = rtcp.ReportBlock(report.ssrc, 0, 0, 1, 0, rtcp.ntp_middle(report.ntp), 6554)
        watcher.send_rtcp(rtcp.receiver_report(rtcp.ReceiverReport(7, (block,))))
        watcher.send_rtcp(rtcp.transport_feedback(TransportFeedback(7, 7, 0, 0, (0, None, 9))))
        peer = watcher.peer
        watcher.tick()
        assert isinstance(peer, Observer)
        assert peer._round_trip_s == pytest.approx(0.15, abs=1e-3)
        assert peer.egress is not None
        assert (peer.egress.packets_arrived, peer.egress.packets_lost) == (2, 1)


async def test_feedback_waits_for_the_timers_while_there_is_plenty_but_not_without_bounds() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room, COUNTED)) as watcher:
        for data in camera():
            candidate.send_rtp(data)
        egress = watcher.peer.egress  # type: ignore[attr-defined]
        told = rtcp.transport_feedback(TransportFeedback(7, 7, 0, 0, (0,)))
        for _ in range(MAX_TOLD):
            watcher.send_rtcp(told)
        assert egress.packets_arrived == 0
        watcher.send_rtcp(told)
        assert egress.packets_arrived == 1
        watcher.tick()
        egress._pacing = True
        watcher.send_rtcp(rtcp.transport_feedback(TransportFeedback(7, 7, 0, 1, (9,))))
        assert egress.packets_arrived == 2


async def test_observer_gets_sender_reports_with_a_name_for_both_tracks() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        for data in [*camera(), sound(1)]:
            candidate.send_rtp(data)
        watcher.tick(1.0)
        reports = watcher.items(rtcp.SenderReport)
        assert {each.ssrc for each in reports} == {unpack_header(data)[4] for data in watcher.rtp}
        assert all(watcher.peer.id.encode() in data for data in watcher.raw_rtcp)


# ---- a shared screen, in a section of its own with the same payload types -------------------


def with_mid(packet: bytes, mid: bytes) -> bytes:
    """The packet with its section's name (RFC 9143 15), in a one-byte header of number 4."""
    element = bytes([4 << 4 | len(mid) - 1]) + mid
    words = -(-len(element) // 4)
    body = b"\xbe\xde" + words.to_bytes(2, "big") + element.ljust(4 * words, b"\0")
    return bytes([packet[0] | 0x10]) + packet[1:12] + body + packet[12:]


def tracks_seen(room: Room) -> set[TrackName]:
    return {frame.track for frame in room.sink.frames}


async def test_two_videos_of_one_payload_type_are_told_apart_by_mid() -> None:
    room = Room()
    async with joined(publisher(room, THREE)) as candidate:
        for data in camera(ssrc=8):
            candidate.send_rtp(with_mid(data, b"2"))
        candidate.tick()
        assert tracks_seen(room) == {TrackName.SCREEN}
        for data in camera(ssrc=9):
            candidate.send_rtp(with_mid(data, b"1"))
        candidate.tick()
        assert tracks_seen(room) == {TrackName.SCREEN, TrackName.CAMERA}
        assert candidate.peer.refused == 0


async def test_a_mid_holds_for_the_packets_after_it_and_an_unknown_one_is_refused() -> None:
    room = Room()
    async with joined(publisher(room, THREE)) as candidate:
        first, *others = camera(ssrc=8)
        candidate.send_rtp(with_mid(first, b"2"))
        for data in others:
            candidate.send_rtp(data)
        candidate.tick()
        assert len(room.sink.frames) == 4
        candidate.send_rtp(with_mid(camera(1, ssrc=9)[0], b"3"))
        assert candidate.peer.refused == 1


async def test_two_videos_without_mid_are_told_apart_by_the_offers_ssrcs_or_not_at_all() -> None:
    room = Room()
    async with joined(publisher(room, THREE)) as candidate:
        for ssrc, tracks in ((9, set()), (21, {TrackName.SCREEN}), (20, {*THREE} - {"microphone"})):
            for data in camera(ssrc=ssrc):
                candidate.send_rtp(data)
            candidate.tick()
            assert tracks_seen(room) == tracks
        assert candidate.peer.refused == len(camera())


async def test_keyframes_and_bitrate_are_asked_for_each_video() -> None:
    room = Room()
    observed = {**OBSERVED, TrackName.SCREEN: OBSERVED[TrackName.CAMERA]}
    async with (
        joined(publisher(room, THREE)) as candidate,
        joined(Browser(room, Observer, observed)) as watcher,
    ):
        for data in [*camera(ssrc=20), *camera(ssrc=21)]:
            candidate.send_rtp(data)
        candidate.tick(1.0)
        assert {len(camera())} == {
            sum(unpack_header(data)[4] == down.ssrc for data in watcher.rtp)
            for name, down in watcher.peer.downs.items()  # type: ignore[attr-defined]
            if name is not TrackName.MICROPHONE
        }
        candidate.rtcp.clear()
        screen = watcher.peer.downs[TrackName.SCREEN].ssrc  # type: ignore[attr-defined]
        watcher.send_rtcp(rtcp.picture_loss_indication(7, screen))
        candidate.tick(1.0)
        asked = {each.media_ssrc for each in candidate.items(rtcp.KeyframeRequest)}
        assert asked == {21}


async def test_a_goodbye_ends_a_screen_and_no_other_track() -> None:
    room = Room()
    async with joined(publisher(room, THREE)) as candidate:
        for data in [*camera(ssrc=20), *camera(ssrc=21)]:
            candidate.send_rtp(data)
        candidate.tick()
        assert room.source.shows_screen(room.now)
        candidate.send_rtcp(bytes.fromhex("81cb0001 00000014"))
        assert room.source.shows_screen(room.now)
        candidate.send_rtcp(bytes.fromhex("81cb0001 00000015"))
        assert not room.source.shows_screen(room.now)


async def test_what_comes_and_goes_is_counted_and_stays_so_when_streams_and_peers_are_gone() -> (
    None
):
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room, COUNTED)) as watcher:
        packets = [*camera(), sound(1), sound(2), sound(4)]
        for data in packets:
            candidate.send_rtp(data)
        candidate.tick(1.0)  # whatever sound is missing is asked for no more
        watcher.send_rtcp(rtcp.nack(7, unpack_header(watcher.rtp[0])[4], [1]))
        received, sent = candidate.peer.counted(), watcher.peer.counted()
        assert received["packets_received"] == sent["packets_sent"] == len(packets)
        assert sent["repairs_sent"] == len(watcher.rtp) - len(packets) > 0
        assert received["packets_lost"] == 0, "it may still come"
        for data in camera(1, ssrc=33):  # another stream takes the camera's place
            candidate.send_rtp(data)
        more = candidate.peer.counted()
        assert more["packets_received"] == len(packets) + len(camera(1))
    received = candidate.peer.counted()
    assert (received["packets_lost"], received["frames_received"]) == (1, 4 + 1 + 3)
    assert watcher.peer.counted()["packets_sent"] == more["packets_received"]


# ---- life --------------------------------------------------------------------------------


async def test_silent_peer_is_disconnected_then_gone_and_a_check_brings_it_back() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        assert candidate.tick(SILENCE_S + 1)
        candidate.check()
        assert candidate.tick(SILENCE_S + 1)
        assert candidate.states[-3:] == [
            PeerState.DISCONNECTED,
            PeerState.CONNECTED,
            PeerState.DISCONNECTED,
        ]
        assert not candidate.tick(CONSENT_TIMEOUT_S)


async def test_loss_is_told_within_five_seconds_of_the_last_packet_that_was_authenticated() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(publisher(room)) as stranger:
        candidate.send_rtp(sound(1))
        last_s = room.now
        foreign = stranger.dtls.protect(sound(2))
        forged = bytes(check(candidate.peer.ice, key="guess"))
        while candidate.states[-1] is PeerState.CONNECTED:
            candidate.send(foreign)
            candidate.send(forged)
            assert candidate.tick(HURRY_INTERVAL_S)
        assert candidate.states[-1] is PeerState.DISCONNECTED
        assert 4.0 < room.now - last_s < 5.0


async def test_media_follows_a_nomination_from_another_address_at_once() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        for browser in (candidate, watcher):
            moved(browser)
            browser.check()
        candidate.send_rtp(sound(1))
        assert (len(watcher.rtp), room.lost) == (1, [])


async def test_media_follows_a_browser_that_does_not_know_of_its_new_address() -> None:
    """By its consent checks, which nominate nothing, and only once its former path has none."""
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        moved(watcher)
        for elapsed_s, arrived in ((SILENCE_S - 0.5, 0), (1.0, 1)):
            room.now += elapsed_s
            watcher.send(bytes(check(watcher.peer.ice)))
            candidate.send_rtp(sound(1 + arrived))
            assert (len(watcher.rtp), len(room.lost)) == (arrived, 1)


async def test_a_check_that_is_not_understood_is_refused_and_moves_nothing() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        moved(watcher)
        ice = watcher.peer.ice
        username = attribute(0x0006, f"{ice.ufrag}:{REMOTE}".encode())
        nominates, unknown = attribute(0x0025, b""), attribute(0x7777, b"")
        watcher.send(signed(username + nominates + unknown, ice.pwd))
        assert [data[:2] for data in watcher.stun] == [b"\x01\x01", b"\x01\x11"]
        assert watcher.address not in room.paths
        candidate.send_rtp(sound(1))
        assert (len(watcher.rtp), len(room.lost)) == (0, 1)


async def test_media_follows_any_check_once_the_nominated_connection_has_ended() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        room.router.path_closed(room.paths[watcher.address])
        moved(watcher)
        watcher.send(bytes(check(watcher.peer.ice)))
        candidate.send_rtp(sound(1))
        assert (len(watcher.rtp), room.lost) == (1, [])


async def test_peer_that_says_goodbye_is_gone_whatever_straggles_in() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        straggler = candidate.dtls.protect(sound(1))
        await candidate.dtls.close()
        for _ in range(10):  # turns of the loop, for the task that reads DTLS
            await asyncio.sleep(0)
        candidate.send(straggler)
        candidate.check()
        assert not candidate.tick()


async def test_peer_that_insists_on_the_dtls_servers_part_gets_it() -> None:
    room = Room()
    async with joined(publisher(room, FORMATS, setup="passive")) as candidate:
        candidate.send_rtp(sound(1))
    assert len(room.sink.frames) == 1


@pytest.mark.parametrize("checks", [False, True])
async def test_peer_that_does_not_complete_its_handshake_is_closed_in_time(
    checks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.media.peer.CONNECT_TIMEOUT_S", 0.05)
    room = Room()
    candidate = publisher(room)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        candidate.peer.start(tasks)
        if checks:
            candidate.check()
        await candidate.changed.wait()
    assert candidate.states == [PeerState.CLOSED]
    assert (room.router._sessions, room.paths) == ({}, {})
    await candidate.dtls.close()


async def test_wrong_certificate_closes_the_peer_and_frees_its_route() -> None:
    room = Room()
    candidate = publisher(room)
    candidate.peer._fingerprints = [("sha-256", OURS.fingerprint.split()[1])]
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        candidate.peer.start(tasks)
        candidate.check()
        await candidate.handshake()
        await candidate.changed.wait()
    assert candidate.states == [PeerState.CLOSED]
    assert (room.router._sessions, room.paths) == ({}, {})
    await candidate.dtls.close()


async def test_close_during_the_handshake_and_twice_leaves_nothing() -> None:
    room = Room()
    candidate, watcher = publisher(room), observer(room)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for browser in (candidate, watcher):
            browser.peer.start(tasks)
            browser.check()
            await asyncio.sleep(0)
            await browser.peer.close()
            await browser.peer.close()
    assert candidate.states == watcher.states == [PeerState.CLOSED]
    assert (room.router._sessions, room.paths) == ({}, {})
    assert all(not room.source.downs(name) for name in TrackName)


async def test_closed_peers_leave_nothing_in_the_source() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)):
        candidate.send_rtp(sound(1))
        assert room.source.stats(room.now).tracks
    assert room.source.stats(room.now).tracks == {}
    assert all(not room.source.downs(name) for name in TrackName)


async def test_listener_that_fails_harms_neither_peer_nor_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room()
    candidate = publisher(room)

    def failing(state: PeerState) -> None:
        candidate.changed.set()
        raise RuntimeError("a bug in signalling")

    candidate.peer._on_state = failing
    with caplog.at_level(logging.ERROR):
        async with joined(candidate):
            candidate.send_rtp(sound(1))
    assert len(room.sink.frames) == 1
    assert (room.router._sessions, caplog.text.count("could not tell")) == ({}, 2)


async def test_failure_in_the_handshake_closes_only_that_peer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room()
    candidate = publisher(room)
    candidate.peer._fingerprints = [("sha-256",)]  # type: ignore[list-item]
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            candidate.peer.start(tasks)
            candidate.check()
    assert candidate.states == [PeerState.CLOSED]
    assert "failed" in caplog.text


@pytest.mark.parametrize("make", [publisher, observer])
async def test_peer_that_makes_up_streams_has_to_go(make: Callable[[Room], Browser]) -> None:
    room = Room()
    async with joined(make(room)) as browser:
        for ssrc in range(MAX_SSRCS):
            browser.send_rtp(sound(1, ssrc=ssrc))
        assert browser.tick()
        browser.send_rtcp(rtcp.picture_loss_indication(999_999, 1))
        assert not browser.tick()


# ---- ICE restarts ------------------------------------------------------------------------

NEW = Credentials("newufrag", "newpassword" * 2)


def new_check(browser: Browser, *, nominate: bool = True) -> bytes:
    """A check with the credentials of the newest restart."""
    ice = browser.peer.ice
    return bytes(check(ice, username=f"{ice.ufrag}:{ice.remote.ufrag}", nominate=nominate))


def moved(browser: Browser) -> None:
    """The browser's network changed: another address, from which nothing was checked yet."""
    del browser.room.browsers[browser.address]
    browser.address = (browser.address[0], browser.address[1] + 500)
    browser.room.browsers[browser.address] = browser


async def test_restart_moves_the_same_association_to_another_address() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate, joined(observer(room)) as watcher:
        candidate.send_rtp(sound(1))
        former = candidate.peer.ice
        moved(candidate)
        candidate.peer.restart_ice(NEW)
        assert former.ufrag != candidate.peer.ice.ufrag
        assert former.pwd != candidate.peer.ice.pwd
        candidate.send(new_check(candidate))
        candidate.send_rtp(sound(2))
        candidate.tick(1.0)
        assert candidate.items(rtcp.ReceiverReport)  # they go to where it is now
        assert [each.payload for each in room.sink.frames] == [b"opus"] * 2
        assert [unpack_header(data)[2] for data in watcher.rtp] == [1, 2]
        assert candidate.states == watcher.states == [PeerState.CONNECTED]
        assert room.sink.gaps == []


async def test_former_credentials_hold_until_the_first_check_with_the_new() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        former = bytes(check(candidate.peer.ice, nominate=True))
        candidate.peer.restart_ice(NEW)
        before = room.router.refused
        candidate.send(former)
        assert room.router.refused == before
        candidate.send(bytes(check(candidate.peer.ice)))  # the new name, but our half alone
        assert room.router.refused == before + 1
        candidate.send(new_check(candidate, nominate=False))
        candidate.send(former)
        assert room.router.refused == before + 2


async def test_restart_during_a_restart_replaces_what_was_never_used() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        first = bytes(check(candidate.peer.ice))
        candidate.peer.restart_ice(NEW)
        second = new_check(candidate)
        candidate.peer.restart_ice(Credentials("third", "thirdpassword" * 2))
        before = room.router.refused
        candidate.send(second)
        assert room.router.refused == before + 1
        candidate.send(first)
        candidate.send(new_check(candidate))
        assert room.router.refused == before + 1
        assert list(room.router._sessions) == [candidate.peer.ice.ufrag.encode()]


async def test_lost_peer_comes_back_by_a_restart() -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        candidate.tick(SILENCE_S + 1)
        moved(candidate)
        candidate.peer.restart_ice(NEW)
        assert candidate.tick()
        assert candidate.states == [PeerState.CONNECTED, PeerState.DISCONNECTED]
        candidate.send(new_check(candidate))
        candidate.send_rtp(sound(1))
        assert candidate.states[2:] == [PeerState.CONNECTED]
        candidate.tick()
        assert len(room.sink.frames) == 1


@pytest.mark.parametrize("used", ["", "second", "second third"])
async def test_peer_closed_during_or_after_a_restart_frees_its_routes(used: str) -> None:
    room = Room()
    async with joined(publisher(room)) as candidate:
        for name in ("second", "third"):
            candidate.peer.restart_ice(Credentials(name, "password" * 3))
            if name in used:
                candidate.send(new_check(candidate))
    assert (room.router._sessions, room.router._paths, room.paths) == ({}, {}, {})


# ---- any packet --------------------------------------------------------------------------

PACKETS = st.lists(
    st.one_of(
        st.builds(
            lambda seqno, at, payload, kind, ssrc, marker, padding: rtp(
                seqno,
                at,
                payload,
                payload_type=kind,
                ssrc=ssrc,
                marker=marker,
                padding=padding,
            ),
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFF_FFFF),
            st.binary(max_size=40),
            st.sampled_from([96, 97, 111]),
            st.integers(0, 3),
            st.booleans(),
            st.sampled_from([0, 0, 0, 4, 200]),
        ),
        st.binary(min_size=8, max_size=60).map(lambda body: b"\x81" + body),
        st.builds(
            lambda block, body: b"\x90" + body[:11] + block + body[11:],
            st.sampled_from([b"\xbe\xde\0\1", b"\xbe\xde\0\1\x31", b"\xbe\xde\0\0\x31"]),
            st.binary(min_size=11, max_size=60),
        ),
        st.binary(min_size=8, max_size=60).map(lambda body: b"\x81\xc8" + body),
    ),
    max_size=80,
)


async def test_random_authenticated_packets_raise_nothing_and_stay_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One real pair of keys; what passes them is anything."""
    room = Room()
    make = publisher(room, FORMATS, 3)
    async with joined(make) as candidate, joined(observer(room)) as watcher:
        for browser in (candidate, watcher):
            browser.peer._dtls.unprotect_inbox = lambda size: bytes(INBOX[:size])
            browser.peer._dtls.unprotect_rtcp = lambda data: data

        @settings(max_examples=150, deadline=None)
        @given(PACKETS, st.floats(0, 2))
        def receive(packets: list[bytes], elapsed_s: float) -> None:
            for data in packets:
                for browser in (candidate, watcher):
                    browser.send(data)
            candidate.tick(elapsed_s)
            watcher.tick()
            peer = candidate.peer
            assert isinstance(peer, Publisher)
            assert len(peer._ups) <= 2
            for up in peer._ups.values():
                assert len(up.assembler.reorderer._held) <= 2048

        receive()
    assert "could not be handled" not in caplog.text
    assert "failed" not in caplog.text
