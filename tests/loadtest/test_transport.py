"""ICE and DTLS against the real media plane, and what must not harm them."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest
from aioice import stun
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtest import transport as module
from loadtest.packets import packetise
from loadtest.peer import Candidate, Crowd
from loadtest.sdp import LocalSide, RemoteSide, read_answer, write_offer
from loadtest.transport import ClientTransport, ConnectError
from loadtest.whip import post_offer
from server.media.transport.dtls import Certificate
from tests.loadtest.bad_network import BadNetwork
from tests.loadtest.conftest import new_interview, short_clip
from tests.loadtest.mini_server import MiniServer


class Client:
    """A transport with its callbacks written down."""

    def __init__(self, crowd: Crowd) -> None:
        self.lost = asyncio.Event()
        self.times_lost = self.packets = 0
        self.crowd = crowd
        self.transport = ClientTransport(
            crowd.certificate,
            self._count,
            lambda packet, at: None,
            self._lose,
            inbox=crowd.inbox,
        )

    def _count(self, packet: bytes, at: float) -> None:
        self.packets += 1

    def _lose(self) -> None:
        self.times_lost += 1
        self.lost.set()

    async def offered(self, url: str) -> RemoteSide:
        await self.transport.open()
        side = LocalSide(
            self.transport.ufrag,
            self.transport.password,
            self.crowd.certificate.fingerprint,
            1,
            2,
        )
        session = await post_offer(self.crowd.http, url, write_offer(side, ["vp8"], "recvonly"))
        return read_answer(session.answer)


@pytest.fixture
async def client(crowd: Crowd) -> AsyncIterator[Client]:
    client = Client(crowd)
    yield client
    await client.transport.close()
    await client.transport.close()  # idempotent


@pytest.fixture
async def url(crowd: Crowd, mini: MiniServer) -> str:
    return f"{mini.url}/whep/{await new_interview(crowd, mini)}"


async def test_it_connects_to_the_address_that_answers(client: Client, url: str) -> None:
    remote = await client.offered(url)
    # Nobody is at the first; 192.0.2.0/24 is for documentation (RFC 5737).
    addresses = [("127.0.0.1", 9), ("192.0.2.1", 9), *remote.addresses]
    await client.transport.connect(dataclasses.replace(remote, addresses=addresses))
    assert not client.lost.is_set()


async def test_what_comes_right_behind_the_last_flight_is_taken(
    crowd: Crowd, mini: MiniServer
) -> None:
    token = await new_interview(crowd, mini)
    candidate = Candidate(crowd, f"{mini.url}/whip/{token}", packetise(short_clip("vp8", 1)))
    await candidate.join()
    for _ in range(20):
        early, taken = await _early(crowd, f"{mini.url}/whep/{token}")
        if early:  # else its keyframe came a moment later
            break
    await candidate.leave()
    assert early > 0
    assert taken == early


async def _early(crowd: Crowd, url: str) -> tuple[int, int]:
    """How many packets came before the keys were there, and how many of them were taken."""
    client, early = Client(crowd), 0
    transport = client.transport
    receive = transport._receive_srtp

    def look(data: bytes, arrived_s: float) -> None:
        nonlocal early
        early += not transport._connected and not 192 <= data[1] <= 223
        receive(data, arrived_s)

    transport._receive_srtp = look  # type: ignore[method-assign]
    await client.transport.connect(await client.offered(url))
    taken = client.packets
    await client.transport.close()
    return early, taken


async def test_a_silent_address_is_an_error_that_says_so(
    client: Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.2)
    remote = await client.offered(url)
    with pytest.raises(ConnectError, match="no ICE check"):
        await client.transport.connect(dataclasses.replace(remote, password="wrong" * 5))


async def test_a_server_with_another_certificate_is_refused(client: Client, url: str) -> None:
    remote = await client.offered(url)
    algorithm, value = Certificate().fingerprint.split()
    with pytest.raises(ConnectError, match="handshake failed"):
        await client.transport.connect(
            dataclasses.replace(remote, fingerprints=[(algorithm, value)])
        )


async def test_a_server_that_falls_silent_is_lost(
    client: Client, mini: MiniServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONSENT_INTERVAL_S", 0.02)
    monkeypatch.setattr(module, "CONSENT_TIMEOUT_S", 0.3)
    silent = False
    mini.observers_network = BadNetwork(lambda data: None if silent else 0)
    await client.transport.connect(await client.offered(url))
    silent = True
    async with asyncio.timeout(5):
        await client.lost.wait()
    assert client.times_lost == 1


async def test_our_own_leaving_is_no_loss(client: Client, url: str) -> None:
    await client.transport.connect(await client.offered(url))
    await client.transport.close()
    assert not client.lost.is_set()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=64) | st.binary(min_size=12).map(lambda rest: b"\x80\xe0" + rest))
def test_any_datagram_is_taken_or_dropped(data: bytes) -> None:
    transport = ClientTransport(
        None,  # type: ignore[arg-type]  # no handshake here
        lambda packet, at: pytest.fail("decrypted?"),
        lambda packet, at: pytest.fail("decrypted?"),
        lambda: pytest.fail("lost?"),
    )
    transport.datagram_received(data, ("127.0.0.1", 9), 0)


async def test_a_check_with_a_wrong_password_is_not_answered(
    client: Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.transport.connect(await client.offered(url))
    answered: list[bytes] = []
    monkeypatch.setattr(client.transport._port, "send", lambda data, to: answered.append(data))
    for password in (b"wrong", client.transport.password.encode()):
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = "x:y"
        request.add_message_integrity(password)
        client.transport.datagram_received(bytes(request), ("127.0.0.1", 9), 0)
    (answer,) = map(stun.parse_message, answered)
    assert answer.message_class == stun.Class.RESPONSE
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("127.0.0.1", 9)
    assert answer.check_message_integrity(client.transport.password.encode())


async def test_a_server_that_insists_on_controlling_may(client: Client, url: str) -> None:
    """RFC 8445 7.2.5.1: after a 487 the checks come from a controlled agent."""
    remote = await client.offered(url)
    await client.transport.connect(remote)
    before = stun.parse_message(client.transport._check(remote))
    conflict = stun.Message(stun.Method.BINDING, stun.Class.ERROR)
    conflict.attributes["ERROR-CODE"] = (487, "Role Conflict")
    client.transport.datagram_received(bytes(conflict), ("127.0.0.1", 9), 0)
    after = stun.parse_message(client.transport._check(remote))
    assert {"ICE-CONTROLLING", "USE-CANDIDATE"} <= before.attributes.keys()
    assert "ICE-CONTROLLED" in after.attributes
    assert not {"ICE-CONTROLLING", "USE-CANDIDATE"} & after.attributes.keys()
