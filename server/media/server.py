"""One port, UDP and TCP, for all interviews of this process: the public face of the media plane.

Used by the signalling layer like this::

    async with open_media(host, port, advertise) as media:
        source = Source(interview_id)              # the interview's media, outlives reconnects
        source.add_sink(recording)                 # a FrameSink: whole frames and gaps
        peer, answer = await media.publish(source, offer_sdp, on_state)
        watcher, answer = await media.observe(source, offer_sdp, on_state)
        await peer.close()
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from server.config import Endpoint
from server.core.frames import OF_CANDIDATE, VIDEO_CODECS, Codec, TrackName
from server.media.errors import MediaBusy, NoCommonCodec, SdpError
from server.media.negotiation import (
    FORWARDED,
    RECEIVES,
    SENDS,
    answer_to_observer,
    codecs_by_track,
    incoming,
    negotiate,
    outgoing,
    refuse_partial,
)
from server.media.observer import Observer
from server.media.peer import HURRY_INTERVAL_S, LOOK_INTERVAL_S, Peer, PeerState
from server.media.publisher import Publisher
from server.media.sdp.answer import AnswerSection, Candidate, Transport, write_answer, write_restart
from server.media.sdp.offer import Offer, dependency_extension, parse_offer, transport_cc
from server.media.source import Source
from server.media.transport.dtls import Certificate, DtlsRole
from server.media.transport.ice import Credentials
from server.media.transport.router import Router
from server.media.transport.sockets import accept, bind_both
from server.media.transport.tcp import TcpPort
from server.media.transport.udp import UdpSocket

__all__ = [
    "MediaBusy",
    "MediaServer",
    "MediaStats",
    "NoCommonCodec",
    "Peer",
    "PeerState",
    "SdpError",
    "Source",
    "open_media",
]

log = logging.getLogger(__name__)

#: Peers between answer and end of handshake. A handshake takes under a millisecond of the loop
#: (docs/decisions/media-flood.md) in steps: 256 at once hold nobody up for long.
MAX_CONNECTING = 256
#: Peers whose timers run before packets have their turn: half a millisecond.
TICKED_AT_ONCE = 8
#: Of one interview: its panel comes at once when the server has been started anew.
MAX_CONNECTING_PER_SOURCE = 64


@dataclass(frozen=True, slots=True)
class MediaStats:
    """Counters since start, for the metrics page; a TCP frame counts as a datagram."""

    peers: int
    datagrams_in: int
    datagrams_out: int
    datagrams_refused: int
    datagrams_failed: int  #: for a fault of ours
    datagrams_dropped: int
    tcp_connections: int
    tcp_refused: int
    counted: Counter[str]  #: of all streams, by what


def _monotonic_unix_clock() -> Callable[[], float]:
    """Unix seconds that never jump, whatever is done to the wall clock."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


@dataclass(slots=True)
class _Agreed:
    """What a peer's answer said. An ICE restart says it again, with other credentials."""

    session_id: int
    sections: tuple[AnswerSection, ...]
    version: int = 1


