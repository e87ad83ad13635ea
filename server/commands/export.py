"""The command `vivavoce export`: a recording, or a part of it, as one MP4 file, or as evidence."""

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.commands.data import open_keys_of, open_store_of
from server.commands.evidence import export_evidence
from server.commands.terminal import EXIT_CANCELLED, EXIT_FAULT, Progress, utc
from server.commands.text import moment
from server.config import (
    ConfigError,
    add_c2pa_flags,
    add_data_dir_flag,
    add_root_key_flag,
    add_store_flag,
    add_timestamp_flag,
    c2pa_files,
    existing_data_dir,
    timestamp_url,
)
from server.core.interviews import Way
from server.data_dir import open_database
from server.recorder.catalog.spool import put_down_derived
from server.recorder.evidence import derivation
from server.recorder.export.clip import Clip
from server.recorder.export.content_credentials import Credentials, CredentialsUnavailable, made_of
from server.recorder.export.long_pauses import WithoutLongPauses
from server.recorder.format.manifest import to_unix_us
from server.recorder.format.sealing import SegmentError
from server.recorder.keys import claim_signer
from server.recorder.keys.key_ring import KeyRing
from server.recorder.keys.root_key import KeyProblem
from server.recorder.replay.reader import RecordingReader, open_reader
from server.store import Viewing, new_id


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interview_id", metavar="INTERVIEW_ID", help="see `vivavoce recordings`")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the MP4 to write"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--from",
        type=_moment,
        default=0.0,
        dest="start_s",
        metavar="T",
        help="a part alone, from [[h:]mm:]ss[.fff] of the recording (its start)",
    )
    parser.add_argument("--to", type=_moment, dest="end_s", metavar="T", help="(its end)")
    parser.add_argument(
        "--transcode",
        action="store_true",
        help="make all pictures H.264, which play everywhere (as they were recorded where browsers "
        "play that)",
    )
    parser.add_argument(
        "--evidence",
        action="store_true",
        help="a zip archive instead of an MP4: the encrypted recording and all that proves it",
    )
    parser.add_argument(
        "--with-key",
        action="store_true",
        help="put the recording's key into the evidence: whoever has the archive can see and hear "
        "everything. It is noted among the viewings",
    )
    parser.add_argument(
        "--c2pa",
        action="store_true",
        help="sign Content Credentials into FILE, which C2PA's readers show: that it is a capture, "
        "what was done to it, and of which recording it is",
    )
    add_c2pa_flags(parser, "; implies --c2pa")
    add_timestamp_flag(parser, "Content Credentials")
    add_root_key_flag(parser)
    add_store_flag(parser)
    add_data_dir_flag(parser)
    parser.epilog = "Exit status 0: written, 1: not, 2: it was asked for wrongly, 130: cancelled."
    parser.set_defaults(run=_run)


def _run(flags: argparse.Namespace) -> int:
    if flags.output.exists() and not flags.overwrite:
        raise ConfigError(f"{flags.output} exists: --overwrite replaces it.")
    if not flags.output.parent.is_dir():
        raise ConfigError(f"There is no folder {flags.output.parent} to write to.")
    if flags.with_key and not flags.evidence:
        raise ConfigError("--with-key belongs to --evidence: an MP4 is not encrypted.")
    try:
        with _sigterm_as_sigint():
            return _export_evidence(flags) if flags.evidence else _export(flags)
    except KeyboardInterrupt:
        print("\nvivavoce: cancelled: nothing was written.", file=sys.stderr)
        return EXIT_CANCELLED


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """So that it, too, leaves nothing half behind."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _export(flags: argparse.Namespace) -> int:
    # Only here: it brings decoders, and the serving process must have none.
    from server.recorder.export.export import ExportError, export, is_among_recordings

    folder = existing_data_dir(flags, os.environ)
    keys = open_keys_of(folder, flags)
    try:
        reader = open_reader(folder, flags.interview_id, keys, open_store_of(flags))
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"There is no recording of {flags.interview_id} in {folder}: `vivavoce recordings` "
            "lists them, --data-dir says where to look."
        ) from error
    except (SegmentError, KeyProblem, OSError) as error:
        return _not_exported(error)
    if is_among_recordings(reader, flags.output):
        raise ConfigError("No media in the clear may lie among the recordings: choose a folder.")
    source, span_us = _part(reader, flags.start_s, flags.end_s)
    credentials = _credentials(flags, reader, span_us, keys)
    seal = _Seal(flags, folder, reader, span_us, keys)
    _note_export(folder, flags.interview_id, span_us)
    progress = Progress(sys.stderr)
    try:
        export(
            source,
            flags.output,
            progress,
            transcode=flags.transcode,
            credentials=credentials,
            seal=seal,
        )
    except (SegmentError, ExportError, CredentialsUnavailable, OSError) as error:
        return _not_exported(error)
    finally:
        if not flags.output.exists():
            derivation.statement_of(flags.output).unlink(missing_ok=True)
    print(f"Written: {flags.output}")
    for chapter in WithoutLongPauses(source).chapters():
        print(f"  from {moment(chapter.start_us / 1e6)} on: recorded {utc(chapter.began_us)}")
    print(f"Signed:  {derivation.statement_of(flags.output)} (vivavoce verify {flags.output})")
    return 0


def _export_evidence(flags: argparse.Namespace) -> int:
    try:
        return export_evidence(flags)
    except (SegmentError, KeyProblem, OSError) as error:
        return _not_exported(error)


def _not_exported(error: Exception) -> int:
    print(f"vivavoce: not exported: {error}", file=sys.stderr)
    return EXIT_FAULT


def _credentials(
    flags: argparse.Namespace, reader: RecordingReader, span_us: tuple[int, int], keys: KeyRing
) -> Credentials | None:
    """What is signed into the file, if anything shall. Raises ConfigError, before any work."""
    if not flags.c2pa and not flags.c2pa_cert:
        return None
    files, now = c2pa_files(flags, os.environ), time.time()
    try:
        if files is None:
            signer = keys.claim_signer(now)
        else:
            signer = claim_signer.load(files.certificate, files.key)
        url = timestamp_url(flags, os.environ)
        return Credentials(made_of(reader, span_us), signer, now, url)
    except (KeyProblem, CredentialsUnavailable, OSError) as error:
        raise ConfigError(f"Content Credentials can't be signed: {error}.") from error


class _Seal:
    """Signs a whole export, before it gets its name."""

    def __init__(
        self,
        flags: argparse.Namespace,
        data_dir: Path,
        reader: RecordingReader,
        span_us: tuple[int, int],
        keys: KeyRing,
    ) -> None:
        self._data_dir = data_dir
        self._output: Path = flags.output
        self._transcoded: bool = flags.transcode
        self._manifest = reader.manifest
        self._span_us = span_us
        self._keys = keys

    def __call__(self, path: Path) -> None:
        origin = derivation.origin(self._manifest)
        made_us = to_unix_us(time.time())
        made = derivation.describe(
            path, origin, self._span_us, made_us, transcoded=self._transcoded
        )
        put_down_derived(self._data_dir, made, self._keys.public_key, self._keys.signer)
        derivation.sign(self._output, made, self._keys.signer)


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
        reversed_ = end_s is not None and end_s <= start_s
        why = "--to has to come after --from" if reversed_ else "There is nothing at that time"
        raise ConfigError(f"{why}: the recording lasts {duration_s:.1f} s.") from error


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
