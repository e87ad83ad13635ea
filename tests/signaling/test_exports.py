"""Exports by the real process, asked for and fetched over HTTP."""

import asyncio
import hashlib
import io
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from server.core.frames import Codec
from server.core.interviews import Role
from server.data_dir import DATABASE
from server.recorder.catalog.spool import Spool
from server.recorder.evidence import derivation
from server.recorder.evidence.tlog import read_log
from server.recorder.export.check import check_export
from server.recorder.export.content_credentials import Credentials, made_of
from server.recorder.export.job import Bound
from server.recorder.keys.key_database import KeyDatabase
from server.signaling.exports import queue
from server.signaling.exports.queue import MAX_EXPORTS_PER_LINK
from server.store import Store
from tests.recorder.c2pa_readers import by_encypher, by_the_consortium
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, camera, in_order, interview, microphone
from tests.signaling.serving import Serving, open_serving
from tests.signaling.test_replay import record, viewings

pytestmark = pytest.mark.may_block(reason="a child process is forked from the loop's thread")
#: A busy machine lets the process, which has the lowest priority, wait.
PATIENCE_S = 90


@pytest.fixture
async def recorded(serving: Serving) -> Serving:
    """Ten seconds."""
    frames = in_order(camera(Codec.H264, 10), microphone(10))
    await record(serving, serving.one.interview_id, frames)
    return serving


def path_of(serving: Serving) -> str:
    return f"/api/recordings/{serving.one.interview_id}/exports"


async def ask(serving: Serving, token: str | None = None, **wanted: Any) -> tuple[int, Any]:
    token = token or serving.token(Role.RECRUITER)
    return await serving.call("POST", path_of(serving), token, json=wanted)


