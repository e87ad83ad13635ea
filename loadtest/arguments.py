"""What can be asked for on the command line, and the plan it makes."""

import argparse
import os
import resource
from pathlib import Path
from typing import NoReturn

from loadtest.candidate import add_media_arguments, load_media
from loadtest.duration import DurationError, parse_duration
from loadtest.endpoints import EndpointTemplates, is_http
from loadtest.media import VIDEO_CODECS, VideoCodec
from loadtest.network import PROFILES, Impairments, NetworkError, parse_network
from loadtest.plan import Plan
from loadtest.scenario import ScenarioError, describe, make_scenario
from loadtest.server_cost import process_times

#: Sockets of an interview: two for media, one for HTTP and one for the observer's WebSocket.
FILES_PER_INTERVIEW = 4
FILES_BESIDES = 64

_NETWORK_HELP = f"""
networks for --network and --observer-network, by name or by what they do, or both:
  {", ".join(PROFILES)}
  loss=5%,burst=4,delay=60ms,jitter=30ms,reorder=1%,rate=300kbit/s,queue=200ms,move=10s
  (burst: losses in a row; queue: before the rate limit; move: a new address so often)
"""


class UsageError(Exception):
    """What was asked for cannot be done; the text says why."""


class OpenFilesError(UsageError):
    """More interviews than this system allows open files for."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for everything else that is wrong; `--help` has the usage."""
        raise UsageError(f"{message} (--help says what there is)")


def run_parser(description: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m loadtest",
        description=description,
        epilog=f"scenarios, NAME or NAME:PACE as churn:10m:\n{describe()}\n{_NETWORK_HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--interviews", type=int, default=1, metavar="N")
    parser.add_argument("--scenario", default="steady", metavar="NAME[:PACE]")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also a page for people")
    parser.add_argument(
        "--no-recording-check", action="store_true", help="leave finished recordings unread"
    )
    parser.add_argument("--browser", action="store_true", help="one more interview, in Chromium")
    _add_common(parser)
    return parser


def capacity_parser(description: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m loadtest capacity",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--start", type=int, default=10, metavar="N", help="interviews at first")
    parser.add_argument("--limit", type=int, default=500, metavar="N", help="interviews at most")
    _add_common(parser)
    parser.set_defaults(scenario="steady", html=None, no_recording_check=True, browser=False)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    port = os.environ.get("VIVAVOCE_PORT") or "8080"
    data_dir = os.environ.get("VIVAVOCE_DATA_DIR") or "data"
    parser.add_argument(
        "--duration", type=_duration, default=30.0, metavar="D", help="seconds, or 30m, or 2h"
    )
    parser.add_argument("--processes", type=int, default=1, metavar="P", help="of this tool")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--url", default=f"http://127.0.0.1:{port}")
    parser.add_argument("--target", choices=("vivavoce", "whip"), default="vivavoce")
    parser.add_argument("--whip-url", metavar="URL", help="of --target whip; {n}: the interview")
    parser.add_argument("--whep-url", metavar="URL", help="likewise; without it nobody observes")
    parser.add_argument("--bearer", metavar="TOKEN", help="for --whip-url and --whep-url")
    parser.add_argument("--data-dir", type=Path, default=Path(data_dir), metavar="DIR")
    parser.add_argument("--owner-token", metavar="TOKEN", help="make interviews by the API with it")
    parser.add_argument("--server-pid", type=int, metavar="PID", help="else from DIR/server.json")
    parser.add_argument(
        "--codec", choices=("mixed", *VIDEO_CODECS), default="mixed", help="mixed: h264 and vp8"
    )
    again = "; several: in turn"
    parser.add_argument(
        "--network", action="append", default=[], metavar="WHAT", help="of candidates" + again
    )
    parser.add_argument(
        "--observer-network", action="append", default=[], metavar="WHAT", help="likewise"
    )
    parser.add_argument("--seed", default="", help="of networks and scenarios: the same run again")
    add_media_arguments(parser)


def check_search(arguments: argparse.Namespace) -> None:
    """Before the first run of a search, what would end a later one. Raises UsageError."""
    if not 1 <= arguments.start <= arguments.limit:
        raise UsageError("--start must be above zero, and not above --limit")
    if arguments.target == "whip" and arguments.whep_url is None:
        raise UsageError("capacity needs --whep-url: without observers no level is measured")
    try:
        allow_open_files(arguments.limit)
    except OpenFilesError as error:
        raise OpenFilesError(f"--limit {arguments.limit} is too much: {error}") from error


def make_plan(arguments: argparse.Namespace, interviews: int) -> Plan:
    """Raises UsageError, EndpointError or MediaError."""
    _check(arguments, interviews)
    allow_open_files(interviews)
    foreign = _foreign(arguments, interviews)
    codecs: tuple[VideoCodec, ...] = (
        ("h264", "vp8") if arguments.codec == "mixed" else (arguments.codec,)
    )
    try:
        scenario = make_scenario(arguments.scenario, interviews, arguments.duration, arguments.seed)
    except ScenarioError as error:
        raise UsageError(f"--scenario: {error}") from error
    networks = _networks("--network", arguments.network)
    observer_networks = _networks("--observer-network", arguments.observer_network)
    clips = [load_media(arguments, codec) for codec in codecs[:interviews]]
    return Plan(
        foreign.origin if foreign else arguments.url.rstrip("/"),
        tuple(clips),
        interviews,
        arguments.duration,
        arguments.data_dir,
        arguments.owner_token,
        arguments.server_pid,
        not arguments.no_recording_check,
        arguments.browser,
        foreign,
        scenario,
        networks,
        observer_networks,
        arguments.seed,
        min(arguments.processes, interviews),
    )


def _check(arguments: argparse.Namespace, interviews: int) -> None:
    if interviews < 1:
        raise UsageError("--interviews must be above zero")
    if arguments.processes < 1:
        raise UsageError("--processes must be above zero")
    if not is_http(arguments.url):
        raise UsageError(f"--url must be http://HOST:PORT, or https, not {arguments.url!r}")
    pid = arguments.server_pid
    if pid is not None and (pid < 1 or not process_times(pid)):
        raise UsageError(f"--server-pid: no process has the id {pid}")


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except DurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _networks(flag: str, texts: list[str]) -> tuple[Impairments, ...]:
    try:
        return tuple(map(parse_network, texts))
    except NetworkError as error:
        raise UsageError(f"{flag}: {error}") from error


def _foreign(arguments: argparse.Namespace, interviews: int) -> EndpointTemplates | None:
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
    return EndpointTemplates(*given, interviews)


def allow_open_files(interviews: int) -> None:
    """Lifts the limit of open files as far as it is needed. Raises OpenFilesError."""
    needed = interviews * FILES_PER_INTERVIEW + FILES_BESIDES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise OpenFilesError(
            f"{interviews} interviews need {needed} open files, this system allows {hard}"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