class MediaServer:
    """Made by `open_media`."""

    def __init__(
        self,
        router: Router,
        clock: Callable[[], float],
        udp: Sequence[UdpSocket],
        tcp: TcpPort,
        candidates: Sequence[Candidate],
        video_codecs: Sequence[Codec],
    ) -> None:
        self._router = router
        self._udp = udp
        self._tcp = tcp
        self.candidates = tuple(candidates)
        self._taken = codecs_by_track(video_codecs)
        self._certificate = Certificate()
        self._peers: dict[str, Peer] = {}
        self._agreed: dict[str, _Agreed] = {}
        self._refused_before = 0  # by peers that are gone
        self._counted_before = Counter[str]()  # of their streams
        self._tasks: asyncio.TaskGroup | None = None
        self._hurried = asyncio.Event()  # a peer is due before the next look
        self.clock = clock

    async def publish(
        self,
        source: Source,
        offer_sdp: str,
        on_state: Callable[[PeerState], None],
        *,
        tracks: Sequence[TrackName] = OF_CANDIDATE,
        whole: bool = False,
    ) -> tuple[Peer, str]:
        """An offer to send `tracks`; the source follows this publisher from now on.

        `tracks`: what the offer's sections are for, by their order within their kind. `whole`:
        refuse an offer of which only a part can be taken. Returns the peer and the SDP answer.
        Raises `MediaBusy`, `SdpError`, `NoCommonCodec` or `PartialAnswer`.
        """
        self._refuse_if_busy(source)
        offer = parse_offer(offer_sdp)
        sections = negotiate(offer, tracks, SENDS, self._taken, every=False)
        if whole:
            refuse_partial(offer, set(sections))
        counts = {i: transport_cc(offer.sections[i], each) for i, (_, each) in sections.items()}
        # RFC 8285 7: in a bundle it has one number; sections with another are not counted.
        counted = next(filter(None, counts.values()), None)
        publisher = Publisher(
            self._router,
            self._certificate,
            offer.transport,
            on_state,
            self.clock,
            source,
            {name: incoming(offer.sections[i], each[0]) for i, (name, each) in sections.items()},
            counted,
            tracks,
        )
        answers = {
            index: AnswerSection(
                offer.sections[index],
                tuple(formats),
                "recvonly",
                mid_extension=offer.sections[index].mid_extension,
                transport_cc_extension=counted if counts[index] == counted else None,
                layers=offer.sections[index].layers(formats[0].payload_type),
                dependency_extension=dependency_extension(offer.sections[index], formats[0]),
            )
            for index, (_, formats) in sections.items()
        }
        return self._open(publisher, offer, answers)

    async def observe(
        self,
        source: Source,
        offer_sdp: str,
        on_state: Callable[[PeerState], None],
        on_held_back: Callable[[bool], None] = lambda held_back: None,
        *,
        tracks: Sequence[TrackName] = tuple(TrackName),
    ) -> tuple[Peer, str]:
        """An offer to be sent `tracks`, which need not be there yet.

        `tracks`: what the offer's sections are for, by their order within their kind.
        `on_held_back`: the watcher's network is, or is no more, too slow for a picture.
        Returns the peer and the SDP answer. Raises `MediaBusy`, `SdpError` or `NoCommonCodec`.
        """
        self._refuse_if_busy(source)
        offer = parse_offer(offer_sdp)
        # The candidate's codec may not be known yet, and may change: take all we forward.
        sections = negotiate(offer, tracks, RECEIVES, FORWARDED, every=True)
        sent = outgoing(offer, sections)
        observer = Observer(
            self._router,
            self._certificate,
            offer.transport,
            on_state,
            self.clock,
            source,
            sent,
            on_held_back,
        )
        answers = {
            index: answer_to_observer(observer, name, offer.sections[index], sent[name])
            for index, (name, _) in sections.items()
        }
        return self._open(observer, offer, answers)

    def _refuse_if_busy(self, source: Source) -> None:
        """A peer that never completes its handshake keeps its place until CONNECT_TIMEOUT_S."""
        connecting = [each for each in self._peers.values() if each.state is PeerState.NEW]
        of_source = sum(each.source is source for each in connecting)
        if len(connecting) >= MAX_CONNECTING or of_source >= MAX_CONNECTING_PER_SOURCE:
            raise MediaBusy("too many connections are being made: try again in a moment")

    def _open(
        self, peer: Peer, offer: Offer, answers: dict[int, AnswerSection]
    ) -> tuple[Peer, str]:
        assert self._tasks is not None, "open_media has ended"
        sections = tuple(
            answers.get(index) or AnswerSection(section)
            for index, section in enumerate(offer.sections)
        )
        agreed = self._agreed[peer.id] = _Agreed(secrets.randbits(62), sections)
        self._peers[peer.id] = peer
        peer.on_hurry = self._hurried.set
        peer.start(self._tasks)
        return peer, write_answer(agreed.session_id, self._transport(peer), sections)

    def _transport(self, peer: Peer) -> Transport:
        ice, fingerprint = peer.ice, self._certificate.fingerprint
        setup = "active" if peer.dtls_role is DtlsRole.CLIENT else "passive"
        return Transport(ice.ufrag, ice.pwd, fingerprint, self.candidates, setup)

    # ---- ICE restarts (RFC 8445 9): another path, the same keys and tracks

    def restart(self, peer: Peer, offer_sdp: str) -> str:
        """The answer to an open peer's offer again, with new credentials (RFC 8839 4.4.1.1.1).

        Raises `SdpError` for an offer that is another connection's, or changes anything else.
        """
        offer, agreed = parse_offer(offer_sdp), self._agreed[peer.id]
        former = [(each.offered.mid, each.offered.fingerprints) for each in agreed.sections]
        if [(each.mid, each.fingerprints) for each in offer.sections] != former:
            raise SdpError("an ICE restart keeps its connection's certificate and sections")
        carrier = offer.transport
        self._restart(peer, Credentials(carrier.ice_ufrag or "", carrier.ice_pwd or ""))
        agreed.version += 1
        return write_answer(
            agreed.session_id, self._transport(peer), agreed.sections, agreed.version
        )

    def restart_by_fragment(self, peer: Peer, remote: Credentials) -> str:
        """The same by a fragment of a description (RFC 9725 4.3.3). Raises `SdpError`."""
        self._restart(peer, remote)
        return write_restart(self._transport(peer), self._agreed[peer.id].sections)

    def _restart(self, peer: Peer, remote: Credentials) -> None:
        known = peer.ice.remote
        if remote.ufrag == known.ufrag or remote.pwd == known.pwd:
            raise SdpError("an ICE restart changes both a=ice-ufrag and a=ice-pwd")
        peer.restart_ice(remote)

    def stats(self) -> MediaStats:
        router = self._router
        sockets: list[UdpSocket | TcpPort] = [*self._udp, self._tcp]
        return MediaStats(
            len(self._peers),
            router.datagrams_in,
            sum(each.datagrams_out for each in sockets),
            router.refused + self._refused_before + sum(p.refused for p in self._peers.values()),
            router.failed,
            sum(each.dropped_out for each in sockets),
            self._tcp.connections,
            self._tcp.refused,
            self._counted(),
        )

    def _counted(self) -> Counter[str]:
        counted = self._counted_before.copy()
        for each in self._peers.values():
            counted.update(each.counted())
        return counted

    def accept(self, connection: socket.socket) -> None:
        """A TCP connection that is for the media port; it is ours from now on."""
        assert self._tasks is not None, "open_media has ended"
        self._tasks.create_task(self._adopt(connection), name="media connection")

    async def _adopt(self, connection: socket.socket) -> None:
        try:
            await self._tcp.adopt(connection)
        except OSError:  # it has ended already
            connection.close()

    # ---- the tasks' bodies

    @contextlib.asynccontextmanager
    async def run(self, listeners: Sequence[socket.socket]) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            running = [tasks.create_task(self._tick(), name="media tick")]
            for each in listeners:
                running.append(tasks.create_task(accept(each, self.accept), name="media accept"))
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
                await self._close_peers(list(self._peers.values()))
                self._tasks = None

    async def _tick(self) -> None:
        look_s = 0.0
        while True:
            await self._next_round()
            now = self.clock()
            looks = now >= look_s
            if looks:
                look_s = now + LOOK_INTERVAL_S - HURRY_INTERVAL_S / 2
                self._tcp.tick(now)
            await self._tick_peers([p for p in self._peers.values() if looks or p.hurried])

    async def _tick_peers(self, peers: list[Peer]) -> None:
        """A few at a time: what is done for all packets of a tenth of a second holds up others."""
        gone = []
        for index, peer in enumerate(peers, 1):
            if peer.state is PeerState.CLOSED or not self._tick_peer(peer, self.clock()):
                gone.append(peer)
            if index % TICKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._close_peers(gone)

    async def _next_round(self) -> None:
        # On whole multiples, as whatever else wakes so often: to wake costs more than to tick.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_until_multiple(LOOK_INTERVAL_S)):
                await self._hurried.wait()
                await asyncio.sleep(_until_multiple(HURRY_INTERVAL_S))
        self._hurried.clear()

    def _tick_peer(self, peer: Peer, now: float) -> bool:
        try:
            return peer.tick(now)
        except Exception:
            # The root of the timers: one peer's fault must not end everyone's.
            log.exception("peer %s failed", peer.id)
            return False

    async def _close_peers(self, peers: list[Peer]) -> None:
        for peer in peers:
            self._peers.pop(peer.id, None)
            self._agreed.pop(peer.id, None)
            self._refused_before += peer.refused
            counted = peer.counted()
            self._counted_before.update(counted)
            try:
                await peer.close()
            except Exception:
                log.exception("peer %s could not be closed in order", peer.id)
            self._counted_before.update(peer.counted() - counted)


