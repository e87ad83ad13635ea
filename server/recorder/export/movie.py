"""A progressive MP4 file: its media leave as they come, its index goes to the front in the end.

ISO/IEC 14496-12. What is kept meanwhile are the index's own bytes: four for each sample, and eight
more where it lasts otherwise than the one before, so 7 MB of three hours of pictures and sound.
Pure: where the media go is the caller's, before the head is made.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from server.core.frames import TrackName
from server.recorder.credentials.c2pa_manifest import BmffHash
from server.recorder.format.mp4 import (
    PICTURES,
    SOUND,
    TEXT,
    Part,
    TrackHead,
    box,
    full_box,
    movie_header,
    nested,
    track_box,
    visual_entry,
)
from server.recorder.format.tracks import TIMESCALE, VideoConfig

#: Some players read a step between two samples as signed: 6.6 hours of pictures.
LONGEST_STEP = 0x7FFF_FFFF
#: Samples in a row of one track that lie together at most, where no other's come between.
_CHUNK_SAMPLES = 100
_MOVIE_TIMESCALE = 1000
#: 8.3.2: enabled, in movie. Of several tracks of a kind players show the one that is enabled.
_ENABLED, _IN_MOVIE = 1, 2
_LAST_32_BITS = 0xFFFF_FFFF
_FTYP = box(b"ftyp", b"isom" + struct.pack(">I", 0x200) + b"isomiso2avc1mp41")


class MovieError(ValueError):
    """What is to be written has no place in such a file."""


class Head(NamedTuple):
    """What comes before the media, in order; where bytes are reserved, they follow ``ftyp``."""

    ftyp: bytes
    moov: list[Part]
    mdat: bytes  #: the header of the media's box

    def digest(self, reserved: int, media: Iterable[bytes]) -> bytes:
        """Of the file, for C2PA (`BmffHash`): what is reserved is left out, as ``ftyp`` is."""
        found = BmffHash()
        found.leave_out(len(self.ftyp) + reserved)
        found.add(self.moov)
        found.add(chain([self.mdat], media))
        return found.digest()


class Movie:
    """Tracks are added before anything is written; each is written in order of decoding."""

    def __init__(self, append: Callable[[bytes], object]) -> None:
        """``append`` takes the media, in order."""
        self._append = append
        self._tracks: list[MovieTrack] = []
        self._written: MovieTrack | None = None  # the last
        self._chapters: MovieTrack | None = None
        self.size = 0  #: of all media so far

    def add_pictures(self, video: VideoConfig) -> "MovieTrack":
        size, entry = (video.width, video.height), visual_entry(video)
        return self._add(TIMESCALE[TrackName.CAMERA], PICTURES, entry, size)

    def add_sound(self, configuration: bytes, rate: int, channels: int) -> "MovieTrack":
        """Of AAC, by its AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1)."""
        return self._add(rate, SOUND, _aac_entry(configuration, rate, channels))

    def _add(
        self, timescale: int, handler: bytes, entry: bytes, size: tuple[int, int] = (0, 0)
    ) -> "MovieTrack":
        first = handler != TEXT and all(each.handler != handler for each in self._tracks)
        flags = _IN_MOVIE | (_ENABLED if first else 0)
        head = TrackHead(1 + len(self._tracks), flags, timescale, handler, size)
        track = MovieTrack(self, head, entry)
        self._tracks.append(track)
        return track

    def write_chapters(self, chapters: Sequence[tuple[int, str]]) -> None:
        """When each begins, in microseconds, and its title, which players list: a track of text to
        which the others refer. Once, when all of these are finished."""
        if not chapters:
            return
        end_ms = max((each.end_ms for each in self._tracks), default=0)
        self._chapters = track = self._add(_MOVIE_TIMESCALE, TEXT, _TEXT_ENTRY)
        for start_us, title in chapters:
            at_ms, text = start_us // 1000, title.encode()
            track.write(struct.pack(">H", len(text)) + text + _IN_UTF8, at_ms, at_ms)
        track.finish(end_ms)

    def put(self, track: "MovieTrack", data: bytes) -> None:
        """For tracks: the sample's data, in the track's last chunk or in a new one."""
        if self._written is not track or track.chunk_samples >= _CHUNK_SAMPLES:
            track.begin_chunk(self.size)
            self._written = track
        self._append(data)
        self.size += len(data)

    def head(self, reserved: int = 0) -> Head:
        """With so many bytes between ``ftyp`` and the rest. Every track is finished by now."""
        # 4.2.2: size 1 means that a 64-bit size follows.
        mdat = struct.pack(">I4sQ", 1, b"mdat", 16 + self.size)
        wide = 2 * self.size > _LAST_32_BITS  # then the head hardly matters
        size = sum(map(len, self._moov(0, wide)))
        return Head(_FTYP, self._moov(len(_FTYP) + reserved + size + len(mdat), wide), mdat)

    def _moov(self, begins: int, wide: bool) -> list[Part]:
        """Of media that begin at that byte of the file."""
        written = [each for each in self._tracks if each.count]
        mvhd = movie_header(
            max((each.end_ms for each in written), default=0), 1 + len(self._tracks)
        )
        traks = [part for each in written for part in each.boxes(begins, wide, self._refers(each))]
        return nested(b"moov", [mvhd, *traks])

    def _refers(self, track: "MovieTrack") -> bytes:
        """8.3.3: to the chapters."""
        if self._chapters is None or track is self._chapters:
            return b""
        return box(b"tref", box(b"chap", struct.pack(">I", self._chapters.number)))


class MovieTrack:
    """Times in ticks; what is shown or heard before 0 is cut off there."""

    def __init__(self, movie: Movie, head: TrackHead, entry: bytes) -> None:
        self._movie = movie
        self._head = head
        self._entry = entry
        self.count = 0
        self._sizes = bytearray()
        self._steps, self._delays = _Runs(), _Runs()
        self._keyframes = bytearray()
        self._chunks: list[int] = []  # offsets among the media
        self._lengths = bytearray()  # of those, by 8.7.4
        self._length = 0
        self.chunk_samples = 0
        self._first_dts = self._first_pts = self._dts = self._last_pts = self._end = 0

    @property
    def handler(self) -> bytes:
        return self._head.handler

    @property
    def number(self) -> int:
        return self._head.number

    @property
    def end_ms(self) -> int:
        return self._ms(self._end)

    def write(self, data: bytes, dts: int, pts: int, *, keyframe: bool = True) -> None:
        """MovieError where it can't follow on the one before."""
        if self.count:
            self._step(dts - self._dts)
        else:
            self._first_dts, self._first_pts = dts, pts
        if pts < dts:
            raise MovieError("a sample is presented before it is decoded")
        self._dts, self._last_pts = dts, max(pts, self._last_pts)
        self._movie.put(self, data)
        self.count += 1
        self.chunk_samples += 1
        self._sizes += struct.pack(">I", len(data))
        self._delays.add(pts - dts)
        if keyframe:
            self._keyframes += struct.pack(">I", self.count)

    def finish(self, end: int) -> None:
        """What was presented last lasts until then. MovieError if it can't."""
        if self.count:
            self._end = max(end, self._last_pts + 1)
            self._step(self._end - self._last_pts)
            self._end_chunk()

    def begin_chunk(self, offset: int) -> None:
        """For the movie: what is written next lies there among the media."""
        self._end_chunk()
        self._chunks.append(offset)

    def _end_chunk(self) -> None:
        if self.chunk_samples and self.chunk_samples != self._length:
            self._length = self.chunk_samples
            self._lengths += struct.pack(">III", len(self._chunks), self._length, 1)
        self.chunk_samples = 0

    def _step(self, step: int) -> None:
        if not 0 < step <= LONGEST_STEP:
            raise MovieError(f"a step of {step / self._head.timescale:.0f} s between two samples")
        self._steps.add(step)

    # ---- its boxes ------------------------------------------------------------------------

    def boxes(self, begins: int, wide: bool, refers: bytes) -> list[Part]:
        """For the movie: ``trak``, of media that begin there; ``wide``: by 64-bit offsets."""
        duration = self._dts - self._first_dts + self._steps.last
        head = replace(self._head, references=refers, duration_ms=self.end_ms, duration=duration)
        tables = [
            *nested(b"stts", self._steps.table),
            *self._keyframe_table(),
            *self._delay_table(),
            *nested(b"stsc", [_counted(len(self._lengths) // 12), self._lengths]),
            *nested(b"stsz", [struct.pack(">III", 0, 0, self.count), self._sizes]),
            *self._chunk_table(begins, wide),
        ]
        return track_box(head, self._entry, tables, self._edits())

    def _keyframe_table(self) -> list[Part]:
        if len(self._keyframes) == len(self._sizes):
            return []  # 8.6.2: without it all are
        return nested(b"stss", [_counted(len(self._keyframes) // 4), self._keyframes])

    def _delay_table(self) -> list[Part]:
        if self._delays.entries == 1 and not self._delays.last:
            return []
        return nested(b"ctts", self._delays.table)

    def _chunk_table(self, begins: int, wide: bool) -> list[Part]:
        kind, form = (b"co64", "Q") if wide else (b"stco", "I")
        offsets = struct.pack(f">{len(self._chunks)}{form}", *(begins + at for at in self._chunks))
        return nested(kind, [_counted(len(self._chunks)), offsets])

    def _edits(self) -> bytes:
        """8.6.6: what comes before 0 is not presented; a track that begins later waits."""
        start = max(0, self._first_pts)
        shown = struct.pack(">IiI", self.end_ms - self._ms(start), start - self._first_dts, 0x10000)
        waits = struct.pack(">IiI", self._ms(start), -1, 0x10000) if self._ms(start) else b""
        count = 2 if waits else 1
        return box(b"edts", full_box(b"elst", 0, 0, struct.pack(">I", count) + waits + shown))

    def _ms(self, ticks: int) -> int:
        return round(ticks * _MOVIE_TIMESCALE / self._head.timescale)


class _Runs:
    """How many times in a row which number came, as `stts` and `ctts` have it."""

    def __init__(self) -> None:
        self._ended = bytearray()
        self._times = 0
        self.last = 0

    def add(self, number: int) -> None:
        if self._times and number != self.last:
            self._ended += struct.pack(">II", self._times, self.last)
            self._times = 0
        self._times, self.last = self._times + 1, number

    @property
    def entries(self) -> int:
        return len(self._ended) // 8 + 1

    @property
    def table(self) -> list[Part]:
        last = struct.pack(">II", self._times, self.last)
        return [_counted(self.entries), self._ended, last]


def _counted(entries: int) -> bytes:
    """How a table begins: version, flags, and its number of entries."""
    return struct.pack(">II", 0, entries)


#: QuickTime File Format, text sample description: at the left, white on nothing, in no box of its
#: own, by the first of its fonts, which has no name.
_TEXT_ENTRY = box(
    b"text",
    bytes(6)
    + struct.pack(">HIHIQ", 1, 1, 0, 0, 0)
    + struct.pack(">HHHBBI", 0, 0, 1, 0, 0, 0)
    + box(b"ftab", struct.pack(">HHB", 1, 1, 0)),
)
#: Behind a text.
_IN_UTF8 = box(b"encd", struct.pack(">I", 0x100))


def _aac_entry(configuration: bytes, rate: int, channels: int) -> bytes:
    head = bytes(6) + struct.pack(">H", 1) + bytes(8)
    head += struct.pack(">HHHHI", channels, 16, 0, 0, rate << 16)
    # ISO/IEC 14496-1 7.2.6: how it is decoded (MPEG-4 audio, an audio stream), then that there
    # is nothing to synchronise with but the file's own times (2).
    info = _descriptor(5, configuration)
    decoder = _descriptor(4, struct.pack(">BB3xII", 0x40, 0x15, 0, 0) + info)
    described = _descriptor(3, bytes(3) + decoder + _descriptor(6, b"\2"))
    return box(b"mp4a", head + full_box(b"esds", 0, 0, described))


def _descriptor(tag: int, body: bytes) -> bytes:
    """ISO/IEC 14496-1 8.3.3: shorter than 128 bytes, so that the size is one byte."""
    return bytes([tag, len(body)]) + body
