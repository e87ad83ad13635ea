"""What commands say, and to whom: a person, a program, a script."""

import argparse
import sys
import time
from typing import Any

import msgspec

#: Exit statuses: something is wrong with what was looked at; it could not be looked at.
EXIT_FAULT = 1
EXIT_USAGE = 2


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def show_progress(done: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:4.0%}", end="" if done < 1 else "\n", file=sys.stderr, flush=True)


def date(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))


def print_json(value: Any) -> None:
    print(msgspec.json.encode(value).decode())
