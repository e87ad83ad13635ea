"""C2PA manifests written by ourselves, of streams and of files: pure, no I/O.

A manifest store is nested boxes (JUMBF, ISO/IEC 19566-5) around CBOR (RFC 8949) and one signature
(COSE_Sign1, RFC 9052), as C2PA 2.4 lays it out. The consortium's own library wants the whole file
in the clear and more memory than it takes, and is too much for the serving process.
"""

import enum
import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server import __version__
from server.recorder.keys.claim_signer import ClaimSigner

#: C2PA 2.4 A.5.1: the extended type of the box in which an MP4 has its manifest store.
UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


class SourceType(enum.StrEnum):
    """What media is at its beginning, in IPTC's words."""

    CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    SCREEN = "http://cv.iptc.org/newscodes/digitalsourcetype/screenCapture"
    COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/composite"  #: of both


# ---- CBOR ---------------------------------------------------------------------------------

#: RFC 9052 4.2; RFC 8949 3.4.1.
COSE_SIGN1_TAG = 18
DATE_TAG = 0


@dataclass(frozen=True, slots=True)
class Tagged:
    tag: int
    value: "Cbor"


Cbor = (
    int
    | bytes
    | str
    | None
    | Tagged
    | Sequence["Cbor"]
    | Mapping[str, "Cbor"]
    | Mapping[int, "Cbor"]
)


def cbor(value: Cbor) -> bytes:
    """As RFC 8949 encodes it, in its shortest form; maps in the order in which they are given."""
    match value:
        case None:
            return b"\xf6"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case Tagged(tag, inner):
            return _head(6, tag) + cbor(inner)
        case Mapping():
            return _head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    return _head(4, len(value)) + b"".join(map(cbor, value))


