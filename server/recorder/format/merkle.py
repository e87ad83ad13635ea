"""The Merkle tree of RFC 9162 section 2.1 over SHA-256: grown leaf by leaf, and its proofs. No I/O.

A tree that grows is held as its peaks, the roots of the perfect subtrees from left to right:
as many hashes as its size has one bits. Proofs are made from any source of subtree hashes.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

HASH_BYTES = 32
#: MTH({}) of RFC 9162 2.1.1.
EMPTY_ROOT = hashlib.sha256().digest()

#: The root of the leaves from one index to before another: MTH(D[start:end]).
RangeHash = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of ``size`` leaves; a value, so that whoever loses its newest leaves has the older.

    ``peaks`` are the roots of its perfect subtrees, the largest and leftmost first.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.peaks) != self.size.bit_count():
            raise ValueError(f"a tree of {self.size} leaves has not {len(self.peaks)} peaks")

    def with_leaf(self, data: bytes) -> "Tree":
        return self.with_leaf_hash(leaf_hash(data))

    def with_leaf_hash(self, digest: bytes) -> "Tree":
        kept = len(self.peaks)
        rest = self.size
        while rest & 1:  # each trailing one is a peak as large as what grew beside it
            kept -= 1
            digest = node_hash(self.peaks[kept], digest)
            rest >>= 1
        return Tree(self.size + 1, (*self.peaks[:kept], digest))

    @property
    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        *left, root = self.peaks
        for peak in reversed(left):
            root = node_hash(peak, root)
        return root


def tree_of(leaves: Iterable[bytes]) -> Tree:
    tree = Tree()
    for data in leaves:
        tree = tree.with_leaf(data)
    return tree


def range_hash_of(leaf_hashes: Sequence[bytes]) -> RangeHash:
    """Of leaves that are all in memory."""

    def range_hash(start: int, end: int) -> bytes:
        tree = Tree()
        for digest in leaf_hashes[start:end]:
            tree = tree.with_leaf_hash(digest)
        return tree.root

    return range_hash


# ---- proofs -----------------------------------------------------------------------------


def inclusion_path(index: int, size: int, range_hash: RangeHash) -> list[bytes]:
    """PATH(index, D_size) of RFC 9162 2.1.3.1: from the leaf's sibling up to the root's child."""
    if not 0 <= index < size:
        raise IndexError(index)
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _left_size(end - start)
        if index < middle:
            path.append(range_hash(middle, end))
            end = middle
        else:
            path.append(range_hash(start, middle))
            start = middle
    return path[::-1]


def consistency_path(older: int, size: int, range_hash: RangeHash) -> list[bytes]:
    """PROOF(older, D_size) of RFC 9162 2.1.4.1; empty where ``older`` is 0 or ``size``."""
    if not 0 <= older <= size:
        raise IndexError(older)
    if older in (0, size):
        return []
    path, start, end, whole = [], 0, size, True
    while older != end:
        middle = start + _left_size(end - start)
        if older <= middle:
            path.append(range_hash(middle, end))
            end = middle
        else:
            path.append(range_hash(start, middle))
            start, whole = middle, False
    if not whole:  # else the verifier knows it: it is the older tree's own root
        path.append(range_hash(start, end))
    return path[::-1]


def includes(digest: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf of this hash is at ``index`` of the tree (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last = index, size - 1
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            digest = node_hash(sibling, digest)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and digest == root


def is_consistent(
    older: int, size: int, older_root: bytes, root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether the tree of ``size`` begins with the one of ``older`` leaves (RFC 9162 2.1.4.2)."""
    if older == size:
        return not path and older_root == root
    if older == 0:
        return not path and older_root == EMPTY_ROOT
    if not 0 < older < size:
        return False
    steps = list(path)
    if older & (older - 1) == 0:
        steps.insert(0, older_root)
    if not steps:
        return False
    node, last = older - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    was = now = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            was, now = node_hash(sibling, was), node_hash(sibling, now)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            now = node_hash(now, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and was == older_root and now == root


def _left_size(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1
