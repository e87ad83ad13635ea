"""The real process: killed, at rest, closed. What it reads is in `test_replay` and `test_hls`."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Codec
from server.recorder.catalog.recordings import recording_key
from server.recorder.keys.root_key import KeyUnavailable
from server.recorder.replay import wire
from server.recorder.replay.index import Side
from server.recorder.replay.wire import (
    Failed,
    Fault,
    Index,
    Media,
    Place,
    Sign,
    Signature,
    Signer,
    StreamInit,
    WhoSigns,
)
from server.recorder.replay.worker import NICENESS
from server.signaling import replay_process
from server.signaling.replay_process import (
    Found,
    ProcessBusy,
    ProcessEnded,
    ReplayProcess,
    open_replay_process,
)
from tests.recorder.conftest import Desk
from tests.recorder.encoded import camera, in_order, microphone
from tests.signaling.serving import Serving
from tests.signaling.test_replay import record, viewings

pytestmark = pytest.mark.may_block("looks for the process in /proc")

PATIENCE_S = 60


def workers() -> list[int]:
    """Of this process; a killed one that nobody has waited for is none."""
    pids = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in pids if "replay.worker" in _command(pid)]


def core_bytes(pid: int) -> list[str]:
    """How large a core dump may be, and may become."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    return limits.split("Max core file size")[1].split()[:2]


def spoil(place: Place) -> None:
    segment = next(Path(place.folder).glob("*.seg"))
    segment.write_bytes(bytes(segment.stat().st_size))


def put_in_its_place(desk: Desk, place: Place) -> Place:
    folder = Path(place.folder)
    folder.rename(folder.with_name("former"))
    desk.path("iv").rename(folder)
    key = recording_key(folder.parents[1], "iv", desk.keys)
    return Place(place.folder, "", place.keys, key, desk.keys.public_key.hex())


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    desk = Desk(tmp_path / "data")
    desk.write(in_order(camera(Codec.H264), microphone()))
    key = recording_key(desk.data_dir, "iv", desk.keys)
    keys = str(desk.keys.database.path.parent)
    return Place(str(desk.path("iv")), "", keys, key, desk.keys.public_key.hex())


async def nobody(message: WhoSigns | Sign) -> Signer | Signature:
    raise KeyUnavailable("Vault does not answer")


@pytest.fixture
async def process() -> AsyncIterator[ReplayProcess]:
    async with asyncio.timeout(PATIENCE_S), open_replay_process(nobody, False) as opened:
        yield opened


WANTED = Media(Side.CANDIDATE, 1, 2)


async def found(process: ReplayProcess, place: Place) -> Found:
    answer = await process.ask(place, WANTED)
    assert isinstance(answer, Found)
    return answer


async def test_it_is_there_when_it_is_needed_and_gives_way(
    process: ReplayProcess, place: Place
) -> None:
    assert workers() == []
    answer = await found(process, place)
    assert answer.body[4:8] == b"moof"
    assert answer.seen_s[0][0] == 0
    (pid,) = workers()
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
    assert core_bytes(pid) == ["0", "0"], "it has keys in memory"
    assert os.getsid(pid) == os.getsid(0), "or the kernel would not let the server go first"
    assert os.getpgid(pid) == pid, "a Ctrl-C is not for it"


async def test_the_thread_that_takes_answers_takes_no_core_from_the_loop(
    process: ReplayProcess, place: Place
) -> None:
    before = os.sched_getscheduler(0)
    await found(process, place)
    (thread,) = (each for each in threading.enumerate() if each.name == "replay answers")
    assert thread.native_id is not None
    assert os.sched_getscheduler(thread.native_id) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before


async def test_who_asked_one_that_is_killed_is_answered_by_another(
    process: ReplayProcess, place: Place
) -> None:
    before = await found(process, place)
    (killed,) = workers()
    os.kill(killed, signal.SIGSTOP)
    asking = [asyncio.create_task(found(process, place)) for _ in range(3)]
    await asyncio.sleep(0)  # they have asked, and it will never answer
    os.kill(killed, signal.SIGKILL)
    assert await asyncio.gather(*asking) == [before] * 3
    assert killed not in workers()
    assert len(workers()) == 1


async def test_where_one_after_the_other_is_killed_it_is_told_and_the_next_is_asked(
    process: ReplayProcess, place: Place
) -> None:
    asking = asyncio.create_task(process.ask(place, WANTED))
    await _kill_until(asking)
    with pytest.raises(ProcessEnded):
        await asking
    assert await found(process, place)


async def _kill_until(done: asyncio.Future[Any]) -> None:
    while not done.done():
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0)


