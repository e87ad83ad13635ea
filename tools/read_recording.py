#!/usr/bin/env python3
"""Verifies a Vivavoce recording, its receipt or an export, and decrypts for whoever has the key.

    python3 read_recording.py FOLDER --public-key signing.pub
    python3 read_recording.py RECEIPT.json --public-key signing.pub
    python3 read_recording.py EXPORT.mp4 --public-key signing.pub
    python3 read_recording.py FOLDER --public-key signing.pub --receipt RECEIPT.json
    python3 read_recording.py FOLDER --public-key signing.pub --key HEX -o recording.mp4

Where the server's signing key was changed, `signing-keys.json` has to lie beside the public key.
The statement of what an export or a compressed recording was made of, `NAME.vivavoce.json`, is
checked where it lies beside it.
Written after docs/recording-format.md alone, and independent of the server: it takes Python 3.11 or
newer and the package `cryptography`. What it writes is the fMP4 as it was recorded.
Exit status: 0 intact, 1 not (each fault is named), 2 wrong use. The server's log is not looked at:
that a tail was cut off an open recording at a record's end is for `vivavoce verify` to see.
"""

import argparse
import base64
import errno
import hashlib
import json
import os
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

SEGMENT = struct.Struct(">8sHHI16s32s7sB32s32s")
RECORD = struct.Struct(">IBBHIIQI32s")
INIT, MEDIA, NOTE, END = 1, 2, 3, 4
TAG, SIGNATURE, LARGEST = 16, 64, 67_108_864
WHOLE = 67_108_864  # of what is read at once
SEGMENT_NAME = re.compile(r"\d{5,}\.seg")
MANIFEST_FIELDS = [
    "format",
    "version",
    "recording",
    "interview",
    "title",
    "revision",
    "state",
    "epoch_us",
    "policies",
    "segments",
    "gaps",
    "events",
    "tree_size",
    "root",
    "peaks",
]
FIELDS = {
    "policies": ["notice", "tracks", "analysis"],
    "segments": [
        "name",
        "size",
        "sha256",
        "head",
        "records",
        "fragments",
        "start_us",
        "end_us",
        "tracks",
        "complete",
    ],
    "gaps": ["track", "start_us", "end_us", "cause", "lost"],
    "events": ["event", "at_us"],
}


RECEIPT_FIELDS = [
    "format",
    "version",
    "key",
    "started_us",
    "ended_us",
    "tracks",
    "policies",
    "entry",
    "proof",
]
PROOF = re.compile(
    r"c2sp\.org/tlog-proof@v1\nindex (0|[1-9]\d{0,18})\n((?:[\w+/]{43}=\n)*)\n"
    r"((\S+)\n(\d{1,19})\n([\w+/]{43}=)\n)\n— (\S+) (\S+)\n",
    re.ASCII,
)


STATEMENT = ".vivavoce.json"
SOURCE_FIELDS = ["recording", "interview", "revision", "manifest"]
STATEMENT_FIELDS = {
    "export": [
        "format",
        "version",
        "kind",
        "source",
        "start_us",
        "end_us",
        "transcoded",
        "made_us",
        "size",
        "sha256",
    ],
    "compressed": [
        "format",
        "version",
        "kind",
        "source",
        "source_root",
        "source_bytes",
        "source_kept",
        "recording",
        "tree_size",
        "root",
        "bytes",
        "quality",
        "made_us",
    ],
}


SUCCESSION_FIELDS = [
    "format",
    "version",
    "number",
    "former",
    "key",
    "at_us",
    "log_size",
    "log_root",
]
#: Those of one server, in the order in which they were in use.
Keys = Sequence[Ed25519PublicKey]


class Fault(Exception):
    """What is wrong: `kind` is one of the format's words; `span_us`, when in the recording."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.span_us: tuple[int, int] | None = None


def read_whole(path: Path) -> bytes:
    """Of a file, no pipe or device. Raises Fault or OSError."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) > WHOLE:
            raise Fault("tampered", "it is longer than any such file")
        file.seek(0)
        return file.read()


