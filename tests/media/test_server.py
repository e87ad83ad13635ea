"""The media plane end to end over loopback, with aiortc as an independent browser."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from statistics import median

import aioice.ice
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamTrack, VideoStreamTrack

from server.config import Endpoint
from server.core import twcc
from server.core.frames import OF_CANDIDATE, OF_INTERVIEWER, Codec, EncodedFrame, Gap, TrackName
from server.media import server as media_server
from server.media.errors import MediaBusy, NoCommonCodec, SdpError
from server.media.sdp.answer import Candidate
from server.media.server import (
    MediaServer,
    Peer,
    PeerState,
    Source,
    candidates,
    open_media,
)
from server.media.transport.dtls import Certificate, DtlsRole, DtlsSession
from server.media.transport.framing import Deframer, frame
from tests.media.offers import CHROMIUM, FINGERPRINT
from tests.media.streams import rtp
from tests.media.test_ice import check

CHROMIUM_WATCHES = CHROMIUM.replace("a=sendonly", "a=recvonly")


class Sink:
    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.gaps: list[Gap] = []
        self.arrived = asyncio.Event()

    def on_frame(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)
        self.arrived.set()

    def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    def of(self, name: TrackName) -> list[EncodedFrame]:
        return [frame for frame in self.frames if frame.track is name]

    async def until(self, condition: Callable[[], bool], timeout_s: float = 15) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.arrived.clear()
                await self.arrived.wait()


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiortc gathers this machine's own addresses only."""
    own = ["127.0.0.1", "::1"]
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda *_, **__: own)


@pytest.fixture
async def media() -> AsyncIterator[MediaServer]:
    async with open_media("127.0.0.1", 0, [Endpoint("127.0.0.1")]) as server:
        yield server


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[RTCPeerConnection]:
    connection = RTCPeerConnection()
    try:
        yield connection
    finally:
        await connection.close()


def prefer(connection: RTCPeerConnection, mime: str) -> None:
    from aiortc import RTCRtpSender

    for transceiver in connection.getTransceivers():
        if transceiver.kind == "video":
            codecs = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([each for each in codecs if each.mimeType == mime])


async def publish(
    media: MediaServer,
    source: Source,
    connection: RTCPeerConnection,
    mime: str = "video/VP8",
    *,
    tracks: Sequence[TrackName] = OF_CANDIDATE,
) -> list[PeerState]:
    connection.addTrack(VideoStreamTrack())
    connection.addTrack(AudioStreamTrack())
    return await publish_offer(media, source, connection, mime, tracks=tracks)


async def publish_offer(
    media: MediaServer,
    source: Source,
    connection: RTCPeerConnection,
    mime: str = "video/VP8",
    *,
    tracks: Sequence[TrackName] = OF_CANDIDATE,
) -> list[PeerState]:
    states: list[PeerState] = []
    prefer(connection, mime)
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    _, answer = await media.publish(source, offer, states.append, tracks=tracks)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return states


