"""One browser's transport: ICE-lite, DTLS, then SRTP in or out. Publishers and observers.

Contract: the router calls the three `..._received` functions, the media server calls `tick`
every 20 ms, `run` is the peer's one task (its handshake), `close` ends everything.
"""

import abc
import asyncio
import enum
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from server.core import rtcp
from server.core.frames import TrackName
from server.core.rtp import extension, is_rtcp, unpack_header
from server.media.clock import PeerClock
from server.media.down_track import DownTrack
from server.media.dtls import Certificate, DtlsError, DtlsRole, DtlsSession, SrtpError
from server.media.ice import Address, Check, CheckAnswered, Credentials, IceLite
from server.media.router import Path, Router
from server.media.sdp import MediaSection, RtpFormat, payload_types
from server.media.source import Source
from server.media.up_track import UpTrack

log = logging.getLogger(__name__)

#: From the answer to the end of the handshake.
CONNECT_TIMEOUT_S = 15.0
#: Observers know within 5 s that a candidate is lost. A browser checks its path every 2.5 s and
#: sends reports every second; RFC 7675 5.1 gives consent 30 s at most.
SILENCE_S = 4.5
CONSENT_TIMEOUT_S = 30.0
#: SRTP that overtakes the handshake's last flight.
MAX_EARLY_PACKETS = 64
#: libsrtp keeps a context for each SSRC, for good: a browser has a handful, an attack millions.
MAX_SSRCS = 64
#: Told to the candidate's browser as REMB, the sum of what there is: enough for 720p30, and for
#: small print that stands still most of the time; kind to a home uplink.
MAX_BITRATE_BPS = {TrackName.CAMERA: 1_500_000, TrackName.SCREEN: 1_000_000}
REPORT_INTERVAL_S = 1.0
#: How often it is looked whether a peer is still there, or has a report due.
LOOK_INTERVAL_S = 0.1


class PeerState(enum.StrEnum):
    NEW = "new"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"  #: silent for a while; may come back
    CLOSED = "closed"


