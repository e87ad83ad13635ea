"""One MP4 for everyone: every picture, all sound, in step, gaps at their length."""

import json
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from msgspec.structs import replace

from server.core import vp9
from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder.export.export import ExportError, export
from tests.recorder.conftest import Desk
from tests.recorder.encoded import (
    FPS,
    START_S,
    VIDEO_CODECS,
    camera,
    held_back,
    in_order,
    interview,
    interviewer,
    microphone,
    screen,
)
from tests.recorder.onsets import beep_after, flashes, pictures, sound_of


def _export(desk: Desk, frames: list[EncodedFrame], out: Path) -> list[float]:
    desk.write(frames)
    shares: list[float] = []
    export(desk.reader(), out, shares.append)
    return shares


def _durations(path: Path) -> dict[str, float]:
    with av.open(str(path)) as container:
        return {
            stream.codec_context.name: float(stream.duration * stream.time_base)
            for stream in container.streams
            if stream.duration is not None and stream.time_base is not None
        }


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_pictures_and_sound_stay_within_40_ms_across_a_gap(
    desk: Desk, codec: Codec, tmp_path: Path
) -> None:
    """The encoded media flashes and beeps together at each whole second."""
    out = tmp_path / "out.mp4"
    _export(desk, interview(codec, 3) + interview(codec, 3, START_S + 8), out)
    lengths = _durations(out)
    assert list(lengths.values()) == pytest.approx([11.0, 11.0], abs=0.05)
    sound, seen = sound_of(out), flashes(out)
    assert [beep_after(sound, at_s) for at_s in seen] == pytest.approx(seen, abs=0.01)
    assert [round(at_s) for at_s in seen] == [1, 2, 8, 9, 10]
    assert sound[round(3.2 * 48_000) : round(7.9 * 48_000)].max() < 0.01, "silence in the gap"


@pytest.mark.parametrize("skew", [0.99, 1.01])
def test_sound_of_another_clock_is_exported_in_step(
    desk: Desk, skew: float, tmp_path: Path
) -> None:
    """As much as a card that is 100 ppm off gathers in half an hour."""
    out = tmp_path / "out.mp4"
    frames = [
        replace(frame, capture_s=START_S + (frame.capture_s - START_S) * skew)
        for frame in interview(Codec.H264, 19)
    ]
    _export(desk, frames, out)
    sound, seen = sound_of(out), flashes(out)
    assert seen == pytest.approx([second * skew for second in range(1, 19)], abs=0.2)
    assert [beep_after(sound, at_s) for at_s in seen] == pytest.approx(seen, abs=0.02)


