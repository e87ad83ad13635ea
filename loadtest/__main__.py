"""Load test: `python -m loadtest --interviews N --duration S` against a running server.

Exit codes: 0 the run is valid, 1 it is not, 2 wrong use, 3 no server, 4 refused by the server.
"""

import argparse
import asyncio
import os
import resource
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import uvloop

from loadtest import browser, compare, html
from loadtest.candidate import EXIT_REFUSED, EXIT_USAGE, add_media_arguments
from loadtest.endpoints import EndpointError, EndpointTemplates
from loadtest.invites import InviteError
from loadtest.media import MediaError, VideoCodec, load_clip
from loadtest.packets import packetise
from loadtest.plan import Plan
from loadtest.report import Report, as_text
from loadtest.run import NoServer, Progress, progress_line, run
from loadtest.whip import Refused

EXIT_INVALID, EXIT_NO_SERVER = 1, 3
#: Sockets of an interview: two for media, one for HTTP and one for the observer's WebSocket.
FILES_PER_INTERVIEW = 4
FILES_BESIDES = 64


class UsageError(Exception):
    """What was asked for cannot be done; the text says why."""


def main() -> int:
    if sys.argv[1:2] == ["compare"]:
        return compare.main(sys.argv[2:])
    parser = _parser()
    arguments = parser.parse_args()
    try:
        if arguments.html is not None:
            html.refuse_unwritable(arguments.html)
        if arguments.browser:
            browser.refuse_missing()
        plan = _plan(arguments)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(_run(plan))
    except (UsageError, MediaError, EndpointError, html.OutputError, browser.BrowserError) as error:
        return _fail(error, EXIT_USAGE)
    except NoServer as error:
        return _fail(error, EXIT_NO_SERVER)
    except (Refused, InviteError) as error:
        return _fail(error, EXIT_REFUSED)
    except aiohttp.ClientError as error:
        return _fail(error, EXIT_NO_SERVER)
    if arguments.html is not None:
        arguments.html.write_text(html.page(report))
    print(msgspec.json.encode(report).decode() if arguments.json else as_text(report))
    return 0 if report.valid else EXIT_INVALID


def _fail(error: Exception, code: int) -> int:
    print(f"loadtest: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    port = os.environ.get("VIVAVOCE_PORT") or "8080"
    data_dir = os.environ.get("VIVAVOCE_DATA_DIR") or "data"
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    parser.add_argument("--interviews", type=int, default=1, metavar="N")
    parser.add_argument("--duration", type=float, default=30, metavar="S", help="seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also a page for people")
    parser.add_argument("--url", default=f"http://127.0.0.1:{port}")
    parser.add_argument("--target", choices=("vivavoce", "whip"), default="vivavoce")
    parser.add_argument("--whip-url", metavar="URL", help="of --target whip; {n}: the interview")
    parser.add_argument("--whep-url", metavar="URL", help="likewise; without it nobody observes")
    parser.add_argument("--bearer", metavar="TOKEN", help="for --whip-url and --whep-url")
    parser.add_argument("--data-dir", type=Path, default=Path(data_dir), metavar="DIR")
    parser.add_argument("--owner-token", metavar="TOKEN", help="make interviews by the API with it")
    parser.add_argument("--server-pid", type=int, metavar="PID", help="else from DIR/server.json")
    parser.add_argument(
        "--no-recording-check", action="store_true", help="leave finished recordings unread"
    )
    parser.add_argument("--browser", action="store_true", help="one more interview, in Chromium")
    parser.add_argument("--codec", choices=("mixed", "h264", "vp8"), default="mixed")
    add_media_arguments(parser)
    return parser


def _foreign(arguments: argparse.Namespace) -> EndpointTemplates | None:
    """Raises UsageError or EndpointError."""
    given = (arguments.whip_url, arguments.whep_url, arguments.bearer)
    if arguments.target == "vivavoce":
        if any(given):
            raise UsageError("--whip-url, --whep-url and --bearer go with --target whip")
        return None
    if arguments.whip_url is None:
        raise UsageError("--target whip needs --whip-url")
    if arguments.browser:
        raise UsageError("--browser needs our own pages, hence --target vivavoce")
    return EndpointTemplates(*given, arguments.interviews)


def _plan(arguments: argparse.Namespace) -> Plan:
    _check(arguments)
    foreign = _foreign(arguments)
    codecs: tuple[VideoCodec, ...] = (
        ("h264", "vp8") if arguments.codec == "mixed" else (arguments.codec,)
    )
    clips = [
        packetise(load_clip(codec, arguments.cache, arguments.video, arguments.audio))
        for codec in codecs[: arguments.interviews]
    ]
    return Plan(
        foreign.origin if foreign else arguments.url.rstrip("/"),
        tuple(clips),
        arguments.interviews,
        arguments.duration,
        arguments.data_dir,
        arguments.owner_token,
        arguments.server_pid,
        not arguments.no_recording_check,
        arguments.browser,
        foreign=foreign,
    )


def _check(arguments: argparse.Namespace) -> None:
    """Raises UsageError; lifts the limit of open files as far as it is needed."""
    if arguments.interviews < 1 or not arguments.duration > 0:
        raise UsageError("--interviews and --duration must be above zero")
    if urlsplit(arguments.url).scheme not in ("http", "https"):
        raise UsageError(f"--url must be http or https, not {arguments.url!r}")
    needed = arguments.interviews * FILES_PER_INTERVIEW + FILES_BESIDES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(
            f"{arguments.interviews} interviews need {needed} open files, this system allows {hard}"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _run(plan: Plan) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if not sys.stderr.isatty():
        return await run(plan, stop)
    try:
        return await run(plan, stop, _show)
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _show(progress: Progress) -> None:
    """One line that is written over: `\\033[K` clears what a longer one left."""
    print("\r\033[K" + progress_line(progress), end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
