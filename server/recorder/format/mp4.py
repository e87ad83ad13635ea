"""Fragmented MP4 written and read by ourselves: all tracks of a recording, no I/O.

Boxes by ISO/IEC 14496-12; H.264 by ISO/IEC 14496-15, VP8 and VP9 by the "VP Codec ISO Media
File Format Binding", AV1 by the "AV1 Codec ISO Media File Format Binding", Opus by the
"Encapsulation of Opus in ISO Base Media File Format". The reader understands what the writer
writes, and raises :class:`Mp4Error` for anything else.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from server.core.frames import Codec, TrackName
from server.recorder.format.tracks import (
    OPUS_CHANNELS,
    TIMESCALE,
    Fragment,
    Sample,
    Tracks,
    VideoConfig,
)

TRACK_ID = {
    TrackName.CAMERA: 1,
    TrackName.MICROPHONE: 2,
    TrackName.SCREEN: 3,
    TrackName.INTERVIEWER_CAMERA: 4,
    TrackName.INTERVIEWER_MICROPHONE: 5,
}
_TRACK_NAME = {number: name for name, number in TRACK_ID.items()}

# ISO/IEC 14496-12 8.8.3.1: sample_depends_on 2 (on none) and 1 with sample_is_non_sync_sample.
_SYNC_SAMPLE = 0x0200_0000
_DELTA_SAMPLE = 0x0101_0000
# ISO/IEC 14496-12 8.8.7.1 and 8.8.8.1.
_DEFAULT_BASE_IS_MOOF = 0x02_0000
_TRUN_FLAGS = 0x000001 | 0x000100 | 0x000200 | 0x000400  # offset; each duration, size, flags
#: Of a sample: duration, size, flags. And what is around them, in a track's `traf` and in `moof`.
_ROW = struct.Struct(">III")
_TRAF_BYTES = 8 + 16 + 20 + 20  # tfhd, tfdt, trun
_MOOF_BYTES = 8 + 16  # mfhd
_UNITY_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


SAMPLE_ENTRIES = {
    Codec.H264: b"avc1",
    Codec.VP8: b"vp08",
    Codec.VP9: b"vp09",
    Codec.AV1: b"av01",
}
_CODECS = {entry: codec for codec, entry in SAMPLE_ENTRIES.items()}
_RECORDS = {Codec.H264: b"avcC", Codec.VP8: b"vpcC", Codec.VP9: b"vpcC", Codec.AV1: b"av1C"}
#: VP Codec binding 2.2: vpcC is a full box of version 1.
_VPCC_VERSION = b"\1\0\0\0"


#: Of a box that is not put together in memory.
Part = bytes | bytearray


class Mp4Error(ValueError):
    """The bytes are not what this module writes."""


# ---- writing ----------------------------------------------------------------------------


def init_segment(tracks: Tracks) -> bytes:
    """``ftyp`` and ``moov`` for the given tracks; the fragments follow it."""
    videos = tracks.videos()
    traks = b"".join(_trak(name, videos.get(name)) for name in tracks.names())
    extends = b"".join(map(_trex, tracks.names()))
    mvhd = movie_header(0, 1 + max(_TRACK_NAME))  # the duration follows from the fragments
    brands = b"iso6mp41"
    if any(video.codec is Codec.AV1 for video in videos.values()):
        brands += b"av01"  # AV1-ISOBMFF 2.1
    ftyp = box(b"ftyp", b"iso6" + struct.pack(">I", 0) + brands)
    return ftyp + box(b"moov", mvhd + traks + box(b"mvex", extends))


def media_segment(sequence: int, fragment: Fragment) -> bytes:
    """One ``moof`` with a ``traf`` for each track that has samples, and its ``mdat``."""
    parts = [(name, samples) for name, samples in fragment.by_track() if samples]
    data_offset = 8 + _MOOF_BYTES  # of mdat's head
    data_offset += sum(_TRAF_BYTES + _ROW.size * len(samples) for _, samples in parts)
    trafs, payload = b"", list[bytes]()
    for name, samples in parts:
        trafs += _traf(name, samples, data_offset)
        data = [sample.data for sample in samples]
        data_offset += sum(map(len, data))
        payload += data
    moof = box(b"moof", full_box(b"mfhd", 0, 0, struct.pack(">I", sequence)) + trafs)
    return moof + box(b"mdat", b"".join(payload))


def _traf(name: TrackName, samples: tuple[Sample, ...], data_offset: int) -> bytes:
    tfhd = full_box(b"tfhd", 0, _DEFAULT_BASE_IS_MOOF, struct.pack(">I", TRACK_ID[name]))
    tfdt = full_box(b"tfdt", 1, 0, struct.pack(">Q", samples[0].time))
    rows = b"".join(
        _ROW.pack(duration, len(sample.data), _SYNC_SAMPLE if sample.keyframe else _DELTA_SAMPLE)
        for sample, duration in zip(samples, _spans(samples), strict=True)
    )
    trun = full_box(b"trun", 0, _TRUN_FLAGS, struct.pack(">II", len(samples), data_offset) + rows)
    return box(b"traf", tfhd + tfdt + trun)


def _spans(samples: tuple[Sample, ...]) -> Iterator[int]:
    """Time from each sample to the next: in MP4 a hole is the duration of what is before it."""
    for sample, following in pairwise(samples):
        yield following.time - sample.time
    yield samples[-1].duration


def _trak(name: TrackName, video: VideoConfig | None) -> bytes:
    size = (video.width, video.height) if video else (0, 0)
    handler, entry = (PICTURES, visual_entry(video)) if video else (SOUND, _opus_entry())
    # 8.3.2: flags enabled, in movie, in preview. Times follow from the fragments.
    head = TrackHead(TRACK_ID[name], 7, TIMESCALE[name], handler, size)
    tables = (
        full_box(b"stts", 0, 0, bytes(4)),
        full_box(b"stsc", 0, 0, bytes(4)),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    )
    return b"".join(track_box(head, entry, tables))


#: 8.4.3: what a track has. Text is QuickTime's, as players want it of chapters.
PICTURES, SOUND, TEXT = b"vide", b"soun", b"text"


@dataclass(frozen=True, slots=True)
class TrackHead:
    """What a track's boxes say of it; ``size`` in pixels, of pictures."""

    number: int
    flags: int  #: 8.3.2
    timescale: int
    handler: bytes  #: 8.4.3
    size: tuple[int, int] = (0, 0)
    references: bytes = b""  #: ``tref`` (8.3.3), or nothing
    duration_ms: int = 0  #: as presented
    duration: int = 0  #: of its media, in ticks


