"""Load test: `python -m loadtest --interviews N --duration S` against a running server.

Exit codes: 0 the run is valid, 1 it is not, 2 wrong use, 3 no server, 4 refused by the server.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import aiohttp
import msgspec
import uvloop

from loadtest import browser, capacity, compare, html
from loadtest.arguments import UsageError, capacity_parser, make_plan, run_parser
from loadtest.candidate import EXIT_REFUSED, EXIT_USAGE
from loadtest.endpoints import EndpointError
from loadtest.invites import InviteError
from loadtest.media import MediaError
from loadtest.plan import Plan
from loadtest.run import NoServer, Progress, progress_line, run
from loadtest.summary import as_text
from loadtest.whip import Refused
from loadtest.worker import WorkerError

EXIT_INVALID, EXIT_NO_SERVER = 1, 3
USAGE_ERRORS = (UsageError, MediaError, EndpointError, html.OutputError, browser.BrowserError)
#: Between two runs of a search, until the server has come to rest.
SETTLE_S = 3.0

T = TypeVar("T")


def main() -> int:
    if sys.argv[1:2] == ["compare"]:
        return compare.main(sys.argv[2:])
    searching = sys.argv[1:2] == ["capacity"]
    try:
        return _capacity(sys.argv[2:]) if searching else _one_run(sys.argv[1:])
    except USAGE_ERRORS as error:
        return _fail(error, EXIT_USAGE)
    except NoServer as error:
        return _fail(error, EXIT_NO_SERVER)
    except (Refused, InviteError) as error:
        return _fail(error, EXIT_REFUSED)
    except aiohttp.ClientError as error:
        return _fail(error, EXIT_NO_SERVER)
    except WorkerError as error:
        return _fail(error, EXIT_INVALID)
    except KeyboardInterrupt:  # while media was encoded; later it is a report that ends early
        return _fail("interrupted before it began", EXIT_INVALID)


def _one_run(arguments_given: list[str]) -> int:
    arguments = run_parser(__doc__).parse_args(arguments_given)
    if arguments.html is not None:
        html.refuse_unwritable(arguments.html)
    if arguments.browser:
        browser.refuse_missing()
    plan = make_plan(arguments, arguments.interviews)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(_until_stopped(lambda stop, show: run(plan, stop, show)))
    print(msgspec.json.encode(report).decode() if arguments.json else as_text(report), flush=True)
    if arguments.html is not None:
        html.write_page(arguments.html, report)
    return 0 if report.valid else EXIT_INVALID


def _capacity(arguments_given: list[str]) -> int:
    arguments = capacity_parser(capacity.__doc__).parse_args(arguments_given)
    if not 1 <= arguments.start <= arguments.limit:
        raise UsageError("--start must be above zero, and not above --limit")
    search = capacity.Search(arguments.start, arguments.limit)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(
            _until_stopped(
                lambda stop, show: find_capacity(
                    search, lambda count: make_plan(arguments, count), stop, show
                )
            )
        )
    print(msgspec.json.encode(found).decode() if arguments.json else capacity.as_text(found))
    return 0 if found.interviews else EXIT_INVALID


async def find_capacity(
    search: capacity.Search,
    plan: Callable[[int], Plan],
    stop: asyncio.Event,
    progress: Callable[[Progress], None],
) -> capacity.Capacity:
    """Runs what the search asks for until it is over or `stop` is set."""
    while not stop.is_set() and (count := search.next_interviews()) is not None:
        report = await run(plan(count), stop, progress)
        if report.interrupted:  # it may have failed for want of time
            break
        search.add(capacity.judge(report))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SETTLE_S)
    return search.capacity(stop.is_set())


def _fail(error: object, code: int) -> int:
    print(f"loadtest: {error}", file=sys.stderr)
    return code


async def _until_stopped(
    work: Callable[[asyncio.Event, Callable[[Progress], None]], Coroutine[Any, Any, T]],
) -> T:
    """The work, told to stop by a signal, with its progress on a terminal."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if not sys.stderr.isatty():
        return await work(stop, lambda progress: None)
    try:
        return await work(stop, _show)
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _show(progress: Progress) -> None:
    """One line that is written over: `\\033[K` clears what a longer one left."""
    print("\r\033[K" + progress_line(progress), end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
