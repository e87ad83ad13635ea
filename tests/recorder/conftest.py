"""Recordings on disk, written by the real writer without its thread."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder.catalog.erasure import is_done
from server.recorder.catalog.recordings import open_for_writing, recording_path
from server.recorder.evidence.tlog import open_log
from server.recorder.format.manifest import Policy
from server.recorder.keys.key_ring import KeyRing, open_keys
from server.recorder.replay.reader import RecordingReader, open_reader
from server.recorder.stores.files import LocalFolder
from server.recorder.writing.witness import Witness
from server.recorder.writing.writer import Metrics, RecordingWriter
from tests.recorder.encoded import START_S, interview

# Wall time says nothing where other work runs beside the tests.
settings.register_profile("recorder", deadline=None)
settings.load_profile("recorder")

POLICY = Policy("1/en", tuple(TrackName), True)


class Desk:
    """A data directory and everything that reads or writes its recordings."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.keys: KeyRing = open_keys(data_dir / "keys")
        self.metrics = Metrics()
        self.faults: list[str] = []

    @property
    def log(self) -> Path:
        return self.data_dir / "log"

    def path(self, interview_id: str = "iv") -> Path:
        return recording_path(self.data_dir, interview_id)

    def writer(
        self,
        interview_id: str = "iv",
        folder_at: Callable[[Path], LocalFolder] = LocalFolder,
        title: str = "A title",
        policy: Policy = POLICY,
    ) -> RecordingWriter:
        path = self.path(interview_id)
        manifest, key = open_for_writing(path, title, policy, self.keys)
        return RecordingWriter(
            folder_at(path), key, self.keys.signer, manifest, self.metrics, self.faults.append
        )

    def witness(self) -> Witness:
        is_erased = partial(is_done, self.keys.database)
        return Witness(open_log(self.log, self.keys.signer), self.keys.public_key, is_erased)

    def write(
        self, frames: Sequence[EncodedFrame], interview_id: str = "iv", *, finish: bool = True
    ) -> RecordingWriter:
        """Write ``frames`` as the writer thread does: in rounds, each synced."""
        writer = self.writer(interview_id)
        writer.sync()
        feed(writer, frames)
        if finish:
            writer.finish()
        return writer

    def seal(self, interview_id: str = "iv", start_s: float = START_S) -> None:
        """Two seconds that the log knows from their beginning to their end."""
        witness = self.witness()
        writer = self.writer(interview_id)
        writer.sync()
        witness.tell([writer], start_s)
        feed(writer, interview(Codec.VP8, 2.0, start_s))
        writer.finish()
        witness.closed(writer, start_s + 3)
        witness.tell([], start_s + 3)

    def reader(self, interview_id: str = "iv") -> RecordingReader:
        return open_reader(self.data_dir, interview_id, self.keys)


def feed(writer: RecordingWriter, frames: Iterable[EncodedFrame]) -> None:
    """Rounds of ten frames, each synced."""
    for index, frame in enumerate(frames):
        writer.write(frame)
        if index % 10 == 9:
            writer.sync()
    writer.sync()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "data")


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A finished and an open recording that the log has been told of, as the recorder does."""
    desk = Desk(tmp_path_factory.mktemp("witnessed"))
    witness = desk.witness()
    for began_s, interview_id in ((0, "iv"), (500, "cut")):
        writer = desk.writer(interview_id)
        for second in range(14):
            feed(writer, interview(Codec.VP8, 1.0, START_S + second))
            witness.tell([writer], began_s + 10 * second)
        if interview_id == "iv":
            writer.finish()
            witness.closed(writer, 200)
            witness.tell([], 200)
    return desk


@pytest.fixture
def moved(witnessed: Desk, tmp_path: Path) -> Callable[[str], Path]:
    def copied(name: str) -> Path:
        source = witnessed.log if name == "log" else witnessed.path(name)
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return Path(shutil.copytree(source, tmp_path / name))

    return copied
