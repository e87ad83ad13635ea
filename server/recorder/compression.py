"""Makes a small recording of a finished one: the same segments, fragments and times in AV1.

Segment by segment, each durable before the next is begun: whatever stops it, the next run goes on
behind the last whole segment. Each track of pictures is encoded at the highest constant rate
factor that keeps a segment near enough to its source (`BARS`), which is found by trying. Sound is
copied: Opus as browsers send it is small already. The result is one that `verify`, replay and
export take like any other; `server.recorder.derived` puts it in its source's place.

Only for a process of its own: it decodes and encodes.
"""

import os
import secrets
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, floor, log
from pathlib import Path

import av
import msgspec

from server.core.frames import TrackName
from server.core.interviews import COMPRESSED
from server.recorder.catalog import is_compressed, open_title, seal_title
from server.recorder.derivation import origin, statement_of
from server.recorder.derived import (
    VERSION,
    Compressed,
    TrackQuality,
    making_path,
    size_of_segments,
    state,
)
from server.recorder.files import LocalFolder, sync_directory, write_durably
from server.recorder.keys import KeyRing
from server.recorder.manifest import (
    MANIFEST_NAME,
    EventEntry,
    Manifest,
    State,
    decode_manifest,
    encode_manifest,
)
from server.recorder.reader import RecordingReader
from server.recorder.recode import Decoding, Picture, Recoded, RecodeError, recode
from server.recorder.sealed_segment import SealedSegment
from server.recorder.sealing import Flags, SegmentError
from server.recorder.segments import read_segment_header, unlisted_segments
from server.recorder.tracks import Fragment, Sample, Tracks, VideoConfig, to_ticks

#: What a compressed recording may take, all tracks together.
MAX_BYTES_PER_HOUR = 200_000_000
#: A recording that is not smaller than this share of its source stays as it is.
MAX_SHARE = 0.8
#: Playback can begin at least so often, where there are pictures.
KEYFRAME_US = 10_000_000
_KEYFRAME_TICKS = to_ticks(TrackName.CAMERA, KEYFRAME_US)


@dataclass(frozen=True, slots=True)
class Bar:
    """How near a segment's pictures have to come, and where to begin with trying."""

    aim_db: float  #: of XPSNR, while there is room for it
    least_db: float  #: what is below it is refused
    crf: int
    best_crf: int  #: what is below the bar with this one can't be compressed


#: docs/decisions/recorder-compression.md has the measurements. Of a screen's print every pixel
#: counts, and it costs little.
_FACE = Bar(37.5, 36.2, 32, 12)
BARS = {
    TrackName.CAMERA: _FACE,
    TrackName.SCREEN: Bar(42.0, 40.0, 42, 12),
    TrackName.INTERVIEWER_CAMERA: _FACE,
}
#: A step of the rate factor is worth about an eighth of a decibel; so many at once.
_STEPS_PER_DB, _MIN_STEPS, _MAX_STEPS = 8, 2, 12
#: And so many more bytes. Of what a recording may take, the rest is for sound and for worse times.
_GROWTH, _ROOM = 1.07, 0.75

_KEYFRAME_FLAGS = {
    TrackName.CAMERA: Flags.KEYFRAME,
    TrackName.SCREEN: Flags.SCREEN_KEYFRAME,
    TrackName.INTERVIEWER_CAMERA: Flags.INTERVIEWER_KEYFRAME,
}


class NotCompressed(Exception):
    """The recording stays as it is; the message says why."""


class _Measured(msgspec.Struct, frozen=True):
    """Of one track's pictures in one segment."""

    track: TrackName
    pictures: int
    xpsnr_db: float


class _Progress(msgspec.Struct, frozen=True):
    """What is known of a recording that is being made, besides itself."""

    source: str  #: its recording_id
    measured: tuple[tuple[_Measured, ...], ...] = ()  #: of each segment


