"""The log: a tree in tiles that only grows, whatever fails beside it."""

import os
import random
from base64 import b64decode
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.evidence.checkpoint import (
    Checkpoint,
    read_checkpoint,
    sign_checkpoint,
    verifier_key,
)
from server.recorder.evidence.tiles import Tiles, split_entries, tile_path
from server.recorder.evidence.tlog import (
    Entry,
    EntryKind,
    Log,
    LogProblem,
    open_log,
    parse_entry,
    read_log,
)
from server.recorder.format.merkle import (
    consistency_path,
    includes,
    inclusion_path,
    is_consistent,
    leaf_hash,
    tree_of,
)
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import alone

SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
PUBLIC = alone(SIGNER.public_key())


def _entry(number: int) -> Entry:
    return Entry(
        EntryKind.RECORDING, "0a" * 16, "iv", number, "00" * 32, number, 1, "11" * 32, number
    )


def _append(log: Log, count: int, batch: int = 7) -> None:
    first = log.tree.size
    for start in range(first, first + count, batch):
        log.append([_entry(at) for at in range(start, min(start + batch, first + count))])


def _tree(size: int) -> bytes:
    return tree_of(msgspec.json.encode(_entry(at)) for at in range(size)).root


def _published(folder: Path) -> Checkpoint:
    return read_checkpoint((folder / "checkpoint").read_bytes(), PUBLIC)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1000])
