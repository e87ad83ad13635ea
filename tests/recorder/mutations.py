"""Random harm to real recordings: `python -m tests.recorder.mutations --runs 10000`.

Each run does one thing to a copy of a data directory with everything that recordings can have
(`tests.recorder.everything`): a bit flips; something is cut off, dropped, doubled, swapped,
appended; records, files or whole recordings change places; a former manifest, log, checkpoint,
list of keys or all of it comes back; another key is put in the place of one. What a person would
run then (`vivavoce verify`, `vivavoce log`) must name it: the file, what is wrong with it, and
when in the recording. So must the independent reader (tools/read_recording.py), but for what only
the log can tell. Neither may raise anything else, nor complain of what is intact.
Exit status: 0 all was named, 1 something was not.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.recorder.format.manifest import MANIFEST_CONTEXT, MANIFEST_NAME, TIMESTAMP_NAME
from server.recorder.format.sealing import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    RecordHeader,
)
from server.recorder.format.segments import index_records
from server.recorder.keys import succession
from tests.recorder import everything

READER = Path(__file__).parents[2] / "tools" / "read_recording.py"


def load_reader() -> ModuleType:
    """The independent reader, which no package holds."""
    spec = importlib.util.spec_from_file_location("read_recording", READER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# ---- what is checked, and how -----------------------------------------------------------

KEY = "{at}/data/keys/signing.pub"


@dataclass(frozen=True, slots=True)
class Check:
    """What a person runs; `reader`: what the independent reader is given, if it looks there."""

    command: tuple[str, ...]
    reader: tuple[str, ...] = ()


def _of_recording(path: str, *more: str) -> Check:
    return Check(("verify", f"{{at}}/{path}"), (f"{{at}}/{path}", "--public-key", KEY, *more))


def _of_file(path: str) -> Check:
    command = ("verify", f"{{at}}/{path}", "--data-dir", "{at}/data")
    return Check(command, (f"{{at}}/{path}", "--public-key", KEY))


CHECKS = {
    **{name: _of_recording(f"data/recordings/{name}") for name in ("two", "small", "open")},
    "one": _of_recording("data/recordings/one", "--receipt", "{at}/given/receipt-one.json"),
    "source": _of_recording("data/sources/small"),
    "all": Check(("verify", "{at}/data/recordings")),
    "log": Check(("log", "--since", "{at}/given/checkpoint", "--data-dir", "{at}/data")),
    "receipt": _of_file("given/receipt-one.json"),
    "export": _of_file("given/out.mp4"),
    "evidence": Check(
        ("verify", "{at}/given/evidence", "--public-key", KEY),
        (
            *("{at}/given/evidence/recording", "--public-key", KEY),
            *("--receipt", "{at}/given/evidence/receipt.json"),
        ),
    ),
    "receipt in evidence": Check(
        ("verify", "{at}/given/evidence", "--public-key", KEY),
        ("{at}/given/evidence/receipt.json", "--public-key", KEY),
    ),
}
#: The files that prove something, and what a person runs to hear of harm to them.
PARTS = {
    "data/recordings/one/*": "one",
    "data/recordings/two/*": "two",
    "data/recordings/small/*": "small",
    "data/recordings/small.vivavoce.json": "small",
    "data/recordings/open/manifest.json": "open",
    "data/recordings/open/0000[01].seg": "open",  # those that are listed
    "data/sources/small/*": "source",
    "data/log/checkpoint": "log",
    "data/log/tile/*/*.p/*": "log",
    "data/keys/signing-keys.json": "one",
    "given/receipt-one.json": "receipt",
    "given/out.mp4": "export",
    "given/out.mp4.vivavoce.json": "export",
    "given/evidence/recording/*": "evidence",
    "given/evidence/log/*": "evidence",
    "given/evidence/receipt.json": "receipt in evidence",
    "given/evidence/signing-keys.json": "evidence",
}
ONE = "data/recordings/one"
STAMPED = {
    **{name: f"data/recordings/{name}" for name in ("one", "two", "small")},
    "evidence": "given/evidence/recording",
}
#: Of what lies there only the server's program tells.
NOT_THE_READERS = ("given/evidence/log/", "given/evidence/signing-keys.json")
#: A time range in a fault: its file, from, to.
_SPAN = re.compile(r", (?:(\d+\.\d{3}) s to (\d+\.\d{3}) s|from (\d+\.\d{3}) s on): ")


@dataclass(frozen=True, slots=True)
class Harm:
    """What was done, as it is to be named."""

    check: str
    file: str  #: is in the first fault; by the reader, ``seen_in`` where that is told
    words: tuple[str, ...]  #: one of these, too
    span_s: tuple[float, float] | None = None  #: overlaps the time that the fault tells
    by_reader: bool = True  #: whether the independent reader sees it, too
    seen_in: str = ""
    told: str = ""  #: it is no fault of the recording, but this is not claimed any more


@dataclass(slots=True)
class Found:
    """What became of the runs, by mutation and word; and what should not be."""

    named: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Bench:
    """Everything as it should be, as it once was, and a copy to do harm to."""

    def __init__(self, folder: Path) -> None:
        made = everything.make(folder)
        self.former = folder / "former"
        self.at = folder / "copy"
        self.reader = load_reader()
        self._whole = {path.relative_to(made): path.read_bytes() for path in _files(made)}
        self.fresh()

    def fresh(self) -> None:
        """The copy as it should be."""
        for path in _files(self.at):
            if path.relative_to(self.at) not in self._whole:
                path.unlink()
        for name, data in self._whole.items():
            path = self.at / name
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def changed(self) -> bool:
        """Whether the copy is not as it should be."""
        there = {path.relative_to(self.at): path.read_bytes() for path in _files(self.at)}
        return there != self._whole

    @cached_property
    def parts(self) -> list[tuple[str, str]]:
        """Each file that proves something, and its check."""
        return [
            (str(path.relative_to(self.at)), check)
            for pattern, check in PARTS.items()
            for path in sorted(self.at.glob(pattern))
        ]

    @cached_property
    def segments(self) -> list[tuple[str, str]]:
        return [(name, check) for name, check in self.parts if name.endswith(".seg")]

    @cached_property
    def spans_s(self) -> dict[str, tuple[float, float]]:
        """Of each segment."""
        found = {}
        for name in {str(Path(name).parent) for name, _ in self.segments}:
            manifest = json.loads(self.read(f"{name}/{MANIFEST_NAME}"))["manifest"]
            for each in manifest["segments"]:
                span_s = each["start_us"] / 1e6, each["end_us"] / 1e6
                found[f"{name}/{each['name']}"] = span_s
        return found

    def read(self, name: str) -> bytes:
        """As it should be."""
        return self._whole[Path(name)]

    def write(self, name: str, data: bytes) -> None:
        (self.at / name).write_bytes(data)

    def bring_back(self, name: str) -> None:
        """A file or folder as it once was."""
        target = self.at / name
        if target.is_dir():
            shutil.rmtree(target)
            shutil.copytree(self.former / name, target)
        else:
            shutil.copy(self.former / name, target)

    # ---- what is said -------------------------------------------------------------------

    def server_says(self, check: str) -> tuple[int, str]:
        """Exit status and text."""
        return everything.run(*(each.format(at=self.at) for each in CHECKS[check].command))

    def reader_says(self, check: str, *more: str) -> tuple[int, str]:
        said = io.StringIO()
        arguments = [each.format(at=self.at) for each in (*CHECKS[check].reader, *more)]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status: int = self.reader.main(arguments)
        return status, said.getvalue()

    def openssl_says(self, check: str) -> tuple[int, str]:
        """Of a recording's time stamp, which the reader leaves to it."""
        folder = self.at / STAMPED[check]
        command = ["openssl", "ts", "-verify", "-in", TIMESTAMP_NAME, "-data", MANIFEST_NAME]
        command += ["-CAfile", str(self.at / "data/keys/timestamp-root.pem")]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.returncode, f"NOT INTACT: {TIMESTAMP_NAME}: tampered: {done.stderr}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ---- harm -------------------------------------------------------------------------------

