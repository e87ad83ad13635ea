"""Load test: `python -m loadtest --interviews N --duration S` against a running server.

`python -m loadtest capacity` finds how many interviews a server carries, and
`python -m loadtest compare` holds the reports of runs against each other; both have a --help.

Exit codes: 0 the run is valid, 1 it is not, 2 wrong use, 3 no server, 4 refused by the server.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import aiohttp
import msgspec
import uvloop

from loadtest import browser, capacity, compare, html
from loadtest.arguments import (
    OpenFilesError,
    UsageError,
    capacity_parser,
    check_search,
    make_plan,
    run_parser,
)
from loadtest.candidate import EXIT_REFUSED, EXIT_USAGE
from loadtest.endpoints import EndpointError
from loadtest.invites import InviteError
from loadtest.media import MediaError
from loadtest.report import Report
from loadtest.run import NoServer, Progress, progress_line, run
from loadtest.summary import as_text
from loadtest.whip import REFUSAL, Refused
from loadtest.worker import WorkerError

EXIT_INVALID, EXIT_NO_SERVER = 1, 3
USAGE_ERRORS = (UsageError, MediaError, EndpointError, html.OutputError, browser.BrowserError)
#: Of a server under load, as a run raises them.
SERVER_FAULTS = (Refused, InviteError, TimeoutError, aiohttp.ClientError)
#: Of this tool: they say nothing about the server.
OWN_LIMITS = (OpenFilesError, WorkerError)
#: What was right for the first run is wrong for a later one: `--server-pid` has ended.
SERVER_GONE = (NoServer, UsageError)
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
    except (aiohttp.ClientError, TimeoutError) as error:
        return _fail(_words(error), EXIT_NO_SERVER)
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
        report = runner.run(
            _until_stopped(lambda stop, screen: run(plan, stop, screen.progress, screen.show))
        )
    print(msgspec.json.encode(report).decode() if arguments.json else as_text(report), flush=True)
    if arguments.html is not None:
        html.write_page(arguments.html, report)
    if not report.joined and report.errors and all(map(REFUSAL.match, report.errors)):
        return EXIT_REFUSED
    return 0 if report.valid else EXIT_INVALID


def _capacity(arguments_given: list[str]) -> int:
    arguments = capacity_parser(capacity.DESCRIPTION).parse_args(arguments_given)
    check_search(arguments)
    search = capacity.Search(arguments.start, arguments.limit)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(
            _until_stopped(
                lambda stop, screen: find_capacity(
                    search,
                    lambda count: run(
                        make_plan(arguments, count), stop, screen.progress, screen.show
                    ),
                    stop,
                    lambda trial: screen.keep(
                        f"tried {trial.interviews}: {capacity.verdict(trial)}"
                    ),
                )
            )
        )
    print(msgspec.json.encode(found).decode() if arguments.json else capacity.as_text(found))
    return 0 if found.interviews else EXIT_INVALID


async def find_capacity(
    search: capacity.Search,
    attempt: Callable[[int], Awaitable[Report]],
    stop: asyncio.Event,
    tried: Callable[[capacity.Trial], None] = lambda _: None,
    settle_s: float = SETTLE_S,
) -> capacity.Capacity:
    """Runs what the search asks for until it is over, `stop` is set or the server is gone.

    Raises what the first attempt does; from then on there is something to tell.
    """
    while not stop.is_set() and (count := search.next_interviews()) is not None:
        try:
            report = await attempt(count)
        except (*SERVER_FAULTS, *OWN_LIMITS, *SERVER_GONE) as error:
            if not search.trials:
                raise
            if isinstance(error, SERVER_GONE) and not isinstance(error, OWN_LIMITS):
                return search.capacity(f"the server is gone: {error}")
            search.add(_failed_trial(count, error))
        else:
            if report.interrupted:  # it may have failed for want of time
                break
            search.add(capacity.judge(report))
        tried(search.trials[-1])
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settle_s)
    return search.capacity("interrupted" if stop.is_set() else None)


def _failed_trial(interviews: int, error: Exception) -> capacity.Trial:
    """Of a run that ended without a report."""
    if isinstance(error, OWN_LIMITS):
        return capacity.Trial(interviews, [], [_words(error)], None)
    return capacity.Trial(interviews, [f"server: {_words(error)}"], [], None)


def _words(error: Exception) -> str:
    """A time-out has no text of its own."""
    return str(error) or "the server did not answer in time"


def _fail(error: object, code: int) -> int:
    print(f"loadtest: {error}", file=sys.stderr)
    return code


class _Screen:
    """A line on standard error that is written over, where that is a terminal; else nothing."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def progress(self, progress: Progress) -> None:
        self.show(progress_line(progress))

    def show(self, line: str) -> None:
        """In the place of what is there: `\\033[K` clears what a longer line left."""
        if self._shown:
            print("\r\033[K" + line, end="", file=sys.stderr, flush=True)

    def keep(self, line: str) -> None:
        """A line that stays there."""
        self.show(line + "\n")


async def _until_stopped(
    work: Callable[[asyncio.Event, _Screen], Coroutine[Any, Any, T]],
) -> T:
    """The work, told to stop by a signal, with its progress on a terminal."""
    stop, screen = asyncio.Event(), _Screen()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        return await work(stop, screen)
    finally:
        screen.show("")


if __name__ == "__main__":
    sys.exit(main())