class Compression:
    """Of one recording. ``keep_source``: what the policy will do to it, for the statement.

    Call :meth:`step` while :attr:`left`, then :meth:`finish`. Each may raise NotCompressed,
    SegmentError, KeyProblem, OSError.
    """

    def __init__(
        self, data_dir: Path, source: RecordingReader, keys: KeyRing, *, keep_source: bool
    ) -> None:
        self._source = source
        self._manifest = source.manifest
        self._keys = keys
        self._keep_source = keep_source
        self.path = making_path(data_dir, self._manifest.interview)
        _refuse_unfit(self._manifest)
        self._ends = list(accumulate(entry.fragments for entry in self._manifest.segments))
        self._folder = LocalFolder(self.path)
        self._made, self._key, self._progress = self._begin()
        self._pictures = {name: _Pictures(source, name) for name in BARS}
        self._crf = {name: bar.crf for name, bar in BARS.items()}
        self._init, self._tracks = len(self._made.segments), Tracks(None, False)

    @property
    def left(self) -> int:
        """Segments that are still to be made."""
        return len(self._manifest.segments) - len(self._made.segments)

    @property
    def done(self) -> float:
        """The share of the recording that is made, 0 to 1."""
        return 1 - self.left / len(self._manifest.segments)

    def step(self) -> None:
        """Make the next segment; on return it is durable."""
        index = len(self._made.segments)
        indices = range(self._ends[index - 1] if index else 0, self._ends[index])
        tracks, fragments, measured = self._recode(indices)
        if tracks != self._tracks:
            self._init, self._tracks = self._init + 1, tracks
        segment = SealedSegment(
            self._key,
            self._keys.signer,
            self._made,
            self._policy_of(index),
            self._init,
            tracks,
            fragments,
        )
        file = self._folder.create(segment.entry.name)
        try:
            file.write(segment.data)
            file.sync()
        finally:
            file.close()
        measured_before = self._progress.measured[:index]
        self._progress = msgspec.structs.replace(
            self._progress, measured=(*measured_before, measured)
        )
        write_durably(_progress_of(self.path), msgspec.json.encode(self._progress))
        self._save(self._made.with_segment(segment.entry, segment.tree))
        self._refuse_large(self._made)

    def finish(self, made_us: int) -> Compressed:
        """Sign what was made, and for what it was made of. ``made_us``: Unix time."""
        source, made = self._manifest, self._made
        size, source_size = size_of_segments(made), size_of_segments(source)
        if size > MAX_SHARE * source_size:
            raise NotCompressed(f"it would take {size} bytes instead of {source_size}")
        self._save(
            msgspec.structs.replace(
                made,
                state=source.state,
                policies=source.policies,
                gaps=source.gaps,
                events=(*source.events, EventEntry(COMPRESSED, made_us)),
            )
        )
        statement = Compressed(
            "vivavoce-derivation",
            VERSION,
            "compressed",
            origin(source),
            source.root,
            source_size,
            self._keep_source,
            self._made.recording,
            self._made.tree_size,
            self._made.root,
            size,
            _quality(self._progress),
            made_us,
        )
        state(self.path, statement, self._keys.signer)
        _progress_of(self.path).unlink()
        return statement

    # ---- what is there already ----------------------------------------------------------

    def _begin(self) -> tuple[Manifest, bytes, _Progress]:
        """Where the last run ended, or a new recording."""
        try:
            progress = msgspec.json.decode(_progress_of(self.path).read_bytes(), type=_Progress)
            data = (self.path / MANIFEST_NAME).read_bytes()
            made = decode_manifest(data, self._keys.public_key)
        except (FileNotFoundError, msgspec.MsgspecError, SegmentError):
            return self._begin_anew()
        whole = len(made.segments) <= min(len(progress.measured), len(self._manifest.segments))
        if progress.source != self._manifest.recording or not whole:
            return self._begin_anew()
        listed = [entry.name for entry in made.segments]
        for name in unlisted_segments(os.listdir(self.path), listed):
            self._folder.remove(name)
        key = self._keys.recording_key(made.interview, bytes.fromhex(made.recording))
        return msgspec.structs.replace(made, state=State.RECORDING), key, progress

    def _begin_anew(self) -> tuple[Manifest, bytes, _Progress]:
        discard(self.path)
        self.path.mkdir(mode=0o700, parents=True)
        sync_directory(self.path.parent)
        source, recording_id = self._manifest, secrets.token_bytes(16)
        key = self._keys.create_recording_key(source.interview, recording_id)
        source_key = self._keys.recording_key(source.interview, bytes.fromhex(source.recording))
        made = Manifest(
            source.format,
            source.version,
            recording_id.hex(),
            source.interview,
            seal_title(key, recording_id, open_title(source_key, source)),
            0,
            State.RECORDING,
            source.epoch_us,
            source.policies,
        )
        return made, key, _Progress(source.recording)

    def _save(self, manifest: Manifest) -> None:
        self._made = msgspec.structs.replace(manifest, revision=manifest.revision + 1)
        self._folder.replace(MANIFEST_NAME, encode_manifest(self._made, self._keys.signer))

    # ---- one segment --------------------------------------------------------------------

    def _recode(self, indices: range) -> tuple[Tracks, list[Fragment], tuple[_Measured, ...]]:
        announced = self._source.tracks(indices[0])
        made: dict[TrackName, Recoded] = {}
        videos = announced.videos()
        for name, video in videos.items():
            most = _ROOM * self._allowed(indices) / len(videos)
            found = self._near_enough(name, video, indices, most)
            if found is not None:
                made[name] = found
        remade = {name: each.video for name, each in made.items()}
        tracks = Tracks(
            remade.get(TrackName.CAMERA),
            announced.audio,
            remade.get(TrackName.SCREEN),
            remade.get(TrackName.INTERVIEWER_CAMERA),
            announced.interviewer_audio,
        )
        pictures = {
            (name, sample.time): sample for name, each in made.items() for sample in each.samples
        }
        fragments = [_remade(self._source.samples(index), pictures) for index in indices]
        measured = tuple(
            _Measured(name, len(each.samples), each.xpsnr_db) for name, each in made.items()
        )
        return tracks, [each for each in fragments if any(s for _, s in each.by_track())], measured

    def _near_enough(
        self, name: TrackName, video: VideoConfig, indices: range, most: float
    ) -> Recoded | None:
        """As small as it gets above the bar; None where there is nothing to be seen.

        ``most``: bytes; what takes more need not be nearer than the least.
        """
        bar, crf = BARS[name], self._crf[name]
        pictures = self._pictures[name]
        if not pictures.has_any(indices):
            return None
        while True:
            try:
                made = recode(pictures.of(indices), video, crf)
            except RecodeError as error:
                raise NotCompressed(f"{name}: {error}") from error
            better = crf - _steps(made, bar, most)
            if better == crf:
                break
            if crf == bar.best_crf:
                if made.xpsnr_db >= bar.least_db:
                    break
                raise NotCompressed(
                    f"{name}: {made.xpsnr_db:.1f} dB (XPSNR) at best "
                    f"around {self._source.header(indices[0]).start_us / 1e6:.0f} s, "
                    f"{bar.least_db:g} are asked for"
                )
            crf = max(bar.best_crf, better)
        above_db = max(0.0, made.xpsnr_db - bar.aim_db)
        self._crf[name] = min(bar.crf + _MAX_STEPS, crf + int(above_db * _STEPS_PER_DB / 2))
        return made

    def _allowed(self, indices: range) -> float:
        """Bytes that so much time may take of all tracks."""
        first, last = (self._source.header(index) for index in (indices[0], indices[-1]))
        return MAX_BYTES_PER_HOUR * (last.end_us - first.start_us) / 3.6e9

    def _policy_of(self, index: int) -> bytes:
        name = self._manifest.segments[index].name
        with (self._source.files / name).open("rb") as file:
            return read_segment_header(file).policy

    def _refuse_large(self, made: Manifest) -> None:
        hours = self._source.duration_us / 3.6e9
        size = size_of_segments(made)
        if size > MAX_BYTES_PER_HOUR * hours:
            raise NotCompressed(
                f"it would take more than {MAX_BYTES_PER_HOUR // 1_000_000} MB an hour: "
                f"{size} bytes of {self._source.duration_us / 1e6:.0f} s, {self.done:.0%} done"
            )


