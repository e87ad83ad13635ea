"""Our MP4, as others read it and as we read it ourselves."""

import contextlib
import io
import json
import subprocess

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec, EncodedFrame
from server.recorder.format import mp4
from server.recorder.format.tracks import Fragment, Sample, Tracks
from server.recorder.writing.fragmenter import Cut, Fragmenter
from tests.recorder.encoded import VIDEO_CODECS, camera, interview, microphone, video


def _cuts(frames: list[EncodedFrame]) -> list[Cut]:
    fragmenter = Fragmenter(None)
    return [cut for frame in frames for cut in fragmenter.add(frame)] + fragmenter.finish()


def _file(cuts: list[Cut], tracks: Tracks) -> bytes:
    segments = [mp4.media_segment(n, cut.fragment) for n, cut in enumerate(cuts, 1)]
    return mp4.init_segment(tracks) + b"".join(segments)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_pyav_reads_every_sample_at_its_time_and_decodes_it(codec: Codec) -> None:
    cuts = _cuts(interview(codec, 2.0))
    data = _file(cuts, Tracks(cuts[0].video, True))
    with av.open(io.BytesIO(data), "r") as container:
        pictures, sounds = container.streams.video[0], container.streams.audio[0]
        names = [each.codec_context.codec.canonical_name for each in (pictures, sounds)]
        assert names == [codec.value.lower(), "opus"]
        times: list[list[float]] = [[], []]
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                times[packet.stream.index].append(float(packet.pts * packet.time_base))
                assert not packet.is_corrupt
    assert times[0] == pytest.approx([n / 30 for n in range(60)], abs=1e-4)
    assert times[1] == pytest.approx([n / 50 for n in range(100)], abs=1e-4)
    with av.open(io.BytesIO(data), "r") as container:
        assert len(list(container.decode(video=0))) == 60


@pytest.mark.parametrize(
    ("frames", "codecs"),
    [
        (microphone(1), ["opus"]),
        *((camera(codec, 1), [codec.value.lower()]) for codec in VIDEO_CODECS),
    ],
)
def test_ffprobe_reads_a_single_track_without_a_complaint(
    frames: list[EncodedFrame], codecs: list[str], tmp_path: object
) -> None:
    cuts = _cuts(frames)
    tracks = Tracks(cuts[0].video, bool(cuts[0].fragment.audio))
    command = ["ffprobe", "-v", "warning", "-of", "json", "-show_streams", "-count_packets", "-"]
    done = subprocess.run(command, input=_file(cuts, tracks), capture_output=True, check=True)
    streams = json.loads(done.stdout)["streams"]
    assert [stream["codec_name"] for stream in streams] == codecs
    assert int(streams[0]["nb_read_packets"]) == len(frames)
    assert done.stderr == b""


@pytest.mark.parametrize("codec", VIDEO_CODECS)
@pytest.mark.parametrize("audio", [True, False])
def test_an_init_segment_reads_back(codec: Codec, audio: bool) -> None:
    config = _cuts(camera(codec, 0.1))[0].video
    tracks = Tracks(config, audio)
    assert mp4.parse_init(mp4.init_segment(tracks)) == tracks


def test_a_media_segment_reads_back_but_for_holes_that_became_durations() -> None:
    fragment = Fragment(
        (Sample(90_000, 3000, True, b"I"), Sample(93_000, 3000, False, b"P")),
        (Sample(48_000, 960, True, b"a"), Sample(60_000, 960, True, b"b")),
    )
    parsed = mp4.parse_media(mp4.media_segment(7, fragment))
    assert parsed.video == fragment.video
    assert parsed.audio == (Sample(48_000, 12_000, True, b"a"), fragment.audio[1])


_WHOLE = {
    "init": mp4.init_segment(Tracks(_cuts(camera(Codec.H264, 0.1))[0].video, True)),
    "media": mp4.media_segment(
        1, Fragment((Sample(0, 3000, True, video(Codec.VP8, 0.1)[0][0][:50]),), ())
    ),
}


@given(st.sampled_from(["init", "media"]), st.data())
def test_a_damaged_file_parses_or_is_refused(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(_WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    with contextlib.suppress(mp4.Mp4Error):
        (mp4.parse_init if kind == "init" else mp4.parse_media)(bytes(damaged))


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    for parse in (mp4.parse_init, mp4.parse_media):
        with pytest.raises(mp4.Mp4Error):
            parse(data)
