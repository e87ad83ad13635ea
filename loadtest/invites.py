"""Interviews to load the server with, made the way its users make them."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import aiohttp

from loadtest.whip import REQUEST_TIMEOUT, Refused

#: `vivavoce invite` processes at a time: each keeps a core busy while it starts.
COMMANDS_AT_ONCE = 2
#: A link may ask 50 times a second (docs/protocol.md, Limits).
OWNER_INTERVAL_S = 1 / 40


class InviteError(Exception):
    """No interview could be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Invite:
    """The tokens of one interview, and what reading its recording takes where it is told."""

    candidate: str
    observer: str
    recruiter: str | None = None
    interview_id: str | None = None


async def by_owner(http: aiohttp.ClientSession, url: str, token: str, title: str) -> Invite:
    """Through the owner's API. Raises Refused or InviteError."""
    headers = {"Authorization": f"Bearer {token}"}
    async with http.post(
        f"{url}/api/interviews", json={"title": title}, headers=headers, timeout=REQUEST_TIMEOUT
    ) as response:
        body = await response.text()
        if response.status not in (200, 201):
            raise Refused(response.status, body)
        return parse_invite(body)


async def many_by_owner(
    http: aiohttp.ClientSession, url: str, token: str, titles: Sequence[str]
) -> list[Invite]:
    """No faster than the server lets one link ask. Raises what `by_owner` does."""
    made = []
    for title in titles:
        made.append(await by_owner(http, url, token, title))
        await asyncio.sleep(OWNER_INTERVAL_S)
    return made


class ByCommand:
    """Through `vivavoce invite` on the server's own data directory."""

    def __init__(self, url: str, data_dir: Path) -> None:
        port = urlsplit(url).port
        self._environment = os.environ | {"VIVAVOCE_DATA_DIR": str(data_dir)}
        if port is not None:
            self._environment["VIVAVOCE_PORT"] = str(port)
        self._turn = asyncio.Semaphore(COMMANDS_AT_ONCE)

    async def invite(self, title: str) -> Invite:
        """Raises InviteError."""
        async with self._turn, _started(title, self._environment) as process:
            output, errors = await process.communicate()
        if process.returncode != 0:
            raise InviteError(f"vivavoce invite: {errors.decode(errors='replace').strip()}")
        return parse_invite(output.decode())


@asynccontextmanager
async def _started(title: str, environment: dict[str, str]) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.cli", "invite", "--title", title, "--json"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
    )
    try:
        yield process
    finally:
        if process.returncode is None:  # cancelled
            process.kill()
            await process.wait()


def parse_invite(text: str) -> Invite:
    """Takes the tokens from the fragments of `candidate_url` and `observer_url`."""
    try:
        links = json.loads(text)
        candidate, observer = (
            urldefrag(links[name]).fragment for name in ("candidate_url", "observer_url")
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InviteError(f"not an invitation: {text[:200]!r}") from error
    if not candidate or not observer:
        raise InviteError("the invitation's links carry no token")
    recruiter = urldefrag(str(links.get("recruiter_url", ""))).fragment
    interview_id = str(links.get("interview_id", ""))
    return Invite(candidate, observer, recruiter or None, interview_id or None)