def _head(kind: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([kind << 5 | argument])
    for extra, form in enumerate((">B", ">H", ">I", ">Q"), 24):
        if argument < 1 << 8 * struct.calcsize(form):
            return bytes([kind << 5 | extra]) + struct.pack(form, argument)
    raise OverflowError(argument)


# ---- COSE ---------------------------------------------------------------------------------

#: RFC 9053 2.1 and 2.2, RFC 8230 2.
ALGORITHMS = {"es256": -7, "es384": -35, "es512": -36, "ps256": -37, "ed25519": -8}
ALG = 1
KID = 4
_X5CHAIN = 33  # RFC 9360 2


def to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """RFC 9052 4.4, of one signer and without external data."""
    return cbor(["Signature1", protected, b"", payload])


#: C2PA 2.4 10.3.2.5: where a time stamp is kept, and what fills up the rest.
_TIME_STAMP, _PAD = "sigTst2", "pad"
#: Shorter strings would have shorter heads.
LEAST_PAD = 256
_PAD_HEAD_BYTES = len(cbor(_PAD)) + 3
#: Asks an authority for a time stamp of some bytes: its token (RFC 3161), in DER.
Stamp = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class _ClaimSignature:
    """C2PA 2.4 13.2: the claim is signed and not repeated."""

    protected: bytes
    unprotected: dict[str, Cbor]
    signature: bytes

    def encoded(self, pad: int = 0) -> bytes:
        """``pad``: bytes that fill it up."""
        rest = {**self.unprotected, _PAD: bytes(pad)} if pad else self.unprotected
        return cbor(Tagged(COSE_SIGN1_TAG, [self.protected, rest, None, self.signature]))


def _sign(claim: bytes, signer: ClaimSigner, stamp: Stamp | None) -> _ClaimSignature:
    chain = signer.der
    protected = cbor(
        {ALG: ALGORITHMS[signer.algorithm], _X5CHAIN: chain[0] if len(chain) == 1 else chain}
    )
    signature = signer.sign(to_be_signed(protected, claim))
    unprotected: dict[str, Cbor] = {}
    if stamp is not None:
        token = stamp(cbor(["CounterSignature", protected, b"", cbor(signature)]))
        unprotected[_TIME_STAMP] = {"tstTokens": [{"val": token}]}
    return _ClaimSignature(protected, unprotected, signature)


# ---- JUMBF --------------------------------------------------------------------------------

# C2PA 2.4 11.1.4: four letters, then the same for all.
_STORE, _MANIFEST, _ASSERTIONS, _CLAIM, _SIGNATURE, _CBOR = (
    kind + bytes.fromhex("00110010800000aa00389b71")
    for kind in (b"c2pa", b"c2ma", b"c2as", b"c2cl", b"c2cs", b"cbor")
)
#: ISO/IEC 19566-5 A.3: it has a label and may be asked for by it.
_REQUESTABLE = b"\x03"
#: Our exclusions from the hash of an MP4: C2PA 2.4 18.6.2 wants these, in this order.
EXCLUSIONS: tuple[Mapping[str, Any], ...] = (
    {"xpath": "/uuid", "data": [{"offset": 8, "value": UUID}]},
    {"xpath": "/ftyp"},
    {"xpath": "/mfra"},
)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _superbox(kind: bytes, label: str, *contents: bytes) -> bytes:
    described = _box(b"jumd", kind + _REQUESTABLE + label.encode() + b"\0")
    return _box(b"jumb", described + b"".join(contents))


def _reference(name: str, superbox: bytes) -> Cbor:
    """C2PA 2.4 8.4.2: the hash is of what is in the box, without its header."""
    digest: Cbor = hashlib.sha256(superbox[8:]).digest()
    return {"url": f"self#jumbf=c2pa.assertions/{name}", "hash": digest}


class BmffHash:
    """Of the boxes of a file in a row, each after its offset: C2PA 2.4 18.6.2."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._offset = 0

    def add(self, box: Iterable[bytes | bytearray]) -> None:
        """A box by its parts."""
        self._digest.update(struct.pack(">Q", self._offset))
        for part in box:
            self._digest.update(part)
            self._offset += len(part)

    def leave_out(self, size: int) -> None:
        """Boxes of so many bytes that are excluded."""
        self._offset += size

    def digest(self) -> bytes:
        return self._digest.digest()


def bmff_hash(boxes: Sequence[bytes], excluded: Sequence[int]) -> bytes:
    """Of ``boxes`` in a row but those ``excluded``."""
    found = BmffHash()
    for index, box in enumerate(boxes):
        if index in excluded:
            found.leave_out(len(box))
        else:
            found.add([box])
    return found.digest()


def signed_init(
    ftyp: bytes,
    rest: Sequence[bytes],
    label: str,
    assertions: Mapping[str, Cbor],
    signer: ClaimSigner,
) -> bytes:
    """An init segment of these boxes, with a manifest named ``label`` that binds ``rest``.

    ``label`` is `urn:c2pa:` and a UUID.
    """
    # Where `rest` begins depends on the size of what holds its hash, which is the same each time.
    manifest = Manifest(label, assertions, "init segment", signer)
    draft = manifest.box(bytes(32))
    digest = bmff_hash([ftyp, draft, *rest], excluded=(0, 1))
    return ftyp + manifest.box(digest) + b"".join(rest)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is said of an MP4, but for its hash; it follows ``ftyp``."""

    label: str  #: `urn:c2pa:` and a UUID
    assertions: Mapping[str, Cbor]
    bound: str  #: what the hash is of
    signer: ClaimSigner

    def box(self, digest: bytes, stamp: Stamp | None = None, size: int | None = None) -> bytes:
        """``digest``: `BmffHash`; filled up to exactly ``size`` bytes, if told.

        OverflowError where that is not `LEAST_PAD` more than it takes, or 64 kB.
        """
        exclusions: Cbor = EXCLUSIONS
        binding: Cbor = {
            "exclusions": exclusions,
            "alg": "sha256",
            "hash": digest,
            "name": self.bound,
        }
        assertions = {
            name: _superbox(_CBOR, name, _box(b"cbor", cbor(value)))
            for name, value in {**self.assertions, "c2pa.hash.bmff.v3": binding}.items()
        }
        claim = cbor(_claim(self.label, assertions))
        signature = _sign(claim, self.signer, stamp)
        made = self._put_together(assertions, claim, signature.encoded())
        if size is None:
            return made
        pad = size - len(made) - _PAD_HEAD_BYTES
        if not LEAST_PAD <= pad < 1 << 16:
            raise OverflowError(f"a manifest of {len(made)} bytes does not fit into {size}")
        return self._put_together(assertions, claim, signature.encoded(pad))

    def _put_together(
        self, assertions: Mapping[str, bytes], claim: bytes, signature: bytes
    ) -> bytes:
        manifest = _superbox(
            _MANIFEST,
            self.label,
            _superbox(_ASSERTIONS, "c2pa.assertions", *assertions.values()),
            _superbox(_CLAIM, "c2pa.claim.v2", _box(b"cbor", claim)),
            _superbox(_SIGNATURE, "c2pa.signature", _box(b"cbor", signature)),
        )
        # A.5.1: version and flags, what it is for, and where more of it is: nowhere.
        head = UUID + bytes(4) + b"manifest\0" + bytes(8)
        return _box(b"uuid", head + _superbox(_STORE, "c2pa", manifest))


def _claim(label: str, boxes: Mapping[str, bytes]) -> Cbor:
    references: Cbor = [_reference(name, box) for name, box in boxes.items()]
    generator: Cbor = {"name": "Vivavoce", "version": __version__}
    return {
        "instanceID": f"xmp:iid:{label.removeprefix('urn:c2pa:')}",
        "claim_generator_info": generator,
        "signature": f"self#jumbf=/c2pa/{label}/c2pa.signature",
        "created_assertions": references,
        "alg": "sha256",
    }