class Record(NamedTuple):
    header: bytes
    length: int
    kind: int
    counter: int
    start_us: int
    duration_us: int
    previous: bytes
    ciphertext: bytes
    hash: bytes


class Segment(NamedTuple):
    number: int
    recording: str
    salt: bytes
    nonce_prefix: bytes
    policy: bytes
    previous: bytes
    hash: bytes


# ---- the keys ----------------------------------------------------------------------------


def signed_by(keys: Keys, signature: bytes, data: bytes) -> Ed25519PublicKey:
    """Which of them has signed. InvalidSignature if none has."""
    for key in keys:
        try:
            key.verify(signature, data)
        except InvalidSignature:
            continue
        return key
    raise InvalidSignature


def read_keys(data: bytes) -> list[Ed25519PublicKey]:
    """Of a list of signing keys, each signed for by the one before it and by itself. Fault."""
    keys: list[Ed25519PublicKey] = []
    try:
        changes = json.loads(data)["successions"]
        if compact({"successions": changes}) != data or not changes:
            raise Fault("tampered", "the list of signing keys is not canonical")
        for number, signed in enumerate(changes, 1):
            change = signed["succession"]
            if change["version"] != 1:
                raise Fault("unknown version", f"a change of keys of version {change['version']}")
            if list(signed) != ["succession", "by_former", "by_key"]:
                raise Fault("tampered", "the list of signing keys is not canonical")
            if list(change) != SUCCESSION_FIELDS or change["format"] != "vivavoce-succession":
                raise Fault("tampered", "the list of signing keys is not canonical")
            former, key = _public(change["former"]), _public(change["key"])
            text = b"vivavoce/succession/v1" + compact(change)
            former.verify(bytes.fromhex(signed["by_former"]), text)
            key.verify(bytes.fromhex(signed["by_key"]), text)
            keys = keys or [former]
            if change["number"] != number or keys[-1].public_bytes_raw().hex() != change["former"]:
                raise Fault("reordered", f"change {number} of the signing keys is not in its place")
            keys.append(key)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Fault("tampered", "the list of signing keys does not parse") from None
    except InvalidSignature:
        raise Fault("tampered", "a signature in the list of signing keys does not fit") from None
    return keys


def _public(text: str) -> Ed25519PublicKey:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("not a key")
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))


def fingerprint(key: Ed25519PublicKey) -> str:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


# ---- segments ---------------------------------------------------------------------------


def read_header(file: BinaryIO) -> Segment:
    """Raises Fault."""
    data = file.read(SEGMENT.size)
    if len(data) < SEGMENT.size:
        raise Fault("truncated", "the segment's header is cut off")
    magic, version, reserved, index, recording, salt, prefix, reserved_2, policy, previous = (
        SEGMENT.unpack(data)
    )
    if magic != b"VIVAVOCE":
        raise Fault("tampered", "not a segment")
    if version != 1:
        raise Fault("unknown version", f"version {version}")
    if reserved or reserved_2:
        raise Fault("tampered", "reserved bytes are not zero")
    digest = hashlib.sha256(data).digest()
    return Segment(index, recording.hex(), salt, prefix, policy, previous, digest)


def read_record(file: BinaryIO, keys: Keys) -> Record | None:
    """The one that follows, its signature checked; None at the file's end. Raises Fault."""
    data = file.read(RECORD.size)
    if not data:
        return None
    if len(data) < RECORD.size:
        raise Fault("truncated", "a record's header is cut off")
    length, kind, _, _, number, _, start_us, duration_us, previous = RECORD.unpack(data)
    if not TAG <= length <= LARGEST or kind not in (INIT, MEDIA, NOTE, END):
        raise Fault("tampered", "not a record")
    ciphertext, signature = file.read(length), file.read(SIGNATURE)
    if len(ciphertext) < length or len(signature) < SIGNATURE:
        raise Fault("truncated", "a record is cut off")
    digest = hashlib.sha256(data + ciphertext).digest()
    try:
        signed_by(keys, signature, b"vivavoce/record/v1" + digest)
    except InvalidSignature:
        raise Fault("tampered", "a record's signature does not fit") from None
    return Record(data, length, kind, number, start_us, duration_us, previous, ciphertext, digest)


