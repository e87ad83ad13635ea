"""The server makes finished recordings small, and stands still while somebody is live; also those
that went to a store."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession

from server.recorder.catalog.derived import doomed
from server.recorder.catalog.recordings import is_compressed, read_manifest
from server.recorder.evidence.derivation import statement_of
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import MANIFEST_NAME, Manifest
from server.recorder.replay.reader import RecordingReader, open_reader
from server.recorder.stores.store import LocalStore
from server.recorder.writing import writer
from tests.e2e.server_process import POLL_S, ServerProcess, running_server
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, camera, in_order, microphone
from tests.signaling.serving import PUBLISH_OFFER, token_in

#: Of the recording: many segments, and small pictures that cost little.
SECONDS = 30
SETTINGS = ("--workers", "0", "--compress", "replace-source")


def waves(index: int, width: int, height: int) -> np.ndarray:
    """Soft enough to come near, and not so still that there is nothing to gain."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    plane = 120 + 60 * np.sin((x + 2 * index) / 11) * np.cos((y - index) / 9)
    return np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Where a recording was finished an hour ago."""
    monkeypatch.setattr(writer, "SEGMENT_US", 400_000)
    desk = Desk(tmp_path / "data")
    pictures = camera(seconds=SECONDS, keyframe_s=0.5, draw=waves)
    written = desk.write(in_order(pictures, microphone(SECONDS)))
    witness = desk.witness()
    witness.closed(written, START_S)
    witness.tell((), START_S)
    manifest = desk.path() / MANIFEST_NAME
    then = manifest.stat().st_mtime - 3600
    os.utime(manifest, (then, then))
    return desk


async def metric(http: ClientSession, name: str) -> float:
    async with http.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"vivavoce_{name} "))


async def until(http: ClientSession, name: str, holds: Callable[[float], bool]) -> float:
    while not holds(value := await metric(http, name)):  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(POLL_S)
    return value


def worker_of(server: ServerProcess) -> int:
    """The process that compresses, a child of the server."""
    return next(
        pid
        for pid in children(server.pid)
        if b"compression.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def status(pid: int) -> str:
    """X: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


async def replaced(desk: Desk) -> Manifest:
    """Once nothing is left of the source, and all that was made of it is in the store."""
    while True:
        try:
            manifest = read_manifest(desk.path(), desk.keys.public_key)
            settled = is_compressed(manifest) and statement_of(desk.path()).exists()
            if settled and not doomed(desk.data_dir):
                return manifest
        except FileNotFoundError:
            pass  # it is being put in its place
        await asyncio.sleep(POLL_S)


@pytest.mark.may_block("reads recordings and /proc itself; the server is another process")
async def test_it_stops_for_an_interview_and_goes_on_after_a_kill(
    desk: Desk, tmp_path: Path
) -> None:
    before = desk.reader()
    store = LocalStore(tmp_path / "store")
    async with (
        running_server(tmp_path, *SETTINGS, "--store", str(tmp_path / "store")) as server,
        ClientSession(server.base_url) as http,
    ):
        await until(http, "compress_done", lambda done: done > 0)
        invited = await server.invite("Backend engineer")
        url = f"/whip/{token_in(invited['candidate_url'])}"
        sdp = {"Content-Type": "application/sdp"}
        async with http.post(url, data=PUBLISH_OFFER, headers=sdp) as answer:
            assert answer.status == 201
            resource = answer.headers["Location"]
        await until(http, "compress_paused", bool)
        worker = worker_of(server)
        while status(worker) != "T":  # noqa: ASYNC110 - a write to the disk ends first
            await asyncio.sleep(POLL_S)
        (decoder,) = children(worker)
        while status(decoder) != "T":  # noqa: ASYNC110 - likewise
            await asyncio.sleep(POLL_S)
        for each in (worker, decoder):
            assert os.sched_getscheduler(each) == os.SCHED_IDLE
            assert os.getpriority(os.PRIO_PROCESS, each) == 19
        done = await metric(http, "compress_done")
        async with http.delete(resource):
            pass
        assert await until(http, "compress_done", lambda now: now > done) > done

        await server.kill()
        for each in (worker, decoder):
            while status(each) not in "ZX":  # noqa: ASYNC110 - it ends with the server
                await asyncio.sleep(POLL_S)
        made = sorted((desk.data_dir / "compressing" / "iv").glob("*.seg"))
        first = made[0].read_bytes()
        await server.start()
        manifest = await replaced(desk)
        assert [path for path in desk.data_dir.rglob(".*.tmp") if path.is_file()] == []
        there = store.folder("iv.compressed")
        assert (there / made[0].name).read_bytes() == first
        assert [path.name for path in desk.path().iterdir()] == [MANIFEST_NAME]
        assert not (tmp_path / "store" / "iv").exists()
        assert verify(there, desk.keys.public_key, desk.log).intact
        after = open_reader(desk.data_dir, "iv", desk.keys, store)
        assert len(manifest.segments) == len(before.manifest.segments)
        assert _starts_us(after) == _starts_us(before)


def _starts_us(reader: RecordingReader) -> list[int]:
    return [reader.header(index).start_us for index in range(len(reader))]
