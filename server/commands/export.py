"""The command `vivavoce export`."""

import argparse
import os
import re
import sys
import time
from pathlib import Path

from server.app import open_database
from server.commands.data import open_keys_of, open_store_of
from server.commands.terminal import EXIT_FAULT, show_progress
from server.config import (
    ConfigError,
    add_data_dir_flag,
    add_root_key_flag,
    add_store_flag,
    existing_data_dir,
)
from server.core.interviews import Way
from server.recorder import derivation
from server.recorder.catalog import open_reader
from server.recorder.clip import Clip
from server.recorder.manifest import to_unix_us
from server.recorder.reader import RecordingReader
from server.recorder.root_key import KeyProblem
from server.recorder.sealing import SegmentError
from server.store import Viewing, new_id


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interview_id", metavar="INTERVIEW_ID")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--from", type=_moment, default=0.0, dest="start_s", metavar="T", help="[[h:]mm:]ss[.fff]"
    )
    parser.add_argument("--to", type=_moment, dest="end_s", metavar="T", help="(the end)")
    parser.add_argument("--transcode", action="store_true", help="make all pictures H.264")
    add_root_key_flag(parser)
    add_store_flag(parser)
    add_data_dir_flag(parser)
    parser.set_defaults(run=_export)


def _export(flags: argparse.Namespace) -> int:
    # Only here: it brings decoders, and the serving process must have none.
    from server.recorder.export import ExportError, export

    folder = existing_data_dir(flags, os.environ)
    keys = open_keys_of(folder, flags)
    try:
        reader = open_reader(folder, flags.interview_id, keys, open_store_of(flags))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"There is no recording of {flags.interview_id}.") from error
    except (SegmentError, KeyProblem, OSError) as error:
        return _not_exported(error)
    source, span_us = _part(reader, flags.start_s, flags.end_s)
    _note_export(folder, flags.interview_id, span_us)
    try:
        export(source, flags.output, show_progress, transcode=flags.transcode)
        made = derivation.describe(
            flags.output,
            derivation.origin(reader.manifest),
            span_us,
            to_unix_us(time.time()),
            transcoded=flags.transcode,
        )
        derivation.sign(flags.output, made, keys.signer)
    except (SegmentError, ExportError, OSError) as error:
        return _not_exported(error)
    print(f"Written: {flags.output}")
    print(f"Signed:  {derivation.statement_of(flags.output)} (vivavoce verify {flags.output})")
    return 0


def _not_exported(error: Exception) -> int:
    print(f"vivavoce: not exported: {error}", file=sys.stderr)
    return EXIT_FAULT


def _part(
    reader: RecordingReader, start_s: float, end_s: float | None
) -> tuple[RecordingReader | Clip, tuple[int, int]]:
    """What is exported, and from where to where. Raises ConfigError."""
    if start_s == 0 and end_s is None:
        return reader, (0, reader.duration_us)
    end_us = reader.duration_us if end_s is None else min(reader.duration_us, round(end_s * 1e6))
    try:
        return Clip(reader, round(start_s * 1e6), end_us), (round(start_s * 1e6), end_us)
    except ValueError as error:
        duration_s = reader.duration_us / 1e6
        raise ConfigError(f"There is nothing: the recording lasts {duration_s:.1f} s.") from error


def _moment(text: str) -> float:
    """Seconds since the start, of `[[h:]mm:]ss[.fff]`."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"not a time: {text!r} (as 90, 1:30 or 1:02:03.5)")
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def _note_export(folder: Path, interview_id: str, span_us: tuple[int, int]) -> None:
    """First on the record, then decrypted."""
    now, (start_us, end_us) = time.time(), span_us
    place = start_us / 1e6, end_us / 1e6
    whole = Viewing(new_id(), interview_id, None, Way.EXPORT, now, now, *place)
    with open_database(folder) as store:
        store.keep_viewings([whole])