def read_records(file: BinaryIO, segment: Segment, keys: Keys) -> Iterator[Record]:
    """Each in its place. Raises Fault at the first that is not."""
    before, counter, ended = segment.hash, 0, False
    while record := read_record(file, keys):
        if ended or record.counter != counter or record.previous != before:
            raise Fault("reordered", "a record is not in its place")
        yield record
        before, counter, ended = record.hash, counter + 1, record.kind == END


def is_header_changed(file: BinaryIO, segment: Segment, keys: Keys) -> bool:
    """Whether the first records, which follow each other, do not follow this header."""
    try:
        first = read_record(file, keys)
    except Fault:
        return False
    if first is None or first.counter or first.previous == segment.hash:
        return False
    try:
        second = read_record(file, keys)
    except Fault:
        return True
    return second is None or second.previous == first.hash


def open_record(record: Record, segment: Segment, recording_key: bytes) -> bytes:
    """Its plaintext. Raises Fault where the key is not the recording's."""
    info = b"vivavoce/segment/v1" + bytes.fromhex(segment.recording)
    key = HKDF(SHA256(), 32, segment.salt, info + struct.pack(">I", segment.number))
    nonce = segment.nonce_prefix + struct.pack(">IB", record.counter, record.kind == END)
    try:
        return AESGCM(key.derive(recording_key)).decrypt(nonce, record.ciphertext, record.header)
    except InvalidTag:
        raise Fault("wrong key", "a record does not open with this key") from None


# ---- the tree (RFC 9162, 2.1) -----------------------------------------------------------


def root_of(hashes: list[bytes]) -> bytes:
    """Of the records with these hashes."""
    if not hashes:
        return hashlib.sha256().digest()
    level = [hashlib.sha256(b"\0" + each).digest() for each in hashes]
    while len(level) > 1:  # an odd one goes up as it is: the same tree as the recursive definition
        pairs = zip(level[::2], level[1::2], strict=False)
        joined = [hashlib.sha256(b"\1" + left + right).digest() for left, right in pairs]
        level = joined + level[len(joined) * 2 :]
    return level[0]


# ---- the manifest -----------------------------------------------------------------------


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def read_manifest(data: bytes, keys: Keys) -> tuple[dict[str, Any], Ed25519PublicKey]:
    """And by which key it is. Raises Fault."""
    try:
        signed = json.loads(data)
        manifest, signature = signed["manifest"], bytes.fromhex(signed["signature"])
        if manifest["version"] != 1:
            raise Fault("unknown version", f"version {manifest['version']}")
        exact = re.fullmatch(r"[0-9a-f]{128}", signed["signature"]) and compact(signed) == data
        if not exact or not _has_form(manifest):
            raise Fault("tampered", "the manifest is not canonical")
        by = signed_by(keys, signature, b"vivavoce/manifest/v1" + compact(manifest))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Fault("tampered", "the manifest does not parse") from None
    except InvalidSignature:
        raise Fault("tampered", "the manifest's signature does not fit") from None
    return dict(manifest), by


def _has_form(manifest: object) -> bool:
    if not isinstance(manifest, dict) or list(manifest) != MANIFEST_FIELDS:
        return False
    if not all(isinstance(manifest[name], list) for name in FIELDS):
        return False
    return all(
        isinstance(entry, dict) and list(entry) == fields
        for name, fields in FIELDS.items()
        for entry in manifest[name]
    )


# ---- the receipt --------------------------------------------------------------------------