def test_the_checkpoint_and_the_tiles_are_those_of_the_tree(tmp_path: Path, size: int) -> None:
    log = open_log(tmp_path, SIGNER)
    _append(log, size)
    checkpoint, tiles = _published(tmp_path), Tiles(tmp_path)
    assert (checkpoint.size, checkpoint.root) == (size, _tree(size))
    assert [parse_entry(each) for each in tiles.entries(size)] == [_entry(at) for at in range(size)]
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    wanted = {tile_path(0, at) for at in range(size // 256)}
    wanted |= {tile_path(0, size // 256, size % 256)} if size % 256 else set()
    wanted |= {tile_path(1, 0, size // 256)} if size >= 256 else set()
    assert {name for name in names if name.startswith(("tile/0", "tile/1"))} == wanted


def test_tiles_are_called_as_the_specification_calls_them() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path("entries", 0, 17) == "tile/entries/000.p/17"


def test_every_proof_from_the_tiles_holds(tmp_path: Path) -> None:
    log = open_log(tmp_path, SIGNER)
    _append(log, 700, 50)
    tiles, root, chance = Tiles(tmp_path), _tree(700), random.Random(1)
    for _ in range(60):
        index, older = chance.randrange(700), chance.randrange(1, 700)
        path = inclusion_path(index, 700, tiles.range_hash)
        assert includes(leaf_hash(msgspec.json.encode(_entry(index))), index, 700, path, root)
        path = consistency_path(older, 700, tiles.range_hash)
        assert is_consistent(older, 700, _tree(older), root, path)


def test_harm_to_any_tile_is_named(tmp_path: Path) -> None:
    """Hashes that nobody needs today, too: the proofs of tomorrow are made of them."""
    _append(open_log(tmp_path, SIGNER), 700, 50)
    read_log(tmp_path, PUBLIC)
    tiles = [path for path in tmp_path.glob("tile/**/*") if path.is_file()]
    assert len(tiles) == 7
    for tile in tiles:
        name, whole = str(tile.relative_to(tmp_path)), tile.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        for harmed in (flipped, whole[:-1], whole[:-32], whole + b"\0"):
            tile.write_bytes(harmed)
            with pytest.raises(SegmentError) as caught:
                read_log(tmp_path, PUBLIC)
            assert caught.value.file == name
        tile.unlink()
        with pytest.raises(SegmentError) as caught:
            read_log(tmp_path, PUBLIC)
        assert caught.value.kind is FaultKind.MISSING
        assert caught.value.file.startswith(name)
        tile.write_bytes(whole)


@pytest.mark.parametrize("size", [3, 255, 256, 600])
def test_a_log_goes_on_after_a_restart_without_what_was_not_synced(
    tmp_path: Path, size: int
) -> None:
    _append(open_log(tmp_path, SIGNER), size)
    for path in [*tmp_path.glob("tile/*/*.p/*"), tmp_path / "checkpoint"]:
        path.unlink()  # what an append does not wait for
    log = open_log(tmp_path, SIGNER)
    assert (_published(tmp_path).size, _published(tmp_path).root) == (size, _tree(size))
    _append(log, 300)
    assert _published(tmp_path).root == _tree(size + 300)


def test_a_tail_torn_anywhere_is_cut_to_its_whole_entries(tmp_path: Path) -> None:
    _append(open_log(tmp_path, SIGNER), 4)
    tail = tmp_path / "tail"
    whole, checkpoint = tail.read_bytes(), (tmp_path / "checkpoint").read_bytes()
    for more in (b"\0", bytes(500), b"\0\5abcde", whole[:50], b"\xff" * 9):
        tail.write_bytes(whole + more)
        (tmp_path / "checkpoint").write_bytes(checkpoint)
        log = open_log(tmp_path, SIGNER)
        assert log.tree.size == 4
        _append(log, 1)
        assert list(split_entries(tail.read_bytes())) == [
            msgspec.json.encode(_entry(at)) for at in range(5)
        ]
        tail.write_bytes(whole)


def test_what_was_published_is_never_taken_back(tmp_path: Path) -> None:
    _append(open_log(tmp_path, SIGNER), 9)
    tail = tmp_path / "tail"
    whole = tail.read_bytes()
    tail.write_bytes(whole[:-1])
    with pytest.raises(LogProblem, match="lost entries: 8 are there, 9 were published"):
        open_log(tmp_path, SIGNER)


def test_another_history_is_refused(tmp_path: Path) -> None:
    _append(open_log(tmp_path, SIGNER), 9)
    tail = tmp_path / "tail"
    tail.write_bytes(tail.read_bytes().replace(b'"interview":"iv"', b'"interview":"vi"'))
    for _ in range(2):  # and goes on to be
        with pytest.raises(LogProblem, match="not what was published"):
            open_log(tmp_path, SIGNER)
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(LogProblem, match="not this server's"):
        open_log(tmp_path, stranger)


def test_a_disk_that_refuses_loses_no_entry_that_was_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path, SIGNER)
    _append(log, 5)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", _refuses)
        with pytest.raises(OSError, match="refused"):
            log.append([_entry(5)])
    assert _published(tmp_path).size == 5
    log.append([_entry(5)])
    assert (_published(tmp_path).size, _published(tmp_path).root) == (6, _tree(6))
    assert open_log(tmp_path, SIGNER).tree == log.tree


def _refuses(fd: int) -> None:
    raise OSError(5, "refused")


# ---- checkpoints ------------------------------------------------------------------------


def test_a_checkpoint_reads_back_and_no_bit_of_it_changes_unnoticed() -> None:
    checkpoint = Checkpoint("vivavoce/ab12", 20852163, b"r" * 32)
    data = sign_checkpoint(checkpoint, SIGNER)
    assert data.decode().split("\n")[:2] == ["vivavoce/ab12", "20852163"]
    assert read_checkpoint(data, PUBLIC) == checkpoint
    for at in range(len(data)):
        for bit in range(8):
            with pytest.raises(SegmentError):
                read_checkpoint(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :], PUBLIC)


def test_a_witness_may_sign_beside_us_and_a_stranger_not_instead() -> None:
    checkpoint = Checkpoint("vivavoce/ab12", 3, b"r" * 32)
    data = sign_checkpoint(checkpoint, SIGNER)
    witness = "— witness.example/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcr\n".encode()
    assert read_checkpoint(data + witness, PUBLIC) == checkpoint
    with pytest.raises(SegmentError) as caught:
        read_checkpoint(sign_checkpoint(checkpoint, Ed25519PrivateKey.generate()), PUBLIC)
    assert caught.value.kind is FaultKind.TAMPERED


def test_the_specifications_own_note_names_its_key_as_we_do() -> None:
    """C2SP signed-note, "Example"."""
    text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    material = b64decode(text.split("+", 2)[2])
    key = Ed25519PublicKey.from_public_bytes(material[1:])
    assert verifier_key("example.com/foo", key) == text


@given(st.binary(max_size=300))
def test_any_bytes_are_a_checkpoint_or_refused(data: bytes) -> None:
    with pytest.raises(SegmentError):
        read_checkpoint(data, PUBLIC)
    for entry in split_entries(data):
        assert parse_entry(entry) is None or entry.startswith(b"{")