class Peer(abc.ABC):
    """What publishers and observers have in common."""

    def __init__(
        self,
        router: Router,
        certificate: Certificate,
        remote: MediaSection,
        on_state: Callable[[PeerState], None],
        clock: Callable[[], float],
        source: Source,
    ) -> None:
        self.source = source
        self.id = secrets.token_hex(8)
        self.state = PeerState.NEW
        self.ice = IceLite(remote.ice_ufrag or "", remote.ice_pwd or "")
        self._former_ice: IceLite | None = None  # until the first check after a restart
        self.ufrag = self.ice.ufrag  # the router's name for this session, whatever restarts
        self.ssrc = secrets.randbits(32)
        self._fingerprints = remote.fingerprints
        self._router = router
        self._on_state = on_state
        self._clock = clock
        self._path: Path | None = None  # what the peer nominated: where everything is sent
        self._dtls = DtlsSession(
            certificate, DtlsRole.SERVER, self.send_datagram, self._closed_by_peer
        )
        self._keyed = False
        self._early: list[bytes] = []
        self._ssrcs: set[int] = set()
        self._seen_s = clock()
        self._left = False
        self._report_s = self._look_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self.refused = 0

    # ---- life

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._router.add(self)
        self._task = tasks.create_task(self._run(), name=f"peer {self.id}")

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._dtls.handshake(self._fingerprints)
            self._connected()
        except (DtlsError, TimeoutError) as error:
            log.info("peer %s did not connect: %s", self.id, error or "no handshake in time")
            await self.close()
        except Exception:
            # The root of this task: one peer's fault must not end everyone's.
            log.exception("peer %s failed", self.id)
            await self.close()

    def _connected(self) -> None:
        self._keyed = True
        self._set_state(PeerState.CONNECTED)
        early, self._early = self._early, []
        for data in early:
            self.rtp_received(data)

    async def close(self) -> None:
        """Ends the association and frees the route; idempotent."""
        if self.state is PeerState.CLOSED:
            return
        self._set_state(PeerState.CLOSED)
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._detach()
        await self._dtls.close()
        for ice in filter(None, (self.ice, self._former_ice)):
            self._router.unroute(ice.ufrag)
        self._router.remove(self)

    def restart_ice(self, remote: Credentials) -> None:
        """New credentials on both sides (RFC 8445 9); keys, tracks and packets go on.

        The former ones hold until a check is made with the new: only then has the browser got
        them. One that asks again before that has given up what it never used.
        """
        if self._former_ice is None:
            self._former_ice = self.ice
        else:
            self._router.unroute(self.ice.ufrag)
        self.ice = IceLite(*remote)
        self._router.route(self.ice.ufrag, self)

    def _answer_check(self, check: Check, address: Address) -> CheckAnswered | None:
        checked, former = self.ice.answer(check, address), self._former_ice
        if former is None:
            return checked
        if checked is None:
            return former.answer(check, address)
        self._router.unroute(former.ufrag)
        self._former_ice = None
        return checked

    def _set_state(self, state: PeerState) -> None:
        if state is not self.state and self.state is not PeerState.CLOSED:
            self.state = state
            try:
                self._on_state(state)
            except Exception:
                # Foreign code: whatever it does, a peer that closes must free its route.
                log.exception("peer %s could not tell that it is %s", self.id, state)

    def _closed_by_peer(self) -> None:
        # close_notify: the page was left or the connection closed on purpose.
        self._left = True

    # ---- packets in

    @property
    def is_silent(self) -> bool:
        return self._clock() - self._seen_s > SILENCE_S

    def check_received(self, check: Check, path: Path) -> bool:
        """A connectivity check; False when it is not this peer's."""
        checked = self._answer_check(check, path.address)
        if checked is None:
            return False
        if self._path is None or checked.nominated:
            self._path = path
        self._alive()
        path.send(checked.response)
        return True

    def dtls_received(self, data: bytes) -> None:
        self._dtls.feed(data)

    def rtp_received(self, data: bytes) -> None:
        if not self._keyed:
            if len(self._early) < MAX_EARLY_PACKETS:
                self._early.append(data)
            return
        if is_rtcp(data):
            self._rtcp_received(data)
            return
        try:
            packet = self._dtls.unprotect(data)
        except SrtpError:
            self.refused += 1
            return
        now = self._seen_s = self._clock()
        self._rtp(packet, now)

    def _rtcp_received(self, data: bytes) -> None:
        try:
            items = rtcp.parse(self._dtls.unprotect_rtcp(data))
        except SrtpError:
            self.refused += 1
            return
        self._alive()
        self._count_ssrc(int.from_bytes(data[4:8], "big"))  # RFC 3711 3.4
        self._rtcp(items, self._seen_s)

    def _alive(self) -> None:
        self._seen_s = self._clock()
        if self.state is PeerState.DISCONNECTED:
            self._set_state(PeerState.CONNECTED)

    def _rtp(self, packet: bytes, now: float) -> None:
        self._count_ssrc(unpack_header(packet)[4])
        self.refused += 1

    def _count_ssrc(self, ssrc: int) -> None:
        self._ssrcs.add(ssrc)
        if len(self._ssrcs) > MAX_SSRCS:
            self._left = True

    @abc.abstractmethod
    def _rtcp(self, items: Sequence[rtcp.Item], now: float) -> None: ...

    @abc.abstractmethod
    def _detach(self) -> None: ...

    # ---- packets out

    def send_datagram(self, data: bytes) -> None:
        if self._path is not None:
            self._path.send(data)

    def _send_rtp(self, packet: bytes) -> None:
        if self._keyed and self._path is not None:
            try:
                protected = self._dtls.protect(packet)
            except SrtpError:  # longer than libsrtp's buffer: nothing a browser sends
                self.refused += 1
                return
            self._path.send(protected)

    def _send_rtcp(self, packet: bytes) -> None:
        if self._keyed and self._path is not None:
            self._path.send(self._dtls.protect_rtcp(packet))

    # ---- time

    def tick(self, now: float) -> bool:
        """Timers; False once the peer has left or been silent for too long: close it."""
        if self._left:
            return False
        if self._keyed:
            self._repair(now)
        if now < self._look_s:
            return True
        self._look_s = now + LOOK_INTERVAL_S
        silent = now - self._seen_s
        if silent > CONSENT_TIMEOUT_S:
            return False
        if silent > SILENCE_S and self.state is PeerState.CONNECTED:
            self._set_state(PeerState.DISCONNECTED)
        if self._keyed and now - self._report_s >= REPORT_INTERVAL_S:
            self._report_s = now
            self._report(now)
        return True

    def _repair(self, now: float) -> None:  # noqa: B027 (only publishers have something to repair)
        """What cannot wait for the next report."""

    @abc.abstractmethod
    def _report(self, now: float) -> None: ...


