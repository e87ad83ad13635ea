"""However long an interview lasts, no more of it is in memory than its newest fragments.

In virtual time, counted by what is allocated, not by what the system reports: Python's small
objects by their number, all else, also of the libraries in C, by its bytes. Each second has 40 kB
of media in 35 samples: what held them, or an object for each, would show at once.
"""

import ctypes
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder.export.export import export
from server.recorder.replay.hls import parse_name
from server.recorder.replay.index import Side
from server.recorder.replay.reader import RecordingReader
from server.recorder.replay.streams import Streams
from server.recorder.writing.writer import RecordingWriter
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, video

SECONDS = 240
BEGUN = 60  #: then all is warm
PICTURES, SOUNDS = 10, 25
_SILENCE = b"\xfc\xff\xfe" * 20
_MALLINFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Mallinfo2(ctypes.Structure):
    """mallinfo(3)."""

    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO.split()]


class Held(NamedTuple):
    """What is allocated."""

    objects: int  #: of Python, up to 512 bytes each
    bytes: int  #: of all else

    def since(self, before: "Held") -> "Held":
        return Held(self.objects - before.objects, self.bytes - before.bytes)


def held() -> Held:
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return Held(sys.getallocatedblocks(), found.uordblks + found.hblkhd)


def frames(from_s: int, to_s: int) -> Iterator[EncodedFrame]:
    """Pictures that only the first of a second of which decodes, and silence."""
    keyframe, delta = (payload for payload, _ in video(Codec.H264, 0.1)[:2])
    padded = (4000).to_bytes(4, "big") + delta[4:5] + bytes(3999)
    for second in range(from_s, to_s):
        for number in range(SOUNDS):
            at_s = START_S + second + number / SOUNDS
            yield EncodedFrame(TrackName.MICROPHONE, Codec.OPUS, bytes(_SILENCE), at_s, True, at_s)
            if number * PICTURES % SOUNDS < PICTURES:
                first = number == 0 and second % 4 == 0
                payload = bytes(bytearray(keyframe if first else padded))  # one of its own
                yield EncodedFrame(TrackName.CAMERA, Codec.H264, payload, at_s, first, at_s)


def record(writer: RecordingWriter, from_s: int, to_s: int) -> None:
    for frame in frames(from_s, to_s):
        writer.write(frame)
        if writer.sync_due:
            writer.sync()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("recorded"))
    writer = desk.writer()
    record(writer, 0, SECONDS)
    writer.finish()
    return desk


def test_a_recording_holds_nothing_of_what_is_on_the_disk(desk: Desk) -> None:
    writer = desk.writer()
    record(writer, 0, BEGUN)
    before = held()
    record(writer, BEGUN, SECONDS)
    more = held().since(before)
    assert more.objects < 1500
    assert more.bytes < 200_000


def test_of_a_fragment_the_index_keeps_some_bytes(desk: Desk) -> None:
    writer = desk.writer()
    record(writer, 0, BEGUN)
    reader = desk.reader()
    streams = Streams(reader)
    _ask(reader, streams)
    known = len(reader)
    record(writer, BEGUN, SECONDS)
    before = held()
    _ask(reader, streams)
    more, fragments = held().since(before), len(reader) - known
    assert fragments > SECONDS - BEGUN
    # Of each ten seconds there is a segment, with a cipher of its own.
    assert more.objects < 4 * fragments
    assert more.bytes < 700 * fragments


def _ask(reader: RecordingReader, streams: Streams) -> None:
    reader.describe()
    for event in (False, True):
        streams.media_playlist(Side.CANDIDATE, event=event)


@pytest.mark.parametrize("step", [1, -1, 97])
def test_a_replay_holds_a_few_fragments(recorded: Desk, step: int) -> None:
    """Forwards, backwards, hither and thither."""
    reader = recorded.reader()
    seqs = [1 + index * step % len(reader) for index in range(len(reader))]
    _replay(reader, seqs[:50])
    before = held()
    _replay(reader, seqs[50:])
    more = held().since(before)
    assert more.objects < 5000
    assert more.bytes < 500_000


def _replay(reader: RecordingReader, seqs: list[int]) -> None:
    for seq in seqs:
        reader.fragment(seq)


def test_a_stream_holds_a_few_fragments(recorded: Desk) -> None:
    streams = Streams(recorded.reader())
    playlist = streams.media_playlist(Side.CANDIDATE, event=False)
    names = [line for line in playlist.splitlines() if line.endswith(".m4s")]
    _stream(streams, names[:5])
    before = held()
    _stream(streams, names[5:])
    more = held().since(before)
    assert more.objects < 5000
    assert more.bytes < 500_000


def _stream(streams: Streams, names: list[str]) -> None:
    for name in names:
        part = parse_name(name)
        assert isinstance(part, tuple)
        streams.segment(Side.CANDIDATE, *part, event=False)


@pytest.mark.parametrize("transcode", [False, True])
def test_an_export_holds_nothing_but_the_index_of_its_file(
    recorded: Desk, tmp_path: Path, transcode: bool
) -> None:
    at: dict[float, Held] = {}

    def progress(share: float) -> None:
        if share == 1 or (share > 0.3 and not at):
            at[share] = held()

    export(recorded.reader(), tmp_path / "out.mp4", progress, transcode=transcode)
    before, after = at.values()
    more = after.since(before)
    assert more.objects < 5000
    assert more.bytes < 0.7 * SECONDS * 600 + 450_000, "FFmpeg's own writer kept 870 kB"
