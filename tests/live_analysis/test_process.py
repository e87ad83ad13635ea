import asyncio
import itertools
import sys
from pathlib import Path

import pytest

from server.live_analysis import process
from server.live_analysis.process import WorkerProcess


@pytest.fixture
def starts() -> list[float]:
    return []


def worker(starts: list[float]) -> WorkerProcess:
    def started() -> None:
        starts.append(asyncio.get_running_loop().time())

    return WorkerProcess(lambda message: None, started, lambda feed: None)


async def until_restarted(place: WorkerProcess, times: int) -> None:
    task = asyncio.create_task(place.run())
    try:
        async with asyncio.timeout(20):
            while place.restarts < times:  # noqa: ASYNC110, the place has no event for it
                await asyncio.sleep(0.005)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_process_that_cannot_live_is_started_ever_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, starts: list[float]
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    await until_restarted(worker(starts), 4)
    first, second, third = (later - at for at, later in itertools.pairwise(starts))
    assert first >= 0.25
    assert second >= 0.75
    assert third >= 1.75


async def test_a_program_that_is_not_there_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, starts: list[float]
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    place = worker(starts)
    await until_restarted(place, 2)
    assert starts == []
    assert place.pid is None
    assert "could not be started" in caplog.text


async def test_words_that_nobody_sends_end_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, starts: list[float]
) -> None:
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{BABBLE}" "$3"\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(process, "EXIT_S", 0.2)
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: errors.append(context.get("exception")))
    await until_restarted(worker(starts), 1)
    assert [type(error).__name__ for error in errors] == ["BrokenWire"]


#: Says it will send four gigabytes, and waits.
BABBLE = "import os, sys, time; os.write(int(sys.argv[1]), bytes([255]) * 100); time.sleep(60)"
