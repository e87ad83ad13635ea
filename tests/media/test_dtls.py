"""The seam to aiortc: its private names, and what they are relied on for."""

import asyncio
import itertools
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pytest
from aiortc.rtcdtlstransport import (
    SRTP_PROFILES,
    RTCCertificate,
    RTCDtlsTransport,
    generate_certificate,
)
from cryptography.hazmat.primitives.asymmetric import rsa
from pylibsrtp._binding import lib

from server.core import rtcp
from server.media.transport.dtls import (
    MAX_DATAGRAM,
    MAX_LAST_REPEATS,
    MAX_TRAILER,
    MAX_WAITING_DATAGRAMS,
    Certificate,
    DtlsError,
    DtlsRole,
    DtlsSession,
    SrtpError,
)
from tests.media.streams import rtp

PACKET = rtp(1000, 5, b"sound" * 20)
REPORT = rtcp.picture_loss_indication(1, 2)


def fingerprints(certificate: Certificate) -> list[tuple[str, str]]:
    algorithm, _, value = certificate.fingerprint.partition(" ")
    return [(algorithm, value)]


@dataclass
class Pair:
    """A client and a server session joined in memory."""

    client: DtlsSession
    server: DtlsSession
    closed: asyncio.Event  # the server was told that the client has gone

    async def close(self) -> None:
        await self.client.close()
        await self.server.close()


async def join(
    certificates: tuple[Certificate, Certificate] | None = None,
    expected: list[tuple[str, str]] | None = None,
    lose: Collection[int] = (),
    lose_back: Collection[int] = (),
) -> Pair:
    """`expected`: the fingerprints the server is told; `lose`: numbers of datagrams, from 1."""
    theirs, ours = certificates or (Certificate(), Certificate())
    closed, to_server, to_client = asyncio.Event(), itertools.count(1), itertools.count(1)

    def send(data: bytes) -> None:
        if next(to_server) not in lose:
            server.feed(data)

    def send_back(data: bytes) -> None:
        if next(to_client) not in lose_back:
            client.feed(data)

    client = DtlsSession(theirs, DtlsRole.CLIENT, send)
    server = DtlsSession(ours, DtlsRole.SERVER, send_back, closed.set)
    try:
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(client.handshake(fingerprints(ours)))
            tasks.create_task(server.handshake(expected or fingerprints(theirs)))
    except BaseException:
        await client.close()
        await server.close()
        raise
    return Pair(client, server, closed)


async def test_packets_and_reports_pass_both_ways() -> None:
    pair = await join()
    for sender, receiver in ((pair.client, pair.server), (pair.server, pair.client)):
        assert receiver.unprotect(sender.protect(PACKET)) == PACKET
        assert receiver.unprotect_rtcp(sender.protect_rtcp(REPORT)) == REPORT
        assert PACKET[12:] not in sender.protect(PACKET)
    await pair.close()


async def test_aes_gcm_is_offered_and_taken_first() -> None:
    assert SRTP_PROFILES[0].openssl_profile == b"SRTP_AEAD_AES_256_GCM"
    pair = await join()
    for session in (pair.client, pair.server):
        ssl = session._dtls._ssl
        assert ssl is not None
        assert ssl.get_selected_srtp_profile() == b"SRTP_AEAD_AES_256_GCM"
    # RFC 7714 8.1, 13.2: a tag of 16 bytes and nothing else.
    assert len(pair.client.protect(PACKET)) == len(PACKET) + 16
    await pair.close()


