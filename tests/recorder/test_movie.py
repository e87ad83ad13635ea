"""Progressive MP4, as FFmpeg reads it; and what is kept in memory while it is written."""

import io
import tracemalloc
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec
from server.recorder.export import movie as movie_module
from server.recorder.export.movie import (
    LONGEST_STEP,
    Head,
    Movie,
    MovieError,
    MovieTrack,
)
from server.recorder.format.tracks import VideoConfig
from tests.recorder.encoded import camera, video
from tests.recorder.test_mp4 import _cuts

#: Of AAC-LC, 48 kHz, stereo.
AAC = bytes.fromhex("1190")


def h264() -> VideoConfig:
    config = _cuts(camera(Codec.H264, 0.1))[0].video
    assert config is not None
    return config


def file_of(head: Head, media: bytes, reserved: bytes = b"") -> bytes:
    return b"".join((head.ftyp, reserved, *head.moov, head.mdat, media))


def packets(data: bytes) -> list[list[tuple[float, bytes]]]:
    """By stream: when each is presented, and what it is."""
    with av.open(io.BytesIO(data), "r") as container:
        found: list[list[tuple[float, bytes]]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.size and packet.pts is not None and packet.time_base is not None:
                at_s = float(packet.pts * packet.time_base)
                found[packet.stream.index].append((at_s, bytes(packet)))
        return found


_STEPS = st.lists(st.integers(500, 300_000), min_size=1, max_size=250)


@given(
    pictures=_STEPS,
    sounds=st.integers(0, 250),
    starts=st.integers(0, 900_000),
    together=st.integers(1, 130),
)
def test_every_sample_is_read_back_at_its_time(
    pictures: list[int], sounds: int, starts: int, together: int
) -> None:
    media = bytearray()
    movie = Movie(media.extend)
    shown, heard = movie.add_pictures(h264()), movie.add_sound(AAC, 48_000, 2)
    written: list[list[tuple[float, bytes]]] = [[], []]
    at = starts
    for number, step in enumerate(pictures):
        data = bytes([0, 0, 0, 2, 0x41, number])
        shown.write(data, at, at, keyframe=number % 7 == 0)
        written[0].append((at / 90_000, data))
        if number % together == 0:
            for index in range(len(written[1]), min(sounds, len(written[1]) + together)):
                _hear(heard, written[1], index)
        at += step
    for index in range(len(written[1]), sounds):
        _hear(heard, written[1], index)
    shown.finish(at)
    heard.finish(1024 * sounds)
    found = packets(file_of(movie.head(), bytes(media)))
    assert len(found) == 1 + bool(sounds)
    for stream, expected in zip(found, written, strict=False):
        assert [data for _, data in stream] == [data for _, data in expected]
        times = [at_s for at_s, _ in expected]
        assert [at_s for at_s, _ in stream] == pytest.approx(times, abs=0.0006)


def _hear(track: MovieTrack, written: list[tuple[float, bytes]], index: int) -> None:
    track.write(bytes([0x21, index]), 1024 * index, 1024 * index)
    written.append((1024 * index / 48_000, bytes([0x21, index])))


def test_what_an_encoder_put_out_of_order_and_before_0_is_presented_at_its_time() -> None:
    media = bytearray()
    movie = Movie(media.extend)
    track, sound = movie.add_pictures(h264()), movie.add_sound(AAC, 48_000, 2)
    for number, pts in enumerate((0, 12_000, 6_000, 3_000, 9_000)):
        track.write(bytes([0, 0, 0, 2, 0x41, number]), 3_000 * number - 6_000, pts)
    for number in range(3):
        sound.write(bytes([0x21, number]), 1024 * (number - 1), 1024 * (number - 1))
    track.finish(15_000)
    sound.finish(2 * 1024)
    found = packets(file_of(movie.head(), bytes(media)))
    assert [round(at_s * 30) for at_s, _ in found[0]] == [0, 4, 2, 1, 3]
    assert [round(at_s * 48_000) for at_s, _ in found[1]] == [-1024, 0, 1024], "that is skipped"


def test_bytes_can_be_reserved_and_a_large_file_has_64_bit_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(movie_module, "_LAST_32_BITS", 10)
    media = bytearray()
    movie = Movie(media.extend)
    track = movie.add_pictures(h264())
    for number in range(9):
        track.write(bytes([0, 0, 0, 2, 0x41, number]), 3_000 * number, 3_000 * number)
    track.finish(27_000)
    free = b"\0\0\0\x64free" + bytes(92)
    data = file_of(movie.head(len(free)), bytes(media), free)
    assert b"co64" in data
    assert [sample[-1] for _, sample in packets(data)[0]] == list(range(9))


def test_of_two_tracks_of_pictures_players_show_the_first() -> None:
    media = bytearray()
    movie = Movie(media.extend)
    tracks = [movie.add_pictures(h264()) for _ in range(3)]
    for track in tracks[:2]:
        track.write(video(Codec.H264, 0.1)[0][0], 0, 0)
    for track in tracks:
        track.finish(90_000)
    with av.open(io.BytesIO(file_of(movie.head(), bytes(media))), "r") as container:
        defaults = [bool(each.disposition & 1) for each in container.streams]
    assert defaults == [True, False], "and the one without pictures is not there"


def test_chapters_are_a_track_of_text_that_the_others_name() -> None:
    media = bytearray()
    movie = Movie(media.extend)
    track = movie.add_pictures(h264())
    track.write(video(Codec.H264, 0.1)[0][0], 0, 0)
    track.finish(90_000)
    movie.write_chapters([(number * 3000, f"第 {number}") for number in range(300)])
    written = file_of(movie.head(), bytes(media))
    with av.open(io.BytesIO(written), "r") as container:
        chapters = container.chapters()
        kinds = [each.type for each in container.streams]
    told = [(each["start"], each["end"], each["metadata"]["title"]) for each in chapters]
    assert told[:2] == [(0, 3, "第 0"), (3, 6, "第 1")]
    assert told[299:] == [(897, 1000, "第 299")]
    assert {each["time_base"] for each in chapters} == {Fraction(1, 1000)}
    assert kinds[0] == "video"
    assert written.count(b"tref") == 1, "the chapters refer to nothing"


def test_without_chapters_there_is_no_such_track() -> None:
    movie = Movie(lambda data: None)
    track = movie.add_pictures(h264())
    track.write(video(Codec.H264, 0.1)[0][0], 0, 0)
    track.finish(90_000)
    movie.write_chapters([])
    head = b"".join(movie.head().moov)
    assert head.count(b"trak") == 1
    assert b"tref" not in head


@pytest.mark.parametrize("step", [0, -1, LONGEST_STEP + 1])
def test_what_no_player_could_follow_is_refused(step: int) -> None:
    track = Movie(lambda data: None).add_pictures(h264())
    track.write(b"x", 0, 0)
    with pytest.raises(MovieError):
        track.write(b"x", step, step)


def test_three_hours_are_kept_as_some_bytes_a_sample() -> None:
    """Of media nothing, and of samples no object: 12 bytes a picture, 4 a packet of sound."""

    def kept_after(seconds: int) -> int:
        movie = Movie(lambda data: None)
        tracks = movie.add_pictures(h264()), movie.add_sound(AAC, 48_000, 2)
        data = bytes(4000)
        tracemalloc.start()
        for second in range(seconds):
            for picture in range(30):
                # No two steps are the same: the worst there is.
                at = second * 90_000 + picture * 3_000 + picture % 2
                tracks[0].write(bytes(data), at, at, keyframe=picture == 0)
            for sound in range(47):
                at = (second * 47 + sound) * 1024
                tracks[1].write(bytes(data), at, at)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept

    minutes = [kept_after(60 * count) for count in (1, 3, 5)]
    per_second = [(later - earlier) / 120 for earlier, later in pairwise(minutes)]
    assert max(per_second) < 1200
