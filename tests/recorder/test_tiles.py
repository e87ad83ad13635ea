"""A log's files are read as they are, or refused as it is documented, whatever they hold."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.recorder.evidence.tiles import Tiles, encode_entries, split_entries
from server.recorder.evidence.tlog import Entry, EntryKind, open_log, prove, read_log
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import alone
from tests.recorder import worked_example

SIZE = 300
KEY = alone(worked_example.SIGNER.public_key())


def entry(at: int) -> Entry:
    kind = EntryKind.CLOSED if at == 270 else EntryKind.RECORDING
    return Entry(kind, "0a" * 16, "iv", at, "", at, 1, "", at)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles") / "log"
    open_log(folder, worked_example.SIGNER).append([entry(at) for at in range(SIZE)])
    return folder


#: Each with what it says of the log that is whole.
READERS: dict[str, Callable[[Path], object]] = {
    "all": lambda folder: len(read_log(folder, KEY).entries),
    "an entry": lambda folder: Tiles(folder).entry(270),
    "a hash": lambda folder: Tiles(folder).range_hash(0, SIZE),
    "a proof": lambda folder: prove(
        folder, KEY, "0a" * 16, lambda each: each.kind is EntryKind.CLOSED, 260
    ),
}


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=60)
@given(data=st.data())
def test_whatever_a_file_holds_is_read_or_refused(
    folder: Path, reader: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = READERS[reader](folder)
    copy = tmp_path_factory.mktemp("copy") / "log"
    shutil.copytree(folder, copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    file = data.draw(st.sampled_from(files))
    whole = file.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    if data.draw(st.booleans()):
        file.write_bytes(whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:])
    else:
        file.unlink()
    try:
        found = READERS[reader](copy)
    except (SegmentError, OSError):
        return
    # Of what no hash covers, only an entry that is asked for by its place can come out changed.
    assert found == expected or reader in ("an entry", "a hash")


@given(st.binary(max_size=2000))
def test_a_bundle_of_any_bytes_splits_into_what_encodes_to_its_beginning(data: bytes) -> None:
    entries = list(split_entries(data))
    assert data.startswith(encode_entries(entries))
    assert len(data) - len(encode_entries(entries)) < 2 + 0xFFFF


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_splits_into_what_was_put_in(entries: list[bytes]) -> None:
    assert list(split_entries(encode_entries(entries))) == entries


def test_a_proof_is_of_the_entry_that_was_wanted(folder: Path) -> None:
    found = READERS["a proof"](folder)
    assert isinstance(found, tuple)
    assert (found[0], found[1].index) == (entry(270), 270)
    assert Tiles(folder).entry(270) == msgspec.json.encode(entry(270))