class Incoming(NamedTuple):
    """What a publisher sends of one track: its section of the offer, and the format agreed on."""

    section: MediaSection
    format: RtpFormat


class Publisher(Peer):
    """The candidate's connection: its packets become up tracks of the source."""

    def __init__(
        self,
        router: Router,
        certificate: Certificate,
        remote: MediaSection,
        on_state: Callable[[PeerState], None],
        clock: Callable[[], float],
        source: Source,
        incoming: Mapping[TrackName, Incoming],
    ) -> None:
        super().__init__(router, certificate, remote, on_state, clock, source)
        self._incoming = incoming
        self._ups: dict[int, UpTrack] = {}
        self._replaced: set[int] = set()  # SSRCs of which only stragglers can come
        self._peer_clock = PeerClock()
        self._round_trip_s: float | None = None
        source.publisher_connected(lambda: self._round_trip_s)

    def _rtp(self, packet: bytes, now: float) -> None:
        _, second, seqno, timestamp, ssrc = unpack_header(packet)
        up = self._ups.get(ssrc) or self._bind(ssrc, second & 0x7F, packet)
        if up is None or second & 0x7F != up.payload_type:
            self.refused += 1
            return
        up.receive(second, seqno, timestamp, packet, now)

    def _track_of(self, ssrc: int, packet: bytes) -> TrackName | None:
        """By MID, else by the offer's SSRCs, else the only one of its payload type (RFC 9143 9.2).

        None where two sections share a payload type and nothing tells one from the other.
        """
        every = self._incoming
        for name, (section, _) in every.items():
            mid = section.mid_extension and extension(packet, section.mid_extension)
            if mid:
                of_mid = (each for each in every if every[each].section.mid == mid.decode("latin1"))
                return next(of_mid, None)
            if ssrc in section.ssrcs:
                return name
        payload_type = packet[1] & 0x7F
        fitting = [name for name in every if every[name].format.payload_type == payload_type]
        return fitting[0] if len(fitting) == 1 else None

    def _bind(self, ssrc: int, payload_type: int, packet: bytes) -> UpTrack | None:
        """A new stream of a track; one stream per track, the newest."""
        self._count_ssrc(ssrc)
        if ssrc in self._replaced:
            return None
        name = self._track_of(ssrc, packet)
        rtp_format = self._incoming[name].format if name is not None else None
        if name is None or rtp_format is None or rtp_format.codec is None:
            return None
        if payload_type != rtp_format.payload_type:
            return None
        for known in [each for each in self._ups.values() if each.name is name]:
            self.source.remove_up(known)
            del self._ups[known.ssrc]
            self._replaced.add(known.ssrc)
        up = UpTrack(
            name,
            rtp_format.codec,
            payload_type,
            ssrc,
            self._peer_clock,
            self.source.downs(name),
            self.source.on_frame,
            self.source.on_gap,
            repair="nack" in rtp_format.feedback,
            profile=rtp_format.profile,
        )
        self._ups[ssrc] = up
        self.source.add_up(up)
        return up

    def _rtcp(self, items: Sequence[rtcp.Item], now: float) -> None:
        for item in items:
            match item:
                case rtcp.SenderReport():
                    up = self._ups.get(item.ssrc)
                    if up is not None:
                        up.sender_report_received(item, now)
                case rtcp.Goodbye():
                    up = self._ups.get(item.ssrc)
                    # Of other tracks the connection's end tells more.
                    if up is not None and up.name is TrackName.SCREEN:
                        self.source.end_screen()
                case rtcp.DelaySinceLastRr() if item.ssrc == self.ssrc:
                    ntp = rtcp.ntp_from_unix(now)
                    measured = rtcp.round_trip_s(ntp, item.last_rr, item.delay)
                    if measured is not None and measured < CONSENT_TIMEOUT_S:
                        self._round_trip_s = measured
                case _:
                    pass

    def _repair(self, now: float) -> None:
        for up in self._ups.values():
            seqnos = up.tick(now, self._round_trip_s)
            if seqnos:
                self._send_rtcp(rtcp.nack(self.ssrc, up.ssrc, seqnos))
            if up.keyframe_due(now):
                self._send_rtcp(rtcp.picture_loss_indication(self.ssrc, up.ssrc))

    def _report(self, now: float) -> None:
        if not self._ups:
            return
        blocks = tuple(up.report(now) for up in self._ups.values())
        video = [up for up in self._ups.values() if up.name in MAX_BITRATE_BPS]
        packets = [
            rtcp.receiver_report(rtcp.ReceiverReport(self.ssrc, blocks)),
            rtcp.receiver_reference_time(self.ssrc, rtcp.ntp_from_unix(now)),
        ]
        if video:
            bitrate_bps = sum(MAX_BITRATE_BPS[up.name] for up in video)
            ssrcs = [up.ssrc for up in video]
            packets.append(rtcp.receiver_estimated_max_bitrate(self.ssrc, bitrate_bps, ssrcs))
        self._send_rtcp(b"".join(packets))

    def _detach(self) -> None:
        for up in self._ups.values():
            self.source.remove_up(up)
        self._ups.clear()


