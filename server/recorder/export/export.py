"""Exports a recording to one MP4: AAC sound, and H.264 pictures, which play everywhere.

Runs in a program of its own, never in the media process: it decodes. H.264, VP9 and AV1 of one
coding are copied unless H.264 is asked for: then, as VP8, spatial layers of VP9, and what changes
in the middle, all is decoded and encoded by libx264 at the size of the largest picture, in the
main profile and without long steps between pictures. Opus becomes AAC. Gaps keep their length
but where nothing was recorded for hours (`long_pauses`): the last picture stays, and silence
fills. All voices are mixed into one track, so that every player plays them; a shared screen and
the interviewer's picture are further video streams.
A clip that begins between keyframes is encoded: copied, it would hold what was before it.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

from server.core import vp9
from server.core.frames import Codec, TrackName
from server.recorder.decoders import picture_decoder, sound_decoder
from server.recorder.export import long_pauses
from server.recorder.export.content_credentials import Credentials
from server.recorder.export.long_pauses import WithoutLongPauses
from server.recorder.export.movie import Movie, MovieError, MovieTrack
from server.recorder.format.mp4 import Part
from server.recorder.format.tracks import (
    MAX_SOUND_BEHIND_US,
    TIMESCALE,
    Sample,
    VideoConfig,
    opus_duration,
    to_ticks,
)
from server.recorder.stores.files import put_in_place, scratch_beside

_CLOCK = "%Y-%m-%d %H:%M:%S UTC"
_VIDEO_TIME_BASE = Fraction(1, TIMESCALE[TrackName.CAMERA])
_SOUND_RATE = TIMESCALE[TrackName.MICROPHONE]
_AAC_FRAME = 1024  # samples of an AAC-LC frame
_AAC_BIT_RATE = 128_000
_BLOCK_BYTES = 1 << 20
#: Constant rate factor of libx264: visually close to the source, which is itself lossy. Every
#: decoder in hardware has the main profile. MP4 wants lengths before NAL units, no start codes.
_X264_OPTIONS = {
    "crf": "20",
    "preset": "veryfast",
    "profile": "main",
    "x264-params": "annexb=0",
}
#: What the encoder takes for the usual; each picture has its own time.
_USUAL_RATE = Fraction(30)
#: Some players take a longer step between pictures for the end.
_LONGEST_STEP = TIMESCALE[TrackName.CAMERA]
#: How far one voice may lie behind the others before it counts as silent.
_VOICE_LATE = to_ticks(TrackName.MICROPHONE, MAX_SOUND_BEHIND_US)


class ExportError(Exception):
    """There is nothing to export, or it must not go there."""


class PauseTooLong(ExportError):
    """The pictures of one track, copied, pause for hours while others go on."""


Seal = Callable[[Path], None]


class Source(long_pauses.Source, Protocol):
    """What is exported: all of a recording (`RecordingReader`), or a `Clip` of it."""

    @property
    def path(self) -> Path: ...


def export(
    source: Source,
    out: Path,
    progress: Callable[[float], None],
    *,
    transcode: bool = False,
    credentials: Credentials | None = None,
    seal: Seal = lambda whole: None,
) -> None:
    """Write the recording to ``out``, which appears when it is whole.

    ``progress`` is called with the share done, 0..1; with ``transcode`` all pictures become
    H.264. ``credentials`` are signed into the file. ``seal`` is called once with the whole file,
    before it gets its name. ExportError if there is no media; OSError; SegmentError if the
    recording is damaged; CredentialsUnavailable.
    """
    if not len(source):
        raise ExportError("the recording has no media")
    if is_among_recordings(source, out):
        raise ExportError("no media in the clear may lie among the recordings")
    with scratch_beside(out) as scratch:
        with scratch.open("r+b") as file:
            movie = Movie(file.write)
            encoded = write(source, movie, progress, transcode)
            size = credentials.size if credentials else 0
            head, signed = movie.head(size), b""
            if credentials is not None:
                file.seek(0)
                digest = head.digest(size, iter(partial(file.read, _BLOCK_BYTES), b""))
                signed = credentials.box(digest, encoded=encoded)
            prepend(file, [head.ftyp, signed, *head.moov, head.mdat])
        seal(scratch)
        put_in_place(scratch, out)


def is_among_recordings(source: Source, out: Path) -> bool:
    """Where no media may lie in the clear."""
    return out.resolve().is_relative_to(source.path.parent.resolve())


def prepend(file: BinaryIO, parts: Sequence[Part]) -> None:
    """Put these before all that is in the file, which is moved from its end on. OSError."""
    by = sum(map(len, parts))
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK_BYTES)
        file.seek(start)
        block = file.read(end - start)
        file.seek(start + by)
        file.write(block)
        end = start
    file.seek(0)
    file.writelines(parts)


def write(whole: Source, movie: Movie, progress: Callable[[float], None], transcode: bool) -> bool:
    """As `export`, all but the head. Whether anything was encoded."""
    source = WithoutLongPauses(whole)
    recorded = {name for tracks in source.recorded_tracks for name in tracks.names()}
    pictures: dict[TrackName, _Pictures] = {}
    _open_pictures(TrackName.CAMERA, pictures, movie, source, transcode)
    voices = [name for name in TrackName if name.is_sound and name in recorded]
    sound = _Sound(movie, voices) if voices else None
    for name in (TrackName.SCREEN, TrackName.INTERVIEWER_CAMERA):
        _open_pictures(name, pictures, movie, source, transcode)
    try:
        _write_all(source, pictures, sound, progress)
    except MovieError as error:
        raise PauseTooLong(
            f"{error} has no place in an MP4 file: encode the pictures, which fills it "
            "(--transcode), or export what is before and after it"
        ) from error
    movie.write_chapters(
        [
            (start_us, f"{datetime.fromtimestamp(began_us / 1e6, UTC):{_CLOCK}}")
            for start_us, began_us in source.chapters()
        ]
    )
    return sound is not None or any(isinstance(each, _Encoded) for each in pictures.values())


def _write_all(
    source: WithoutLongPauses,
    pictures: Mapping[TrackName, "_Pictures"],
    sound: "_Sound | None",
    progress: Callable[[float], None],
) -> None:
    for index, (tracks, fragment) in enumerate(source.all_samples()):
        videos, samples = tracks.videos(), dict(fragment.by_track())
        for name, each in pictures.items():
            each.add(videos.get(name), samples[name])
        if sound is not None:
            sound.add(to_ticks(TrackName.MICROPHONE, fragment.start_us), samples)
        progress((index + 1) / len(source))
    for each in pictures.values():
        each.finish(to_ticks(TrackName.CAMERA, source.duration_us))
    if sound is not None:
        sound.finish(to_ticks(TrackName.MICROPHONE, source.duration_us))


class _Pictures(Protocol):
    """Writes the pictures; every call in order of time."""

    def add(self, video: VideoConfig | None, samples: tuple[Sample, ...]) -> None: ...
    def finish(self, end: int) -> None: ...


def _open_pictures(
    name: TrackName,
    pictures: dict[TrackName, _Pictures],
    movie: Movie,
    source: WithoutLongPauses,
    transcode: bool,
) -> None:
    """A stream for the pictures of that track, if there are any."""
    recorded = (tracks.videos().get(name) for tracks in source.recorded_tracks)
    videos = list(dict.fromkeys(filter(None, recorded)))
    every = (dict(fragment.by_track())[name] for _, fragment in source.all_samples())
    first = next((samples[0] for samples in every if samples), None) if videos else None
    if first is None:
        return
    copied = not transcode and len(videos) == 1 and first.time >= 0 and first.keyframe
    if copied and _plays_everywhere(videos[0], first):
        pictures[name] = _Copied(movie.add_pictures(videos[0]))
    else:
        pictures[name] = _Encoded(movie, videos)


def _plays_everywhere(video: VideoConfig, first: Sample) -> bool:
    if video.codec is Codec.VP9:
        # Of a superframe browsers show the last layer alone, FFmpeg's players all in turn.
        return len(vp9.split_superframe(first.data)) == 1
    return video.codec is not Codec.VP8


class _Copied:
    """Pictures as they were captured; each picture lasts until the next."""

    def __init__(self, track: MovieTrack) -> None:
        self._track = track

    def add(self, video: VideoConfig | None, samples: tuple[Sample, ...]) -> None:
        for sample in samples:
            self._track.write(sample.data, sample.time, sample.time, keyframe=sample.keyframe)

    def finish(self, end: int) -> None:
        self._track.finish(end)


class _Encoded:
    """Pictures decoded, fitted into the largest size, and encoded at their own times."""

    def __init__(self, movie: Movie, videos: list[VideoConfig]) -> None:
        # Encoders of 4:2:0 take even sizes.
        self._width = max(video.width for video in videos) // 2 * 2
        self._height = max(video.height for video in videos) // 2 * 2
        self._encoder = _h264_encoder(self._width, self._height)
        assert self._encoder.extradata is not None
        coded = VideoConfig(Codec.H264, self._width, self._height, self._encoder.extradata)
        self._track = movie.add_pictures(coded)
        self._video: VideoConfig | None = None
        self._decoder: av.VideoCodecContext | None = None
        self._held: av.VideoFrame | None = None
        self._last = -1

    def add(self, video: VideoConfig | None, samples: tuple[Sample, ...]) -> None:
        if samples and video != self._video:
            assert video is not None
            self._video, self._decoder = video, picture_decoder(video)
        for sample in samples:
            if sample.time > 0 and self._last < 0:
                self._encode(0)  # what was shown when the clip begins
            frame = self._decode(sample)
            if frame is not None:
                self._stay(sample.time)
                self._held = self._fit(frame)
                self._encode(sample.time)

    def finish(self, end: int) -> None:
        self._stay(end)
        # The last picture once more, so that the track lasts as long as the recording.
        self._encode(end - TIMESCALE[TrackName.CAMERA] // 30)
        self._write(self._encoder.encode(None))
        self._track.finish(end)

    def _decode(self, sample: Sample) -> av.VideoFrame | None:
        assert self._decoder is not None
        try:
            frames = self._decoder.decode(av.Packet(sample.data))
        except av.error.InvalidDataError:
            return None  # the picture before it stays
        return frames[-1] if frames else None

    def _fit(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Scaled into the output with its shape kept, black around it."""
        scale = min(self._width / frame.width, self._height / frame.height)
        width, height = (
            max(2, round(side * scale) // 2 * 2) for side in (frame.width, frame.height)
        )
        fitted = frame.reformat(width, height, "yuv420p")
        if (width, height) == (self._width, self._height):
            return fitted
        return _on_black(fitted, self._width, self._height)

    def _stay(self, until: int) -> None:
        """What is held, again and again, so that no step to ``until`` is too long."""
        while 0 <= self._last < until - _LONGEST_STEP:
            self._encode(self._last + _LONGEST_STEP)

    def _encode(self, time: int) -> None:
        if self._held is None or time <= self._last:
            return
        self._last = time
        self._held.pts, self._held.time_base = time, _VIDEO_TIME_BASE
        self._held.pict_type = av.video.frame.PictureType.NONE
        self._write(self._encoder.encode(self._held))

    def _write(self, packets: "Iterable[av.Packet[av.VideoStream]]") -> None:
        for packet in packets:
            assert packet.dts is not None
            assert packet.pts is not None
            self._track.write(bytes(packet), packet.dts, packet.pts, keyframe=packet.is_keyframe)


def _h264_encoder(width: int, height: int) -> av.VideoCodecContext:
    encoder = av.VideoCodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = _VIDEO_TIME_BASE, _USUAL_RATE
    encoder.options = _X264_OPTIONS
    encoder.flags |= Flags.global_header  # an MP4 has it in its index
    encoder.open()
    return encoder


def _on_black(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    planes = frame.to_ndarray().astype(np.uint8, copy=False)
    canvas = np.full((height * 3 // 2, width), 128, np.uint8)
    canvas[:height] = 16  # black in limited range (ITU-R BT.601)
    top, left = (height - frame.height) // 4 * 2, (width - frame.width) // 4 * 2
    _paste(canvas[:height], planes[: frame.height], top, left)
    # yuv420p as one array: the luma, then each chroma plane in rows of half the width.
    for plane in (0, 1):
        target = _chroma(canvas, height, width, plane)
        source = _chroma(planes, frame.height, frame.width, plane)
        _paste(target, source, top // 2, left // 2)
    return av.VideoFrame.from_ndarray(canvas, format="yuv420p")


def _chroma(
    planes: npt.NDArray[np.uint8], height: int, width: int, plane: int
) -> npt.NDArray[np.uint8]:
    size = height * width // 4
    flat = planes.reshape(-1)[height * width + plane * size :][:size]
    return flat.reshape(height // 2, width // 2)


def _paste(
    target: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8], top: int, left: int
) -> None:
    target[top : top + source.shape[0], left : left + source.shape[1]] = source


class _Sound:
    """All voices in one AAC track, each continuous: what is missing of it is silence."""

    def __init__(self, movie: Movie, names: Sequence[TrackName]) -> None:
        self._encoder = _aac_encoder()
        assert self._encoder.extradata is not None
        self._track = movie.add_sound(self._encoder.extradata, _SOUND_RATE, 2)
        self._voices = {name: _Voice() for name in names}
        self._mixed = 0  # samples so far
        self._waiting = np.zeros((2, 0), np.float32)
        self._encoded = 0  # of those mixed

    def add(self, start: int, samples: Mapping[TrackName, tuple[Sample, ...]]) -> None:
        """A fragment that begins at `start`, before which nothing more comes of any voice."""
        self._fall_silent(start - _VOICE_LATE)
        for name, voice in self._voices.items():
            voice.add(samples[name])
        self._mix()

    def finish(self, end: int) -> None:
        self._fall_silent(max(end, *(voice.end for voice in self._voices.values())))
        if self._waiting.shape[1]:
            self._encode(self._waiting)
        self._write(self._encoder.encode(None))
        self._track.finish(self._encoded)

    def _fall_silent(self, until: int) -> None:
        while self._mixed < until:  # by seconds, so that a gap of hours takes no memory
            for voice in self._voices.values():
                voice.reach(min(until, self._mixed + _SOUND_RATE))
            self._mix()

    def _mix(self) -> None:
        count = min(voice.end for voice in self._voices.values()) - self._mixed
        taken = [voice.take(count) for voice in self._voices.values()]
        sound = taken[0] if len(taken) == 1 else np.clip(sum(taken), -1, 1)
        self._mixed += count
        self._waiting = np.concatenate((self._waiting, sound), axis=1)
        whole = self._waiting.shape[1] // _AAC_FRAME * _AAC_FRAME
        for start in range(0, whole, _AAC_FRAME):
            self._encode(self._waiting[:, start : start + _AAC_FRAME])
        self._waiting = self._waiting[:, whole:]

    def _encode(self, sound: npt.NDArray[np.float32]) -> None:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts = _SOUND_RATE, self._encoded
        frame.time_base = Fraction(1, _SOUND_RATE)
        self._encoded += sound.shape[1]
        self._write(self._encoder.encode(frame))

    def _write(self, packets: "Iterable[av.Packet[av.AudioStream]]") -> None:
        for packet in packets:
            assert packet.pts is not None
            self._track.write(bytes(packet), packet.pts, packet.pts)


def _aac_encoder() -> av.AudioCodecContext:
    encoder = av.AudioCodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = _SOUND_RATE, "stereo", "fltp"
    encoder.bit_rate = _AAC_BIT_RATE
    encoder.time_base = Fraction(1, _SOUND_RATE)
    encoder.flags |= Flags.global_header
    encoder.open()
    return encoder


class _Voice:
    """One person's Opus, decoded; the samples that nobody has taken yet wait."""

    def __init__(self) -> None:
        self._decoder = sound_decoder()
        self._resampler = av.AudioResampler("fltp", "stereo", _SOUND_RATE)
        self._waiting = np.zeros((2, 0), np.float32)
        self._heard = 0  # where the last packet ended
        self.end = 0  # samples so far, taken or waiting

    def add(self, samples: tuple[Sample, ...]) -> None:
        for sample in samples:
            if sample.time - self._heard > _SOUND_RATE:
                self._decoder = sound_decoder()  # a new sender: its first packet is the first
            self._heard = sample.time + opus_duration(sample.data)
            self.reach(sample.time)
            # Where its clock has run ahead, that much is dropped; and of what a clip's decoder
            # needs before it, all.
            surplus = self.end - sample.time
            self._give(self._decode(sample)[:, surplus:])

    def reach(self, time: int) -> None:
        """Silence until `time`, if nothing else came."""
        if time > self.end:
            self._give(np.zeros((2, time - self.end), np.float32))

    def take(self, count: int) -> npt.NDArray[np.float32]:
        taken, self._waiting = self._waiting[:, :count], self._waiting[:, count:]
        return taken

    def _give(self, sound: npt.NDArray[np.float32]) -> None:
        self.end += sound.shape[1]
        self._waiting = np.concatenate((self._waiting, sound), axis=1)

    def _decode(self, sample: Sample) -> npt.NDArray[np.float32]:
        try:
            frames = self._decoder.decode(av.Packet(sample.data))
        except av.error.InvalidDataError:
            return np.zeros((2, opus_duration(sample.data)), np.float32)
        parts = [np.zeros((2, 0), np.float32)]
        for frame in frames:
            frame.pts = None
            for one in self._resampler.resample(frame):
                parts.append(one.to_ndarray().astype(np.float32, copy=False))
        return np.concatenate(parts, axis=1)