def read_receipt(data: bytes, keys: Keys) -> tuple[dict[str, Any], Ed25519PublicKey]:
    """The receipt, all that it claims proved, and by which key it is. Raises Fault."""
    try:
        signed = json.loads(data)
        receipt, signature = signed["receipt"], bytes.fromhex(signed["signature"])
        version = receipt["version"]
        if version != 1:
            raise Fault("unknown version", f"receipt of version {version}")
        exact = re.fullmatch(r"[0-9a-f]{128}", signed["signature"]) and compact(signed) == data
        if not exact or list(receipt) != RECEIPT_FIELDS:
            raise Fault("tampered", "the receipt is not canonical")
        by = signed_by(keys, signature, b"vivavoce/receipt/v1" + compact(receipt))
        entry = receipt["entry"]
        _check_proof(receipt["proof"], compact(entry), receipt["key"], by)
        if entry["kind"] not in ("closed", "repaired"):
            raise Fault("tampered", "the log's entry is not of a recording's end")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Fault("tampered", "the receipt does not parse") from None
    except InvalidSignature:
        raise Fault("tampered", "a signature of the receipt does not fit") from None
    return dict(receipt), by


def _check_proof(proof: str, leaf: bytes, key: str, public_key: Ed25519PublicKey) -> None:
    """C2SP tlog-proof; InvalidSignature, ValueError, Fault."""
    match = PROOF.fullmatch(proof)
    if match is None:
        raise Fault("tampered", "the proof does not parse")
    index, path, text, origin, size, root, name, signature = match.groups()
    raw = b"\x01" + public_key.public_bytes_raw()
    key_id = hashlib.sha256(f"{origin}\n".encode() + raw).digest()[:4]
    signed = base64.b64decode(signature, validate=True)
    if key != f"{origin}+{key_id.hex()}+{base64.b64encode(raw).decode()}":
        raise Fault("tampered", "the receipt names another key")
    if name != origin or signed[:4] != key_id:
        raise Fault("tampered", "the checkpoint is signed by another key")
    public_key.verify(signed[4:], text.encode())
    hashes = [base64.b64decode(each) for each in path.split()]
    if _root_from(leaf, int(index), int(size), hashes) != base64.b64decode(root):
        raise Fault("tampered", "the log that was signed does not have this entry there")


