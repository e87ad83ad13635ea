"""Random harm to real recordings: `python -m tests.recorder.mutations --runs 10000`.

Each run does one thing to a copy of a finished recording: a bit flips; something is cut off,
dropped, doubled, swapped, appended; records or segments change places, with those of another
recording, too; a former manifest or log comes back; another server's key is given. `verify` must
name a fault each time, and so must the independent reader (tools/read_recording.py), but for what
only the log can tell; neither may raise anything else, nor complain of what is intact.
Exit status: 0 all was named, 1 something was not.
"""

import argparse
import importlib.util
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.frames import Codec
from server.recorder.manifest import MANIFEST_NAME
from server.recorder.sealing import SEGMENT_HEADER_BYTES
from server.recorder.segments import index_records
from server.recorder.server_key import ServerKey, alone
from server.recorder.tlog import open_log
from server.recorder.verify import verify
from server.recorder.witness import Witness
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import START_S, interview

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


@dataclass(slots=True)
class Found:
    """What became of the runs, by mutation and word; and what should not be."""

    named: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Bench:
    """Finished recordings with their log, former states of both, and copies to do harm to."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder / "data")
        self.public_key = self.desk.keys.public_key
        self.former: dict[str, bytes] = {}  #: manifests as they once were
        self.former_log = folder / "former-log"
        self.originals = [self._record("one", Codec.H264), self._record("two", Codec.VP8)]
        self.copy, self.log = folder / "copy" / "one", folder / "copy" / "log"
        self.reader = load_reader()
        self._whole: bytes | None = None

    def fresh(self) -> None:
        """The copy and its log as they should be."""
        for source, target in ((self.originals[0], self.copy), (self.desk.log, self.log)):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)

    def changed(self) -> bool:
        """Whether the last mutation did anything."""
        state = b"".join(
            path.name.encode() + path.read_bytes()
            for folder in (self.copy, self.log)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        )
        if self._whole is None:
            self._whole = state
        return state != self._whole

    def server_says(self, public_key: ServerKey) -> list[str]:
        return [fault.kind for fault in verify(self.copy, public_key, self.log).faults]

    def reader_says(self, public_key: ServerKey) -> list[str]:
        reader = self.reader.Reader(self.copy, public_key.keys)
        return [fault.kind for _, fault in reader.verify()]

    def _record(self, name: str, codec: Codec) -> Path:
        witness = Witness(open_log(self.desk.log, self.desk.keys.signer))
        writer = self.desk.writer(name)
        writer.sync()
        for second in range(0, 24, 2):
            feed(writer, interview(codec, 2.0, START_S + second))
            witness.tell([writer], START_S + second)
            if second == 14 and name == "one":
                self.former[name] = (self.desk.path(name) / MANIFEST_NAME).read_bytes()
                shutil.copytree(self.desk.log, self.former_log)
        writer.finish()
        witness.closed(writer, START_S + 30)
        witness.tell([], START_S + 30)
        return self.desk.path(name)


Mutation = Callable[[Bench, random.Random], None]


def _any_file(bench: Bench, chance: random.Random) -> Path:
    return chance.choice(sorted(bench.copy.iterdir()))


def _segments(bench: Bench) -> list[Path]:
    return sorted(bench.copy.glob("*.seg"))


def _records(path: Path) -> tuple[bytes, list[bytes]]:
    """The segment's header, and its records as they are."""
    data = path.read_bytes()
    with path.open("rb") as file:
        records = list(index_records(file, SEGMENT_HEADER_BYTES, len(data)))
    starts = [SEGMENT_HEADER_BYTES, *(record.end for record in records)]
    parts = [data[begin:end] for begin, end in pairwise(starts)]
    return data[:SEGMENT_HEADER_BYTES], parts


def flip(bench: Bench, chance: random.Random) -> None:
    path = _any_file(bench, chance)
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(bench: Bench, chance: random.Random) -> None:
    path = _any_file(bench, chance)
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def truncate_at_record(bench: Bench, chance: random.Random) -> None:
    path = chance.choice(_segments(bench))
    header, parts = _records(path)
    path.write_bytes(header + b"".join(parts[: chance.randrange(len(parts))]))


def append(bench: Bench, chance: random.Random) -> None:
    path = _any_file(bench, chance)
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 300)))


def drop_file(bench: Bench, chance: random.Random) -> None:
    _any_file(bench, chance).unlink()


def double_file(bench: Bench, chance: random.Random) -> None:
    shutil.copy(_any_file(bench, chance), bench.copy / f"{chance.randrange(3, 30):05}.seg")


