import asyncio
import json
from contextlib import suppress

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.peer import Crowd
from loadtest.watch import PROTOCOL_VERSION, Watcher, WatchError
from server.core.indicators import Alert, Indicator
from server.signaling import protocol
from tests.loadtest.mini_server import MiniServer


def watcher() -> Watcher:
    return Watcher(None, "", "")  # type: ignore[arg-type]  # receives only


def as_sent(message: protocol.ServerMessage) -> str:
    return msgspec.json.encode(message).decode()


def test_the_version_is_the_servers() -> None:
    assert PROTOCOL_VERSION == protocol.PROTOCOL_VERSION


def test_an_indicators_age_is_counted_from_the_end_of_its_window() -> None:
    watching = watcher()
    values = [
        Indicator("voice.loudness", -30.0, "dBFS", 99.0, 99.8),
        Indicator("voice.pitch", None, "Hz", 98.0, 99.5),
    ]
    watching.receive(as_sent(protocol.Indicators(tuple(values))), now=100.0)
    assert (watching.messages, watching.latency_s.count) == (1, 2)
    assert watching.latency_s.max == pytest.approx(0.5)


def test_other_messages_are_not_indicators() -> None:
    watching = watcher()
    watching.receive(as_sent(protocol.AlertChanged(Alert("no-face", True, 1.0))), now=100.0)
    watching.receive(as_sent(protocol.RecordingState(True)), now=100.0)
    assert (watching.messages, watching.latency_s.count) == (0, 0)


def test_a_welcome_is_noticed() -> None:
    watching = watcher()
    info = protocol.InterviewInfo("id", "title")
    state = protocol.InterviewState.LIVE
    watching.receive(as_sent(protocol.Welcome(1, protocol.Role.OBSERVER, info, state, 1.0)), 1.0)
    assert watching.joined.is_set()


def test_an_error_is_raised_with_its_reason() -> None:
    error = protocol.Error(protocol.ErrorId.TOKEN_EXPIRED, "The link has expired.", fatal=True)
    with pytest.raises(WatchError, match="has expired"):
        watcher().receive(as_sent(error), 1.0)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text() | json_values.map(json.dumps))
def test_any_text_is_taken_or_refused(text: str) -> None:
    watching = watcher()
    with suppress(WatchError):
        watching.receive(text, 1.0)
    assert watching.latency_s.count == 0


async def test_it_watches_until_the_server_ends(crowd: Crowd, mini: MiniServer) -> None:
    watching = Watcher(crowd.http, mini.url, "token")
    task = asyncio.create_task(watching.run())
    await asyncio.wait_for(watching.joined.wait(), 5)
    await mini.close_sockets()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, WatchError)
    assert watching.latency_s.count >= 1


async def test_no_server_is_a_client_error(unused_tcp_port: int) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await Watcher(http, f"http://127.0.0.1:{unused_tcp_port}", "token").run()
