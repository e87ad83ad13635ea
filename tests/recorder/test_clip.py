"""Parts of recordings: from where they decode, and that nothing else is in them."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder.export.clip import Clip
from server.recorder.export.export import export
from server.recorder.format.tracks import TIMESCALE
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, camera, in_order, interview, microphone, screen

SECOND = 1_000_000


def clip(desk: Desk, frames: Sequence[EncodedFrame], start_s: float, end_s: float) -> Clip:
    desk.write(frames)
    return Clip(desk.reader(), round(start_s * SECOND), round(end_s * SECOND))


def times(source: Clip, track: TrackName) -> list[float]:
    return [
        sample.time / TIMESCALE[track]
        for _, fragment in source.all_samples()
        for sample in dict(fragment.by_track())[track]
    ]


def exported(source: Clip, out: Path) -> tuple[list[tuple[float, float]], np.ndarray]:
    """The brightness of each picture with its time, and the sound at 48 kHz."""
    export(source, out, lambda share: None)
    with av.open(str(out)) as container:
        pictures = [
            (float(frame.time or 0), float(frame.to_ndarray(format="gray")[:50, :70].mean()))
            for frame in container.decode(video=0)
        ]
    with av.open(str(out)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return pictures, sound


def test_it_decodes_from_the_keyframe_before_it(desk: Desk) -> None:
    frames = in_order(camera(Codec.VP8, 6, keyframe_s=2), microphone(6))
    source = clip(desk, frames, 3.5, 5.0)
    pictures = times(source, TrackName.CAMERA)
    assert pictures[0] == pytest.approx(-1.5, abs=0.001), "the keyframe at 2 s"
    assert pictures[-1] == pytest.approx(1.5 - 1 / 30, abs=0.001)
    assert source.duration_us == 1.5 * SECOND


def test_at_a_keyframe_nothing_before_it_is_taken(desk: Desk) -> None:
    source = clip(desk, camera(Codec.VP8, 6, keyframe_s=2), 2.0, 4.0)
    assert times(source, TrackName.CAMERA)[0] == pytest.approx(0, abs=0.001)


def test_the_screens_keyframe_may_lie_further_back(desk: Desk) -> None:
    shared = screen(Codec.VP8, 6, keyframe_s=5)
    source = clip(desk, in_order(camera(Codec.VP8, 6, keyframe_s=1), shared), 4.5, 5.5)
    assert times(source, TrackName.SCREEN)[0] <= -4.4


def test_a_screen_that_was_left_long_ago_is_not_looked_for(desk: Desk) -> None:
    frames = in_order(camera(Codec.VP8, 20, keyframe_s=1), screen(Codec.VP8, 2))
    source = clip(desk, frames, 15.5, 16.5)
    assert times(source, TrackName.CAMERA)[0] >= -1.1


@pytest.mark.parametrize(("start_s", "end_s"), [(9.0, 12.0), (2.0, 2.0), (3.0, 1.0)])
def test_where_there_is_nothing_there_is_no_clip(desk: Desk, start_s: float, end_s: float) -> None:
    with pytest.raises(ValueError, match="nothing there"):
        clip(desk, interview(Codec.VP8, 4), start_s, end_s)


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264, Codec.VP9])
@pytest.mark.parametrize("start_s", [2.0, 2.5])
def test_an_exported_clip_begins_and_ends_where_it_was_told(
    desk: Desk, codec: Codec, start_s: float, tmp_path: Path
) -> None:
    """The encoded media flashes and beeps together at each whole second."""
    frames = in_order(camera(codec, 6, keyframe_s=2), microphone(6))
    pictures, sound = exported(clip(desk, frames, start_s, 4.5), tmp_path / "out.mp4")
    assert pictures[0][0] == pytest.approx(0, abs=0.034)
    assert pictures[-1][0] == pytest.approx(4.5 - start_s, abs=0.07)
    assert len(sound) / 48_000 == pytest.approx(4.5 - start_s, abs=0.05)
    flashes = [at_s for at_s, bright in pictures if bright > 240]
    beeps = np.flatnonzero(np.abs(sound) > 0.1) / 48_000
    for second in (3, 4):
        at_s = second - start_s
        assert min(abs(flash_s - at_s) for flash_s in flashes) < 0.02
        assert abs(beeps[beeps > at_s - 0.2][0] - at_s) < 0.03


def test_a_clip_between_keyframes_holds_no_picture_of_before(desk: Desk, tmp_path: Path) -> None:
    frames = in_order(camera(Codec.H264, 4, keyframe_s=4), microphone(4))
    out = tmp_path / "out.mp4"
    exported(clip(desk, frames, 2.5, 3.5), out)
    with av.open(str(out)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert len(packets) == pytest.approx(30, abs=2)


def test_times_are_counted_from_the_recordings_start(desk: Desk) -> None:
    """Not from the candidate's first picture: here the sound came first."""
    late = camera(Codec.VP8, 3, START_S + 1)
    source = clip(desk, in_order(microphone(4), late), 2.0, 3.0)
    assert times(source, TrackName.MICROPHONE)[-1] == pytest.approx(0.98, abs=0.001)