async def observe(
    media: MediaServer,
    source: Source,
    connection: RTCPeerConnection,
    *,
    tracks: Sequence[TrackName] = tuple(TrackName),
    more: Sequence[str] = (),
) -> list[MediaStreamTrack]:
    """`more`: the kinds of further sections."""
    received: list[MediaStreamTrack] = []
    connection.on("track", received.append)
    for kind in ("video", "audio", *more):
        connection.addTransceiver(kind, direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    _, answer = await media.observe(source, offer, lambda _: None, tracks=tracks)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return received


@pytest.mark.parametrize(("mime", "codec"), [("video/VP8", Codec.VP8), ("video/H264", Codec.H264)])
async def test_candidate_reaches_sinks_and_a_late_observer(
    media: MediaServer, mime: str, codec: Codec
) -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    async with browser() as candidate, browser() as watcher:
        states = await publish(media, source, candidate, mime)
        await sink.until(lambda: len(sink.of(TrackName.CAMERA)) > 5)
        await sink.until(lambda: len(sink.of(TrackName.MICROPHONE)) > 5)
        assert states == [PeerState.CONNECTED]
        first = sink.of(TrackName.CAMERA)[0]
        assert (first.codec, first.keyframe) == (codec, True)
        tracks = await observe(media, source, watcher)
        for track in tracks:
            async with asyncio.timeout(10):
                frames = [await track.recv() for _ in range(3)]
            times = [frame.pts or 0 for frame in frames]
            assert times == sorted(set(times))
        assert {track.kind for track in tracks} == {"audio", "video"}
    assert sink.gaps == []


async def test_second_video_is_the_screen_for_sinks_and_observers(media: MediaServer) -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    async with browser() as candidate, browser() as watcher:
        candidate.addTrack(VideoStreamTrack())
        candidate.addTrack(VideoStreamTrack())
        await publish_offer(media, source, candidate)
        await sink.until(lambda: len(sink.of(TrackName.CAMERA)) > 5)
        await sink.until(lambda: len(sink.of(TrackName.SCREEN)) > 5)
        watcher.addTransceiver("video", direction="recvonly")
        videos = [track for track in await observe(media, source, watcher) if track.kind == "video"]
        assert len(videos) == 2
        for track in videos:
            async with asyncio.timeout(10):
                await track.recv()


async def test_candidate_and_interviewer_are_sent_to_each_other_and_an_observer_gets_both(
    media: MediaServer,
) -> None:
    source, sink, analysed = Source("one"), Sink(), Sink()
    source.add_sink(sink)
    source.add_sink(analysed, tracks=OF_CANDIDATE)
    async with contextlib.AsyncExitStack() as stack:
        candidate, interviewer, *watchers = [
            await stack.enter_async_context(browser()) for _ in range(5)
        ]
        await publish(media, source, candidate)
        await publish(media, source, interviewer, "video/H264", tracks=OF_INTERVIEWER)
        for name in (*OF_CANDIDATE[:2], *OF_INTERVIEWER):
            await sink.until(lambda name=name: len(sink.of(name)) > 5)  # type: ignore[misc]
        to_interviewer = await observe(media, source, watchers[0], tracks=OF_CANDIDATE)
        to_candidate = await observe(media, source, watchers[1], tracks=OF_INTERVIEWER)
        # aiortc binds a second voice to the first one's receiver: tests/e2e has it in Chromium.
        to_observer = await observe(media, source, watchers[2], more=["video", "video"])
        _, screen, _ = [track for track in to_observer if track.kind == "video"]
        to_observer.remove(screen)  # nothing is shared
        for track in (*to_interviewer, *to_candidate, *to_observer):
            async with asyncio.timeout(10):
                await track.recv()
        assert (len(to_interviewer), len(to_candidate), len(to_observer)) == (2, 2, 3)
    assert {frame.track for frame in analysed.frames} == set(OF_CANDIDATE[:2])
    assert {frame.codec for frame in sink.of(TrackName.INTERVIEWER_CAMERA)} == {Codec.H264}


async def test_audio_and_video_share_one_time_line(media: MediaServer) -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    async with browser() as candidate:
        await publish(media, source, candidate)
        await sink.until(lambda: len(sink.of(TrackName.CAMERA)) > 20)
        await sink.until(lambda: len(sink.of(TrackName.MICROPHONE)) > 100)
    for name in OF_CANDIDATE[:2]:
        captures = [frame.capture_s for frame in sink.of(name)]
        assert captures == sorted(captures)
        # Half of all, as a machine that stands still makes some late.
        assert median(abs(frame.arrived_s - frame.capture_s) for frame in sink.of(name)) < 0.5


async def test_observer_waits_for_the_candidate_and_follows_a_reconnect(
    media: MediaServer,
) -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    async with browser() as watcher:
        tracks = await observe(media, source, watcher)
        video = next(track for track in tracks if track.kind == "video")
        seen = []
        for _ in range(2):
            count = len(sink.frames)
            async with browser() as candidate:
                await publish(media, source, candidate)
                await sink.until(lambda count=count: len(sink.frames) > count + 20)  # type: ignore[misc]
                async with asyncio.timeout(10):
                    seen += [(await video.recv()).pts or 0 for _ in range(2)]
        assert seen == sorted(set(seen)), "timestamps go on across the reconnect"
    assert {gap.cause for gap in sink.gaps} == {"disconnected"}


async def test_leaving_candidate_is_noticed_at_once(media: MediaServer) -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    async with browser() as candidate:
        states = await publish(media, source, candidate)
        await sink.until(lambda: len(sink.frames) > 5)
    async with asyncio.timeout(2):
        while states[-1] is not PeerState.CLOSED:  # noqa: ASYNC110 (told by a callback)
            await asyncio.sleep(0.02)
    assert media.stats().peers == 0


async def test_stats_count_what_was_sent(media: MediaServer) -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    async with browser() as candidate:
        await publish(media, source, candidate)
        await sink.until(lambda: len(sink.of(TrackName.MICROPHONE)) > 20)
        stats = source.stats(media.clock())
    assert stats.tracks[TrackName.CAMERA].codec is Codec.VP8
    assert stats.tracks[TrackName.MICROPHONE].packets > 20
    assert stats.tracks[TrackName.MICROPHONE].packets_lost == 0
    async with asyncio.timeout(5):
        while media.stats().peers:  # noqa: ASYNC110 (told by nobody)
            await asyncio.sleep(0.02)
    counted = media.stats().counted
    assert counted["packets_received"] > 20
    assert counted["frames_received"] >= len(sink.frames) > 0


async def test_garbage_and_foreign_datagrams_are_refused_without_an_answer(
    media: MediaServer,
) -> None:
    loop = asyncio.get_running_loop()
    answers: list[bytes] = []

    class Listener(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            answers.append(data)

    transport, _ = await loop.create_datagram_endpoint(
        Listener, remote_addr=(media.candidates[0].host, media.candidates[0].port)
    )
    hostile = [bytes([first]) * length for first in range(0, 256, 5) for length in (1, 12, 200)]
    for data in hostile:
        transport.sendto(data)
    async with asyncio.timeout(5):
        while media.stats().datagrams_in < len(hostile):  # noqa: ASYNC110 (a plain counter)
            await asyncio.sleep(0.01)
    transport.close()
    assert media.stats().datagrams_refused == len(hostile)
    assert media.stats().datagrams_out == 0
    assert answers == []


class Stream:
    """A browser that reaches us by TCP alone: ICE and DTLS-SRTP over one connection."""

    def __init__(self) -> None:
        self.certificate = Certificate()
        self.dtls = DtlsSession(self.certificate, DtlsRole.CLIENT, self.send)
        self._writer: asyncio.StreamWriter | None = None

    def send(self, packet: bytes) -> None:
        assert self._writer is not None
        self._writer.write(frame(packet))

    async def run(
        self, candidate: Candidate, peer: Peer, fingerprint: str, sent: list[bytes]
    ) -> None:
        """Checks, makes the handshake, sends, and waits until the server hangs up."""
        reader, self._writer = await asyncio.open_connection(candidate.host, candidate.port)
        self.send(bytes(check(peer.ice, nominate=True, username=f"{peer.ufrag}:tcp1")))
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(reader), name="reader")
            await self.dtls.handshake([("sha-256", fingerprint)])
            for packet in sent:
                self.send(self.dtls.protect(packet))
            await reading
        await self.dtls.close()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        deframer = Deframer()
        while data := await reader.read(4096):
            for packet in deframer.feed(data):
                if 19 < packet[0] < 64:
                    self.dtls.feed(packet)


async def test_candidate_without_udp_reaches_sinks_by_tcp(media: MediaServer) -> None:
    source, sink, stream = Source("one"), Sink(), Stream()
    source.add_sink(sink)
    theirs = stream.certificate.fingerprint.split()[1]
    offer = CHROMIUM.replace(FINGERPRINT, theirs).replace("F7gI", "tcp1")
    peer, answer = await media.publish(source, offer, lambda _: None)
    candidate = media.candidates[1]
    assert f" 127.0.0.1 {candidate.port} typ host tcptype passive" in answer
    ours = re.findall("a=fingerprint:sha-256 (.*)\r", answer)[0]
    sent = [rtp(seqno, 960 * seqno, b"opus", payload_type=111, ssrc=2) for seqno in range(50)]
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.run(candidate, peer, ours, sent), name="browser")
        await sink.until(lambda: len(sink.frames) == 50)
        assert media.stats().tcp_connections == 1
        await peer.close()
    assert [frame.payload for frame in sink.frames] == [b"opus"] * 50
    async with asyncio.timeout(5):
        while media.stats().tcp_connections:  # noqa: ASYNC110 (a plain counter)
            await asyncio.sleep(0.01)


