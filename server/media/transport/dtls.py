"""DTLS-SRTP by aiortc: the one file that touches its private names (contract: test_dtls.py).

aiortc's `RTCDtlsTransport` runs the handshake over a stand-in for its ICE transport and
leaves two libsrtp sessions behind; packets never pass through aiortc, and go to libsrtp past
pylibsrtp's wrapper: 1.4 us instead of 2.0 for a packet of 1100 bytes.
"""

import asyncio
import enum
from collections.abc import Callable, Sequence
from typing import Any

import pylibsrtp
from aiortc.rtcdtlstransport import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
)
from OpenSSL import SSL
from pylibsrtp._binding import ffi, lib

#: What `unprotect` raises for a forged, replayed or foreign packet, `protect` for an oversized one.
SrtpError = (pylibsrtp.Error, ValueError)
#: A handshake needs a few flights; more waiting datagrams are noise and are dropped.
MAX_WAITING_DATAGRAMS = 32
#: OpenSSL sends a flight again after 1 s, 2 s, 4 s: three losses in a row and the peer has given
#: up. The very same datagrams again cost a peer that has them nothing (RFC 9147 4.5.1).
REPEAT_S = 0.25
MAX_REPEATS = 20
#: Of the server's last flight, of which it never learns whether it has come.
MAX_LAST_REPEATS = 4
#: aiortc's, and the same with RSA: as the client, we take what the server's certificate is of.
CIPHERS = ":".join(
    f"ECDHE-{key}-{rest}"
    for rest in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA")
    for key in ("ECDSA", "RSA")
).encode()
#: What SRTP and SRTCP add at most: a tag, an index, a key identifier (srtp.h).
MAX_TRAILER = 16 + 4 + 128


def _nothing() -> None: ...


def _nowhere(_: bytes) -> None: ...


#: A longer datagram is cut, and then refused as forged: nothing on a path's MTU comes near it.
MAX_DATAGRAM = 2048
_PACKET = ffi.new("char[]", MAX_DATAGRAM + MAX_TRAILER)
_VIEW = ffi.buffer(_PACKET)
_LENGTH = ffi.new("int *")
#: Where a datagram is read to, and everything is encrypted and decrypted in place, one packet at
#: a time: one place for all sessions stays in the processor's cache. Used on one thread only.
INBOX = memoryview(_VIEW).cast("B")


class DtlsError(Exception):
    """The handshake failed: the peer's certificate, its fingerprint or its SRTP profiles."""


class DtlsRole(enum.StrEnum):
    SERVER = "server"
    CLIENT = "client"


class _OneContext(RTCCertificate):
    """Makes OpenSSL's context once. One for each session would cost 0.2 ms of a handshake, and
    23 kB that stay until a full garbage collection, as pyOpenSSL's refers to itself.
    """

    _context: SSL.Context | None = None

    def _create_ssl_context(self, srtp_profiles: Any) -> SSL.Context:
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            self._context.set_cipher_list(CIPHERS)
            # A browser has new certificates for each connection and resumes none: keep none.
            self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        return self._context


class Certificate:
    """A self-signed certificate, made once per process and shared by all its sessions."""

    def __init__(self) -> None:
        self.rtc = _OneContext.generateCertificate()
        self.fingerprint = next(
            f"{each.algorithm} {each.value}"
            for each in self.rtc.getFingerprints()
            if each.algorithm == "sha-256"
        )


class _IceStandIn:
    """What `RTCDtlsTransport` needs of an `RTCIceTransport`: a pipe for datagrams.

    Those sent since the peer was last heard, a flight, are sent again until it is.
    """

    state = "completed"

    def __init__(self, role: str, send: Callable[[bytes], None]) -> None:
        self.role = role
        self._send_datagram = send
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed = False
        self._flight: list[bytes] = []
        self._flight_ended = True
        self.repeats_left = 0

    def feed(self, data: bytes) -> None:
        if self._waiting.qsize() < MAX_WAITING_DATAGRAMS:
            self._waiting.put_nowait(data)

    def close(self) -> None:
        """Also lets go of whom it sent for."""
        self._closed = True
        self._send_datagram = _nowhere
        self._waiting.put_nowait(None)

    async def _recv(self) -> bytes:
        while not self._closed:
            try:
                async with asyncio.timeout(REPEAT_S if self.repeats_left else None):
                    data = await self._waiting.get()
            except TimeoutError:
                self._repeat_flight()
                continue
            self._flight_ended = True
            if data is not None:
                return data
        raise ConnectionError("the transport is closed")

    async def _send(self, data: bytes) -> None:
        if self._flight_ended:
            self._flight, self._flight_ended = [], False
            self.repeats_left = MAX_REPEATS
        self._flight.append(data)
        self._send_datagram(data)

    def _repeat_flight(self) -> None:
        self.repeats_left -= 1
        self._flight_ended = True  # OpenSSL's own repetition begins another
        for data in self._flight:
            self._send_datagram(data)


