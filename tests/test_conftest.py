"""`tests/conftest.py` itself: its guards catch what they promise, under uvloop too."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from blockbuster import BlockingError

import server
from tests.conftest import blocking_calls_fail
from tests.project import ROOT


def in_server(expression: str, **names: object) -> Callable[[], Any]:
    """A function that evaluates `expression` as a file of `server/`, where the guard looks."""
    path = Path(server.__path__[0]) / "written_by_a_test.py"
    function: Callable[[], Any] = eval(compile(f"lambda: {expression}", str(path), "eval"), names)
    return function


async def test_sleeping_in_the_loop_fails_a_test() -> None:
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        in_server("time.sleep(0)", time=time)()


async def test_reading_a_file_in_the_loop_fails_a_test(tmp_path: Path) -> None:
    path = tmp_path / "file"
    in_thread = in_server("path.write_bytes(b'x')", path=path)
    await asyncio.to_thread(in_thread)
    with pytest.raises(BlockingError, match="read"):
        in_server("path.read_bytes()", path=path)()


async def test_a_query_in_the_loop_fails_a_test() -> None:
    database = sqlite3.connect(":memory:")
    with pytest.raises(BlockingError, match="sqlite3"):
        in_server("database.execute('select 1')", database=database)()
    database.close()


def test_the_guard_watches_uvloop_as_well() -> None:
    async def sleep() -> None:
        in_server("time.sleep(0)", time=time)()

    with (
        blocking_calls_fail(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(BlockingError),
    ):
        runner.run(sleep())


async def test_the_guard_leaves_aiohttp_alone() -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=await in_server("request.text()", request=request)())

    app = web.Application()
    app.router.add_post("/", hello)
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/", data=b"x" * 100_000)
        assert len(await answer.text()) == 100_000


@pytest.mark.may_block("to see that the mark is heeded")
async def test_a_marked_test_may_block() -> None:
    in_server("time.sleep(0)", time=time)()


@pytest.mark.parametrize("library", ["CDLL", "PyDLL"])  # without the GIL, and holding it
def test_a_test_that_hangs_is_told_and_ends_the_run(tmp_path: Path, library: str) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    code = f"""
import ctypes

import pytest

@pytest.mark.parametrize("number", range(6))
def test_passes(number):
    pass

@pytest.mark.flaky(reruns=1)
def test_hangs_at_last(seen=[]):
    seen.append(None)
    assert len(seen) > 1
    ctypes.{library}(None).pause()

def test_after():
    pass
"""
    (tmp_path / "test_it.py").write_text(code)
    options = ("--numprocesses=2", "--dist=loadgroup", "--timeout=2", f"--rootdir={tmp_path}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", *options, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert " in test_hangs_at_last\n" in done.stderr
    assert "crashed while running 'test_it.py::test_hangs_at_last'" in done.stdout
