"""Makes a small recording of a finished one: the same segments, fragments and times in AV1.

Segment by segment, each durable before the next is begun: whatever stops it, the next run goes on
behind the last whole segment. Each track of pictures is encoded at the highest constant rate
factor that keeps every fragment near enough to its source (`BARS`), which is found by trying.
Sound is copied. The result is one that `verify`, replay and export take like any other;
`server.recorder.catalog.derived` puts it in its source's place.

The keys are used here, and nothing is decoded: that is done by another process (`recoder`).
"""

import os
import secrets
import shutil
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import msgspec

from server.core.frames import TrackName
from server.core.interviews import COMPRESSED
from server.recorder.catalog.derived import (
    VERSION,
    Compressed,
    Left,
    TrackQuality,
    making_path,
    size_of_segments,
    state,
)
from server.recorder.catalog.recordings import is_compressed, open_title, seal_title
from server.recorder.compression.recode_job import Quality
from server.recorder.compression.recoder import NotRecoded, Recoded, Recoder
from server.recorder.compression.track_recoder import (
    BARS,
    NotNearEnough,
    TrackRecoder,
    mean_of,
    worst_of,
)
from server.recorder.evidence.derivation import origin, statement_of
from server.recorder.format.manifest import (
    MANIFEST_NAME,
    EventEntry,
    Manifest,
    State,
    decode_manifest,
    encode_manifest,
)
from server.recorder.format.sealing import SegmentError
from server.recorder.format.segments import read_segment_header, unlisted_segments
from server.recorder.format.tracks import Fragment, Sample, Tracks
from server.recorder.keys.key_ring import KeyRing
from server.recorder.replay.reader import RecordingReader
from server.recorder.stores.files import LocalFolder, make_folder, write_durably
from server.recorder.writing.sealed_segment import SealedSegment

#: What a compressed recording may take, all tracks together.
MAX_BYTES_PER_HOUR = 200_000_000
#: A recording that is not smaller than this share of its source stays as it is.
MAX_SHARE = 0.8
#: Of what is left of that, so much goes into coming nearer than need be.
_ROOM = 0.9


class NotCompressed(Exception):
    """The recording stays as it is; the message says why."""

    def __init__(self, why: Left, message: str) -> None:
        super().__init__(message)
        self.why = why


class _Measured(msgspec.Struct, frozen=True):
    """Of one track's pictures in one segment."""

    track: TrackName
    pictures: int
    size: int  #: bytes
    mean: Quality  #: of the fragments
    worst: Quality  #: of any


class _Progress(msgspec.Struct, frozen=True):
    """What is known of a recording that is being made, besides itself."""

    source: str  #: its recording_id
    measured: tuple[tuple[_Measured, ...], ...] = ()  #: of each segment


_progress = msgspec.json.Decoder(_Progress)