async def test_a_player_is_told_to_try_again_and_then_gets_what_it_asked_for(
    serving: Serving,
) -> None:
    await record(serving, serving.one.interview_id)
    url = f"/api/recordings/{serving.one.interview_id}/fragment/1"
    headers = serving.bearer(serving.owner)
    asking = asyncio.ensure_future(serving.http.get(url, headers=headers))
    await _kill_until(asking)
    async with await asking as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert (await answer.json())["error"]["id"] == "server-busy"
    assert await viewings(serving) == [], "nobody has seen anything"
    async with serving.http.get(url, headers=headers) as answer:
        assert answer.status == 200
    assert len(await viewings(serving)) == 1


async def test_it_ends_when_nothing_is_asked_and_nothing_is_lost_by_that(
    process: ReplayProcess, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_process, "IDLE_S", 0.05)
    first = await found(process, place)
    while workers():  # noqa: ASYNC110 - another process ends
        await asyncio.sleep(0)
    assert await found(process, place) == first


async def test_it_ends_with_the_server_also_one_that_hangs(place: Place) -> None:
    for hangs in (False, True):
        async with open_replay_process(nobody, False) as process:
            await found(process, place)
            (pid,) = workers()
            if hangs:
                os.kill(pid, signal.SIGSTOP)
        assert workers() == []


async def test_who_does_not_wait_for_one_that_hangs_has_it_killed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_process, "EXIT_S", 2 * PATIENCE_S)
    hangs = asyncio.Event()

    async def serve() -> None:
        async with open_replay_process(nobody, False) as process:
            await found(process, place)
            os.kill(workers()[0], signal.SIGSTOP)
            hangs.set()

    serving = asyncio.create_task(serve())
    await hangs.wait()
    for _ in range(10):  # until its end is waited for
        await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    left = workers()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


async def test_one_that_answers_nonsense_is_replaced(
    process: ReplayProcess, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await found(process, place)
    read, answered = wire.read, threading.Event()

    def nonsense(pipe: wire.File) -> tuple[bytes, bytearray] | None:
        whole = read(pipe)
        if whole is None or answered.is_set():
            return whole
        answered.set()
        return b"?", bytearray()

    monkeypatch.setattr(wire, "read", nonsense)
    for _ in range(2):  # the first call of it was begun before
        assert await found(process, place) == before
    assert answered.is_set()


async def test_it_starts_no_more_than_once_for_many(process: ReplayProcess, place: Place) -> None:
    answers = await asyncio.gather(*(found(process, place) for _ in range(20)))
    assert answers == answers[:1] * 20
    assert len(workers()) == 1


async def test_what_cannot_be_read_is_named(process: ReplayProcess, place: Place) -> None:
    for asked, fault in (
        (Media(Side.CANDIDATE, 99, 99), Fault.NO_PART),
        (StreamInit(Side.CANDIDATE, 0, False), Fault.LOCKED),
    ):
        answer = await process.ask(place, asked)
        assert isinstance(answer, Failed)
        assert answer.fault is fault
    spoil(place)
    process.forget(place.folder)
    answer = await process.ask(place, Index(0, False))
    assert isinstance(answer, Failed)
    assert answer.fault is Fault.DAMAGED


async def test_one_that_hangs_is_asked_only_so_much(
    process: ReplayProcess, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await found(process, place)
    (pid,) = workers()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(replay_process, "MAX_WAITING", 3)
    asking = [asyncio.create_task(found(process, place)) for _ in range(3)]
    await asyncio.sleep(0)  # they have asked
    with pytest.raises(ProcessBusy):
        await process.ask(place, WANTED)
    os.kill(pid, signal.SIGCONT)
    assert await asyncio.gather(*asking) == [before] * 3
    assert await found(process, place) == before, "and it is asked again"


async def test_whatever_hinders_a_signature_hinders_nothing_else(place: Place) -> None:
    async def confused(message: WhoSigns | Sign) -> Signer | Signature:
        raise ValueError("the certificate's row is damaged")

    async with asyncio.timeout(PATIENCE_S), open_replay_process(confused, False) as process:
        answer = await process.ask(place, StreamInit(Side.CANDIDATE, 0, False))
        assert isinstance(answer, Failed)
        assert await found(process, place)


async def test_another_recording_in_its_place_is_read_by_its_own_key(
    process: ReplayProcess, place: Place, tmp_path: Path
) -> None:
    first = await found(process, place)
    desk = Desk(tmp_path / "other")
    desk.write(in_order(camera(Codec.VP8), microphone()))
    other = put_in_its_place(desk, place)
    assert (await found(process, other)).body != first.body
    answer = await process.ask(place, WANTED)
    assert isinstance(answer, Failed), "the former key opens nothing here"
