"""Whatever a candidate's socket receives, it is the same whether anybody observes or not."""

import contextlib
import json
import re
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse

from server.core.indicators import Alert, Indicator
from server.core.interviews import Role
from tests.signaling.serving import PUBLISH_OFFER, WATCH_OFFER, Serving, receive

OBSERVERS = (Role.OBSERVER, Role.RECRUITER, Role.OWNER)
#: What differs from one session to the next all the same: times, and what is random in an answer.
TIMES = ("server_time_s", "started_s")
RANDOM = r"(?m)^(o=|a=ice-ufrag:|a=ice-pwd:).*$"


def alike(message: dict[str, Any]) -> dict[str, Any]:
    """The message without its times and random values."""
    told = {name: value for name, value in message.items() if name not in TIMES}
    if "sdp" in told:
        told["sdp"] = re.sub(RANDOM, "", told["sdp"])
    return told


async def ping(socket: ClientWebSocketResponse, id: int) -> list[dict[str, Any]]:
    """Everything received up to the answer, which comes last: nothing is on its way."""
    await socket.send_json({"type": "ping", "id": id})
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["type"] != "pong":
        messages.append(json.loads((await socket.receive()).data))
    return messages


async def transcript(serving: Serving, *, observed: bool) -> list[dict[str, Any]]:
    """A candidate's whole session; observers come before and after, watch, and go."""
    told: list[dict[str, Any]] = []
    async with contextlib.AsyncExitStack() as observing:

        async def observe(role: Role) -> None:
            interview = serving.one.interview_id
            socket = serving.socket(serving.token(role), interview=interview)
            watching = await observing.enter_async_context(socket)
            await watching.send_json({"type": "watch", "sdp": WATCH_OFFER})
            await receive(watching, "answer")

        if observed:
            await observe(Role.OBSERVER)
        async with serving.socket(serving.token(Role.CANDIDATE)) as candidate:
            told += await ping(candidate, 1)
            await candidate.send_json({"type": "publish", "sdp": PUBLISH_OFFER, "consent": True})
            told += await ping(candidate, 2)
            for role in OBSERVERS * observed:
                await observe(role)
            live = serving.server.hub.find(serving.one.interview_id)
            assert live is not None
            assert live.observers == len(OBSERVERS) * observed + observed
            live._alert_changed(Alert("no-face", True, 1.0))
            live._indicators((Indicator("voice.loudness", -20.0, "dBFS", 1.0, 2.0),))
            told += await ping(candidate, 3)
            await observing.aclose()
            told += await ping(candidate, 4)
            await candidate.send_json({"type": "leave"})
            told += await ping(candidate, 5)
    return [alike(message) for message in told]


@pytest.mark.parametrize("observed_first", [True, False])
async def test_a_candidate_is_sent_the_same_with_and_without_observers(
    serving: Serving, *, observed_first: bool
) -> None:
    first = await transcript(serving, observed=observed_first)
    # Of a second session the welcome says that the interview has ended before.
    second = await transcript(serving, observed=observed_first)
    third = await transcript(serving, observed=not observed_first)
    assert {message["type"] for message in first} >= {"welcome", "recording", "answer", "pong"}
    assert third == second
