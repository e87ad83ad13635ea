"""An archive for whoever has to rely on a recording: all that proves it, and how to check that.

A zip archive, not compressed (ciphertext does not shrink), with one folder `vivavoce-ID`:
`recording/` as it lies on the disk, `log/` with proofs of what the log says of it, the receipt,
the public key, the independent reader, and a `README.txt`. With the recording's key in it, and
only then, its receiver can see and hear the recording.
"""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from server.recorder.evidence.checkpoint import read_checkpoint
from server.recorder.evidence.derivation import SUFFIX
from server.recorder.evidence.log_check import ENTRY, PROOF
from server.recorder.evidence.proof import Proof
from server.recorder.evidence.tiles import CHECKPOINT, Tiles
from server.recorder.evidence.tlog import EntryKind, parse_entry
from server.recorder.format.manifest import (
    MANIFEST_NAME,
    TIMESTAMP_NAME,
    Manifest,
    State,
    decode_manifest,
    manifest_hash,
)
from server.recorder.format.merkle import inclusion_path
from server.recorder.format.segments import unlisted_segments
from server.recorder.format.server_key import ServerKey, fingerprint
from server.recorder.keys import succession
from server.recorder.stores.files import put_in_place, scratch_beside
from server.recorder.stores.store import Readable, size_of

RECORDING = "recording"
LOG = "log"
PUBLIC_KEY = "signing.pub"
KEY = "recording.key"
RECEIPT = "receipt.json"
DERIVATION = RECORDING + SUFFIX
README = "README.txt"
READER = Path(__file__).parents[3] / "tools" / "read_recording.py"
#: What lies in the archive's one folder, at most.
CONTENTS = frozenset(
    {
        RECORDING,
        LOG,
        PUBLIC_KEY,
        succession.FILE,
        KEY,
        RECEIPT,
        DERIVATION,
        README,
        READER.name,
    }
)
_BLOCK_BYTES = 1 << 20