async def test_tcp_that_brings_no_check_is_closed_unanswered(media: MediaServer) -> None:
    candidate = media.candidates[1]
    for hostile in (b"GET / HTTP/1.1\r\n\r\n", frame(b"\x80" + bytes(30)), b"\xff" * 5000):
        reader, writer = await asyncio.open_connection(candidate.host, candidate.port)
        writer.write(hostile)
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        writer.close()
    assert (media.stats().tcp_refused, media.stats().datagrams_out) == (3, 0)


@pytest.mark.parametrize(
    ("bound", "reached"), [("0.0.0.0", "::1"), ("::", "127.0.0.1"), ("::1", "::1")]
)
async def test_candidate_joins_by_either_family(bound: str, reached: str) -> None:
    source, sink = Source("one"), Sink()
    source.add_sink(sink)
    async with open_media(bound, 0, [Endpoint(reached)]) as media, browser() as candidate:
        await publish(media, source, candidate)
        await sink.until(lambda: len(sink.of(TrackName.MICROPHONE)) > 5)


def test_candidates_name_the_bound_port_unless_another_is_given() -> None:
    advertise = [Endpoint("203.0.113.7", 3478), Endpoint("2001:db8::1")]
    assert candidates(advertise, 8080) == (
        Candidate("udp", "203.0.113.7", 3478),
        Candidate("udp", "2001:db8::1", 8080),
        Candidate("tcp", "203.0.113.7", 3478),
        Candidate("tcp", "2001:db8::1", 8080),
    )


