"""`kill -9` of the server while it has an export made, or brings a recording into a bucket."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace

from server.core.frames import Codec, EncodedFrame
from server.recorder.evidence.verify import verify
from server.recorder.stores.s3 import PART_BYTES, open_s3_folder
from tests.e2e.server_process import POLL_S, ServerProcess, running_server
from tests.e2e.test_compress import children, status
from tests.recorder.conftest import Desk
from tests.recorder.encoded import camera, in_order, interview, microphone
from tests.recorder.test_store import bucket
from tests.signaling.serving import token_in

PATIENCE_S = 90


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(POLL_S)


def leftovers(data_dir: Path) -> list[Path]:
    return [path for path in data_dir.rglob(".*.tmp") if path.is_file()]


@pytest.mark.may_block("writes a recording and reads /proc; the server is another process")
async def test_after_a_kill_an_export_that_was_ready_is_there_and_another_is_cut_off(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path / "data")
    async with running_server(tmp_path, "--workers", "0") as server:
        invited = await server.invite("Backend engineer")
        name = invited["interview_id"]
        desk.write(in_order(camera(Codec.H264, 30), microphone(30)), name)
        path = f"/api/recordings/{name}/exports"
        token = token_in(invited["recruiter_url"])
        async with ClientSession(
            server.base_url, headers={"Authorization": f"Bearer {token}"}
        ) as http:
            await _ask(http, path, end_s=1.0)
            made = await _made(http, path)
            await _ask(http, path)
            while (await _newest(http, path))["done"] == 0:  # noqa: ASYNC110 - as a page looks
                await asyncio.sleep(POLL_S)
            (worker,) = children(server.pid)
            await server.kill()
            await until(lambda: status(worker) in "ZX")
            await server.start()
            assert leftovers(desk.data_dir) == []
            assert len(list((desk.data_dir / "exports").iterdir())) == 1
            async with http.get(path) as answer:
                ready, cut_off = await answer.json()
            assert (cut_off["state"], cut_off["fault"]) == ("failed", "cut-off")
            async with http.get(ready["file"]) as answer:
                assert await answer.read() == made
            assert verify(desk.path(name), desk.keys.public_key).intact
            async with http.get(f"/api/recordings/{name}/viewings") as answer:
                assert len(await answer.json()) == 2, "what was read before is on the record"
            await _ask(http, path, end_s=2.0)
            assert await _made(http, path)


async def _made(http: ClientSession, path: str) -> bytes:
    """The newest, once it is ready."""
    async with asyncio.timeout(PATIENCE_S):
        while (newest := await _newest(http, path))["state"] != "ready":
            assert newest["state"] != "failed"
            await asyncio.sleep(POLL_S)
    async with http.get(newest["file"]) as answer:
        data = await answer.read()
    assert len(data) == newest["size"]
    return data


@pytest.mark.may_block("writes a recording and reads /proc; the server is another process")
async def test_who_reads_for_replays_goes_with_the_server_and_comes_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    async with running_server(tmp_path, "--workers", "0") as server:
        invited = await server.invite("Backend engineer")
        name = invited["interview_id"]
        desk.write(in_order(camera(Codec.H264), microphone()), name)
        path = f"/api/recordings/{name}/fragment/1"
        token = token_in(invited["recruiter_url"])
        async with ClientSession(
            server.base_url, headers={"Authorization": f"Bearer {token}"}
        ) as http:
            assert children(server.pid) == [], "nobody has asked for anything"
            before = await _read(http, path)
            (worker,) = children(server.pid)
            await server.kill()
            await until(lambda: status(worker) in "ZX")
            await server.start()
            assert await _read(http, path) == before


async def _read(http: ClientSession, path: str) -> bytes:
    async with http.get(path) as answer:
        assert answer.status == 200
        return await answer.read()


async def _ask(http: ClientSession, path: str, **wanted: Any) -> None:
    async with http.post(path, json={"transcode": True, **wanted}) as answer:
        assert answer.status == 201


async def _newest(http: ClientSession, path: str) -> dict[str, Any]:
    async with http.get(path) as answer:
        newest: dict[str, Any] = (await answer.json())[-1]
    return newest


def large(frame: EncodedFrame) -> EncodedFrame:
    return replace(frame, payload=frame.payload + os.urandom(0 if frame.track.is_sound else 32_000))


@pytest.mark.may_block("a recording and a bucket are in this process; the server is another")
@pytest.mark.parametrize(("stopped_at", "sent_twice"), [("partNumber=2", 0), ("manifest.json", 1)])
async def test_an_upload_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: str, sent_twice: int
) -> None:
    """A segment of two parts and another, then the manifest that lists them."""
    desk = Desk(tmp_path / "data")
    desk.write([large(frame) for frame in interview(Codec.VP8, 12.0)])
    assert (desk.path() / "00000.seg").stat().st_size > PART_BYTES
    with bucket(monkeypatch) as way:
        way.harm = lambda request: "hang" if _puts(request, stopped_at) else None
        settings = ("--workers", "0", "--store", "s3://recordings/p")
        server = ServerProcess(desk.data_dir, tmp_path / "serve.log", settings)
        await server.start()
        try:
            await until(lambda: any(_puts(request, stopped_at) for request in way.requests))
            await server.kill()
            way.harm = lambda request: None
            already = way.count("PUT")
            await server.start()
            await until(lambda: [each.name for each in desk.path().iterdir()] == ["manifest.json"])
        finally:
            await server.close()
        folder = open_s3_folder("recordings", "p/iv")
        assert verify(folder, desk.keys.public_key).intact
        assert leftovers(desk.data_dir) == []
        assert _unfinished() == []
        # Of a file that is on its way, what the bucket has is not sent again; one that is there
        # whole is, until a manifest that is there lists it.
        assert way.count("partNumber=1") == sent_twice + 1
        assert way.count("PUT") > already


def _puts(request: str, what: str) -> bool:
    return request.startswith("PUT ") and what in request


def _unfinished() -> list[Any]:
    import boto3

    from tests.recorder.key_services import REGION

    found = boto3.client("s3", REGION).list_multipart_uploads(Bucket="recordings")
    return list(found.get("Uploads", []))
