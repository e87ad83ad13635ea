import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.invites import (
    ByCommand,
    Invite,
    InviteError,
    by_owner,
    many_by_owner,
    parse_invite,
)
from loadtest.peer import Crowd
from loadtest.whip import Refused
from server.signaling.limits import PER_LINK
from tests.loadtest.mini_server import OWNER_TOKEN, MiniServer


def test_the_tokens_are_the_fragments_of_the_links() -> None:
    links = {"candidate_url": "http://h/join#v1.a.b", "observer_url": "http://h/observe#v1.c.d"}
    assert parse_invite(json.dumps(links)) == Invite("v1.a.b", "v1.c.d")


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"candidate_url": 1, "observer_url": 2}',
     '{"candidate_url": "http://h/join", "observer_url": "http://h/observe#x"}'],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InviteError):
        parse_invite(text)


@given(st.text())
def test_any_text_is_an_invitation_or_refused(text: str) -> None:
    with pytest.raises(InviteError):
        parse_invite(text)


async def test_the_owner_makes_interviews_by_the_api(crowd: Crowd, mini: MiniServer) -> None:
    invite = await by_owner(crowd.http, mini.url, OWNER_TOKEN, "Test")
    assert list(mini.sources) == [invite.candidate]


async def test_the_owner_makes_many_in_order_and_no_faster_than_allowed(
    crowd: Crowd, mini: MiniServer
) -> None:
    began = asyncio.get_running_loop().time()
    invites = await many_by_owner(crowd.http, mini.url, OWNER_TOKEN, ["One", "Two", "Three"])
    assert list(mini.sources) == [invite.candidate for invite in invites]
    lasted_s = asyncio.get_running_loop().time() - began
    assert len(invites) / lasted_s <= PER_LINK.per_s


async def test_a_wrong_owner_token_is_refused(crowd: Crowd, mini: MiniServer) -> None:
    with pytest.raises(Refused, match="wrong token"):
        await by_owner(crowd.http, mini.url, "guess", "Test")


async def test_the_command_makes_an_interview_in_the_data_directory(tmp_path: Path) -> None:
    invite = await ByCommand("http://127.0.0.1:8080", tmp_path).invite("Test")
    assert invite.candidate.count(".") == 2
    assert invite.candidate != invite.observer


async def test_what_the_command_says_when_it_fails_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(InviteError, match="vivavoce invite"):
        await ByCommand("http://127.0.0.1:8080", tmp_path / "file").invite("Test")


async def test_a_command_that_is_cancelled_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, script = tmp_path / "started", tmp_path / "python"
    os.mkfifo(started)
    script.write_text(f"#!/bin/sh\necho $$ > {started}\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    inviting = asyncio.create_task(ByCommand("http://127.0.0.1:8080", tmp_path).invite("Test"))
    pid = int(await asyncio.to_thread(started.read_text))
    ended, descriptor = asyncio.Event(), os.pidfd_open(pid)
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    inviting.cancel()
    await asyncio.wait({inviting})
    async with asyncio.timeout(5):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)