class _Pictures:
    """One track's pictures of the source, decoded: in order, or from anywhere."""

    def __init__(self, source: RecordingReader, name: TrackName) -> None:
        self._source = source
        self._name = name
        self._decoding = Decoding()
        self._next = 0  # fragment
        self._keyframe_us = 0

    def has_any(self, indices: range) -> bool:
        return any(self._samples(index) for index in indices)

    def of(self, indices: range) -> Iterator[Picture]:
        if indices.start != self._next:
            self._decoding = Decoding()
            for index in range(self._decodes_from(indices.start), indices.start):
                deque(self._decoded(index), maxlen=0)
        self._next = -1  # until all are taken
        since = None
        for index in indices:
            first = True
            for sample, frame in self._decoded(index):
                due = since is not None and sample.time - since >= _KEYFRAME_TICKS
                keyframe = since is None or (first and due)
                since = sample.time if keyframe else since
                first = False
                yield Picture(sample, frame, keyframe)
        self._next = indices.stop

    def _decoded(self, index: int) -> Iterator[tuple[Sample, av.VideoFrame]]:
        samples = self._samples(index)
        if samples:
            yield from self._decoding.decode(
                self._source.tracks(index).videos()[self._name], samples
            )

    def _samples(self, index: int) -> tuple[Sample, ...]:
        return dict(self._source.samples(index).by_track())[self._name]

    def _decodes_from(self, index: int) -> int:
        """The fragment with the keyframe that the one at ``index`` builds on."""
        for earlier in range(index - 1, -1, -1):
            if self._source.header(earlier).flags & _KEYFRAME_FLAGS[self._name]:
                return earlier
        return 0


