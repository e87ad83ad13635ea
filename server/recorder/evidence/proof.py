"""Proofs that an entry is in a log: C2SP tlog-proof, which is checked offline. No I/O."""

import base64
import re
from dataclasses import dataclass

from server.recorder.evidence.checkpoint import Checkpoint, read_checkpoint
from server.recorder.format.merkle import includes, leaf_hash
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.server_key import ServerKey

#: Of a tree with as many leaves as a checkpoint can tell: more hashes are no proof.
MAX_PATH = 64
_TEXT = re.compile(
    r"c2sp\.org/tlog-proof@v1\n"
    r"index (0|[1-9][0-9]{0,18})\n"
    rf"((?:[A-Za-z0-9+/]{{43}}=\n){{0,{MAX_PATH}}})"
    r"\n(.+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Proof:
    """That the entry at ``index`` is in the log of ``checkpoint``."""

    index: int
    path: tuple[bytes, ...]  #: RFC 9162 2.1.3.1, from the leaf's sibling up to the root's child
    checkpoint: bytes  #: as it was signed and published

    @property
    def text(self) -> str:
        hashes = "".join(f"{base64.b64encode(each).decode()}\n" for each in self.path)
        checkpoint = self.checkpoint.decode()
        return f"c2sp.org/tlog-proof@v1\nindex {self.index}\n{hashes}\n{checkpoint}"


def parse_proof(text: str) -> Proof:
    """A proof without extra data. SegmentError where it is none, or not canonical."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise SegmentError(FaultKind.TAMPERED, "the proof does not parse")
    path = tuple(base64.b64decode(each) for each in match[2].split())
    try:
        proof = Proof(int(match[1]), path, match[3].encode())
    except UnicodeEncodeError as error:
        raise SegmentError(FaultKind.TAMPERED, "the proof is no text") from error
    if proof.text != text:
        raise SegmentError(FaultKind.TAMPERED, "the proof is not canonical")
    return proof


def check_proof(proof: Proof, entry: bytes, public_key: ServerKey) -> Checkpoint:
    """The log that has ``entry``, as this key signed it. SegmentError where it does not."""
    checkpoint = read_checkpoint(proof.checkpoint, public_key)
    leaf = leaf_hash(entry)
    if not includes(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root):
        message = "the log that was signed does not have this entry where the proof says"
        raise SegmentError(FaultKind.TAMPERED, message)
    return checkpoint