class DtlsSession:
    """One DTLS association and, once `handshake` has returned, its SRTP keys.

    `feed` takes the peer's DTLS datagrams; `send` is called with ours. `on_closed` is
    called once if the peer ends the association.
    """

    def __init__(
        self,
        certificate: Certificate,
        role: DtlsRole,
        send: Callable[[bytes], None],
        on_closed: Callable[[], None] = _nothing,
    ) -> None:
        self._role = role
        ice_role = "controlled" if role is DtlsRole.SERVER else "controlling"
        self._pipe = _IceStandIn(ice_role, send)
        self._on_closed = on_closed
        stand_in: Any = self._pipe
        self._dtls = RTCDtlsTransport(stand_in, [certificate.rtc])
        self._dtls._set_role(role.value)
        self._dtls.on("statechange", self._state_changed)
        self.feed = self._pipe.feed

    async def handshake(self, fingerprints: Sequence[tuple[str, str]]) -> None:
        """Runs the handshake; afterwards the SRTP functions below exist.

        `fingerprints`: (algorithm, value) as in the peer's SDP. Raises `DtlsError`.
        """
        remote = RTCDtlsParameters([RTCDtlsFingerprint(*each) for each in fingerprints])
        await self._dtls.start(remote)
        if self._dtls.state != "connected":
            raise DtlsError("the DTLS handshake failed")
        self._pipe.repeats_left = MAX_LAST_REPEATS if self._role is DtlsRole.SERVER else 0
        receiving, sending = self._dtls._rx_srtp, self._dtls._tx_srtp
        self.unprotect_inbox = _in_place(receiving, lib.srtp_unprotect)
        self.unprotect = _copying(self.unprotect_inbox)
        self.unprotect_rtcp = _copying(_in_place(receiving, lib.srtp_unprotect_rtcp))
        self.protect = _joining(sending, lib.srtp_protect)
        self.protect_rtcp = _copying(_in_place(sending, lib.srtp_protect_rtcp))

    async def close(self) -> None:
        """Sends close_notify where there is an association, then calls nobody; idempotent."""
        self._dtls.remove_all_listeners()
        self._on_closed = _nothing
        await self._dtls.stop()
        self._pipe.close()

    def _state_changed(self) -> None:
        if self._dtls.state == "closed":
            self._on_closed()


def _in_place(session: Any, function: Any) -> Callable[[int], bytes]:
    """One of libsrtp's functions: takes the length of what lies in the `INBOX`."""
    context, packet, view, length = session._srtp[0], _PACKET, _VIEW, _LENGTH

    def transform(size: int) -> bytes:
        length[0] = size
        status = function(context, packet, length)
        if status:
            raise pylibsrtp.Error(status)
        return view[: length[0]]  # type: ignore[no-any-return]

    return transform


def _joining(session: Any, function: Any) -> Callable[..., bytes]:
    """The same for a packet whose header and payload, if apart, lie elsewhere."""
    context, packet, view, length = session._srtp[0], _PACKET, _VIEW, _LENGTH

    def join(header: bytes, payload: bytes = b"") -> bytes:
        start = len(header)
        size = start + len(payload)
        if size > MAX_DATAGRAM:
            raise ValueError("packet is too long")
        view[:start] = header
        view[start:size] = payload
        length[0] = size
        status = function(context, packet, length)
        if status:
            raise pylibsrtp.Error(status)
        return view[: length[0]]  # type: ignore[no-any-return]

    return join


def _copying(transform: Callable[[int], bytes]) -> Callable[[bytes], bytes]:
    """The same for a packet that lies elsewhere."""
    view = _VIEW

    def copy(packet: bytes) -> bytes:
        size = len(packet)
        if size > MAX_DATAGRAM:
            raise ValueError("packet is too long")
        view[:size] = packet
        return transform(size)

    return copy
