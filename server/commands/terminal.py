"""What commands say, and to whom: a person, a program, a script."""

import argparse
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import msgspec

#: Exit statuses: something is wrong with what was looked at; it could not be looked at.
EXIT_FAULT = 1
EXIT_USAGE = 2
#: An error of the program itself (sysexits.h: EX_SOFTWARE): Python's own 1 would say that what was
#: looked at is wrong.
EXIT_UNFORESEEN = 70
#: As shells tell that a program was interrupted: 128 and SIGINT's number.
EXIT_CANCELLED = 130
#: Likewise: whoever read what it said has seen enough, before all of it was said.
EXIT_UNREAD = 141
#: Progress is told no more often, and the time left no sooner.
_STEP_S = 0.2
_ESTIMATE_AFTER_S = 2.0
_PROGRAM = f"{Path(__file__).parents[2]}/"


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


class Progress:
    """Percent and time left, in one line of a terminal; elsewhere nothing."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._began_s = self._told_s = clock()

    def __call__(self, done: float) -> None:
        """``done``: the share, 0..1."""
        now = self._clock()
        if not self._out.isatty() or (done < 1 and now - self._told_s < _STEP_S):
            return
        self._told_s = now
        # ECMA-48 8.3.41: the rest of the former line goes.
        text, end = _done(done, now - self._began_s), "\n" if done >= 1 else ""
        print(f"\r\x1b[K{text}", end=end, file=self._out, flush=True)


def _done(share: float, took_s: float) -> str:
    percent = f"{int(share * 100):3} %"
    if share >= 1 or share == 0 or took_s < _ESTIMATE_AFTER_S:
        return percent
    minutes, seconds = divmod(round(took_s * (1 - share) / share), 60)
    return f"{percent}, {f'{minutes} min ' if minutes else ''}{seconds} s left"


def unforeseen(error: Exception) -> str:
    """What kind of error of the program it is, and where; not its text, which may be anything."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if each.filename.startswith(_PROGRAM)]
    place = (ours or frames)[-1]
    return f"{type(error).__name__} in {place.filename.removeprefix(_PROGRAM)}, line {place.lineno}"


def date(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))


def utc(unix_us: int) -> str:
    """For what others compare, elsewhere."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_us // 1_000_000))


def shown(text: str) -> str:
    """Text of anybody's, of which a terminal does nothing but show it: it could hide a fault."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


def print_json(value: Any) -> None:
    print(msgspec.json.encode(value).decode())