def _until_multiple(interval_s: float) -> float:
    return interval_s - time.monotonic() % interval_s


@contextlib.asynccontextmanager
async def open_media(
    host: str,
    port: int,
    advertise: Sequence[Endpoint],
    http_port: int | None = None,
    video_codecs: Sequence[Codec] = VIDEO_CODECS,
) -> AsyncIterator[MediaServer]:
    """Binds the port (0: any), UDP and TCP, and serves until the block ends.

    `advertise`: where browsers can reach it. If `http_port` is the same number, somebody else
    has bound TCP there and brings us what is ours by `accept`. `video_codecs`: what is taken of
    a candidate, the best first. Raises `OSError` when the port cannot be bound.
    """
    router, clock = Router(), _monotonic_unix_clock()
    tcp = TcpPort(router, clock)
    async with contextlib.AsyncExitStack() as stack:
        sockets, listeners = bind_both(host, port, http_port)
        bound = sockets[0].getsockname()[1]
        udp = [UdpSocket(router, each, clock) for each in sockets]
        for socket_ in udp:
            socket_.open()
            stack.callback(socket_.close)
        for each in listeners:
            stack.callback(each.close)
        stack.callback(tcp.close)
        server = MediaServer(router, clock, udp, tcp, candidates(advertise, bound), video_codecs)
        async with server.run(listeners):
            yield server


def candidates(advertise: Sequence[Endpoint], port: int) -> tuple[Candidate, ...]:
    """UDP before TCP, each in the order given."""
    return tuple(
        Candidate(protocol, each.host, each.port or port)
        for protocol in ("udp", "tcp")
        for each in advertise
    )
