"""A browser's end of ICE and DTLS-SRTP over one UDP socket, without a peer connection.

ICE: the controlling agent (RFC 8445) with aggressive checks to every candidate of the answer;
the first that replies is used, and consent is renewed as libwebrtc does it (RFC 7675). A server
that made the offer insists on controlling: then it may.
"""

import asyncio
import secrets
import string
from collections.abc import Callable

from aioice import stun

from loadtest.inbox import Address, Inbox
from loadtest.port import Emulation, Port
from loadtest.sdp import RemoteSide
from server.media.transport.dtls import Certificate, DtlsError, DtlsRole, DtlsSession, SrtpError

CONNECT_TIMEOUT_S = 10.0
CHECK_INTERVAL_S = 0.05
#: libwebrtc's interval of pings on a working connection.
CONSENT_INTERVAL_S = 2.5
#: libwebrtc's write timeout. On a bad network three checks in a row may well be lost, six hardly.
CONSENT_TIMEOUT_S = 15.0
#: RFC 8445 16.1: the other agent controls too, and its tie-breaker is the larger.
ROLE_CONFLICT = 487

_ICE_CHARACTERS = string.ascii_letters + string.digits
#: RFC 8445 5.1.2.1: priority of a peer-reflexive candidate.
_PRIORITY = (110 << 24) + (65535 << 8) + 255
#: Datagrams: more than a keyframe has.
MAX_EARLY = 256


class ConnectError(Exception):
    """No connection came about; the text says at which step."""


