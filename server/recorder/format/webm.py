"""WebM for replay of VP8, which browsers' Media Source Extensions do not take in MP4. No I/O.

Elements by RFC 8794 (EBML) and RFC 9559 (Matroska); the layout by the W3C's "WebM Byte Stream
Format": an init segment of EBML header, Segment, Info and Tracks; media segments are Clusters.
"""

import struct

from server.core.frames import TrackName
from server.recorder.format.mp4 import TRACK_ID
from server.recorder.format.tracks import OPUS_CHANNELS, TIMESCALE, Fragment, Sample, Tracks

#: RFC 9559 5.1.2.9: nanoseconds a tick; WebM recommends milliseconds.
_TIMESTAMP_SCALE = 1_000_000
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
#: A block's time is a signed 16-bit offset from its cluster's (RFC 9559 10.2).
_MAX_OFFSET_MS = 32_767
#: The tracks of a fragment are cut at the same place, each behind a sample of its own.
_OVERLAP_MS = 60
_SEEK_PRE_ROLL_NS = 80_000_000  # RFC 9559 5.1.4.1.25 recommends this for Opus


def init_segment(tracks: Tracks) -> bytes:
    """EBML header, then a Segment of unknown size that the clusters continue."""
    header = _element(
        0x1A45DFA3,
        _uint(0x4286, 1)  # EBMLVersion
        + _uint(0x42F7, 1)  # EBMLReadVersion
        + _uint(0x42F2, 4)  # EBMLMaxIDLength
        + _uint(0x42F3, 8)  # EBMLMaxSizeLength
        + _element(0x4282, b"webm")  # DocType
        + _uint(0x4287, 4)  # DocTypeVersion
        + _uint(0x4285, 2),  # DocTypeReadVersion
    )
    info = _element(
        0x1549A966,
        _uint(0x2AD7B1, _TIMESTAMP_SCALE)
        + _element(0x4D80, b"Vivavoce")  # MuxingApp
        + _element(0x5741, b"Vivavoce"),  # WritingApp
    )
    entries = b""
    if tracks.video is not None:
        size = _uint(0xB0, tracks.video.width) + _uint(0xBA, tracks.video.height)
        entries += _track(TrackName.CAMERA, 1, b"V_VP8", _element(0xE0, size))
    if tracks.audio:
        entries += _track(TrackName.MICROPHONE, 2, b"A_OPUS", _opus_settings())
    segment = _id(0x18538067) + _UNKNOWN_SIZE
    return header + segment + info + _element(0x1654AE6B, entries)


def media_segment(fragment: Fragment) -> bytes:
    """The fragment's samples in order of time, in as many Clusters as their span needs.

    Both tracks end together where they nearly do: Firefox begins anew, and drops pictures until
    a keyframe, where a Cluster begins before the end of a block of the former.
    """
    end_ms = _common_end_ms(fragment)
    blocks = sorted(
        (
            (sample.time * 1000 // TIMESCALE[name], TRACK_ID[name], name, sample)
            for name, samples in fragment.by_track()
            for sample in samples
        ),
        key=lambda block: block[:2],
    )
    clusters, body, base_ms = b"", b"", 0
    for time_ms, _, name, sample in blocks:
        if body and time_ms - base_ms > _MAX_OFFSET_MS:
            clusters += _element(0x1F43B675, body)
            body = b""
        if not body:
            base_ms = time_ms
            body = _uint(0xE7, base_ms)  # Timestamp
        body += _block(name, sample, time_ms - base_ms, end_ms - base_ms)
    return clusters + _element(0x1F43B675, body)


def _common_end_ms(fragment: Fragment) -> int:
    return min(
        samples[-1].time * 1000 // TIMESCALE[name] + _duration_ms(name, samples[-1])
        for name, samples in fragment.by_track()
        if samples
    )


def _duration_ms(name: TrackName, sample: Sample) -> int:
    return max(1, sample.duration * 1000 // TIMESCALE[name])


def _block(name: TrackName, sample: Sample, offset_ms: int, end_ms: int) -> bytes:
    """``end_ms``: where both tracks end, on the same clock."""
    head = bytes([0x80 | TRACK_ID[name]]) + struct.pack(">h", offset_ms)
    duration_ms = _duration_ms(name, sample)
    # To less than half, the next block would seem too late to browsers: they drop pictures, too.
    enough = 2 * (end_ms - offset_ms) >= duration_ms
    shortened = enough and end_ms < offset_ms + duration_ms <= end_ms + _OVERLAP_MS
    if name is TrackName.MICROPHONE and not shortened:
        return _element(0xA3, head + b"\x80" + sample.data)  # SimpleBlock
    if shortened:
        duration_ms = end_ms - offset_ms
    # A duration is only told by a BlockGroup; ReferenceBlock marks an interframe.
    duration = _uint(0x9B, duration_ms)
    reference = b"" if sample.keyframe else _element(0xFB, b"\xff")
    return _element(0xA0, _element(0xA1, head + b"\0" + sample.data) + duration + reference)


def _track(name: TrackName, kind: int, codec: bytes, settings: bytes) -> bytes:
    number = _uint(0xD7, TRACK_ID[name]) + _uint(0x73C5, TRACK_ID[name])  # and TrackUID
    return _element(
        0xAE, number + _uint(0x83, kind) + _uint(0x9C, 0) + _element(0x86, codec) + settings
    )


def _opus_settings() -> bytes:
    # RFC 7845 5.1; no pre-skip, as in the MP4.
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, OPUS_CHANNELS, 0, 48_000, 0, 0)
    audio = _element(0xB5, struct.pack(">d", 48_000.0)) + _uint(0x9F, OPUS_CHANNELS)
    pre_roll = _uint(0x56AA, 0) + _uint(0x56BB, _SEEK_PRE_ROLL_NS)  # CodecDelay, SeekPreRoll
    return _element(0x63A2, head) + pre_roll + _element(0xE1, audio)


def _id(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _element(number: int, body: bytes) -> bytes:
    # RFC 8794 4: a size of eight octets, the first of which is the length marker.
    return _id(number) + (1 << 56 | len(body)).to_bytes(8, "big") + body


def _uint(number: int, value: int) -> bytes:
    return _element(number, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))
