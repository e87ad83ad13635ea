import asyncio

import pytest

from loadtest.interview import Interview
from loadtest.invites import Invite
from loadtest.packets import PacketisedClip, packetise
from loadtest.peer import Crowd
from tests.loadtest.conftest import new_interview, short_clip
from tests.loadtest.mini_server import MiniServer


@pytest.fixture(scope="module")
def clip() -> PacketisedClip:
    return packetise(short_clip("vp8"))


async def test_both_sides_join_and_leave(
    crowd: Crowd, mini: MiniServer, clip: PacketisedClip
) -> None:
    token = await new_interview(crowd, mini)
    interview = Interview(crowd, mini.url, Invite(token, token), clip)
    await interview.join()
    assert interview.collect().error is None
    assert len(mini.peers) == 2
    await interview.leave()
    await interview.leave()  # idempotent
    assert mini.peers == {}


async def test_a_failed_join_is_in_the_result(
    crowd: Crowd, clip: PacketisedClip, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    interview = Interview(crowd, url, Invite("a", "b"), clip)
    await interview.join()
    await interview.leave()
    assert "Cannot connect" in (interview.collect().error or "")


async def test_a_socket_that_the_server_closes_is_in_the_result(
    crowd: Crowd, mini: MiniServer, clip: PacketisedClip
) -> None:
    token = await new_interview(crowd, mini)
    interview = Interview(crowd, mini.url, Invite(token, token), clip)
    await interview.join()
    await mini.close_sockets()
    assert interview._watching is not None
    await asyncio.wait({interview._watching}, timeout=5)
    assert interview.collect().connection_lost == "the observer's socket: closed with code 1000"
    await interview.leave()
