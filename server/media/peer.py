"""One browser's transport: ICE-lite, DTLS, then SRTP in or out.

Contract: the router calls the three `..._received` functions, the media server calls `tick` ten
times a second, and soon once it is `hurried`; `run` is the peer's one task (its handshake);
`close` ends everything.
"""

import abc
import asyncio
import enum
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from server.core import rtcp
from server.core.rtp import RTCP_TYPES, unpack_header
from server.media.sdp.offer import MediaSection
from server.media.source import Source
from server.media.transport.dtls import (
    INBOX,
    Certificate,
    DtlsError,
    DtlsRole,
    DtlsSession,
    SrtpError,
)
from server.media.transport.ice import (
    Address,
    Check,
    CheckAnswered,
    CheckRefused,
    Credentials,
    IceLite,
)
from server.media.transport.router import Path, Router

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
REPORT_INTERVAL_S = 1.0
#: How often it is looked whether a peer is still there, or has a report due.
LOOK_INTERVAL_S = 0.1
#: How often one that is hurried: fine enough that a NACK is not late. With 20 ms half as many
#: pictures again come too late not to be seen to stand still (docs/decisions/media-repair.md).
HURRY_INTERVAL_S = 0.01


class PeerState(enum.StrEnum):
    NEW = "new"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"  #: silent for a while; may come back
    CLOSED = "closed"


def _nobody(_: PeerState) -> None: ...


class Peer(abc.ABC):
    """What a `Publisher` and an `Observer` have in common."""

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
        self._checked_s = 0.0  # when that was checked last
        self._reached = asyncio.Event()  # there is one
        # RFC 8842 5.3: the server's part is ours unless the peer insists on it, as ffmpeg does.
        self.dtls_role = DtlsRole.CLIENT if remote.setup == "passive" else DtlsRole.SERVER
        self._dtls = DtlsSession(
            certificate, self.dtls_role, self.send_datagram, self._closed_by_peer
        )
        self._keyed = False
        self._early: list[bytes] = []
        self._ssrcs: set[int] = set()
        self._seen_s = clock()
        self._left = False
        self._report_s = 0.0
        self.hurried = True  #: it cannot wait for the next look; told by `on_hurry`
        self.on_hurry: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self.refused = 0
        self._counted_before = Counter[str]()  # of streams that are gone

    def counted(self) -> Counter[str]:
        """What was counted of all its streams."""
        counted = self._counted_before.copy()
        for each in self._streams_counted():
            counted.update(each)
        return counted

    def _streams_counted(self) -> Iterable[Counter[str]]:
        """Of those that there are."""
        return ()

    # ---- life

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._router.add(self)
        self._task = tasks.create_task(self._run(), name=f"peer {self.id}")

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._reached.wait()
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
            INBOX[: len(data)] = data
            self.rtp_received(len(data), self._clock())

    async def close(self) -> None:
        """Ends the association, frees the route, lets go of who listened; idempotent.

        What is closed must not refer back to who made it: it would stay in memory until a full
        garbage collection, which comes rarely and stops all media for as long as it takes.
        """
        if self.state is PeerState.CLOSED:
            return
        self._set_state(PeerState.CLOSED)
        self._on_state = _nobody
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

    def _answer_check(self, check: Check, address: Address) -> CheckAnswered | CheckRefused | None:
        checked, former = self.ice.answer(check, address), self._former_ice
        if former is None or isinstance(checked, CheckRefused):
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
        self._hurry()

    def _hurry(self) -> None:
        if not self.hurried:
            self.hurried = True
            self.on_hurry()

    # ---- packets in

    @property
    def is_silent(self) -> bool:
        return self._clock() - self._seen_s > SILENCE_S

    def check_received(self, check: Check, path: Path) -> bool:
        """A connectivity check; False when it is not this peer's, or tells nothing."""
        checked = self._answer_check(check, path.address)
        if checked is None:
            return False
        if isinstance(checked, CheckRefused):
            path.send(checked.response)
            return False
        self._alive()
        if path is not self._path and (checked.nominated or self._is_forsaken):
            self._path = path
            self._reached.set()
            # A browser's congestion control begins anew with it, and forgets its limit.
            self._report_s = 0.0
            self._hurry()
        if path is self._path:
            self._checked_s = self._seen_s
        path.send(checked.response)
        return True

    @property
    def _is_forsaken(self) -> bool:
        """Whether there is no path, or one that has ended or is checked no more.

        Firefox keeps its path by checks that nominate nothing (RFC 7675 5.1, every 4 to 6 s), and
        is not told of another address that its NAT has for it: only where they come from shows it.
        """
        path = self._path
        ended = path is None or path.session is not self
        return ended or self._clock() - self._checked_s > SILENCE_S

    def dtls_received(self, data: bytes) -> None:
        self._dtls.feed(data)

    def rtp_received(self, size: int, now: float) -> None:
        if not self._keyed:
            if len(self._early) < MAX_EARLY_PACKETS:
                self._early.append(bytes(INBOX[:size]))
            return
        if INBOX[1] in RTCP_TYPES:
            self._rtcp_received(bytes(INBOX[:size]))
            return
        try:
            packet = self._dtls.unprotect_inbox(size)
        except SrtpError:
            self.refused += 1
            return
        self._seen_s = now
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

    def _send_rtp(self, header: bytes, payload: bytes) -> None:
        if self._keyed and self._path is not None:
            try:
                protected = self._dtls.protect(header, payload)
            except SrtpError:  # older than libsrtp's window: nobody waits for it
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
        self.hurried = False
        if self._keyed and self._repair(now):
            self._hurry()
        silent = now - self._seen_s
        if silent > CONSENT_TIMEOUT_S:
            return False
        if silent > SILENCE_S and self.state is PeerState.CONNECTED:
            self._set_state(PeerState.DISCONNECTED)
        if self._keyed and now - self._report_s >= REPORT_INTERVAL_S:
            self._report_s = now
            self._report(now)
        return True

    def _repair(self, now: float) -> bool:
        """What cannot wait for the next report; whether more of it is to come."""
        return False

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, callback)

    @abc.abstractmethod
    def _report(self, now: float) -> None: ...
