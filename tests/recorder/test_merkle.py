"""The incremental tree and its proofs against RFC 9162 section 2.1 as it is written there."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.format.merkle import (
    EMPTY_ROOT,
    Tree,
    consistency_path,
    includes,
    inclusion_path,
    is_consistent,
    leaf_hash,
    range_hash_of,
    tree_of,
)

#: The leaves of Certificate Transparency's reference tests (RFC 6962), and their roots.
REFERENCE = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
REFERENCE_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

leaves = st.lists(st.binary(max_size=6), min_size=1, max_size=70)


def _root(data: list[bytes]) -> bytes:
    """MTH of RFC 9162 2.1.1, word for word."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\0" + data[0]).digest()
    k = 1
    while 2 * k < len(data):
        k *= 2
    return hashlib.sha256(b"\1" + _root(data[:k]) + _root(data[k:])).digest()


def test_the_roots_are_those_of_certificate_transparencys_reference() -> None:
    for count, root in enumerate(REFERENCE_ROOTS, 1):
        assert tree_of(REFERENCE[:count]).root.hex() == root
    assert Tree().root == EMPTY_ROOT == _root([])
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(leaves)
def test_a_tree_that_grew_has_the_root_of_the_recursive_definition(data: list[bytes]) -> None:
    tree = tree_of(data)
    assert (tree.size, tree.root) == (len(data), _root(data))
    assert len(tree.peaks) == len(data).bit_count()


def test_a_tree_goes_on_from_its_peaks_and_holds_no_more_than_them() -> None:
    older = tree_of(bytes([i]) for i in range(200))
    newer = Tree(older.size, older.peaks).with_leaf(b"new")
    assert newer == tree_of([*(bytes([i]) for i in range(200)), b"new"])
    assert older.root == tree_of(bytes([i]) for i in range(200)).root
    with pytest.raises(ValueError, match="peaks"):
        Tree(3, older.peaks[:1])


@given(leaves, st.data())
def test_every_leaf_is_shown_to_be_included_and_no_other(
    data: list[bytes], draw: st.DataObject
) -> None:
    index = draw.draw(st.integers(0, len(data) - 1))
    ranges = range_hash_of([leaf_hash(each) for each in data])
    path, root = inclusion_path(index, len(data), ranges), _root(data)
    assert includes(leaf_hash(data[index]), index, len(data), path, root)
    assert not includes(leaf_hash(data[index] + b"x"), index, len(data), path, root)
    assert not includes(leaf_hash(data[index]), index, len(data), [*path, bytes(32)], root)
    if path:
        assert not includes(leaf_hash(data[index]), index, len(data), path[1:], root)
        other = (index + 1) % len(data)
        same = data[other] == data[index] and inclusion_path(other, len(data), ranges) == path
        assert same or not includes(leaf_hash(data[index]), other, len(data), path, root)


@given(leaves, st.data())
def test_every_older_tree_is_shown_to_be_the_beginning(
    data: list[bytes], draw: st.DataObject
) -> None:
    older = draw.draw(st.integers(0, len(data)))
    path = consistency_path(older, len(data), range_hash_of([leaf_hash(each) for each in data]))
    older_root, root = _root(data[:older]), _root(data)
    assert is_consistent(older, len(data), older_root, root, path)
    if older:  # the empty tree is the beginning of any
        assert not is_consistent(older, len(data), older_root, bytes(32), path)
        assert not is_consistent(older, len(data), bytes(32), root, path)
    if path:
        assert not is_consistent(older, len(data), older_root, root, path[:-1])


@given(st.integers(-2, 40), st.integers(-2, 40), st.lists(st.binary(min_size=32, max_size=32)))
def test_any_proof_is_only_refused(older: int, size: int, path: list[bytes]) -> None:
    includes(bytes(32), older, size, path, bytes(32))
    is_consistent(older, size, bytes(32), bytes(32), path)


def test_a_changed_proof_shows_nothing() -> None:
    chance = random.Random(1)
    data = [bytes([i]) for i in range(29)]
    ranges, root = range_hash_of([leaf_hash(each) for each in data]), _root(data)
    for _ in range(300):
        index, older = chance.randrange(29), chance.randrange(1, 29)
        path = _with_a_bit_flipped(inclusion_path(index, 29, ranges), chance)
        assert not includes(leaf_hash(data[index]), index, 29, path, root)
        path = _with_a_bit_flipped(consistency_path(older, 29, ranges), chance)
        assert not is_consistent(older, 29, _root(data[:older]), root, path)


def _with_a_bit_flipped(path: list[bytes], chance: random.Random) -> list[bytes]:
    at, flipped = chance.randrange(len(path)), bytearray(32)
    flipped[chance.randrange(32)] = 1 << chance.randrange(8)
    changed = bytes(a ^ b for a, b in zip(path[at], flipped, strict=True))
    return [*path[:at], changed, *path[at + 1 :]]