async def until(serving: Serving, *states: str, token: str | None = None) -> dict[str, Any]:
    """The newest export of the link (the recruiter's), once it is in one of the states."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            newest = (await listed(serving, token))[-1]
            if newest["state"] in states:
                return newest
            await asyncio.sleep(0.05)


def stored(serving: Serving) -> list[Path]:
    """The files of exports on the disk, the newest last."""
    found = []
    for path in (serving.data_dir / "exports").iterdir():
        with suppress(FileNotFoundError):  # removed meanwhile
            found.append((path.stat().st_ctime_ns, path))
    return [path for _, path in sorted(found)]


async def listed(serving: Serving, token: str | None = None) -> list[dict[str, Any]]:
    token = token or serving.token(Role.RECRUITER)
    status, items = await serving.call("GET", path_of(serving), token)
    assert status == 200
    return list(items)


def durations(data: bytes) -> dict[str, float]:
    """By codec; every picture decodes."""
    with av.open(io.BytesIO(data), "r") as container:
        for _ in container.decode(video=0):
            pass
        return {
            stream.codec_context.name: float((stream.duration or 0) * (stream.time_base or 0))
            for stream in container.streams
        }


@pytest.mark.timeout(180)
async def test_a_clip_is_made_in_the_background_fetched_and_on_the_record(
    recorded: Serving, tmp_path: Path
) -> None:
    status, asked = await ask(recorded, start_s=2, end_s=5.5, transcode=True)
    assert (status, asked["done"], asked["file"]) == (201, 0, None)
    (viewing,) = await viewings(recorded)
    assert (viewing["role"], viewing["way"]) == ("recruiter", "export")
    assert (viewing["start_s"], viewing["end_s"]) == (2, 5.5)
    ready = await until(recorded, "ready", "failed")
    assert (ready["state"], ready["id"], ready["done"]) == ("ready", asked["id"], 1)
    async with recorded.http.get(ready["file"]) as answer:
        data = await answer.read()
        assert answer.headers["Content-Disposition"] == 'attachment; filename="One.mp4"'
        assert answer.headers["Cache-Control"] == "no-store"
    assert len(data) == ready["size"]
    assert durations(data) == pytest.approx({"h264": 3.5, "aac": 3.5}, abs=0.1)
    assert data.index(b"moov") < data.index(b"mdat"), "plays while it is still being loaded"
    async with recorded.http.get(ready["statement"]) as answer:
        statement = await answer.read()
    saved = tmp_path / "One.mp4"
    saved.write_bytes(data)
    derivation.statement_of(saved).write_bytes(statement)
    made = derivation.check(saved, recorded.server.recorder.public_key)
    assert (made.start_us, made.end_us, made.transcoded) == (2_000_000, 5_500_000, True)
    assert derivation.derivation_hash(made) in await asyncio.to_thread(logged, recorded)
    (fetched,) = await viewings(recorded)
    assert fetched["last_s"] > viewing["last_s"]
    await asyncio.to_thread(check_credentials, recorded, saved)


def check_credentials(serving: Serving, saved: Path) -> None:
    """By both readers, and that they tell of the same as the statement beside the file."""
    root = serving.server.recorder.claim_signer().anchor
    with saved.open("rb") as file:
        assert by_the_consortium(file, root) == ("Trusted", set())
    report = by_encypher(saved, root)
    assert (report["integrity"], report["hard_binding"]) == ("valid", "match")
    found = check_export(saved, serving.server.recorder.public_key, root)
    assert (found.faults, found.credentials is not None) == ((), True)


def test_without_an_authority_an_export_is_signed_without_a_time_stamp(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path)
    desk.write(interview(Codec.H264, 1))
    made, signer = made_of(desk.reader(), (0, 1_000_000)), desk.keys.claim_signer(START_S)
    credentials = Credentials(made, signer, START_S, "http://127.0.0.1:9/")
    box = queue._signed(credentials, Bound(bytes(32), encoded=True))
    assert len(box) == credentials.size
    assert "signed without a time stamp: no time stamp from http://127.0.0.1:9/" in caplog.text


def logged(serving: Serving) -> set[str]:
    """The statements that the log has, or will have at its next heartbeat."""
    log = serving.data_dir / "log"
    key = serving.server.recorder.public_key
    waiting = Spool(log).waiting(key).values()  # first: it goes from there into the log
    return {each.statement for each in (*waiting, *read_log(log, key).entries)}


@pytest.mark.timeout(180)
async def test_a_whole_export_is_fetched_by_ranges_and_never_on_the_disk_in_the_clear(
    recorded: Serving,
) -> None:
    await ask(recorded)
    ready = await until(recorded, "ready", "failed")
    (path,) = await asyncio.to_thread(stored, recorded)
    assert path.stat().st_mode & 0o777 == 0o600
    sealed = await asyncio.to_thread(path.read_bytes)
    async with recorded.http.get(ready["file"]) as answer:
        whole, etag = await answer.read(), answer.headers["ETag"]
    assert durations(whole) == pytest.approx({"h264": 10, "aac": 10}, abs=0.1)
    assert hashlib.sha256(whole).hexdigest() == etag.strip('"')
    assert len(sealed) > len(whole)
    assert b"moov" not in sealed
    for wanted, status, body in (
        ({"Range": "bytes=100-199"}, 206, whole[100:200]),
        ({"Range": "bytes=-50"}, 206, whole[-50:]),
        ({"Range": f"bytes={len(whole) - 9}-"}, 206, whole[-9:]),
        ({"Range": "bytes=5-9", "If-Range": etag}, 206, whole[5:10]),
        ({"Range": "bytes=5-9", "If-Range": '"another"'}, 200, whole),
        ({"Range": "lines=5-9"}, 200, whole),
        ({"Range": f"bytes={len(whole)}-"}, 416, b""),
    ):
        assert await recorded.call("GET", ready["file"], headers=wanted) == (status, body), wanted
    async with recorded.http.head(ready["file"]) as answer:
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(whole))


@pytest.mark.timeout(180)
async def test_one_that_is_removed_is_stopped_and_gone(recorded: Serving) -> None:
    await ask(recorded)
    await ask(recorded)
    for each in await listed(recorded):
        one = f"{path_of(recorded)}/{each['id']}"
        other = await recorded.call("DELETE", one, recorded.owner)
        assert other[0] == 404, "it is another link's"
        assert (await recorded.call("DELETE", one, recorded.token(Role.RECRUITER)))[0] == 204
        assert (await recorded.call("DELETE", one, recorded.token(Role.RECRUITER)))[0] == 404
    assert await listed(recorded) == []
    assert stored(recorded) == []
    await ask(recorded, end_s=1)
    assert (await until(recorded, "ready", "failed"))["state"] == "ready", "others go on"


async def test_one_that_is_removed_while_its_file_is_made_leaves_nothing(
    recorded: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, removed = threading.Event(), threading.Event()
    create = queue._create

    def slowly(path: Path) -> int:
        begun.set()
        assert removed.wait(PATIENCE_S)
        return create(path)

    monkeypatch.setattr(queue, "_create", slowly)
    await ask(recorded)
    assert await asyncio.to_thread(begun.wait, PATIENCE_S)
    one = f"{path_of(recorded)}/{(await listed(recorded))[0]['id']}"
    asyncio.get_running_loop().call_later(0.05, removed.set)  # once its task is cancelled
    assert (await recorded.call("DELETE", one, recorded.token(Role.RECRUITER)))[0] == 204
    assert removed.is_set(), "who removes it waits for the disk"
    assert stored(recorded) == []
    assert not any(str(recorded.data_dir / "exports") in each for each in opened())


def opened() -> list[str]:
    """What this process has open; of files that were removed, too."""
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(os.readlink(descriptor))
    return names


@pytest.mark.timeout(180)
async def test_what_is_ready_is_kept_for_a_time(
    recorded: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "KEPT_S", 0.0)
    await ask(recorded, end_s=1)
    async with asyncio.timeout(PATIENCE_S):
        while await listed(recorded):  # noqa: ASYNC110 (as a page looks)
            await asyncio.sleep(0.05)
        while stored(recorded):  # noqa: ASYNC110 (what is not offered any more is removed then)
            await asyncio.sleep(0.05)


async def test_only_so_many_are_made_for_a_link(recorded: Serving) -> None:
    for _ in range(MAX_EXPORTS_PER_LINK):
        assert (await ask(recorded))[0] == 201
    status, body = await ask(recorded)
    assert (status, body["error"]["id"]) == (429, "too-many-exports")
    assert len(await viewings(recorded)) == MAX_EXPORTS_PER_LINK, "who gets nothing, reads nothing"
    status, _ = await ask(recorded, recorded.owner)
    assert status == 201


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"start_s": -1}, 400),
        ({"start_s": 10.5}, 400),
        ({"start_s": 3, "end_s": 3}, 400),
        ({"start_s": 5, "end_s": 2}, 400),
        ({"start_s": "x"}, 400),
        ({"end_s": 1e300}, 201),
    ],
)
async def test_there_must_be_something_to_export(
    recorded: Serving, wanted: dict[str, Any], status: int
) -> None:
    assert (await ask(recorded, **wanted))[0] == status
    assert len(await viewings(recorded)) == (status == 201)


@pytest.mark.timeout(180)
async def test_a_process_that_is_killed_is_told_as_a_failure(recorded: Serving) -> None:
    await ask(recorded, transcode=True)
    await until(recorded, "running")
    os.kill(await worker(), signal.SIGKILL)
    failed = await until(recorded, "failed", "ready")
    assert (failed["state"], failed["fault"], failed["file"]) == ("failed", "failed", None)


async def worker() -> int:
    """The export's process, once there is one."""
    async with asyncio.timeout(PATIENCE_S):
        while (found := _worker()) is None:  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.02)
    return found