def track_box(
    head: TrackHead, entry: bytes, tables: Iterable[Part], edits: bytes = b""
) -> list[Part]:
    """``trak``, in parts that follow each other: of its tables nothing is copied."""
    width, height = head.size
    volume = 0x0100 if head.handler == SOUND else 0
    tkhd = full_box(
        b"tkhd",
        0,
        head.flags,
        struct.pack(">5I", 0, 0, head.number, 0, head.duration_ms)
        + struct.pack(">QHHHH", 0, 0, 0, volume, 0)
        + _UNITY_MATRIX
        + struct.pack(">II", width << 16, height << 16),
    )
    hdlr = full_box(b"hdlr", 0, 0, bytes(4) + head.handler + bytes(12) + b"\0")
    url = full_box(b"url ", 0, 1, b"")  # 8.7.2: the media is in this file
    dinf = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1) + url))
    stsd = full_box(b"stsd", 0, 0, struct.pack(">I", 1) + entry)
    stbl = nested(b"stbl", [stsd, *tables])
    minf = nested(b"minf", [_about(head.handler), dinf, *stbl])
    mdia = nested(b"mdia", [_mdhd(head), hdlr, *minf])
    return nested(b"trak", [tkhd, head.references, edits, *mdia])


def _about(handler: bytes) -> bytes:
    """What is true of all of a track's media."""
    if handler == PICTURES:
        return full_box(b"vmhd", 0, 1, bytes(8))
    if handler == SOUND:
        return full_box(b"smhd", 0, 0, bytes(4))
    # QuickTime File Format, base media information: copied as it is (0x40), in no colour.
    gmin = full_box(b"gmin", 0, 0, struct.pack(">6H", 0x40, 0x8000, 0x8000, 0x8000, 0, 0))
    return box(b"gmhd", gmin + box(b"text", _UNITY_MATRIX))


def _mdhd(head: TrackHead) -> bytes:
    # 8.4.2: language "und", three five-bit letters; 64 bits from thirteen hours of pictures on.
    version, form = (1, ">QQIQHH") if head.duration >> 32 else (0, ">4IHH")
    fields = struct.pack(form, 0, 0, head.timescale, head.duration, 0x55C4, 0)
    return full_box(b"mdhd", version, 0, fields)


def movie_header(duration_ms: int, next_number: int) -> bytes:
    """``mvhd`` (8.2.2): times zero, timescale 1000."""
    return full_box(
        b"mvhd",
        0,
        0,
        struct.pack(">4I", 0, 0, 1000, duration_ms)
        + struct.pack(">IHHQ", 0x10000, 0x0100, 0, 0)
        + _UNITY_MATRIX
        + bytes(24)
        + struct.pack(">I", next_number),
    )


def _trex(name: TrackName) -> bytes:
    return full_box(b"trex", 0, 0, struct.pack(">5I", TRACK_ID[name], 1, 0, 0, 0))


def visual_entry(video: VideoConfig) -> bytes:
    # 12.1.3: 72 dpi, one frame a sample, no name, depth 24, pre_defined -1.
    head = (
        bytes(6)
        + struct.pack(">H", 1)
        + bytes(16)
        + struct.pack(">HHIIIH", video.width, video.height, 0x480000, 0x480000, 0, 1)
        + bytes(32)
        + struct.pack(">Hh", 0x18, -1)
    )
    record = _RECORDS[video.codec]
    body = (_VPCC_VERSION if record == b"vpcC" else b"") + video.configuration
    return box(SAMPLE_ENTRIES[video.codec], head + box(record, body))