async def test_tcp_of_the_http_port_is_left_to_whoever_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as http:
        port = http.getsockname()[1]
        async with open_media("127.0.0.1", port, [Endpoint("127.0.0.1")], port) as media:
            assert {each.port for each in media.candidates} == {port}


async def test_one_persons_picture_and_voice_are_one_stream_and_a_screen_is_its_own(
    media: MediaServer,
) -> None:
    """As players keep the tracks of a stream in time with each other (RFC 8830)."""
    audio, video = re.findall(r"m=(?:audio|video)[^\0]*?(?=m=)", CHROMIUM_WATCHES)
    head = CHROMIUM_WATCHES[: CHROMIUM_WATCHES.index("m=audio")]
    sections = [audio, audio, video, video, video]
    offer = head.replace("BUNDLE 0 1 2", "BUNDLE 0 1 2 3 4") + "".join(
        re.sub(r"a=mid:\d", f"a=mid:{mid}", section) for mid, section in enumerate(sections)
    )
    peer, answer = await media.observe(Source("one"), offer, lambda _: None)
    streams = re.findall(r"a=msid:(\S+)", answer)
    assert streams[0] == streams[2] != streams[1] == streams[4]
    assert streams[3] not in (streams[0], streams[1])
    await peer.close()


async def test_packets_are_counted_by_one_number_in_all_sections_or_not_at_all(
    media: MediaServer,
) -> None:
    """RFC 9143 7.1.3, RFC 8285 7: in a bundle it is one stream of packets."""
    first, second = re.findall(rf"a=extmap:(\d+) {re.escape(twcc.EXTENSION)}", CHROMIUM)
    assert first == second
    head, _, video = CHROMIUM.partition("m=video")
    video = video.replace(f"a=extmap:{second} {twcc.EXTENSION}", f"a=extmap:9 {twcc.EXTENSION}")
    peer, answer = await media.publish(Source("one"), head + "m=video" + video, lambda _: None)
    assert re.findall(rf"a=extmap:(\d+) {re.escape(twcc.EXTENSION)}", answer) == [first]
    await peer.close()


# ---- ICE restarts ------------------------------------------------------------------------


def with_credentials(offer: str, ufrag: str, pwd: str) -> str:
    offer = re.sub(r"a=ice-ufrag:\S+", f"a=ice-ufrag:{ufrag}", offer)
    return re.sub(r"a=ice-pwd:\S+", f"a=ice-pwd:{pwd}", offer)


RESTARTED = with_credentials(CHROMIUM, "newufrag", "newpassword" * 2)