def _worker() -> int | None:
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(FileNotFoundError):
                if b"export.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    return None


@pytest.mark.timeout(180)
async def test_what_was_damaged_is_named(recorded: Serving) -> None:
    folder = recorded.data_dir / "recordings" / recorded.one.interview_id
    segment = next(folder.glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    await ask(recorded)
    failed = await until(recorded, "failed", "ready")
    assert (failed["state"], failed["fault"]) == ("failed", "recording-damaged")


@pytest.mark.timeout(180)
async def test_a_file_ends_with_its_link_and_with_its_recordings_key(recorded: Serving) -> None:
    await ask(recorded, end_s=1)
    await ask(recorded, recorded.owner, end_s=1)
    recruiters = (await until(recorded, "ready"))["file"]
    owners = (await until(recorded, "ready", token=recorded.owner))["file"]
    link = await recorded.link(Role.RECRUITER)
    one = f"/api/interviews/{recorded.one.interview_id}/links/{link.id}"
    assert (await recorded.call("DELETE", one, recorded.owner))[0] == 204
    for path in (recruiters, f"{recruiters}/statement"):
        status, body = await recorded.call("GET", path)
        assert (status, body["error"]["id"]) == (401, "token-revoked")
    assert (await recorded.call("GET", owners))[0] == 200
    database = KeyDatabase(recorded.data_dir / "keys" / "keys.sqlite")
    assert database.destroy(recorded.one.interview_id, 1)
    status, body = await recorded.call("GET", owners)
    assert (status, body["error"]["id"]) == (409, "recording-locked")


async def test_an_address_that_nobody_was_given_is_not_found(recorded: Serving) -> None:
    await ask(recorded)
    for path in ("/exports/guessed", "/exports/guessed/statement", "/exports/%C3%A9"):
        status, body = await recorded.call("GET", path)
        assert (status, body["error"]["id"]) == (404, "not-found")


@asynccontextmanager
async def restarted(data_dir: Path, of: Serving) -> AsyncIterator[Serving]:
    """The next server, with the interviews of the one before."""
    async with open_serving(data_dir) as serving:
        serving.one = of.one
        yield serving


@pytest.mark.timeout(180)
async def test_what_is_ready_is_found_again_by_the_next_server(tmp_path: Path) -> None:
    async with open_serving(tmp_path) as before:
        await record(before, before.one.interview_id, interview(Codec.H264, 4))
        await ask(before, start_s=1)
        ready = await until(before, "ready")
        file = await before.call("GET", ready["file"])
        statement = await before.call("GET", ready["statement"])
    async with restarted(tmp_path, before) as after:
        (found,) = await listed(after)
        assert found == ready, "at the same address: a download that broke goes on"
        assert await after.call("GET", found["file"]) == file
        assert await after.call("GET", found["statement"]) == statement
        database = await asyncio.to_thread((after.data_dir / DATABASE).read_bytes)
        assert ready["file"].rpartition("/")[2].encode() not in database
        assert (await ask(after, start_s=2))[0] == 201
        assert (await until(after, "ready"))["start_s"] == 2
        one = f"{path_of(after)}/{found['id']}"
        assert (await after.call("DELETE", one, after.token(Role.RECRUITER)))[0] == 204
        assert len(stored(after)) == 1
        keys = KeyDatabase(after.data_dir / "keys" / "keys.sqlite")
        assert keys.destroy(after.one.interview_id, 1)
        (other,) = await listed(after)
        assert (await after.call("GET", other["file"]))[0] == 409


@pytest.mark.timeout(180)
async def test_what_was_under_way_is_told_to_be_cut_off_and_nothing_of_it_is_left(
    tmp_path: Path,
) -> None:
    async with open_serving(tmp_path) as before:
        await record(before, before.one.interview_id, interview(Codec.H264, 10))
        await ask(before, transcode=True)
        await ask(before, start_s=3)
        process = await worker()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert stored(before) == []
    (before.data_dir / "exports" / "of-a-server-that-was-killed").write_bytes(b"half of it")
    async with restarted(tmp_path, before) as after:
        assert stored(after) == []
        told = [(each["state"], each["fault"], each["file"]) for each in await listed(after)]
        assert told == [("failed", "cut-off", None)] * 2
        assert [each["start_s"] for each in await listed(after)] == [0, 3]
        for each in await listed(after):
            one = f"{path_of(after)}/{each['id']}"
            assert (await after.call("DELETE", one, after.token(Role.RECRUITER)))[0] == 204
        await ask(after, end_s=1)
        assert (await until(after, "ready", "failed"))["state"] == "ready"
    async with restarted(tmp_path, before) as again:
        assert [each["state"] for each in await listed(again)] == ["ready"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("lost", "told"), [("its time", []), ("its file", ["cut-off"])])
async def test_what_is_over_or_gone_meanwhile_is_not_offered(
    tmp_path: Path, lost: str, told: list[str]
) -> None:
    async with open_serving(tmp_path) as before:
        await record(before, before.one.interview_id, interview(Codec.H264, 2))
        await ask(before)
        await until(before, "ready")
    if lost == "its file":
        stored(before)[0].unlink()
    else:
        with Store(before.data_dir / DATABASE) as store:
            ((kept, _),) = store.exports()
            store.keep_export(replace(kept, until_s=START_S))
    async with restarted(tmp_path, before) as after:
        async with asyncio.timeout(PATIENCE_S):
            while [each["fault"] for each in await listed(after)] != told:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while await asyncio.to_thread(stored, after):  # noqa: ASYNC110 (as a page looks)
                await asyncio.sleep(0.05)