def _remade(source: Fragment, pictures: dict[tuple[TrackName, int], Sample]) -> Fragment:
    """The fragment with these pictures in place of its own; sound stays."""

    def remade(name: TrackName, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        if name.is_sound:
            return samples
        found = (pictures.get((name, sample.time)) for sample in samples)
        return tuple(sample for sample in found if sample is not None)

    return Fragment(*(remade(name, samples) for name, samples in source.by_track()))


def _steps(made: Recoded, bar: Bar, most: float) -> int:
    """By how much to better the rate factor; 0: it is near enough, or as near as there is room."""
    if made.xpsnr_db >= bar.aim_db:
        return 0
    steps = ceil((bar.aim_db - made.xpsnr_db) * _STEPS_PER_DB)
    if made.xpsnr_db >= bar.least_db:
        size = sum(len(sample.data) for sample in made.samples)
        steps = min(steps, floor(log(max(1.0, most / size), _GROWTH)))
        if steps < _MIN_STEPS:
            return 0
    return max(_MIN_STEPS, min(_MAX_STEPS, steps))


def _refuse_unfit(manifest: Manifest) -> None:
    if manifest.state is State.RECORDING:
        raise NotCompressed("it is still being recorded")
    if is_compressed(manifest):
        raise NotCompressed("it is compressed already")
    if not manifest.segments:
        raise NotCompressed("there is nothing in it")


def _progress_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.progress.json")


def discard(path: Path) -> None:
    """What was made so far, if anything was."""
    for beside in (_progress_of(path), statement_of(path)):
        beside.unlink(missing_ok=True)
    if path.exists():
        shutil.rmtree(path)


def _quality(progress: _Progress) -> tuple[TrackQuality, ...]:
    found = []
    for name in BARS:
        of_track = [each for row in progress.measured for each in row if each.track is name]
        pictures = sum(each.pictures for each in of_track)
        if pictures:
            mean = sum(each.pictures * each.xpsnr_db for each in of_track) / pictures
            lowest = min(each.xpsnr_db for each in of_track)
            found.append(TrackQuality(name, pictures, round(mean, 2), round(lowest, 2)))
    return tuple(found)
