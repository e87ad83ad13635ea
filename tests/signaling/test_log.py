import io
import logging
from pathlib import Path

import pytest

from server.core.interviews import Role
from server.signaling.log import OneLine
from server.signaling.tokens import Claims, sign
from tests.signaling.serving import PUBLISH_OFFER, WATCH_OFFER, Serving, open_serving, receive

TOKEN = sign(bytes(32), Claims("a1b2", "i", Role.OBSERVER, 1))


def formatted(message: str, *args: object, **more: object) -> str:
    record = logging.LogRecord("server.x", logging.INFO, "", 0, message, args, None)
    vars(record).update(more)
    return OneLine().format(record)


def test_a_record_is_one_line_with_time_level_and_source() -> None:
    line = formatted("interview=%s\nstate=%s", "i", "live", created=0.0)
    assert line == r"1970-01-01T00:00:00.000Z INFO server.x interview=i\nstate=live"


@pytest.mark.parametrize("text", [TOKEN, f"GET /whip/{TOKEN}/x", f"'{TOKEN[:60]}"])
def test_a_token_is_cut_out_of_whatever_is_logged(text: str) -> None:
    line = formatted("%s", text)
    assert TOKEN[3:40] not in line
    assert "v1.[cut]" in line


def test_a_token_in_an_exception_is_cut_too() -> None:
    try:
        raise ValueError(TOKEN)
    except ValueError as error:
        line = formatted("failed", exc_info=(ValueError, error, error.__traceback__))
    assert "ValueError: v1.[cut]" in line
    assert TOKEN[3:40] not in line


async def test_no_token_no_title_and_no_credential_reaches_the_log(tmp_path: Path) -> None:
    turn = {"turn_urls": ("turn:127.0.0.1",), "turn_secret": "shared with the relay"}
    async with open_serving(tmp_path, **turn) as serving:
        await _nothing_secret_is_logged(serving)


async def _nothing_secret_is_logged(serving: Serving) -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)  # the plain formatter: nothing is cut here
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        for role, protocol, offer in (
            (Role.CANDIDATE, "whip", PUBLISH_OFFER),
            (Role.OBSERVER, "whep", WATCH_OFFER),
            (Role.OBSERVER, "whip", PUBLISH_OFFER),
        ):
            url = f"/{protocol}/{serving.token(role)}"
            for data in (offer, "bad"):
                await serving.call(
                    "POST", url, data=data, headers={"Content-Type": "application/sdp"}
                )
        async with serving.socket(serving.token(Role.RECRUITER)) as socket:
            (relay,) = (await receive(socket, "welcome"))["ice_servers"]
        await serving.call("POST", "/api/interviews", serving.owner, json={"title": "Zaphod"})
        await serving.call("GET", "/api/interviews", "v1.aaaaaaaaaaaa.bbbbbbbbbbb")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    secrets = [*(serving.token(role)[3:] for role in Role), "aaaaaaaaaaaa", "Zaphod"]
    for secret in (*secrets, relay["credential"], "shared with the relay"):
        assert secret not in log.getvalue()
