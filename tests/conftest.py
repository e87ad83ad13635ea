"""What every test of this project shares."""

import asyncio
import faulthandler
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from blockbuster import BlockBuster

#: Browsers, servers and load generators here are processes of their own, in real time.
_REAL_TIME = ("e2e/", "loadtest/", "media/test_server.py", "commands/test_serve.py")
_STDERR = pytest.StashKey[int]()
_LIMIT_S = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STDERR] = os.dup(2)  # no test captures it


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    item.stash[_LIMIT_S] = settings.timeout
    return True


def _limit_time(item: pytest.Item) -> None:
    """What takes too long tells the stack of each thread on stderr, and ends its process.

    Also where it holds the GIL, and in a worker of pytest-xdist, whose stdout nobody reads: there
    pytest-timeout's own way says nothing.
    """
    if limit_s := item.stash.get(_LIMIT_S, None):
        faulthandler.dump_traceback_later(limit_s, exit=True, file=item.config.stash[_STDERR])


# A failure lifts the limit (for a debugger): what then ends a test, or runs it again, has its own.
pytest_runtest_setup = pytest.hookimpl(_limit_time, tryfirst=True)
pytest_runtest_teardown = pytest.hookimpl(_limit_time, tryfirst=True)


def pytest_timeout_cancel_timer() -> bool:
    faulthandler.cancel_dump_traceback_later()
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs in real time and fails is run again, at most twice, and told as "rerun".

    A browser's own start, or a machine that stands still, must not refuse a change. What fails
    three times fails.
    """
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix().startswith(_REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=2))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What failed at first is told as what fails is: its cause may be the product's."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"RERUN {report.nodeid} ({report.when})")
        terminalreporter.write_line(report.longreprtext)
        for name, said in report.sections:
            terminalreporter.write_line(f"--- {name} ---\n{said}")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every async test runs on the loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


@contextmanager
def blocking_calls_fail() -> Iterator[None]:
    """Raise BlockingError where code of `server/` sleeps, or waits for a disk, in a loop.

    Locks are left out: one that another thread holds for microseconds would fail a test at
    random.
    """
    guard = BlockBuster("server")
    for name in [name for name in guard.functions if name.startswith("threading.")]:
        del guard.functions[name]
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


@pytest.fixture(autouse=True)
def _blocking_calls_fail(request: pytest.FixtureRequest) -> Iterator[None]:
    """Guard every async test but those marked `@pytest.mark.may_block("why")`."""
    function = getattr(request.node, "function", None)
    if inspect.iscoroutinefunction(function) and not request.node.get_closest_marker("may_block"):
        with blocking_calls_fail():
            yield
    else:
        yield