async def test_restart_answers_as_before_but_for_credentials_and_version(
    media: MediaServer,
) -> None:
    observing = CHROMIUM.replace("a=sendonly", "a=recvonly")
    peer, first = await media.observe(Source("one"), observing, lambda _: None)
    offer = with_credentials(observing, "newufrag", "newpassword" * 2)
    second = media.restart(peer, offer)
    assert (peer.ice.remote.ufrag, peer.ice.remote.pwd) == ("newufrag", "newpassword" * 2)
    assert f"a=ice-ufrag:{peer.ice.ufrag}\r\na=ice-pwd:{peer.ice.pwd}\r\n" in second
    changed = [
        (old.partition(":")[0], new.partition(":")[0])
        for old, new in zip(first.splitlines(), second.splitlines(), strict=True)
        if old != new
    ]
    same = [(name, name) for name in ("a=ice-ufrag", "a=ice-pwd") * 2]
    assert changed[1:] == same
    origins = [text.splitlines()[1].split() for text in (first, second)]
    assert (origins[0][1], origins[0][2], origins[1][2]) == (origins[1][1], "1", "2")
    await peer.close()


@pytest.mark.parametrize(
    ("offer", "why"),
    [
        (CHROMIUM, "changes both"),
        (with_credentials(RESTARTED, "only", "abcdefghijklmnopqrstuvwx"), "changes both"),
        (RESTARTED.replace("sha-256 ", "sha-256 00:"), "certificate"),
        (RESTARTED.replace("a=mid:1", "a=mid:7").replace("0 1 2", "0 7 2"), "sections"),
        (RESTARTED[: RESTARTED.index("m=application")].replace(" 0 1 2", " 0 1"), "sections"),
        ("v=0", "media section"),
    ],
)
async def test_what_is_no_restart_is_refused_and_changes_nothing(
    media: MediaServer, offer: str, why: str
) -> None:
    first = with_credentials(CHROMIUM, "first", "abcdefghijklmnopqrstuvwx")
    peer, _ = await media.publish(Source("one"), first, lambda _: None)
    ice = peer.ice
    if offer is CHROMIUM:
        offer = first
    with pytest.raises(SdpError, match=why):
        media.restart(peer, offer)
    assert peer.ice is ice
    await peer.close()


# ---- refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "error"),
    [
        ("", SdpError),
        ("v=0\r\n", SdpError),
        ("{}", SdpError),
    ],
)
async def test_unusable_offers_are_refused_and_leave_nothing_behind(
    media: MediaServer, offer: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await media.publish(Source("one"), offer, lambda _: None)
    assert media.stats().peers == 0


@pytest.mark.parametrize(
    ("limit", "source"), [("MAX_CONNECTING", "two"), ("MAX_CONNECTING_PER_SOURCE", "one")]
)
async def test_peers_that_never_connect_are_bounded_and_make_room(
    media: MediaServer, monkeypatch: pytest.MonkeyPatch, limit: str, source: str
) -> None:
    monkeypatch.setattr(media_server, limit, 3)
    sources = {name: Source(name) for name in ("one", "two")}
    half_open = [
        (await media.observe(sources["one"], CHROMIUM_WATCHES, lambda _: None))[0] for _ in range(3)
    ]
    with pytest.raises(MediaBusy, match="moment"):
        await media.publish(sources[source], CHROMIUM, lambda _: None)
    assert media.stats().peers == 3
    await half_open[0].close()
    await media.publish(sources[source], CHROMIUM, lambda _: None)


async def test_offer_without_common_codec_is_named(media: MediaServer) -> None:
    async with browser() as candidate:
        candidate.addTrack(AudioStreamTrack())
        await candidate.setLocalDescription(await candidate.createOffer())
        offer = candidate.localDescription.sdp.replace("opus/48000", "speex/48000")
        with pytest.raises(NoCommonCodec, match="Opus"):
            await media.publish(Source("one"), offer, lambda _: None)
    assert media.stats().peers == 0


@pytest.mark.parametrize(
    ("offered", "answered"), [("actpass", "passive"), ("active", "passive"), ("passive", "active")]
)
async def test_the_dtls_servers_part_is_ours_unless_the_offer_insists_on_it(
    media: MediaServer, offered: str, answered: str
) -> None:
    offer = CHROMIUM.replace("a=setup:actpass", f"a=setup:{offered}")
    peer, answer = await media.publish(Source("one"), offer, lambda _: None)
    assert set(re.findall("a=setup:(.*)\r", answer)) == {answered}
    await peer.close()