def _root_from(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """By RFC 9162, 2.1.3.2; None where the path has another length than it must."""
    digest, last = hashlib.sha256(b"\0" + leaf).digest(), size - 1
    if index > last:
        return None
    for sibling in path:
        while index == last and not index & 1 and index:
            index, last = index >> 1, last >> 1
        if last == 0:
            return None
        pair = sibling + digest if index & 1 else digest + sibling
        digest = hashlib.sha256(b"\1" + pair).digest()
        index, last = index >> 1, last >> 1
    return digest if last == 0 else None


# ---- what was made of a recording ---------------------------------------------------------


def read_statement(data: bytes, kind: str, keys: Keys) -> dict[str, Any]:
    """What an export, or a compressed recording, was made of. Raises Fault."""
    try:
        signed = json.loads(data)
        made, signature = signed["derivation"], bytes.fromhex(signed["signature"])
        if made["version"] != 1:
            raise Fault("unknown version", f"statement of version {made['version']}")
        exact = re.fullmatch(r"[0-9a-f]{128}", signed["signature"]) and compact(signed) == data
        fits = made["format"] == "vivavoce-derivation" and made["kind"] == kind
        if not exact or not fits or list(made) != STATEMENT_FIELDS[kind]:
            raise Fault("tampered", "the statement is not canonical")
        if list(made["source"]) != SOURCE_FIELDS:
            raise Fault("tampered", "the statement is not canonical")
        signed_by(keys, signature, b"vivavoce/derivation/v1" + compact(made))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Fault("tampered", "the statement does not parse") from None
    except InvalidSignature:
        raise Fault("tampered", "the statement's signature does not fit") from None
    return dict(made)


def check_export(path: Path, made: dict[str, Any]) -> None:
    """An exported file has to be the one that the statement was signed for. Fault."""
    with path.open("rb") as file:
        digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
    if size < made["size"]:
        raise Fault("truncated", f"{made['size'] - size} bytes are cut off")
    if digest != made["sha256"]:
        raise Fault("tampered", "the file is not the one that was signed")


def statement_of(path: Path) -> Path:
    return path.with_name(path.name + STATEMENT)


# ---- a recording ------------------------------------------------------------------------


class Reader:
    """`verify` first: it yields the faults; then `media` may be read."""

    def __init__(self, folder: Path, keys: Keys, sealed: dict[str, Any] | None = None) -> None:
        """`sealed`: a receipt's entry, which the recording has to bear out."""
        self.folder, self.keys, self._sealed = folder, keys, sealed
        self.names: list[str] = []  #: of the segments, in order
        self.signer: Ed25519PublicKey | None = None  #: of the manifest
        self._head = bytes(32)
        self._end_us = 0
        self._hashes: list[bytes] = []  #: of all records, in order
        self._manifest: dict[str, Any] = {}

    def verify(self) -> Iterator[tuple[str, Fault]]:
        """Each fault with the file that it is in. Raises OSError."""
        there = sorted(path.name for path in self.folder.iterdir())
        try:
            data = read_whole(self.folder / "manifest.json")
            self._manifest, self.signer = read_manifest(data, self.keys)
            self._check_sealed()
        except FileNotFoundError:
            yield "manifest.json", Fault("missing", "there is no manifest")
        except Fault as fault:
            yield "manifest.json", fault
        if self._manifest:
            yield from self._check_all_listed()
            yield from self._check_others(there)

    def _check_all_listed(self) -> Iterator[tuple[str, Fault]]:
        listed = self._manifest["segments"]
        for entry in listed:
            self._end_us = entry["start_us"]
            try:
                self._check_listed(entry)
            except Fault as fault:
                fault.span_us = self._end_us, entry["end_us"]
                yield entry["name"], fault
            self._head = bytes.fromhex(entry["head"])
        self.names = [entry["name"] for entry in listed]
        whole = len(self._hashes) == sum(entry["records"] for entry in listed)
        if whole and (
            len(self._hashes) > self._manifest["tree_size"] or not self._has(self._manifest)
        ):
            yield "manifest.json", Fault("tampered", "the tree of the records is another one")

    def _check_others(self, there: list[str]) -> Iterator[tuple[str, Fault]]:
        """What the manifest does not list: of an open recording, its tail."""
        newest = max(self.names, default="")
        is_open = self._manifest["state"] == "recording"
        begun = 0
        for name in there:
            if name in (*self.names, "manifest.json", "manifest.tsr"):  # RFC 3161: for openssl ts
                continue
            if not (is_open and SEGMENT_NAME.fullmatch(name) and name > newest):
                yield name, Fault("unexpected", "the manifest does not list this file")
                continue
            begun += 1
            if begun == 2:  # one is written before each segment begins
                yield "manifest.json", Fault("rolled back", "it is older than the segments")
            self.names.append(name)
            try:
                self._check_tail(name)
            except Fault as fault:
                if fault.kind != "truncated":
                    yield name, fault
        if self._sealed is not None and not self._has(self._sealed):
            yield "manifest.json", Fault("tampered", "the receipt knows other records")

    def check_statement(self, made: dict[str, Any]) -> None:
        """What a compressed recording was made of is signed for this one, or it went on. Fault."""
        if made["recording"] != self._manifest["recording"]:
            raise Fault("foreign", "it is of another recording")
        if not self._has(made):
            raise Fault("tampered", "the recording is not the one that was signed for")

    def _check_sealed(self) -> None:
        """That the manifest is what was sealed, or of what went on since. Fault."""
        manifest, sealed = self._manifest, self._sealed
        if sealed is None:
            return
        if sealed["recording"] != manifest["recording"]:
            raise Fault("foreign", "another recording than the one that the receipt knows")
        if manifest["revision"] < sealed["revision"]:
            raise Fault("rolled back", f"the receipt knows its revision {sealed['revision']}")
        digest = hashlib.sha256(compact(manifest)).hexdigest()
        if manifest["revision"] == sealed["revision"] and digest != sealed["manifest"]:
            raise Fault("tampered", "this is not the manifest that the receipt knows")

    def _has(self, tree: dict[str, Any]) -> bool:
        """Whether the records begin with those of that size and root."""
        size: int = tree["tree_size"]
        return len(self._hashes) >= size and root_of(self._hashes[:size]).hex() == tree["root"]

    def media(self, recording_key: bytes) -> Iterator[bytes]:
        """The fMP4: each init once, and all fragments. Raises Fault or OSError."""
        told = b""
        for name in self.names:
            with (self.folder / name).open("rb") as file:
                segment = read_header(file)
                try:
                    for record in read_records(file, segment, self.keys):
                        plaintext = open_record(record, segment, recording_key)
                        if record.kind == MEDIA or (record.kind == INIT and plaintext != told):
                            yield plaintext
                        if record.kind == INIT:
                            told = plaintext
                except Fault as fault:
                    if fault.kind != "truncated":
                        raise

    def _check_listed(self, entry: dict[str, Any]) -> None:
        path = self.folder / entry["name"]
        if not path.is_file():
            raise Fault("missing", "the segment is gone")
        hashes = []
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if whole := size == entry["size"]:  # another's end may be far
                whole = hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]
                file.seek(0)
            try:
                segment = self._header(file)
                for record in read_records(file, segment, self.keys):
                    hashes.append(record.hash)
                    self._pass(record)
            except Fault as fault:
                if fault.kind == "truncated" and size >= entry["size"]:
                    raise Fault("tampered", "a record is longer than what is left") from None
                raise
        if not whole:
            reached_us, self._end_us = self._end_us, entry["start_us"]
            if segment.previous != self._head:
                raise Fault("reordered", "another segment of this recording lies in its place")
            if size < entry["size"]:
                self._end_us = reached_us
                raise Fault("truncated", f"{entry['size'] - size} bytes are cut off")
            raise Fault("tampered", "the segment is not the one that was signed")
        if segment.previous != self._head:
            raise Fault("reordered", "the segment does not follow the one before it")
        self._hashes += hashes

    def _check_tail(self, name: str) -> None:
        with (self.folder / name).open("rb") as file:
            segment = self._header(file)
            if segment.previous != self._head:
                raise Fault("reordered", "the segment does not follow the last one")
            for record in read_records(file, segment, self.keys):
                self._head = record.hash
                self._hashes.append(record.hash)
                self._pass(record)

    def _pass(self, record: Record) -> None:
        if record.kind == MEDIA:
            self._end_us = record.start_us + record.duration_us

    def _header(self, file: BinaryIO) -> Segment:
        segment = read_header(file)
        if is_header_changed(file, segment, self.keys):
            raise Fault("tampered", "the segment's header was changed")
        file.seek(SEGMENT.size)
        if segment.recording != self._manifest["recording"]:
            raise Fault("foreign", "the segment is of another recording")
        policies = (
            hashlib.sha256(b"vivavoce/policy/v1" + compact(each)).digest()
            for each in self._manifest["policies"]
        )
        if segment.policy not in policies:
            raise Fault("tampered", "made under a policy that nobody listed")
        return segment