class Compression:
    """Of one recording. ``keep_source``: what the policy will do to it, for the statement.

    Call :meth:`step` while :attr:`left`, then :meth:`finish`. Each may raise NotCompressed,
    SegmentError, KeyProblem, OSError.
    """

    def __init__(
        self,
        data_dir: Path,
        source: RecordingReader,
        keys: KeyRing,
        recoder: Recoder,
        *,
        keep_source: bool,
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
        self._recoders = {name: TrackRecoder(source, name, recoder) for name in BARS}
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
        self._refuse_large(made)
        if size > MAX_SHARE * source_size:
            message = f"it would take {size} bytes instead of {source_size}"
            raise NotCompressed(Left.GAINLESS, message)
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
            progress = _progress.decode(_progress_of(self.path).read_bytes())
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
        make_folder(self.path)
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
        fragments = [self._source.samples(index) for index in indices]
        made: dict[TrackName, Recoded] = {}
        room = self._room(indices, fragments)
        # Those that need least come first: what one of them does not need is for those behind it.
        names = [name for name in BARS if name in announced.videos()]
        names.sort(key=lambda name: self._recoders[name].took)
        for behind, name in enumerate(names):
            most = _ROOM * room / (len(names) - behind)
            found = self._near_enough(name, indices, fragments, most)
            if found is not None:
                made[name] = found
                room -= found.size
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
        small = [_remade(each, pictures) for each in fragments]
        measured = tuple(_measured(name, each) for name, each in made.items())
        return tracks, [each for each in small if any(s for _, s in each.by_track())], measured

    def _near_enough(
        self, name: TrackName, indices: range, fragments: Sequence[Fragment], most: float
    ) -> Recoded | None:
        try:
            return self._recoders[name].near_enough(indices, fragments, most)
        except NotNearEnough as error:
            raise NotCompressed(Left.FAR, str(error)) from error
        except NotRecoded as error:
            raise NotCompressed(Left.DAMAGED, f"{name}: {error}") from error

    def _room(self, indices: range, fragments: Sequence[Fragment]) -> float:
        """Bytes for the pictures of this segment, if all before it and its sound stay in the
        limit; what an easier time has left over is there for a harder one."""
        sound = sum(
            len(sample.data)
            for each in fragments
            for name, samples in each.by_track()
            if name.is_sound
            for sample in samples
        )
        return self._allowed(indices.stop) - size_of_segments(self._made) - sound

    def _allowed(self, fragments: int) -> float:
        """Bytes that the first ``fragments`` may take. Pauses give nothing."""
        return MAX_BYTES_PER_HOUR * self._hours(fragments)

    def _hours(self, fragments: int) -> float:
        """How long the first ``fragments`` are. Each overlaps the next by a picture or a packet of
        one of its tracks, which is not counted twice."""
        us = until_us = 0
        for index in range(fragments):
            header = self._source.header(index)
            end_us = header.start_us + header.duration_us
            us += max(0, end_us - max(header.start_us, until_us))
            until_us = max(until_us, end_us)
        return us / 3.6e9

    def _policy_of(self, index: int) -> bytes:
        name = self._manifest.segments[index].name
        with (self._source.files / name).open("rb") as file:
            return read_segment_header(file).policy

    def _refuse_large(self, made: Manifest) -> None:
        size = size_of_segments(made)
        if size > self._allowed(len(self._source)):
            raise NotCompressed(Left.LARGE, self._why_large(made, size))

    def _why_large(self, made: Manifest, size: int) -> str:
        """What it would take, and what of it takes so much: who reads it may choose a camera."""
        hours = self._hours(self._ends[len(made.segments) - 1])
        of_tracks = {
            name: sum(e.size for row in self._progress.measured for e in row if e.track is name)
            for name in BARS
        }
        parts = [*of_tracks.items(), ("sound and the rest", size - sum(of_tracks.values()))]
        told = ", ".join(f"{name} {each / hours / 1e6:.0f}" for name, each in parts if each)
        return (
            f"all tracks together would take {size / hours / 1e6:.0f} MB an hour, more than "
            f"{MAX_BYTES_PER_HOUR / 1e6:.0f}, at VMAF 90: {told} "
            f"({self.done:.0%} of it was made)"
        )


def _measured(name: TrackName, made: Recoded) -> _Measured:
    return _Measured(name, len(made.samples), made.size, mean_of(made), worst_of(made))


def _remade(source: Fragment, pictures: dict[tuple[TrackName, int], Sample]) -> Fragment:
    """The fragment with these pictures in place of its own; sound stays."""

    def remade(name: TrackName, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        if name.is_sound:
            return samples
        found = (pictures.get((name, sample.time)) for sample in samples)
        return tuple(sample for sample in found if sample is not None)

    return Fragment(*(remade(name, samples) for name, samples in source.by_track()))


def _refuse_unfit(manifest: Manifest) -> None:
    if manifest.state is State.RECORDING:
        raise NotCompressed(Left.UNFIT, "it is still being recorded")
    if is_compressed(manifest):
        raise NotCompressed(Left.UNFIT, "it is compressed already")
    if not manifest.segments:
        raise NotCompressed(Left.UNFIT, "there is nothing in it")


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
            vmaf = sum(each.pictures * each.mean.vmaf for each in of_track) / pictures
            xpsnr_db = sum(each.pictures * each.mean.xpsnr_db for each in of_track) / pictures
            found.append(
                TrackQuality(
                    name,
                    pictures,
                    round(vmaf, 2),
                    round(min(each.worst.vmaf for each in of_track), 2),
                    round(xpsnr_db, 2),
                    round(min(each.worst.xpsnr_db for each in of_track), 2),
                )
            )
    return tuple(found)