class Observer(Peer):
    """A watcher's connection: down tracks of the source; nothing it sends is media."""

    def __init__(
        self,
        router: Router,
        certificate: Certificate,
        remote: MediaSection,
        on_state: Callable[[PeerState], None],
        clock: Callable[[], float],
        source: Source,
        formats: Mapping[TrackName, Sequence[RtpFormat]],
    ) -> None:
        super().__init__(router, certificate, remote, on_state, clock, source)
        self.downs = {
            name: DownTrack(secrets.randbits(32), payload_types(each), self._send_rtp)
            for name, each in formats.items()
        }
        self._by_ssrc = {down.ssrc: (name, down) for name, down in self.downs.items()}

    def _set_state(self, state: PeerState) -> None:
        joined = self.state is PeerState.NEW and state is PeerState.CONNECTED
        super()._set_state(state)
        if joined:
            for name, down in self.downs.items():
                self.source.add_down(name, down)

    def _rtcp(self, items: Sequence[rtcp.Item], now: float) -> None:
        for item in items:
            match item:
                case rtcp.Nack() if item.media_ssrc in self._by_ssrc:
                    self._by_ssrc[item.media_ssrc][1].resend(item.seqnos)
                case rtcp.KeyframeRequest() if item.media_ssrc in self._by_ssrc:
                    self.source.request_keyframe(self._by_ssrc[item.media_ssrc][0])
                case _:
                    pass

    def _report(self, now: float) -> None:
        for down in self.downs.values():
            report = down.report(now)
            if report is not None:
                description = rtcp.source_description(down.ssrc, self.id)
                self._send_rtcp(rtcp.sender_report(report) + description)

    def _detach(self) -> None:
        for name, down in self.downs.items():
            self.source.remove_down(name, down)
