"""`docs/protocol.md` held against the code."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from server.core.interviews import InterviewState
from server.recorder.export.job import Fault
from server.signaling import limits, outbox, socket
from server.signaling.errors import STATUS, ErrorBody
from server.signaling.exports import queue
from server.signaling.exports.export import ExportItem, ExportState, NewExport
from server.signaling.interview import GRACE_S, RESUME_S
from server.signaling.protocol import PROTOCOL_VERSION, ClientMessage, ServerMessage
from server.signaling.states import TRANSITIONS, Happening

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
BLOCKS = re.findall(r"```json (\w+)\n(.*?)```", TEXT, re.DOTALL)
TYPES: dict[str, Any] = {
    "client": ClientMessage,
    "server": ServerMessage,
    "error": ErrorBody,
    "asked": NewExport,
    "export": ExportItem,
}


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("direction", "example"), BLOCKS)
def test_every_example_is_a_message_and_comes_back_the_same(direction: str, example: str) -> None:
    message = msgspec.json.decode(example, type=TYPES[direction])
    encoded = msgspec.json.decode(msgspec.json.encode(message))
    written = msgspec.json.decode(example)
    if direction == "client":  # defaults need not be written by a client
        encoded = {name: value for name, value in encoded.items() if name in written}
    assert encoded == written


@pytest.mark.parametrize("direction", ["client", "server"])
def test_every_type_has_an_example(direction: str) -> None:
    told = {msgspec.json.decode(text)["type"] for kind, text in BLOCKS if kind == direction}
    assert told == {each.__struct_config__.tag for each in get_args(TYPES[direction])}


def test_every_json_block_names_its_direction() -> None:
    assert TEXT.count("```json") == len(BLOCKS)


def test_the_version_is_the_one_spoken() -> None:
    assert TEXT.startswith(f"# The signalling protocol, version {PROTOCOL_VERSION}\n")


def test_the_table_of_errors_is_complete() -> None:
    told = {id.strip("`"): int(status) for id, status, _ in rows("Errors")}
    assert told == {str(id): status for id, status in STATUS.items()}


def test_the_table_of_states_is_the_codes() -> None:
    happenings = (Happening.CONNECTED, Happening.LOST, Happening.LEFT)
    told = {
        (InterviewState(state.strip("`")), happening): InterviewState(result.strip("`"))
        for state, *results in rows("States of an interview")
        for happening, result in zip(happenings, results, strict=True)
    }
    assert told == TRANSITIONS
    assert f"within {GRACE_S:.0f} seconds" in section("States of an interview")


def test_the_time_in_which_an_interrupted_candidate_need_not_ask_is_told() -> None:
    text = section("What the server sends to everybody")
    assert f"interrupted within the last {RESUME_S / 60:.0f} minutes" in text


def test_the_table_of_limits_is_the_codes() -> None:
    def rate(limit: limits.Rate) -> str:
        return f"{limit.per_s:.0f} a second, {limit.burst:.0f} at once"

    told = dict(rows("Limits"))
    assert list(told.values()) == [
        f"{limits.MAX_SDP_BYTES} bytes",
        f"{limits.MAX_JSON_BYTES} bytes",
        f"{limits.MAX_MESSAGE_BYTES} bytes",
        f"{limits.MAX_TITLE_CHARS} characters",
        rate(limits.PER_SOCKET),
        rate(limits.PER_LINK),
        rate(limits.PER_ADDRESS),
        str(limits.MAX_OPENINGS_PER_LINK),
        f"{queue.MAX_EXPORTS_PER_LINK}, of all links {queue.MAX_EXPORTS}",
    ]
    assert f"within {socket.HELLO_TIMEOUT_S:.0f} seconds" in section("The handshake")


def test_what_may_become_of_an_export_is_told() -> None:
    text = section("Exports")
    assert [each for each in (*ExportState, *Fault) if f"`{each}`" not in text] == []
    assert queue.KEPT_S == 3600, "an hour, says the text"


def test_the_close_codes_are_told() -> None:
    told = section("Close codes")
    for name in ("NORMAL", "SLOW_READER", "REPLACED"):
        assert f"| {getattr(outbox, f'CLOSE_{name}')} |" in told
