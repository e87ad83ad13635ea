"""Our WebM, as others read it."""

import io

import av
import pytest
from msgspec.structs import replace

from server.core import vp8
from server.core.frames import Codec
from server.recorder.format import webm
from server.recorder.format.tracks import Fragment, Sample, Tracks, VideoConfig
from server.recorder.writing.fragmenter import Fragmenter
from tests.recorder.encoded import camera, in_order, interview, microphone


def test_pyav_reads_every_sample_at_its_time_and_decodes_it() -> None:
    fragmenter = Fragmenter(None)
    cuts = [cut for frame in interview(Codec.VP8, 2) for cut in fragmenter.add(frame)]
    cuts += fragmenter.finish()
    data = webm.init_segment(Tracks(cuts[0].video, True))
    data += b"".join(webm.media_segment(cut.fragment) for cut in cuts)
    with av.open(io.BytesIO(data), "r") as container:
        assert [stream.codec_context.name for stream in container.streams] == ["vp8", "opus"]
        times: list[list[float]] = [[], []]
        keyframes = 0
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                times[packet.stream.index].append(float(packet.pts * packet.time_base))
                keyframes += packet.stream.index == 0 and packet.is_keyframe
    assert times[0] == pytest.approx([n / 30 for n in range(60)], abs=2e-3)
    assert times[1] == pytest.approx([n / 50 for n in range(100)], abs=2e-3)
    assert keyframes == 2
    with av.open(io.BytesIO(data), "r") as container:
        assert len(list(container.decode(video=0))) == 60


def test_no_block_lasts_into_the_next_fragment_which_firefox_takes_for_another_stream() -> None:
    late = [replace(each, capture_s=each.capture_s + 0.007) for each in microphone(3)]
    for sound in (microphone(3), late):
        fragmenter = Fragmenter(None)
        frames = in_order(camera(Codec.VP8, 3), sound)
        cuts = [cut for frame in frames for cut in fragmenter.add(frame)]
        init = webm.init_segment(Tracks(cuts[0].video, True))
        ends: list[int] = []
        for cut in cuts:
            data = init + webm.media_segment(cut.fragment)
            with av.open(io.BytesIO(data), "r") as container:
                packets = [each for each in container.demux() if each.pts is not None]
            assert not ends or min(each.pts or 0 for each in packets) >= max(ends)
            ends = [(each.pts or 0) + (each.duration or 0) for each in packets]
        assert len(cuts) > 2


def test_a_fragment_longer_than_a_clusters_reach_gets_more_clusters() -> None:
    sound = tuple(Sample(48_000 * second, 960, True, b"\xfc\xff\xfe") for second in range(70))
    data = webm.init_segment(Tracks(None, True)) + webm.media_segment(Fragment((), sound))
    with av.open(io.BytesIO(data), "r") as container:
        times = [packet.pts for packet in container.demux() if packet.pts is not None]
    assert times == [1000 * second for second in range(70)]


def test_pictures_carry_their_duration() -> None:
    tracks = Tracks(VideoConfig(Codec.VP8, 16, 16, vp8.CONFIGURATION), False)
    fragment = Fragment((Sample(0, 450_000, True, b"\x10\0\0\x9d\x01\x2a\x10\0\x10\0"),), ())
    with av.open(
        io.BytesIO(webm.init_segment(tracks) + webm.media_segment(fragment)), "r"
    ) as container:
        (packet,) = [packet for packet in container.demux() if packet.size]
        assert packet.duration == 5000