def _opus_entry() -> bytes:
    head = bytes(6) + struct.pack(">H", 1) + bytes(8)
    head += struct.pack(">HHHHI", OPUS_CHANNELS, 16, 0, 0, 48_000 << 16)
    # Opus in ISOBMFF 4.3.2. No pre-skip: a live stream's first packet is not an encoder's first.
    dops = struct.pack(">BBHIhB", 0, OPUS_CHANNELS, 0, 48_000, 0, 0)
    return box(b"Opus", head + box(b"dOps", dops))


def box(kind: bytes, body: bytes) -> bytes:
    """Of less than 4 GiB."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, version: int, flags: int, body: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags) + body)


def nested(kind: bytes, parts: Sequence[Part]) -> list[Part]:
    """A box of these, as one list of parts."""
    return [struct.pack(">I4s", 8 + sum(map(len, parts)), kind), *parts]


# ---- reading ----------------------------------------------------------------------------


def parse_init(data: bytes) -> Tracks:
    """The tracks that :func:`init_segment` announced; Mp4Error if it did not write ``data``."""
    videos: dict[TrackName, VideoConfig] = {}
    sounds: set[TrackName] = set()
    for kind, body in _boxes(_only(data, b"moov")):
        if kind != b"trak":
            continue
        name = _TRACK_NAME.get(int.from_bytes(_only(body, b"tkhd")[12:16], "big"))
        stsd = _only(_only(_only(_only(body, b"mdia"), b"minf"), b"stbl"), b"stsd")
        for entry_kind, entry in _boxes(stsd[8:]):
            if name is None or name.is_sound != (entry_kind == b"Opus"):
                raise Mp4Error(f"sample entry {entry_kind!r} on track {name}")
            if name.is_sound:
                sounds.add(name)
            else:
                videos[name] = _parse_visual_entry(entry_kind, entry)
    return Tracks(
        videos.get(TrackName.CAMERA),
        TrackName.MICROPHONE in sounds,
        videos.get(TrackName.SCREEN),
        videos.get(TrackName.INTERVIEWER_CAMERA),
        TrackName.INTERVIEWER_MICROPHONE in sounds,
    )


def _parse_visual_entry(kind: bytes, entry: bytes) -> VideoConfig:
    codec = _CODECS.get(kind)
    if len(entry) < 78 or codec is None:
        raise Mp4Error(f"unknown sample entry {kind!r}")
    width, height = struct.unpack_from(">HH", entry, 24)
    record = _only(entry[78:], _RECORDS[codec])
    if _RECORDS[codec] == b"vpcC":
        record = record[len(_VPCC_VERSION) :]
    return VideoConfig(codec, width, height, record)


def parse_media(data: bytes) -> Fragment:
    """The samples that :func:`media_segment` wrote; Mp4Error if it did not write ``data``."""
    found: dict[TrackName, tuple[Sample, ...]] = {}
    for kind, body in _boxes(_only(data, b"moof")):
        if kind == b"traf":
            name, samples = _parse_traf(body, data)
            found[name] = samples
    return Fragment(*(found.get(name, ()) for name in TrackName))


def _parse_traf(traf: bytes, data: bytes) -> tuple[TrackName, tuple[Sample, ...]]:
    tfhd, tfdt, trun = _only(traf, b"tfhd"), _only(traf, b"tfdt"), _only(traf, b"trun")
    try:
        track_id = struct.unpack_from(">I", tfhd, 4)[0]
        time = struct.unpack_from(">Q", tfdt, 4)[0]
        flags, count, offset = struct.unpack_from(">III", trun)
        rows = list(_ROW.iter_unpack(trun[12:]))
    except struct.error as error:
        raise Mp4Error("traf ends early") from error
    if flags != _TRUN_FLAGS or len(rows) != count or track_id not in _TRACK_NAME:
        raise Mp4Error("a traf of another writer")
    samples = []
    for duration, size, sample_flags in rows:
        if offset + size > len(data):
            raise Mp4Error("sample beyond the end")
        payload = data[offset : offset + size]
        samples.append(Sample(time, duration, sample_flags == _SYNC_SAMPLE, payload))
        time, offset = time + duration, offset + size
    return _TRACK_NAME[track_id], tuple(samples)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset < len(data):
        if len(data) - offset < 8:
            raise Mp4Error("box header cut off")
        size, kind = struct.unpack_from(">I4s", data, offset)
        if not 8 <= size <= len(data) - offset:
            raise Mp4Error(f"box {kind!r} of {size} bytes in {len(data) - offset}")
        yield kind, data[offset + 8 : offset + size]
        offset += size


def _only(data: bytes, wanted: bytes) -> bytes:
    for kind, body in _boxes(data):
        if kind == wanted:
            return body
    raise Mp4Error(f"no {wanted.decode()} box")
