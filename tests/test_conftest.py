"""The guard of `tests/conftest.py` itself: it catches what it promises, under uvloop too."""

import asyncio
import sqlite3
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
