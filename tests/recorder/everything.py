"""A data directory in which there is everything that recordings can have, and what others keep.

Its recordings, each known to the log from its beginning to its end, heartbeats included:

- `one`: five tracks; three sessions with gaps between them, the second cut by a crash and repaired;
  before it and after its first session another key began to sign; stamped by an authority.
- `two`: another one, for swaps; by the first key, stamped.
- `small`: compressed, with its statement and, in `sources`, what it was made of.
- `open`: a crash has cut it, nobody has repaired it.

Beside them in `given`: receipts, a checkpoint, an export with its statement and Content
Credentials, and an archive for evidence, unpacked. `former` is all of it as it was after the
first session of `one`.
"""

import contextlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from server.cli import main
from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder.catalog import key_change
from server.recorder.catalog.receipt import issue
from server.recorder.catalog.timestamper import Timestamper
from server.recorder.compression import compression, track_recoder
from server.recorder.compression.recode_job import Quality
from server.recorder.compression.track_recoder import BARS
from server.recorder.writing.repair import repair_all
from server.recorder.writing.writer import RecordingWriter
from tests.recorder.authority import Authority, authority
from tests.recorder.conftest import Desk
from tests.recorder.encoded import (
    START_S,
    camera,
    in_order,
    interview,
    interviewer,
    microphone,
    screen,
)

DATA, GIVEN = "data", "given"
#: Of the first session of `one`: more than a segment.
FIRST_S = 12.0
#: So long before a session's first sample is its first heartbeat, so that its others are told
#: within segments.
BEAT_S = 6.0


def make(folder: Path) -> Path:
    """The folder that holds `data` and `given`; `former` lies beside it."""
    everything, former = folder / "everything", folder / "former"
    (everything / GIVEN).mkdir(parents=True)
    with authority(folder / "authority") as tsa:
        desk = Desk(everything / DATA)
        shutil.copy(tsa.root, desk.data_dir / "keys" / "timestamp-root.pem")
        _session(desk, "two", interview(Codec.VP8, FIRST_S), START_S)
        _compressed(desk, "small")
        desk = _rotated(desk)
        _session(desk, "one", _all_tracks(FIRST_S, START_S), START_S)
        _stamp(desk, tsa)
        _give(everything, desk)
        shutil.copytree(everything, former)
        desk = _rotated(desk)
        _crashed_session(desk, "one", interview(Codec.VP8, 4.0, START_S + 100), START_S + 100)
        _session(desk, "one", _all_tracks(3.0, START_S + 200), START_S + 200)
        _stamp(desk, tsa)
    _export(everything, "one")
    _tell(desk)
    _give(everything, desk)
    _give_evidence(everything, "one")
    _session(desk, "open", interview(Codec.H264, 25.0, START_S + 300), START_S + 300, ends=False)
    return everything


def run(*argv: str | Path) -> tuple[int, str]:
    """The command as a person types it, in this process: its exit status, and what it prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main([str(each) for each in argv])
    return status, said.getvalue()


def _all_tracks(seconds: float, start_s: float) -> list[EncodedFrame]:
    return in_order(
        interview(Codec.H264, seconds, start_s),
        screen(Codec.H264, seconds, start_s),
        interviewer(Codec.H264, seconds, start_s),
    )


def _session(
    desk: Desk, name: str, frames: Sequence[EncodedFrame], start_s: float, *, ends: bool = True
) -> RecordingWriter:
    witness = desk.witness()
    writer = desk.writer(name)
    writer.sync()
    witness.tell([writer], start_s - BEAT_S)
    for index, frame in enumerate(frames):
        writer.write(frame)
        if index % 10 == 9:
            writer.sync()
            witness.tell([writer], frame.capture_s)
    writer.sync()
    if ends:
        writer.finish()
        end_s = frames[-1].capture_s + 1
        witness.closed(writer, end_s)
        witness.tell([], end_s)
    return writer


def _crashed_session(desk: Desk, name: str, frames: Sequence[EncodedFrame], start_s: float) -> None:
    _session(desk, name, frames, start_s, ends=False)
    last = max(desk.path(name).glob("*.seg"))
    os.truncate(last, last.stat().st_size - 7)
    witness = desk.witness()
    repaired = repair_all(desk.data_dir, desk.keys)
    witness.catch_up(desk.data_dir, repaired, start_s + 50)


def _rotated(desk: Desk) -> Desk:
    number = len(desk.keys.public_key.keys)
    key_change.rotate_signer(desk.data_dir, round((START_S + 50 * number) * 1e6))
    return Desk(desk.data_dir)


def _stamp(desk: Desk, tsa: Authority) -> None:
    Timestamper(desk.data_dir, tsa.url, desk.keys.public_key).round()


def _tell(desk: Desk) -> None:
    """The log of what others have put down."""
    desk.witness().tell([], START_S + 250)


# ---- what was made of recordings --------------------------------------------------------


def _compressed(desk: Desk, name: str) -> None:
    _session(desk, name, in_order(camera(seconds=4.0, draw=_waves), microphone(4.0)), START_S)
    with _lower_bar():
        status, said = run("compress", name, "--data-dir", desk.data_dir)
    assert status == 0, said


@contextlib.contextmanager
def _lower_bar() -> Iterator[None]:
    """What is so short is not small by the hour, nor does it come as near as a face has to."""
    bars, limit = dict(BARS), compression.MAX_BYTES_PER_HOUR
    lower = replace(BARS[TrackName.CAMERA], aim=Quality(0.0, 35.0), least=Quality(0.0, 30.0))
    track_recoder.BARS[TrackName.CAMERA] = lower
    compression.MAX_BYTES_PER_HOUR = 10**12
    try:
        yield
    finally:
        track_recoder.BARS.update(bars)
        compression.MAX_BYTES_PER_HOUR = limit


def _waves(index: int, width: int, height: int) -> np.ndarray:
    """Soft, and yet with something to gain."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    plane = 120 + 60 * np.sin((x + 2 * index) / 11) * np.cos((y - index) / 9)
    return np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2)


def _export(everything: Path, name: str) -> None:
    out, data = everything / GIVEN / "out.mp4", everything / DATA
    status, said = run("export", name, "-o", out, "--to", "3", "--c2pa", "--data-dir", data)
    assert status == 0, said


def _give(everything: Path, desk: Desk) -> None:
    """To others, who keep it: a receipt of each, and the log's checkpoint."""
    given = everything / GIVEN
    for name in ("one", "two", "small"):
        receipt = issue(desk.data_dir, name, desk.keys.signer, desk.keys.public_key)
        (given / f"receipt-{name}.json").write_bytes(receipt)
    shutil.copy(desk.log / "checkpoint", given / "checkpoint")


def _give_evidence(everything: Path, name: str) -> None:
    packed, given = everything.parent / "evidence.zip", everything / GIVEN
    status, said = run("export", name, "--evidence", "-o", packed, "--data-dir", everything / DATA)
    assert status == 0, said
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(given)
    (given / f"vivavoce-{name}").rename(given / "evidence")