def swap_files(bench: Bench, chance: random.Random) -> None:
    one, other = chance.sample(sorted(bench.copy.iterdir()), 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def drop_record(bench: Bench, chance: random.Random) -> None:
    path = chance.choice(_segments(bench))
    header, parts = _records(path)
    del parts[chance.randrange(len(parts))]
    path.write_bytes(header + b"".join(parts))


def double_record(bench: Bench, chance: random.Random) -> None:
    path = chance.choice(_segments(bench))
    header, parts = _records(path)
    parts.insert(chance.randrange(len(parts) + 1), chance.choice(parts))
    path.write_bytes(header + b"".join(parts))


def reorder_records(bench: Bench, chance: random.Random) -> None:
    path = chance.choice(_segments(bench))
    header, parts = _records(path)
    chance.shuffle(parts)
    path.write_bytes(header + b"".join(parts))


def take_record_of_another(bench: Bench, chance: random.Random) -> None:
    path = chance.choice(_segments(bench))
    header, parts = _records(path)
    _, others = _records(chance.choice(sorted(bench.originals[1].glob("*.seg"))))
    parts[chance.randrange(len(parts))] = chance.choice(others)
    path.write_bytes(header + b"".join(parts))


def take_file_of_another(bench: Bench, chance: random.Random) -> None:
    path = _any_file(bench, chance)
    path.write_bytes((bench.originals[1] / path.name).read_bytes())


def take_all_of_another(bench: Bench, chance: random.Random) -> None:
    for path in bench.copy.glob("*.seg"):
        path.write_bytes((bench.originals[1] / path.name).read_bytes())


def bring_back_manifest(bench: Bench, chance: random.Random) -> None:
    """With all segments, or with those alone that it knows."""
    (bench.copy / MANIFEST_NAME).write_bytes(bench.former["one"])
    if chance.random() < 0.5:
        for path in _segments(bench)[1:]:
            path.unlink()


def bring_back_log(bench: Bench, chance: random.Random) -> None:
    shutil.rmtree(bench.log)
    shutil.copytree(bench.former_log, bench.log)


def flip_checkpoint(bench: Bench, chance: random.Random) -> None:
    path = bench.log / "checkpoint"
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


MUTATIONS: tuple[Mutation, ...] = (
    flip,
    truncate,
    truncate_at_record,
    append,
    drop_file,
    double_file,
    swap_files,
    drop_record,
    double_record,
    reorder_records,
    take_record_of_another,
    take_file_of_another,
    take_all_of_another,
    bring_back_manifest,
    bring_back_log,
    flip_checkpoint,
)
#: What the folder alone does not show: the reader does not look at the log.
BY_THE_LOG_ALONE = (bring_back_manifest, bring_back_log, flip_checkpoint)
INTACT_EVERY = 20


def campaign(
    folder: Path, runs: int, seed: int, mutations: Sequence[Mutation] = MUTATIONS
) -> Found:
    """`runs` mutations of a recording made in `folder`."""
    bench, chance, found = Bench(folder), random.Random(seed), Found()
    stranger = alone(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())
    bench.fresh()
    bench.changed()
    for run in range(runs):
        bench.fresh()
        if run % INTACT_EVERY == 0:
            said = bench.server_says(bench.public_key) + bench.reader_says(bench.public_key)
            if said:
                found.failures.append(f"run {run}: intact, and yet {said}")
            for says in (bench.server_says, bench.reader_says):
                if not says(stranger):
                    found.failures.append(f"run {run}: another key fits")
        mutation = chance.choice(mutations)
        mutation(bench, chance)
        if not bench.changed():
            found.named[mutation.__name__, "nothing changed"] += 1
            continue
        asked = {"verify": bench.server_says}
        if mutation not in BY_THE_LOG_ALONE:
            asked["reader"] = bench.reader_says
        for who, says in asked.items():
            try:
                faults = says(bench.public_key)
            except Exception as error:
                found.failures.append(f"run {run}: {mutation.__name__}: {who}: {error!r}")
                continue
            if not faults:
                found.failures.append(f"run {run}: {mutation.__name__}: {who} finds nothing")
            for fault in faults[:1]:
                found.named[mutation.__name__, fault] += who == "verify"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), flags.runs, flags.seed)
    for (mutation, word), count in sorted(found.named.items()):
        print(f"{count:6}  {mutation:24} {word}")
    for failure in found.failures:
        print(failure, file=sys.stderr)
    print(f"{flags.runs} runs, {len(found.failures)} failures")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