# ---- the command ------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    flags = _parser().parse_args(arguments)
    try:
        public_key = load_pem_public_key(flags.public_key.read_bytes())
        if not isinstance(public_key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        keys = _known(flags.public_key, public_key)
        if flags.path.is_file() and statement_of(flags.path).is_file():
            return _say_export(flags.path, keys)
        if flags.path.is_file():
            return _say_receipt(flags.path, keys, public_key)
        key = bytes.fromhex(flags.key) if flags.key else None
        made, sealed, faults = _beside(flags.path, flags.receipt, keys)
        reader = Reader(flags.path, keys, sealed)
        faults = [_line(name, fault) for name, fault in reader.verify()] + faults
        if made is not None and not faults:
            faults += _check_statement(reader, made)
    except (OSError, ValueError) as error:
        print(f"read_recording: {error}", file=sys.stderr)
        return 2
    except Fault as wrong:
        print(_line("signing-keys.json", wrong))
        return 1
    for line in faults:
        print(line)
    if faults:
        return 1
    print(f"Intact: {len(reader.names)} segments.")
    if sealed is not None:
        print("The receipt is of this recording.")
    _say_signer(reader.signer, public_key)
    return 0 if key is None else _decrypt(reader, key, flags.output)


def _line(name: str, fault: Fault) -> str:
    span = ""
    if fault.span_us is not None:
        span = ", {:.3f} s to {:.3f} s".format(*(each / 1e6 for each in fault.span_us))
    line = f"NOT INTACT: {name}{span}: {fault}"  # a name must do nothing to a terminal
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return "".join(escaped)


def _beside(
    folder: Path, receipt: Path | None, keys: Keys
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, list[str]]:
    """The statement beside a compressed recording, the receipt's entry, what is wrong with them.

    Raises OSError.
    """
    made = sealed = None
    statement, faults = statement_of(folder), []
    try:
        if statement.is_file():
            made = read_statement(read_whole(statement), "compressed", keys)
    except Fault as fault:
        faults.append(_line(statement.name, fault))
    try:
        if receipt is not None:
            sealed = read_receipt(read_whole(receipt), keys)[0]["entry"]
    except Fault as fault:
        faults.append(_line(str(receipt), fault))
    if made and sealed and made["source"]["manifest"] == sealed["manifest"]:
        print("The receipt is of what it was made of when it was compressed, which is signed.")
        sealed = None
    return made, sealed, faults


def _check_statement(reader: Reader, made: dict[str, Any]) -> Iterator[str]:
    try:
        reader.check_statement(made)
    except Fault as fault:
        yield _line(statement_of(reader.folder).name, fault)
    else:
        print(f"It was made of recording {made['source']['recording']} by compressing that.")


def _decrypt(reader: Reader, key: bytes, output: Path) -> int:
    try:
        with open(output, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            for part in reader.media(key):
                out.write(part)
    except Fault as fault:
        output.unlink()
        print(f"read_recording: {fault}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"read_recording: {error}", file=sys.stderr)
        return 2
    print(f"Written: {output}")
    return 0


def _known(path: Path, public_key: Ed25519PublicKey) -> Keys:
    """Those that the list beside it tells of, or that one alone. Fault; OSError."""
    listed = path.with_name("signing-keys.json")
    if not listed.is_file():
        return [public_key]
    keys = read_keys(read_whole(listed))
    if public_key.public_bytes_raw() not in [key.public_bytes_raw() for key in keys]:
        raise Fault("rolled back", "it does not have this public key")
    return keys


def _say_signer(by: Ed25519PublicKey | None, public_key: Ed25519PublicKey) -> None:
    if by is not None and by.public_bytes_raw() != public_key.public_bytes_raw():
        print(f"Signed with another key of the same server, SHA-256 {fingerprint(by)}.")


def _say_export(path: Path, keys: Keys) -> int:
    reading = statement_of(path)
    try:
        made = read_statement(read_whole(reading), "export", keys)
        reading = path
        check_export(path, made)
    except Fault as fault:
        print(_line(reading.name, fault))
        return 1
    source = made["source"]
    print(f"Intact: made of recording {source['recording']}, manifest {source['manifest']},")
    print(f"{made['start_us'] / 1e6:.3f} s to {made['end_us'] / 1e6:.3f} s.")
    return 0


def _say_receipt(path: Path, keys: Keys, public_key: Ed25519PublicKey) -> int:
    try:
        receipt, by = read_receipt(read_whole(path), keys)
    except Fault as fault:
        print(_line(path.name, fault))
        return 1
    entry = receipt["entry"]
    print(f"Intact: the receipt of recording {entry['recording']}.")
    _say_signer(by, public_key)
    print(f"{entry['tree_size']} records, root {entry['root']}; manifest {entry['manifest']}.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, metavar="PATH")
    parser.add_argument("--public-key", type=Path, required=True, metavar="FILE")
    parser.add_argument("--receipt", type=Path, metavar="FILE", help="that it has to bear out")
    parser.add_argument("--key", metavar="HEX", help="the recording key, to decrypt")
    parser.add_argument("-o", "--output", type=Path, default=Path("recording.mp4"), metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
