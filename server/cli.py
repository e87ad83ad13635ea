"""The command `vivavoce`: the server, its interviews, and their recordings."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from server import __version__
from server.commands.terminal import EXIT_UNFORESEEN, EXIT_UNREAD, EXIT_USAGE, unforeseen
from server.config import ConfigError
from server.memory import keep_private

#: Each with what adds its flags and sets `run`, which takes them and returns the exit status. Only
#: the one that was asked for is loaded: the server takes a second.
_COMMANDS = (
    ("serve", "serve.add_serve", "Start the server."),
    ("demo", "serve.add_demo", "Start it with one simulated candidate."),
    ("invite", "links.add_invite", "Make an interview and its links."),
    ("revoke", "links.add_revoke", "Withdraw a link; what is open with it is closed."),
    ("recordings", "recordings.add_recordings", "List the recordings."),
    (
        "inspect",
        "inspect.add_to",
        "Show what a recording consists of: tracks, segments, gaps, what proves it. "
        "Exit status 1: something of it is gone, or not as it was written.",
    ),
    ("viewings", "recordings.add_viewings", "List who read which seconds of a recording."),
    (
        "verify",
        "verify.add_to",
        "Check a recording, all of them, an export, or a receipt. "
        "Exit status 0: intact, 1: not, 2: it could not be checked.",
    ),
    (
        "log",
        "log.add_to",
        "Check the log of recordings, and print its checkpoint: whoever keeps that can tell later "
        "that nothing was taken back. Exit status as of verify.",
    ),
    ("export", "export.add_to", "Write a recording as one MP4 file."),
    (
        "compress",
        "compress.add_to",
        "Make recordings small, in AV1, by what can be seen of it. Exit status 1: one was left "
        "as it is, as it would not come near enough, or not be small.",
    ),
    ("keys", "keys.add_to", "Look after the recordings' keys."),
)

_EXIT_STATUS = f"""exit status, of every command:
  0   done
  1   something is wrong with what it looked at: it says what
  2   it could not be done, or was asked for in a wrong way
  {EXIT_UNFORESEEN}  an error of the program itself, by which nothing is found out
"""
_UNFORESEEN = (
    "an error of the program itself ({}), by which nothing is found out. With PYTHONDEVMODE=1 in "
    "the environment it shows all of it, for whoever mends it."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the process's exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if argv is None:  # else the process is another program's
        keep_private()
    flags = _parser(arguments).parse_args(arguments)
    try:
        status: int = flags.run(flags)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # of what it tells, not of what it reads
            return _unread()
        print(f"vivavoce: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        return _unread()
    except Exception as error:  # 1 would say that something is wrong with what it looked at
        if sys.flags.dev_mode:
            traceback.print_exc()
        print(f"vivavoce: {_UNFORESEEN.format(unforeseen(error))}", file=sys.stderr)
        return EXIT_UNFORESEEN


def _unread() -> int:
    """Nobody reads what is told."""
    # Python would try again at its end, and have a status of its own for that.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_UNREAD


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vivavoce",
        description=__doc__,
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vivavoce {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, adds_flags, help in _COMMANDS:
        command = commands.add_parser(name, help=help, description=help)
        if name in arguments:
            module, _, function = adds_flags.partition(".")
            getattr(import_module(f"server.commands.{module}"), function)(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
