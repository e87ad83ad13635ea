"""A disk that is full for some seconds, under a running server: a real one, with real errors."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from loadtest.interview import DRAIN_S
from loadtest.invites import parse_invite
from loadtest.packets import packetise
from loadtest.peer import Candidate, open_crowd
from loadtest.power_cut import Disk, open_disk
from loadtest.recording import SentTrack, check_recording
from tests.e2e.server_process import ServerProcess
from tests.loadtest.conftest import short_clip

FULL_S = 4.0


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk")
@pytest.mark.may_block("mounts a disk and fills it")
@pytest.mark.timeout(120)
async def test_what_a_full_disk_refuses_is_recorded_once_it_has_room(tmp_path: Path) -> None:
    with open_disk(tmp_path) as disk:
        server = ServerProcess(disk.path / "data", tmp_path / "log", ("--workers", "0"))
        await server.start()
        try:
            invite = parse_invite(await server.command("invite", "--title", "Full", "--json"))
            async with open_crowd() as crowd:
                whip_url = f"{server.base_url}/whip/{invite.candidate}"
                candidate = Candidate(crowd, whip_url, packetise(short_clip("h264")))
                await candidate.join()
                await asyncio.sleep(2)
                filler = _fill(disk)
                await asyncio.sleep(FULL_S)
                filler.unlink()
                await asyncio.sleep(2)
                candidate.pause()
                sent = {
                    track.ssrc: SentTrack(name, track.frames)
                    for name, track in candidate.tracks().items()
                }
                await asyncio.sleep(DRAIN_S)
                await candidate.leave()
                found = await check_recording(
                    crowd.http,
                    server.base_url,
                    str(invite.interview_id),
                    str(invite.recruiter),
                    sent,
                )
            said = server.log.read_text()
            assert "recording failed" in said
            assert "recording goes on" in said
            assert (found.error, found.frames_missing, found.gaps_declared) == (None, 0, 0)
            assert found.frames_sent > FULL_S * 80
            path = disk.path / "data" / "recordings" / str(invite.interview_id)
            await server.command("verify", str(path))
        finally:
            await server.close()