Mutation = Callable[[Bench, random.Random], Harm]
CHANGED = ("tampered", "unknown version")
CUT = ("truncated",)
#: What has no length of its own does not parse when it is cut, or it is too short.
SHORT = ("truncated", "tampered")


def _harm(
    bench: Bench,
    part: tuple[str, str],
    words: Sequence[str],
    span_s: tuple[float, float] | None = None,
    by_reader: bool = True,
) -> Harm:
    name, check = part
    span_s = span_s or bench.spans_s.get(name)
    by_reader = by_reader and not name.startswith(NOT_THE_READERS)
    return Harm(check, Path(name).name, tuple(words), span_s, by_reader)


def _records(data: bytes) -> list[tuple[RecordHeader, bytes]]:
    """A segment's records, each with its bytes."""
    records = list(index_records(io.BytesIO(data), SEGMENT_HEADER_BYTES, len(data)))
    ends = [SEGMENT_HEADER_BYTES, *(record.end for record in records)]
    parts = [data[begin:end] for begin, end in pairwise(ends)]
    return [(record.header, part) for record, part in zip(records, parts, strict=True)]


def _joined(data: bytes, records: Sequence[tuple[RecordHeader, bytes]]) -> bytes:
    return data[:SEGMENT_HEADER_BYTES] + b"".join(part for _, part in records)