class ClientTransport:
    """`open`, then `connect`; then `send_rtp` and `send_rtcp`.

    `on_rtp` and `on_rtcp` get decrypted packets, with the Unix seconds of their arrival.
    `on_lost` is called once, when the connection ends for another reason than our `close`.
    Once connected, the socket is read by the `inbox` where there is one.
    """

    def __init__(
        self,
        certificate: Certificate,
        on_rtp: Callable[[bytes, float], None],
        on_rtcp: Callable[[bytes, float], None],
        on_lost: Callable[[], None],
        emulation: Emulation | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.ufrag = _random_text(8)
        self.password = _random_text(24)
        self._certificate, self._inbox = certificate, inbox
        # ICMP says that nobody has the server's port any more: it has stopped.
        self._port = Port(self.datagram_received, self._lose, self._move, emulation)
        self._on_rtp, self._on_rtcp, self._on_lost = on_rtp, on_rtcp, on_lost
        self._tie_breaker = secrets.randbits(64)
        self._controlling = True
        self._selected: asyncio.Future[Address] | None = None
        self._remote: RemoteSide | None = None
        self._dtls: DtlsSession | None = None
        self._consent: asyncio.Task[None] | None = None
        self._consented_at = 0.0
        self._moving: asyncio.Task[None] | None = None
        self._connected = False
        #: SRTP that came right behind the server's last flight. Browsers have their keys by then,
        #: while ours are there a turn of the event loop later.
        self._early: list[tuple[bytes, float]] = []

    async def open(self) -> None:
        await self._port.open()

    async def connect(self, remote: RemoteSide) -> None:
        """ICE and DTLS up to the SRTP keys. Raises ConnectError."""
        self._remote = remote
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._port.connect(await self._select(remote))
                await self._handshake(remote)
        except TimeoutError:
            step = "ICE check" if self._dtls is None else "DTLS flight"
            raise ConnectError(
                f"the server answered no {step} in {CONNECT_TIMEOUT_S:g} s"
            ) from None
        except (DtlsError, OSError) as error:
            raise ConnectError(str(error)) from error
        self._connected = True
        if self._inbox is not None:
            self._port.read_by(self._inbox)
        self._consent = asyncio.create_task(self._renew_consent(), name="ice consent")
        early, self._early = self._early, []
        for data, arrived_s in early:
            self._receive_srtp(data, arrived_s)

    async def close(self) -> None:
        """Ends the DTLS association and frees the socket, as far as there are any; idempotent."""
        self._disconnect()
        if self._dtls is not None:
            await self._dtls.close()
        self._port.close()

    def vanish(self) -> None:
        """As when the network is gone: nobody is told."""
        self._disconnect()
        self._port.close()

    def _disconnect(self) -> None:
        self._connected = False
        for task in filter(None, (self._consent, self._moving)):
            task.cancel()

    @property
    def datagrams_refused(self) -> int:
        """By the kernel: sends that it did not take, arrivals for which it had no room."""
        return self._port.refused + self._port.dropped

    def send_rtp(self, packet: bytes, *, spared: bool = False) -> None:
        """`spared`: an emulated network must not lose it."""
        assert self._dtls is not None
        self._port.send(self._dtls.protect(packet), spared=spared)

    def send_rtcp(self, packet: bytes) -> None:
        assert self._dtls is not None
        self._port.send(self._dtls.protect_rtcp(packet))

    # ---- ICE ----------------------------------------------------------------------------

    async def _select(self, remote: RemoteSide) -> Address:
        """Checks all candidates until one replies (RFC 8445 7)."""
        self._selected = asyncio.get_running_loop().create_future()
        while not self._selected.done():
            for address in remote.addresses:
                self._port.send(self._check(remote), address)
            await asyncio.wait([self._selected], timeout=CHECK_INTERVAL_S)
        return self._selected.result()

    def _check(self, remote: RemoteSide) -> bytes:
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{remote.ufrag}:{self.ufrag}"
        request.attributes["PRIORITY"] = _PRIORITY
        if self._controlling:
            request.attributes["ICE-CONTROLLING"] = self._tie_breaker
            request.attributes["USE-CANDIDATE"] = None
        else:
            request.attributes["ICE-CONTROLLED"] = self._tie_breaker
        request.add_message_integrity(remote.password.encode())
        return bytes(request)

    async def _renew_consent(self) -> None:
        loop = asyncio.get_running_loop()
        self._consented_at = loop.time()
        while loop.time() - self._consented_at < CONSENT_TIMEOUT_S:
            self._send_check()
            await asyncio.sleep(CONSENT_INTERVAL_S)
        self._lose()

    def _move(self) -> None:
        """Checks tell the server the address that we have moved to (RFC 8445 7.3.1)."""
        if self._moving is not None:
            self._moving.cancel()
        self._moving = asyncio.create_task(self._check_until_answered(), name="ice after a move")

    async def _check_until_answered(self) -> None:
        """As browsers do on a path that is not known to work."""
        began = asyncio.get_running_loop().time()
        while self._connected and self._consented_at < began:
            self._send_check()
            await asyncio.sleep(CHECK_INTERVAL_S)

    def _send_check(self) -> None:
        if self._remote is not None and self._connected:
            self._port.send(self._check(self._remote))

    def _receive_stun(self, data: bytes, address: Address) -> None:
        try:
            message = stun.parse_message(data)
        except (ValueError, IndexError):
            return
        if self._remote is None or message.message_method != stun.Method.BINDING:
            return
        if message.message_class == stun.Class.REQUEST:
            self._answer_check(message, address)
        elif message.message_class == stun.Class.RESPONSE and message.check_message_integrity(
            self._remote.password.encode()
        ):
            self._consented_at = asyncio.get_running_loop().time()
            if self._selected is not None and not self._selected.done():
                self._selected.set_result(address)
        elif message.error_code == ROLE_CONFLICT:
            self._controlling = False  # RFC 8445 7.2.5.1

    def _answer_check(self, request: stun.Message, address: Address) -> None:
        """A full ICE agent, unlike our own server, checks us too (RFC 8445 7.3)."""
        if not request.check_message_integrity(self.password.encode()):
            return
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = address
        response.add_message_integrity(self.password.encode())
        self._port.send(bytes(response), address)

    # ---- DTLS and SRTP ------------------------------------------------------------------

    async def _handshake(self, remote: RemoteSide) -> None:
        role = DtlsRole.CLIENT if remote.dtls_server else DtlsRole.SERVER
        self._dtls = DtlsSession(self._certificate, role, self._port.send, self._lose)
        await self._dtls.handshake(remote.fingerprints)

    def _lose(self) -> None:
        if self._connected:
            self._connected = False
            self._on_lost()

    def datagram_received(self, data: bytes, address: Address, arrived_s: float) -> None:
        first = data[0] if data else 255
        if 128 <= first <= 191:  # RFC 7983 7
            self._receive_srtp(data, arrived_s)
        elif first <= 3:
            self._receive_stun(data, address)
        elif 20 <= first <= 63 and self._dtls is not None:
            self._dtls.feed(data)

    def _receive_srtp(self, data: bytes, arrived_s: float) -> None:
        if self._dtls is None or len(data) < 12:
            return
        if not self._connected:
            if self._consent is None and len(self._early) < MAX_EARLY:
                self._early.append((data, arrived_s))
            return
        try:
            if 192 <= data[1] <= 223:  # RFC 5761 4
                self._on_rtcp(self._dtls.unprotect_rtcp(data), arrived_s)
            else:
                self._on_rtp(self._dtls.unprotect(data), arrived_s)
        except SrtpError:
            return  # forged or replayed: a receiver drops it silently (RFC 3711 3.3)


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ICE_CHARACTERS) for _ in range(length))