def test_sound_that_came_much_later_than_pictures_of_its_time_is_exported_with_them(
    desk: Desk, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    _export(desk, held_back(interview(Codec.H264, 9), 3.1, 3.0), out)
    sound, seen = sound_of(out), flashes(out)
    assert [round(at_s) for at_s in seen] == list(range(1, 9))
    assert [beep_after(sound, at_s) for at_s in seen] == pytest.approx(seen, abs=0.01)


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP9, Codec.AV1])
def test_what_plays_in_mp4_is_copied_bit_by_bit(desk: Desk, codec: Codec, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    _export(desk, interview(codec, 2), out)
    recorded = [sample.data for _, f in desk.reader().all_samples() for sample in f.video]
    with av.open(str(out)) as container:
        exported = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert exported == recorded


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_a_rotated_phone_is_fitted_into_one_size(desk: Desk, codec: Codec, tmp_path: Path) -> None:
    upright = camera(codec, 1, START_S + 1, width=120, height=160)
    out = tmp_path / "out.mp4"
    _export(desk, camera(codec, 1) + upright, out)
    shown = pictures(out)
    assert {picture.shape for _, picture in shown} == {(160, 160)}
    before, after = shown[15][1], shown[45][1]
    assert before[:15].mean() < 25, "black above the wide picture"
    assert after[:, :15].mean() < 25, "black beside the tall one"
    assert after[:, 40:120].mean() > 60


def test_spatial_layers_become_one_picture_each(desk: Desk, tmp_path: Path) -> None:
    """Keyframes of two sizes as if they were layers of one picture."""
    small, large = (
        camera(Codec.VP9, 1, width=width, height=height, keyframe_s=1 / FPS)
        for width, height in ((160, 120), (320, 240))
    )
    frames = [
        replace(upper, payload=vp9.join_superframe([base.payload, upper.payload]))
        for base, upper in zip(small, large, strict=True)
    ]
    out = tmp_path / "out.mp4"
    _export(desk, frames, out)
    assert list(_durations(out)) == ["h264"]
    shown = pictures(out)
    assert {picture.shape for _, picture in shown} == {(240, 320)}
    assert len(shown) == pytest.approx(FPS, abs=2)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_what_is_transcoded_plays_everywhere(desk: Desk, codec: Codec, tmp_path: Path) -> None:
    """By FFmpeg's own tool: nothing in it that a player in hardware, or an old one, lacks."""
    out = tmp_path / "out.mp4"
    desk.write(interview(codec, 2) + interview(codec, 2, START_S + 7))
    export(desk.reader(), out, lambda share: None, transcode=True)
    found = _probed(out)
    video, sound = found["streams"]
    assert (video["codec_name"], video["codec_tag_string"], video["profile"]) == (
        "h264", "avc1", "Main"
    )  # fmt: skip
    assert (video["pix_fmt"], video["level"] <= 40) == ("yuv420p", True)
    assert (sound["codec_name"], sound["profile"], sound["sample_rate"]) == ("aac", "LC", "48000")
    times = sorted(float(p["pts_time"]) for p in found["packets"] if p["codec_type"] == "video")
    steps = np.diff(times)
    assert times[0] == 0
    assert steps.max() <= 1.001, "the picture is repeated in the gap"
    at_a_stretch = np.concatenate([steps[:58], steps[-58:]])
    assert np.abs(at_a_stretch - 1 / FPS).max() < 0.001
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "it plays before all of it is there"


def _probed(path: Path) -> dict[str, Any]:
    command = ("ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_packets", str(path))
    found: dict[str, Any] = json.loads(subprocess.check_output(command, timeout=60))
    return found


def test_sound_alone_and_pictures_alone_are_exported(desk: Desk, tmp_path: Path) -> None:
    sound, pictures = tmp_path / "sound.mp4", tmp_path / "pictures.mp4"
    desk.write(microphone(2), "sound")
    desk.write(camera(Codec.VP8, 2), "pictures")
    export(desk.reader("sound"), sound, lambda share: None)
    export(desk.reader("pictures"), pictures, lambda share: None)
    assert _durations(sound) == {"aac": pytest.approx(2.0, abs=0.05)}
    assert _durations(pictures) == {"h264": pytest.approx(2.0, abs=0.05)}


def test_sound_that_ends_early_is_filled_to_the_end(desk: Desk, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    frames = sorted(camera(seconds=4) + microphone(1), key=lambda frame: frame.capture_s)
    _export(desk, frames, out)
    assert _durations(out)["aac"] == pytest.approx(4.0, abs=0.05)


def test_progress_grows_to_one(desk: Desk, tmp_path: Path) -> None:
    shares = _export(desk, interview(seconds=3), tmp_path / "out.mp4")
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_failed_export_leaves_nothing_behind(desk: Desk, tmp_path: Path) -> None:
    desk.write(interview(seconds=2))

    def give_up(share: float) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(KeyboardInterrupt):
        export(desk.reader(), target / "out.mp4", give_up)
    assert list(target.iterdir()) == []


def test_an_empty_recording_and_a_place_among_the_recordings_are_refused(
    desk: Desk, tmp_path: Path
) -> None:
    desk.write([])
    with pytest.raises(ExportError):
        export(desk.reader(), tmp_path / "out.mp4", lambda share: None)
    desk.write(interview(seconds=1), "other")
    with pytest.raises(ExportError):
        export(desk.reader("other"), desk.path("other") / "out.mp4", lambda share: None)


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
def test_a_shared_screen_is_a_second_video_stream(desk: Desk, codec: Codec, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    _export(desk, in_order(interview(codec, 4), screen(codec, 1, START_S + 2)), out)
    with av.open(str(out)) as container:
        camera_stream, screen_stream = container.streams.video
        assert container.streams[0] is camera_stream, "what players show unasked"
        assert (camera_stream.width, screen_stream.width) == (160, 200)
        times = [float(frame.time or 0) for frame in container.decode(screen_stream)]
    assert times[0] == pytest.approx(2.0, abs=0.01)
    assert len(times) >= 30


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
def test_the_interviewers_picture_is_a_further_stream_and_their_voice_in_the_one_sound(
    desk: Desk, codec: Codec, tmp_path: Path
) -> None:
    """Both beep in the first tenth of each of their seconds; the interviewer begins at 2.5 s."""
    out = tmp_path / "out.mp4"
    _export(desk, in_order(interview(codec, 5), interviewer(codec, 2, START_S + 2.5)), out)
    with av.open(str(out)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "video"]
        camera_stream, other = container.streams.video
        assert (camera_stream.width, other.width) == (160, 120)
        times = [float(frame.time or 0) for frame in container.decode(other)]
    assert times[0] == pytest.approx(2.5, abs=0.01)
    sound = np.abs(sound_of(out))
    loud = [sound[round(at_s * 48_000) :][:2400].max() > 0.1 for at_s in np.arange(0, 5, 0.5)]
    assert loud == [True, False, True, False, True, True, True, True, True, False]


def test_two_who_speak_at_once_are_both_heard_and_an_absence_stays_in_step(
    desk: Desk, tmp_path: Path
) -> None:
    alone, both = tmp_path / "alone.mp4", tmp_path / "both.mp4"
    _export(desk, microphone(2), alone)
    voice = [f for f in interviewer(seconds=2) if f.track is TrackName.INTERVIEWER_MICROPHONE]
    late = [replace(f, capture_s=f.capture_s + 60, arrived_s=f.arrived_s + 60) for f in voice]
    desk.write(in_order(microphone(2), voice, late), "both")
    export(desk.reader("both"), both, lambda share: None)
    one, two = np.abs(sound_of(alone)), np.abs(sound_of(both))
    assert two[:4000].max() == pytest.approx(2 * one[:4000].max(), rel=0.2)
    assert two[48_000 * 3 : 48_000 * 59].max() < 0.01
    assert two[48_000 * 60 : 48_000 * 60 + 4800].max() > 0.1
    assert _durations(both)["aac"] == pytest.approx(62, abs=0.05)