def _flipped(data: bytes, at: int, chance: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def flip(bench: Bench, chance: random.Random) -> Harm:
    part = chance.choice(bench.parts)
    data = bench.read(part[0])
    bench.write(part[0], _flipped(data, chance.randrange(len(data)), chance))
    return _harm(bench, part, CHANGED)


def flip_in_header(bench: Bench, chance: random.Random) -> Harm:
    """Of a segment, or of one of its records."""
    part = chance.choice(bench.segments)
    data = bench.read(part[0])
    ends = [SEGMENT_HEADER_BYTES]
    for _, record in _records(data)[:-1]:
        ends.append(ends[-1] + len(record))
    begin, size = chance.choice(
        [(0, SEGMENT_HEADER_BYTES), *((e, RECORD_HEADER_BYTES) for e in ends)]
    )
    bench.write(part[0], _flipped(data, begin + chance.randrange(size), chance))
    return _harm(bench, part, CHANGED)


def flip_in_media(bench: Bench, chance: random.Random) -> Harm:
    """Of a fragment, whose time the fault has to tell."""
    part = chance.choice(bench.segments)
    records = _records(bench.read(part[0]))
    number = chance.choice([n for n, (header, _) in enumerate(records) if header.seq])
    header, record = records[number]
    at = RECORD_HEADER_BYTES + chance.randrange(header.length)
    records[number] = header, _flipped(record, at, chance)
    bench.write(part[0], _joined(bench.read(part[0]), records))
    span_s = header.start_us / 1e6, header.end_us / 1e6
    return _harm(bench, part, ("tampered",), span_s)


def truncate(bench: Bench, chance: random.Random) -> Harm:
    part = chance.choice(bench.parts)
    data = bench.read(part[0])
    bench.write(part[0], data[: chance.randrange(len(data))])
    whole = part[0].endswith((".seg", ".mp4"))
    return _harm(bench, part, CUT if whole else SHORT)


def boundaries(data: bytes) -> list[int]:
    """Of a segment: where its header ends, and each record's header, ciphertext and signature."""
    found = [0, SEGMENT_HEADER_BYTES]
    for header, record in _records(data):
        begin = found[-1]
        found += [
            begin + RECORD_HEADER_BYTES,
            begin + RECORD_HEADER_BYTES + header.length,
            begin + len(record),
        ]
    return found[:-1]


def truncate_at_boundary(bench: Bench, chance: random.Random) -> Harm:
    part = chance.choice(bench.segments)
    data = bench.read(part[0])
    bench.write(part[0], data[: chance.choice(boundaries(data))])
    return _harm(bench, part, CUT)


def append(bench: Bench, chance: random.Random) -> Harm:
    part = chance.choice(bench.parts)
    bench.write(part[0], bench.read(part[0]) + chance.randbytes(chance.randrange(1, 300)))
    # What follows a time stamp, openssl does not look at.
    return _harm(bench, part, ("tampered",), by_reader=not part[0].endswith(TIMESTAMP_NAME))


def drop_file(bench: Bench, chance: random.Random) -> Harm:
    """What is given to others is theirs to keep; a time stamp is only missed by who knows of it."""
    parts = [
        part
        for part in bench.parts
        if part[0].startswith("data/") and not part[0].endswith(TIMESTAMP_NAME)
    ]
    part = chance.choice(parts)
    (bench.at / part[0]).unlink()
    listed = part[0].endswith((".seg", MANIFEST_NAME))
    words = ("rolled back",) if "signing-keys" in part[0] else ("missing",)
    return _harm(bench, part, words, by_reader=listed)


def double_file(bench: Bench, chance: random.Random) -> Harm:
    name, check = chance.choice(bench.parts)
    folder = chance.choice([ONE, "data/recordings/two", "data/sources/small"])
    check = {"small": "source"}.get(Path(folder).name, Path(folder).name)
    other = f"{folder}/{chance.randrange(10, 30):05}.seg"
    bench.write(other, bench.read(name))
    return _harm(bench, (other, check), ("unexpected",))


def swap_segments(bench: Bench, chance: random.Random) -> Harm:
    names = [part for part in bench.segments if part[0].startswith(f"{ONE}/")]
    one, other = sorted(chance.sample(names, 2))
    bench.write(one[0], bench.read(other[0]))
    bench.write(other[0], bench.read(one[0]))
    return _harm(bench, one, ("reordered",))


def drop_record(bench: Bench, chance: random.Random) -> Harm:
    """But the last, which is a cut."""
    part = chance.choice(bench.segments)
    records = _records(bench.read(part[0]))
    number = chance.randrange(len(records) - 1)
    gone, _ = records.pop(number)
    bench.write(part[0], _joined(bench.read(part[0]), records))
    span_s = (gone.start_us / 1e6, gone.end_us / 1e6) if gone.seq else None
    return _harm(bench, part, ("reordered",), span_s)


def double_record(bench: Bench, chance: random.Random) -> Harm:
    part = chance.choice(bench.segments)
    records = _records(bench.read(part[0]))
    records.insert(chance.randrange(len(records) + 1), chance.choice(records))
    bench.write(part[0], _joined(bench.read(part[0]), records))
    return _harm(bench, part, ("reordered",))


def reorder_records(bench: Bench, chance: random.Random) -> Harm:
    part = chance.choice(bench.segments)
    records = _records(bench.read(part[0]))
    chance.shuffle(records)
    bench.write(part[0], _joined(bench.read(part[0]), records))
    return _harm(bench, part, ("reordered",))


# ---- swaps between recordings -----------------------------------------------------------


def take_record_of_another(bench: Bench, chance: random.Random) -> Harm:
    part = chance.choice([part for part in bench.segments if part[1] != "two"])
    records = _records(bench.read(part[0]))
    others = _records(bench.read(f"data/recordings/two/0000{chance.randrange(2)}.seg"))
    records[chance.randrange(len(records))] = chance.choice(others)
    bench.write(part[0], _joined(bench.read(part[0]), records))
    return _harm(bench, part, ("reordered",))


def take_segment_of_another(bench: Bench, chance: random.Random) -> Harm:
    part = chance.choice([part for part in bench.segments if part[1] != "two"])
    bench.write(part[0], bench.read(f"data/recordings/two/0000{chance.randrange(2)}.seg"))
    return _harm(bench, part, ("foreign",))


def take_manifest_of_another(bench: Bench, chance: random.Random) -> Harm:
    """Which then lists what does not lie there."""
    bench.write(f"data/recordings/two/{MANIFEST_NAME}", bench.read(f"{ONE}/{MANIFEST_NAME}"))
    return Harm("two", MANIFEST_NAME, ("foreign",), seen_in="00000.seg")


def take_all_of_another(bench: Bench, chance: random.Random) -> Harm:
    """But it is not the one that lay there: the list of all, or a receipt, tells."""
    folder = bench.at / ONE
    shutil.rmtree(folder)
    shutil.copytree(bench.at / "data/recordings/two", folder)
    return Harm("receipt", MANIFEST_NAME, ("foreign",), by_reader=False)


def take_receipt_of_another(bench: Bench, chance: random.Random) -> Harm:
    bench.write("given/evidence/receipt.json", bench.read("given/receipt-two.json"))
    return Harm("evidence", MANIFEST_NAME, ("foreign",))


def take_statement_of_another(bench: Bench, chance: random.Random) -> Harm:
    """Of the one kind for the other, which no one signed as such."""
    files = ["data/recordings/small.vivavoce.json", "given/out.mp4.vivavoce.json"]
    chance.shuffle(files)
    bench.write(files[0], bench.read(files[1]))
    check = "small" if "small" in files[0] else "export"
    return Harm(check, Path(files[0]).name.removesuffix(".vivavoce.json"), CHANGED)


def take_stamp_of_another(bench: Bench, chance: random.Random) -> Harm:
    bench.write(f"{ONE}/{TIMESTAMP_NAME}", bench.read(f"data/recordings/two/{TIMESTAMP_NAME}"))
    return Harm("one", "", (), by_reader=False, told="It was sealed by")


def drop_stamp(bench: Bench, chance: random.Random) -> Harm:
    (bench.at / ONE / TIMESTAMP_NAME).unlink()
    return Harm("one", "", (), by_reader=False, told="It was sealed by")


# ---- rollbacks --------------------------------------------------------------------------


def bring_back_manifest(bench: Bench, chance: random.Random) -> Harm:
    """Beside all segments, or with the whole folder."""
    if chance.random() < 0.5:
        bench.bring_back(f"{ONE}/{MANIFEST_NAME}")
    else:
        bench.bring_back(ONE)
    return Harm("one", MANIFEST_NAME, ("rolled back",))


def bring_back_log(bench: Bench, chance: random.Random) -> Harm:
    bench.bring_back("data/log")
    return Harm("log", "log/checkpoint", ("tampered", "rolled back"), by_reader=False)


def bring_back_checkpoint(bench: Bench, chance: random.Random) -> Harm:
    bench.bring_back("data/log/checkpoint")
    check = chance.choice(["log", "one"])
    return Harm(check, "log/checkpoint", ("tampered", "rolled back"), by_reader=False)


def bring_back_keys(bench: Bench, chance: random.Random) -> Harm:
    """The list alone, or with the public key."""
    bench.bring_back("data/keys/signing-keys.json")
    if chance.random() < 0.5:
        bench.bring_back("data/keys/signing.pub")
        return Harm("one", MANIFEST_NAME, ("tampered",))
    return Harm("one", "signing-keys.json", ("rolled back",))


def bring_back_everything(bench: Bench, chance: random.Random) -> Harm:
    """All of the data directory: what others kept tells."""
    bench.bring_back("data")
    if chance.random() < 0.5:
        return Harm("receipt", "receipt-one.json", ("tampered",))
    return Harm("log", "log/checkpoint", ("rolled back", "tampered"), by_reader=False)


def cut_open_tail(bench: Bench, chance: random.Random) -> Harm:
    """More than the last heartbeat."""
    name = "data/recordings/open/00002.seg"
    data = bench.read(name)
    ends = boundaries(data)[1::3]
    bench.write(name, data[: chance.choice(ends[: len(ends) // 3])])
    return Harm("open", "00002.seg", CUT, by_reader=False)


def drop_open_tail(bench: Bench, chance: random.Random) -> Harm:
    (bench.at / "data/recordings/open/00002.seg").unlink()
    return Harm("open", "00001.seg", CUT, by_reader=False)


# ---- other keys -------------------------------------------------------------------------

STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))


def take_public_key_of_another(bench: Bench, chance: random.Random) -> Harm:
    public = STRANGER.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    bench.write("data/keys/signing.pub", pem)
    if chance.random() < 0.5:
        return Harm(chance.choice(["one", "two"]), "signing-keys.json", ("rolled back",))
    (bench.at / "data/keys/signing-keys.json").unlink()
    return Harm(chance.choice(["one", "two"]), MANIFEST_NAME, ("tampered",))


def sign_with_another_key(bench: Bench, chance: random.Random) -> Harm:
    """What the manifest says now, or something else."""
    folder = chance.choice([ONE, "data/recordings/two"])
    signed = json.loads(bench.read(f"{folder}/{MANIFEST_NAME}"))
    if chance.random() < 0.5:
        signed["manifest"]["gaps"] = []
    data = _compact(signed["manifest"])
    signed["signature"] = STRANGER.sign(MANIFEST_CONTEXT + data).hex()
    bench.write(f"{folder}/{MANIFEST_NAME}", _compact(signed))
    return Harm(Path(folder).name, MANIFEST_NAME, ("tampered",))


def forge_key_list(bench: Bench, chance: random.Random) -> Harm:
    """A change more, to a key of one's own, or two changes in another order."""
    name = "data/keys/signing-keys.json"
    known = succession.decode(bench.read(name))
    last = known[-1].succession
    public = STRANGER.public_key().public_bytes_raw().hex()
    made = succession.Succession(
        last.format, 1, last.number + 1, last.key, public, last.at_us + 1, 0, ""
    )
    forged = (*known, succession.sign(made, STRANGER, STRANGER))
    lists = forged, known[::-1], known[1:] + known[:1]
    bench.write(name, succession.encode(chance.choice(lists)))
    return Harm("one", "signing-keys.json", ("tampered", "reordered"))


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


MUTATIONS: tuple[Mutation, ...] = (
    flip,
    flip_in_header,
    flip_in_media,
    truncate,
    truncate_at_boundary,
    append,
    drop_file,
    double_file,
    swap_segments,
    drop_record,
    double_record,
    reorder_records,
    take_record_of_another,
    take_segment_of_another,
    take_manifest_of_another,
    take_all_of_another,
    take_receipt_of_another,
    take_statement_of_another,
    take_stamp_of_another,
    drop_stamp,
    bring_back_manifest,
    bring_back_log,
    bring_back_checkpoint,
    bring_back_keys,
    bring_back_everything,
    cut_open_tail,
    drop_open_tail,
    take_public_key_of_another,
    sign_with_another_key,
    forge_key_list,
)


# ---- what harms nothing -----------------------------------------------------------------


def keep_as_it_is(bench: Bench) -> None:
    pass


def trust_a_former_key(bench: Bench) -> None:
    bench.bring_back("data/keys/signing.pub")


def keep_a_former_receipt(bench: Bench) -> None:
    bench.bring_back("given/receipt-one.json")


def keep_a_former_checkpoint(bench: Bench) -> None:
    bench.bring_back("given/checkpoint")


def tear_the_open_tail(bench: Bench) -> None:
    """As a crash does."""
    name = "data/recordings/open/00002.seg"
    bench.write(name, bench.read(name)[:-9])


HARMLESS = (
    keep_as_it_is,
    trust_a_former_key,
    keep_a_former_receipt,
    keep_a_former_checkpoint,
    tear_the_open_tail,
)
INTACT_EVERY = 20


# ---- the campaign -----------------------------------------------------------------------


def campaign(
    bench: Bench, runs: int, seed: int, mutations: Sequence[Mutation] = MUTATIONS
) -> Found:
    """`runs` mutations, each of the kinds in its turn."""
    chance, found = random.Random(seed), Found()
    for run in range(runs):
        if run % INTACT_EVERY == 0:
            bench.fresh()
            harmless = HARMLESS[run // INTACT_EVERY % len(HARMLESS)]
            harmless(bench)
            found.failures += _alarms(bench, f"run {run}: {harmless.__name__}")
        bench.fresh()
        mutation = mutations[run % len(mutations)]
        harm = mutation(bench, chance)
        if bench.changed():
            _judge(bench, harm, f"run {run}: {mutation.__name__}", mutation.__name__, found)
        else:
            found.named[mutation.__name__, "nothing changed"] += 1
    return found


def _alarms(bench: Bench, what: str) -> list[str]:
    """Complaints of what is intact."""
    said = [(check, bench.server_says(check)) for check in CHECKS]
    said += [(check, bench.reader_says(check)) for check in CHECKS if CHECKS[check].reader]
    return [f"{what}: {check}: {text}" for check, (status, text) in said if status]


def _judge(bench: Bench, harm: Harm, what: str, kind: str, found: Found) -> None:
    asked = {"verify": bench.server_says}
    if harm.by_reader and harm.file == TIMESTAMP_NAME:
        asked["openssl"] = bench.openssl_says
    elif harm.by_reader and CHECKS[harm.check].reader:
        asked["reader"] = bench.reader_says
    for who, says in asked.items():
        try:
            status, text = says(harm.check)
        except Exception as error:
            found.failures.append(f"{what}: {who}: {harm}: {error!r}")
            continue
        file = harm.seen_in if who == "reader" and harm.seen_in else harm.file
        wrong = _wrong(harm, file, status, text)
        if wrong:
            found.failures.append(f"{what}: {who}: {wrong}: {harm}: {text}")
        elif who == "verify":
            words = (word for word in harm.words if word in _first_fault(text))
            found.named[kind, next(words, "not claimed")] += 1


def _wrong(harm: Harm, file: str, status: int, text: str) -> str:
    """Empty where it is named as it should be."""
    if harm.told:
        return "it is claimed" if status or harm.told in text else ""
    fault = _first_fault(text)
    if status == 0 or not fault:
        return "finds nothing"
    if file not in fault:
        return "names another file"
    if not any(f": {word}" in fault for word in harm.words):
        return "calls it something else"
    if harm.span_s is None:
        return ""
    span = _SPAN.search(fault)
    if span is None:
        return "names no time"
    start_s, end_s = float(span[1] or span[3]), float(span[2] or "inf")
    overlaps = start_s <= harm.span_s[1] + 0.001 and harm.span_s[0] - 0.001 <= end_s
    return "" if overlaps else "names another time"


def _first_fault(text: str) -> str:
    return next((line for line in text.splitlines() if line.startswith("NOT INTACT: ")), "")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Bench(Path(folder)), flags.runs, flags.seed)
    for (mutation, word), count in sorted(found.named.items()):
        print(f"{count:6}  {mutation:28} {word}")
    for failure in found.failures:
        print(failure, file=sys.stderr)
    print(f"{flags.runs} runs, {len(found.failures)} failures")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
