"""The commands `vivavoce recordings` and `vivavoce viewings`."""

import argparse
import os
from pathlib import Path

import msgspec

from server.commands.data import open_keys_of
from server.commands.terminal import add_json_flag, date, print_json
from server.commands.text import length, size, table, terminal_columns
from server.config import ConfigError, add_data_dir_flag, add_root_key_flag, existing_data_dir
from server.core.frames import TrackName
from server.data_dir import open_database
from server.recorder.catalog.derived import Left
from server.recorder.catalog.listing import list_recordings
from server.recorder.catalog.recordings import recording_path
from server.signaling.view_log import item_of


def add_recordings(parser: argparse.ArgumentParser) -> None:
    add_root_key_flag(parser)
    add_json_flag(parser)
    add_data_dir_flag(parser)
    parser.set_defaults(run=_recordings)


def add_viewings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("interview_id", metavar="INTERVIEW_ID")
    add_json_flag(parser)
    add_data_dir_flag(parser)
    parser.set_defaults(run=_viewings)


class RecordingLine(msgspec.Struct, frozen=True):
    """What `recordings --json` says of each."""

    interview_id: str
    path: str
    title: str  #: empty where its key was destroyed or can't be used
    started_s: float | None  #: Unix time of the first sample
    duration_s: float
    tracks: tuple[TrackName, ...]
    bytes: int
    state: str
    gaps: int
    compressed: bool
    source_bytes: int | None  #: of what it was compressed from, where that is signed
    left: Left | None  #: why it was not compressed when that was tried
    reason: str  #: of that, in words
    made: float | None  #: share of what is being made of it, 0 to 1


def _recordings(flags: argparse.Namespace) -> int:
    folder = existing_data_dir(flags, os.environ)
    lines = [
        RecordingLine(
            each.interview_id,
            str(recording_path(folder, each.interview_id)),
            each.title,
            each.started_s,
            each.duration_s,
            each.tracks,
            each.bytes,
            each.state,
            each.gaps,
            each.compressed,
            each.source_bytes,
            each.left,
            each.reason,
            each.made,
        )
        for each in list_recordings(folder, open_keys_of(folder, flags))
    ]
    if flags.json:
        print_json(lines)
    elif lines:
        print("\n".join(table(_HEADER, [_row(each) for each in lines], terminal_columns())))
    else:
        print("There are no recordings yet.")
    return 0


_HEADER = ("Title", "Interview", "Began", "Length", "State", "Gaps", "Size", "Tracks")


def _row(line: RecordingLine) -> tuple[str, ...]:
    return (
        line.title or "(sealed)",
        line.interview_id,
        "" if line.started_s is None else date(line.started_s),
        length(line.duration_s),
        line.state,
        str(line.gaps) if line.gaps else "none",
        size(line.bytes) + _compressed(line),
        ", ".join(line.tracks),
    )


#: Why a recording stays as it is, in a word or two; `inspect` has the figures.
_LEFT = {
    Left.FAR: "not near enough",
    Left.LARGE: "too large",
    Left.GAINLESS: "hardly smaller",
    Left.DAMAGED: "damaged",
    Left.UNFIT: "unfit",
}


def _compressed(line: RecordingLine) -> str:
    if line.compressed:
        before = "" if line.source_bytes is None else f" from {size(line.source_bytes)}"
        return f", compressed{before}"
    if line.left is not None:
        return f", not compressed: {_LEFT[line.left]}"
    return "" if line.made is None else f", compressing: {line.made:.0%}"


def _is_recorded(folder: Path, interview_id: str) -> bool:
    try:
        return recording_path(folder, interview_id).is_dir()
    except ValueError:  # no id at all
        return False


def _viewings(flags: argparse.Namespace) -> int:
    folder = existing_data_dir(flags, os.environ)
    with open_database(folder) as store:
        items = [item_of(*each) for each in store.viewings(flags.interview_id)]
    if not items and not _is_recorded(folder, flags.interview_id):
        raise ConfigError(
            f"There is no recording of {flags.interview_id} in {folder}: `vivavoce recordings` "
            "lists them, --data-dir says where to look."
        )
    if flags.json:
        print_json(items)
        return 0
    for each in items:
        who = "operator" if each.role is None else f"{each.role} {each.link}"
        when = f"{date(each.began_s)} to {date(each.last_s)}"
        print(f"{when}  {each.way:6}  {each.start_s:9.1f} to {each.end_s:9.1f} s  {who}")
    if not items:
        print("Nobody has read this recording.")
    return 0