def rsa_certificate(monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """As older browsers and some gateways have."""
    key: Any = rsa.generate_private_key(65_537, 2048)

    def generate(kind: type[RTCCertificate]) -> RTCCertificate:
        return kind(key=key, cert=generate_certificate(key))

    with monkeypatch.context() as patched:
        patched.setattr(RTCCertificate, "generateCertificate", classmethod(generate))
        return Certificate()


@pytest.mark.parametrize("theirs", list(DtlsRole))
async def test_a_peer_may_have_a_certificate_of_rsa(
    theirs: DtlsRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the server's part, where the cipher goes by its certificate (RFC 8422 2.1)."""
    certificates = [rsa_certificate(monkeypatch), Certificate()]
    if theirs is DtlsRole.SERVER:
        certificates.reverse()
    pair = await join((certificates[0], certificates[1]))
    for sender, receiver in ((pair.client, pair.server), (pair.server, pair.client)):
        assert receiver.unprotect(sender.protect(PACKET)) == PACKET
    await pair.close()


async def test_wrong_fingerprint_is_a_dtls_error() -> None:
    other = Certificate()
    with pytest.raises(ExceptionGroup) as caught:
        await join(expected=fingerprints(other))
    assert caught.group_contains(DtlsError)


async def test_unknown_hash_is_no_fingerprint() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await join(expected=[("sha-1", "00:11")])
    assert caught.group_contains(DtlsError)


async def test_replayed_packet_is_refused() -> None:
    pair = await join()
    packet, report = pair.client.protect(PACKET), pair.client.protect_rtcp(REPORT)
    pair.server.unprotect(packet)
    pair.server.unprotect_rtcp(report)
    with pytest.raises(SrtpError):
        pair.server.unprotect(packet)
    with pytest.raises(SrtpError):
        pair.server.unprotect_rtcp(report)
    await pair.close()


async def test_forged_and_foreign_packets_are_refused() -> None:
    pair, other = await join(), await join()
    good = pair.client.protect(PACKET)
    forged = [
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:2] + b"\x00\x01" + good[4:],
        good[:-1],
        PACKET,
        PACKET[:12],
        other.client.protect(PACKET),
        pair.server.protect(PACKET),  # our own, sent back to us
        secrets.token_bytes(1600),
    ]
    for data in forged:
        with pytest.raises(SrtpError):
            pair.server.unprotect(data)
        with pytest.raises(SrtpError):
            pair.server.unprotect_rtcp(data)
    assert pair.server.unprotect(good) == PACKET, "refusals leave the session as it was"
    await pair.close()
    await other.close()


async def test_packet_can_be_sent_again_as_it_was() -> None:
    """A retransmission has its old sequence number (libsrtp's allow_repeat_tx)."""
    pair = await join()
    assert pair.server.protect(PACKET) == pair.server.protect(PACKET)
    await pair.close()


async def test_oversized_packet_is_an_srtp_error() -> None:
    pair = await join()
    with pytest.raises(SrtpError):
        pair.server.protect(rtp(1, 1, bytes(MAX_DATAGRAM)))
    await pair.close()


@pytest.mark.parametrize(
    ("lose", "lose_back"),
    [([1, 2, 3], []), ([2, 3, 4], []), ([], [1, 2, 3]), ([], [2, 3, 4]), ([2, 3], [2, 3])],
)
async def test_flights_that_are_lost_come_again_before_anybody_gives_up(
    lose: list[int], lose_back: list[int]
) -> None:
    """OpenSSL alone would take 7 s for the third repetition."""
    async with asyncio.timeout(5):
        pair = await join(lose=lose, lose_back=lose_back)
    assert pair.server.unprotect(pair.client.protect(PACKET)) == PACKET
    await pair.close()


async def test_the_servers_last_flight_comes_again_as_nothing_tells_that_it_has_come() -> None:
    pair = await join()
    server, sent, repeated = pair.server, list[bytes](), asyncio.Event()
    flight = list(server._pipe._flight)

    def send(data: bytes) -> None:
        sent.append(data)
        if len(sent) == MAX_LAST_REPEATS * len(flight):
            repeated.set()

    server._pipe._send_datagram = send
    async with asyncio.timeout(10):
        await repeated.wait()
    assert sent == flight * MAX_LAST_REPEATS
    assert server._pipe.repeats_left == 0
    await pair.close()


async def test_leaving_client_is_noticed() -> None:
    pair = await join()
    await pair.client.close()
    async with asyncio.timeout(5):
        await pair.closed.wait()
    await pair.server.close()


async def test_closing_twice_or_before_the_handshake_does_nothing() -> None:
    pair = await join()
    await pair.close()
    await pair.close()
    fresh = DtlsSession(Certificate(), DtlsRole.SERVER, lambda _: None)
    await fresh.close()
    with pytest.raises(DtlsError):
        await fresh.handshake(fingerprints(Certificate()))


async def test_close_ends_a_handshake_that_waits() -> None:
    session = DtlsSession(Certificate(), DtlsRole.SERVER, lambda _: None)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(_refused(session))
        await asyncio.sleep(0)
        await session.close()
    assert waiting.result()


async def _refused(session: DtlsSession) -> bool:
    with pytest.raises(DtlsError):
        await session.handshake(fingerprints(Certificate()))
    return True


async def test_garbage_does_not_disturb_the_handshake() -> None:
    certificates = Certificate(), Certificate()
    client = DtlsSession(certificates[0], DtlsRole.CLIENT, lambda data: server.feed(data))
    server = DtlsSession(certificates[1], DtlsRole.SERVER, client.feed)
    for first in (20, 22, 63):
        server.feed(bytes([first]) + secrets.token_bytes(60))
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(client.handshake(fingerprints(certificates[1])))
        tasks.create_task(server.handshake(fingerprints(certificates[0])))
    assert server.unprotect(client.protect(PACKET)) == PACKET
    await client.close()
    await server.close()


async def test_waiting_datagrams_are_bounded() -> None:
    session = DtlsSession(Certificate(), DtlsRole.SERVER, lambda _: None)
    for _ in range(10 * MAX_WAITING_DATAGRAMS):
        session.feed(b"\x16" + bytes(12))
    assert session._pipe._waiting.qsize() == MAX_WAITING_DATAGRAMS
    await session.close()


async def test_packets_are_what_the_wrapper_of_libsrtp_makes_of_them() -> None:
    """Past pylibsrtp's public functions, in its own buffer: the same bytes, the same refusals."""
    pair = await join()
    sending, receiving = pair.client._dtls._tx_srtp, pair.server._dtls._rx_srtp
    for name in ("_srtp", "_cdata", "_buffer"):
        assert hasattr(sending, name), name
    longest = rtp(1001, 5, bytes(1500 - 12 - MAX_TRAILER))
    for packet in (PACKET, longest):
        assert pair.client.protect(packet) == sending.protect(packet)
        assert receiving.unprotect(pair.client.protect(packet)) == packet
    assert receiving.unprotect_rtcp(pair.client.protect_rtcp(REPORT)) == REPORT
    assert pair.server.unprotect_rtcp(sending.protect_rtcp(REPORT)) == REPORT
    for name in ("protect", "unprotect", "protect_rtcp", "unprotect_rtcp"):
        assert getattr(lib, f"srtp_{name}")
    await pair.close()


async def test_sessions_of_a_certificate_share_a_context() -> None:
    """As long as aiortc asks the certificate for it by the name that dtls.py overrides."""
    certificates = Certificate(), Certificate()
    pairs = [await join(certificates) for _ in range(2)]
    contexts = set()
    for pair in pairs:
        connection = pair.server._dtls._ssl
        assert connection is not None
        contexts.add(connection.get_context())
        assert pair.server.unprotect(pair.client.protect(PACKET)) == PACKET
        await pair.close()
    assert len(contexts) == 1


async def test_private_names_of_aiortc_are_there() -> None:
    """What dtls.py uses and a new version of aiortc may move."""
    pair = await join()
    transport = pair.server._dtls
    assert isinstance(transport, RTCDtlsTransport)
    for name in ("_set_role", "_rx_srtp", "_tx_srtp", "_role"):
        assert hasattr(transport, name), name
    assert transport._role == "server"
    assert transport.state == "connected"
    assert transport.listeners("statechange")
    await pair.close()
