"""A disk that is full, hangs or turns read-only under a running server: real ones, real errors."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from loadtest.interview import DRAIN_S
from loadtest.invites import Invite, parse_invite
from loadtest.observer import Observer
from loadtest.packets import packetise
from loadtest.peer import Candidate, Crowd, open_crowd
from loadtest.power_cut import Disk, open_disk
from loadtest.recording import Index, SentTrack, check_recording
from loadtest.results import RecordingResult
from tests.e2e.server_process import ServerProcess
from tests.loadtest.conftest import short_clip

FULL_S = 4.0
#: Longer than `SLOW_S` of the recorder.
HANGS_S = 6.0
FRAMES_PER_S = 80

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk"),
    pytest.mark.may_block("mounts a disk and fills it"),
    pytest.mark.timeout(120),
]


@dataclass
class _Interview:
    """One with its candidate, on a server whose data lie on a disk of their own."""

    disk: Disk
    server: ServerProcess
    crowd: Crowd
    candidate: Candidate
    invite: Invite

    @property
    def folder(self) -> Path:
        return self.server.data_dir / "recordings" / str(self.invite.interview_id)

    async def said(self, text: str) -> None:
        """Returns once the server's log has it."""
        await _until(lambda: text in self.server.log.read_text())

    async def ended(self) -> RecordingResult:
        """What its recording has of all that was sent."""
        self.candidate.pause()
        sent = {
            track.ssrc: SentTrack(name, track.frames)
            for name, track in self.candidate.tracks().items()
        }
        await asyncio.sleep(DRAIN_S)
        await self.candidate.leave()
        return await check_recording(
            self.crowd.http,
            self.server.base_url,
            str(self.invite.interview_id),
            str(self.invite.recruiter),
            sent,
        )

    async def index(self) -> Index:
        url = f"{self.server.base_url}/api/recordings/{self.invite.interview_id}"
        headers = {"Authorization": f"Bearer {self.invite.recruiter}"}
        async with self.crowd.http.get(url, headers=headers) as answer:
            return msgspec.json.decode(await answer.read(), type=Index)


@asynccontextmanager
async def _interview(folder: Path) -> AsyncIterator[_Interview]:
    with open_disk(folder) as disk:
        server = ServerProcess(disk.path / "data", folder / "log", ("--workers", "0"))
        await server.start()
        try:
            invite = parse_invite(await server.command("invite", "--title", "Full", "--json"))
            async with open_crowd() as crowd:
                whip_url = f"{server.base_url}/whip/{invite.candidate}"
                candidate = Candidate(crowd, whip_url, packetise(short_clip("h264")))
                await candidate.join()
                await asyncio.sleep(2)
                yield _Interview(disk, server, crowd, candidate, invite)
        finally:
            await server.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _fill(disk: Disk) -> Path:
    """Leaves no byte free."""
    path = disk.path / "filler"
    free = os.statvfs(disk.path)
    with path.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - (1 << 20))
        file.seek(0, os.SEEK_END)
        with suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
    return path


async def test_what_a_full_disk_refuses_is_recorded_once_it_has_room(tmp_path: Path) -> None:
    async with _interview(tmp_path) as interview:
        filler = _fill(interview.disk)
        await asyncio.sleep(FULL_S)
        filler.unlink()
        await asyncio.sleep(2)
        found = await interview.ended()
        await interview.said("recording failed")
        await interview.said("recording goes on")
        assert (found.error, found.frames_missing, found.gaps_declared) == (None, 0, 0)
        assert found.frames_sent > FULL_S * FRAMES_PER_S
        await interview.server.command("verify", str(interview.folder))


async def test_media_goes_on_while_the_disk_hangs_and_all_of_it_is_recorded(
    tmp_path: Path,
) -> None:
    async with _interview(tmp_path) as interview:
        candidate = interview.candidate
        sources = {candidate.audio_ssrc, candidate.video_ssrc}
        whep_url = f"{interview.server.base_url}/whep/{interview.invite.observer}"
        observer = Observer(interview.crowd, whep_url, sources)
        await observer.join()
        await _until(lambda: observer.first_picture_s is not None)
        with interview.disk.hanging():
            before = observer.latency_s().count
            await asyncio.sleep(HANGS_S)
            forwarded = observer.latency_s().count - before
            await interview.said("recording failed")
        await interview.said("recording goes on")
        found = await interview.ended()
        assert forwarded > HANGS_S * FRAMES_PER_S / 2
        assert (found.error, found.frames_missing, found.gaps_declared) == (None, 0, 0)
        await interview.server.command("verify", str(interview.folder))
        await observer.leave()


async def test_a_disk_that_turns_read_only_is_told_and_takes_nothing_back(tmp_path: Path) -> None:
    async with _interview(tmp_path) as interview:
        server = interview.server
        acknowledged = len((await interview.index()).fragments)
        assert acknowledged > 0
        interview.disk.turn_read_only()
        await interview.said("recording failed")
        await interview.candidate.leave()
        await server.kill()
        interview.disk.restore()
        await server.start()
        after = await interview.index()
        assert (after.state, len(after.fragments) >= acknowledged) == ("interrupted", True)
        await server.command("verify", str(interview.folder))