_README = """\
Evidence: a recording of Vivavoce                       证据：Vivavoce 的一段录制

Interview   {interview}
Recording   {recording}
Manifest    revision {revision}, SHA-256 {manifest}
Public key  SHA-256 {fingerprint}
Made        {made}

1. Compare the fingerprint of the public key with the one that the company has told you in
   another way, for example in a letter. Without that, whoever made this archive may have made
   the key too:
   openssl pkey -pubin -in signing.pub -outform DER | sha256sum
2. Check the recording. It takes Python 3.11 or newer, its package `cryptography`, no network:
   python3 read_recording.py recording --public-key signing.pub
   python3 read_recording.py receipt.json --public-key signing.pub   (if there is a receipt)
   "Intact" means: every byte is what the server signed. Otherwise each fault is named.
   read_recording.py is part of Vivavoce; if you do not trust the copy in here, take another.
   `vivavoce verify ARCHIVE.zip --public-key signing.pub` checks the log's proofs as well.
3. {key_english}

1. 请把公钥指纹与公司通过其他途径（例如书面）告知您的指纹进行比对；否则，制作本压缩包的人也可能
   自己造了一把公钥：
   openssl pkey -pubin -in signing.pub -outform DER | sha256sum
2. 校验录制。需要 Python 3.11 或更高版本及其 `cryptography` 包，不需要网络：
   python3 read_recording.py recording --public-key signing.pub
   python3 read_recording.py receipt.json --public-key signing.pub   （如果有回执）
   显示 "Intact" 表示每个字节都与服务器签名时一致；否则会逐一指出问题。
   read_recording.py 是 Vivavoce 的一部分；如果不信任本压缩包中的副本，请使用另外取得的副本。
   `vivavoce verify ARCHIVE.zip --public-key signing.pub` 还会校验日志证明。
3. {key_chinese}
"""
_WITH_KEY = (
    "recording.key opens the recording: whoever has it can see and hear it. To play it:\n   "
    "python3 read_recording.py recording --public-key signing.pub --key $(cat recording.key) "
    "-o recording.mp4",
    "recording.key 可以打开录制：持有它的人能看到并听到内容。播放方法：\n   "
    "python3 read_recording.py recording --public-key signing.pub --key $(cat recording.key) "
    "-o recording.mp4",
)
_WITHOUT_KEY = (
    "The recording is encrypted and its key is not in here: what it shows can't be seen.",
    "录制内容已加密，本压缩包不含密钥，因此无法查看内容。",
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What goes into an archive; ``key`` only if its receiver is to see the recording."""

    files: Readable
    manifest: bytes
    public_key_pem: bytes
    signing_keys: bytes | None  #: how the server's keys gave way to each other, if they did
    public_key: ServerKey
    log: Traversable | None
    receipt: bytes | None  #: None while it goes on, or the log does not know of its end
    derivation: bytes | None  #: of a compressed recording: the statement of what it was made of
    key: bytes | None


class _Part(NamedTuple):
    """A member: bytes, or a file to be copied."""

    name: str
    size: int
    source: bytes | Readable


def write_archive(
    path: Path, evidence: Evidence, made: datetime, progress: Callable[[float], None]
) -> None:
    """Write ``path``, whole or not at all; ``progress`` gets the share that is done.

    SegmentError where manifest or log are not authentic; OSError.
    """
    manifest = decode_manifest(evidence.manifest, evidence.public_key)
    parts = list(_parts(evidence, manifest, made))
    total, done = sum(part.size for part in parts) or 1, 0
    with scratch_beside(path) as scratch:
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
            for part in parts:
                for count in _add(archive, f"vivavoce-{manifest.interview}", part, made):
                    done += count
                    progress(done / total)
        put_in_place(scratch, path)


def _parts(evidence: Evidence, manifest: Manifest, made: datetime) -> Iterator[_Part]:
    yield _bytes(README, _readme(evidence, manifest, made).encode())
    yield _bytes(PUBLIC_KEY, evidence.public_key_pem)
    yield _bytes(READER.name, READER.read_bytes())
    if evidence.key is not None:
        yield _bytes(KEY, f"{evidence.key.hex()}\n".encode())
    for name, data in (
        (succession.FILE, evidence.signing_keys),
        (RECEIPT, evidence.receipt),
        (DERIVATION, evidence.derivation),
    ):
        if data is not None:
            yield _bytes(name, data)
    if evidence.log is not None:
        for name, data in _proofs(evidence.log, evidence.public_key, manifest.recording):
            yield _bytes(f"{LOG}/{name}", data)
    yield _bytes(f"{RECORDING}/{MANIFEST_NAME}", evidence.manifest)
    stamp = evidence.files / TIMESTAMP_NAME
    if stamp.is_file():
        yield _bytes(f"{RECORDING}/{TIMESTAMP_NAME}", stamp.read_bytes())
    names = [entry.name for entry in manifest.segments]
    if manifest.state is State.RECORDING:
        names += unlisted_segments([file.name for file in evidence.files.iterdir()], names)
    for name in names:
        with (evidence.files / name).open("rb") as file:
            yield _Part(f"{RECORDING}/{name}", size_of(file), evidence.files / name)


def _bytes(name: str, data: bytes) -> _Part:
    return _Part(name, len(data), data)


def _add(archive: zipfile.ZipFile, top: str, part: _Part, made: datetime) -> Iterator[int]:
    """Each time, how many bytes more are written."""
    info = zipfile.ZipInfo(f"{top}/{part.name}", made.timetuple()[:6])
    info.external_attr = 0o100600 << 16
    info.file_size = part.size
    with archive.open(info, "w") as target:
        if isinstance(part.source, bytes):
            target.write(part.source)
            yield part.size
            return
        with part.source.open("rb") as source:
            for block in _blocks(source):
                target.write(block)
                yield len(block)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _readme(evidence: Evidence, manifest: Manifest, made: datetime) -> str:
    english, chinese = _WITHOUT_KEY if evidence.key is None else _WITH_KEY
    return _README.format(
        interview=manifest.interview,
        recording=manifest.recording,
        revision=manifest.revision,
        manifest=manifest_hash(manifest),
        fingerprint=fingerprint(evidence.public_key.known),
        made=made.strftime("%Y-%m-%d %H:%M:%S %Z"),
        key_english=english,
        key_chinese=chinese,
    )


def _proofs(log: Traversable, public_key: ServerKey, recording: str) -> Iterator[tuple[str, bytes]]:
    """The log's checkpoint, and of its entries those that tell when the recording changed.

    Of heartbeats the last alone: each tells more than those before it.
    """
    checkpoint = (log / CHECKPOINT).read_bytes()
    signed = read_checkpoint(checkpoint, public_key.newest)
    tiles, found = Tiles(log), []
    for index, data in enumerate(tiles.entries(signed.size)):
        entry = parse_entry(data) if recording.encode() in data else None
        if entry is not None and entry.recording == recording:
            found.append((index, data, entry.kind))
    yield CHECKPOINT, checkpoint
    for index, data, kind in found:
        if kind is not EntryKind.RECORDING or index == found[-1][0]:
            path = inclusion_path(index, signed.size, tiles.range_hash)
            yield f"{index}{ENTRY}", data
            yield f"{index}{PROOF}", Proof(index, tuple(path), checkpoint).text.encode()
