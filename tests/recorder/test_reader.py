"""The reader: an index without media, media on demand, in bounded memory."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from server.core.frames import Codec
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.replay.index import Side
from server.recorder.replay.reader import _CACHED_FRAGMENTS
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import START_S, interview
from tests.recorder.failing_disk import Disk


def test_the_index_tells_where_playback_may_begin(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 3))
    index = desk.reader().describe()
    keyframes = [fragment.start_s for fragment in index.fragments if fragment.keyframe]
    assert keyframes == pytest.approx([0, 1, 2], abs=0.001)
    assert [fragment.seq for fragment in index.fragments] == [
        n + 1 for n in range(len(index.fragments))
    ]
    assert index.started_s == START_S
    assert index.duration_s == pytest.approx(3.0, abs=0.001)


def test_an_index_is_had_without_decrypting_media(desk: Desk) -> None:
    desk.write(interview(seconds=2))
    segment = desk.path() / "00000.seg"
    data = bytearray(segment.read_bytes())
    data[-2000:-1000] = bytes(1000)  # damage that opening would find
    segment.write_bytes(data)
    index = desk.reader().describe()
    with pytest.raises(SegmentError) as caught:
        desk.reader().fragment(index.fragments[-1].seq)
    assert caught.value.kind is FaultKind.WRONG_KEY


def test_what_does_not_exist_is_an_index_error(desk: Desk) -> None:
    desk.write(interview(seconds=1))
    reader = desk.reader()
    for seq in (0, -1, 99):
        with pytest.raises(IndexError):
            reader.fragment(seq)
    for number in (-1, 1):
        with pytest.raises(IndexError):
            reader.init(Side.CANDIDATE, number)


def test_a_reader_follows_a_recording_that_grows_fails_and_ends(desk: Desk) -> None:
    writer = desk.writer()
    feed(writer, interview(seconds=2))
    reader = desk.reader()
    before = reader.describe()
    feed(writer, interview(seconds=9, start_s=START_S + 2))
    during = reader.describe()
    assert during.fragments[: len(before.fragments)] == before.fragments
    assert len(during.fragments) > len(before.fragments)
    assert reader.fragment(len(during.fragments))
    writer.finish()
    assert reader.describe().duration_s == pytest.approx(11.0, abs=0.001)


def test_a_segment_cut_back_by_a_failed_write_is_indexed_anew(desk: Desk) -> None:
    disk = Disk()
    writer = desk.writer(folder_at=disk.folder)
    feed(writer, interview(seconds=2))
    reader = desk.reader()
    for frame in interview(seconds=1, start_s=START_S + 2):
        writer.write(frame)
    ahead = reader.describe().duration_s  # written, not yet synced
    disk.refuses_sync = True
    writer.sync()
    assert reader.describe().duration_s < ahead


def test_only_a_segment_that_is_being_written_may_lack_its_header(desk: Desk) -> None:
    writer = desk.writer()
    writer.sync()
    feed(writer, interview(seconds=2))
    before = desk.reader().describe()
    begun = desk.path() / "00001.seg"
    begun.write_bytes(b"VIVA")
    assert desk.reader().describe().fragments == before.fragments
    begun.unlink()
    writer.finish()
    (desk.path() / "00000.seg").write_bytes(b"VIVA")
    with pytest.raises(SegmentError) as caught:
        desk.reader()
    assert caught.value.kind is FaultKind.TRUNCATED


def test_memory_is_bounded_and_threads_may_share_a_reader(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 6))
    reader = desk.reader()
    seqs = [fragment.seq for fragment in reader.describe().fragments]
    with ThreadPoolExecutor(8) as threads:
        twice = list(threads.map(reader.fragment, seqs * 2))
        indexes = list(threads.map(lambda _: reader.describe(), range(8)))
    assert twice[: len(seqs)] == twice[len(seqs) :]
    assert all(len(index.fragments) == len(seqs) for index in indexes)
    assert len(reader._cache) <= _CACHED_FRAGMENTS


def test_an_empty_recording_has_an_empty_index(desk: Desk) -> None:
    desk.write([])
    index = desk.reader().describe()
    assert (index.mime, index.fragments, index.inits, index.duration_s) == ("", (), (), 0)
