"""The commands `vivavoce recordings` and `vivavoce viewings`."""

import argparse
import os

import msgspec

from server.app import open_database
from server.commands.data import open_keys_of
from server.commands.terminal import add_json_flag, date, print_json
from server.config import add_data_dir_flag, add_root_key_flag, existing_data_dir
from server.recorder.catalog import list_recordings, recording_path
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
    started_s: float | None  #: Unix time of the first sample
    duration_s: float
    state: str


def _recordings(flags: argparse.Namespace) -> int:
    folder = existing_data_dir(flags, os.environ)
    lines = [
        RecordingLine(
            each.interview_id,
            str(recording_path(folder, each.interview_id)),
            each.started_s,
            each.duration_s,
            each.state,
        )
        for each in list_recordings(folder, open_keys_of(folder, flags))
    ]
    if flags.json:
        print_json(lines)
        return 0
    for line in lines:
        print(f"{line.interview_id}  {line.duration_s:9.1f} s  {line.state:11}  {line.path}")
    if not lines:
        print("There are no recordings yet.")
    return 0


def _viewings(flags: argparse.Namespace) -> int:
    with open_database(existing_data_dir(flags, os.environ)) as store:
        items = [item_of(*each) for each in store.viewings(flags.interview_id)]
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
