from pathlib import Path

import av
import numpy as np
import pytest

from loadtest import media
from loadtest.media import (
    AUDIO_PACKETS_PER_S,
    FPS,
    VIDEO_CODECS,
    Clip,
    MediaError,
    VideoCodec,
    load_clip,
)
from loadtest.packets import split_annex_b
from tests.loadtest.conftest import write_tone


def decoded_level(clip: Clip) -> list[float]:
    """Loudness of each decoded Opus packet."""
    decoder = av.CodecContext.create("libopus", "r")
    return [
        float(np.abs(frame.to_ndarray().astype(float)).mean())
        for packet in clip.audio
        for frame in decoder.decode(av.Packet(packet))
    ]


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_picture_and_sound_of_a_loop_last_equally_long(tmp_path: Path, codec: VideoCodec) -> None:
    clip = load_clip(codec, tmp_path, audio=write_tone(tmp_path, 2.3))
    assert len(clip.video) / FPS == len(clip.audio) / AUDIO_PACKETS_PER_S == 2.3
    assert clip.duration_s == 2.3
    assert clip.keyframes == [0, 60]


@pytest.mark.parametrize("codec", ["vp8", "vp9", "av1"])
def test_the_picture_is_as_large_and_costs_as_much_as_a_webcam(
    tmp_path: Path, codec: VideoCodec
) -> None:
    clip = load_clip(codec, tmp_path, audio=write_tone(tmp_path, 2))
    decoder = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    (picture,) = [*decoder.decode(av.Packet(clip.video[0])), *decoder.decode(None)]
    assert (picture.width, picture.height) == (1280, 720)
    bitrate = sum(map(len, clip.video)) * 8 / clip.duration_s
    assert 700_000 < bitrate < 1_300_000


def test_h264_is_constrained_baseline_with_parameter_sets_at_each_keyframe(tmp_path: Path) -> None:
    clip = load_clip("h264", tmp_path, audio=write_tone(tmp_path, 3))
    for index, frame in enumerate(clip.video):
        kinds = [unit[0] & 0x1F for unit in split_annex_b(frame)]
        parameter_sets = [unit for unit in split_annex_b(frame) if unit[0] & 0x1F == 7]
        assert (7 in kinds and 8 in kinds and 5 in kinds) == (index in clip.keyframes)
        # RFC 6184 8.1: profile_idc 66 with constraint_set1 is constrained baseline.
        assert all(sps[1] == 66 and sps[2] & 0x40 for sps in parameter_sets)
        assert len([kind for kind in kinds if kind in (1, 5)]) == 1, "one slice, as browsers send"


def test_the_mouth_opens_with_the_voice() -> None:
    loud = np.full(4800, 8000, np.int16)
    openness = media._openness(np.concatenate([loud, loud * 0, loud]), 9)
    assert openness[1] > 0.9
    assert openness[4] == 0


def test_sound_shorter_than_the_picture_ends_in_silence(tmp_path: Path) -> None:
    film = write_film(tmp_path, seconds=2)
    clip = load_clip("vp8", tmp_path, film, write_tone(tmp_path, 1))
    level = decoded_level(clip)
    assert len(clip.audio) == 100
    assert min(level[5:45]) > 0.05
    assert max(level[60:]) < 0.01


def test_in_pauses_one_packet_in_twenty_is_sent() -> None:
    sent = list(media.transmitted([True] * 3 + [False] * 60 + [True] * 2))
    silent = sent[3:63]
    assert silent[:10] == [True] * 10
    assert [at for at in range(10, 60) if silent[at]] == [29, 49]
    assert sent[:3] + sent[63:] == [True] * 5


def test_with_dtx_a_pause_has_no_packets_and_speech_has_all(tmp_path: Path) -> None:
    tone = (8000 * np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000)).astype(np.int16)
    packets = media.encode_sound(tone, 3 * FPS, dtx=True)
    assert all(packets[:60])
    assert sum(map(bool, packets[60:])) == 4  # of ninety: 400 ms apart
    plain = load_clip("vp8", tmp_path, audio=write_tone(tmp_path, 0.5))
    assert all(plain.audio)


def test_a_second_use_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tone = write_tone(tmp_path, 1)
    first = load_clip("vp8", tmp_path, audio=tone)
    monkeypatch.setattr(media, "_encode_clip", lambda *_: pytest.fail("encoded again"))
    assert load_clip("vp8", tmp_path, audio=tone) == first


def test_a_damaged_cache_file_is_made_again(tmp_path: Path) -> None:
    tone = write_tone(tmp_path, 1)
    first = load_clip("vp8", tmp_path / "cache", audio=tone)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-10])
    assert load_clip("vp8", tmp_path / "cache", audio=tone) == first
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [file.name]


def test_other_sound_is_another_clip(tmp_path: Path) -> None:
    load_clip("vp8", tmp_path / "cache", audio=write_tone(tmp_path, 1))
    load_clip("vp8", tmp_path / "cache", audio=write_tone(tmp_path, 1.1))
    assert len(list((tmp_path / "cache").iterdir())) == 2


def write_film(folder: Path, seconds: int) -> Path:
    path = folder / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(seconds * 15):
            picture = np.full((240, 320, 3), index * 5 % 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_film_is_scaled_and_resampled(tmp_path: Path) -> None:
    clip = load_clip("h264", tmp_path, write_film(tmp_path, seconds=2))
    assert len(clip.video) == 60
    decoder = av.CodecContext.create("h264", "r")
    (picture,) = decoder.decode(av.Packet(clip.video[0]))
    assert (picture.width, picture.height) == (1280, 720)


@pytest.mark.parametrize("content", [b"", b"no film at all" * 100])
def test_a_file_that_is_no_film_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        load_clip("vp8", tmp_path, video=path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"absent\.wav"):
        load_clip("vp8", tmp_path, audio=tmp_path / "absent.wav")


def test_the_cache_lies_in_the_data_directory_where_one_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(tmp_path))
    assert media.default_cache().parent == tmp_path
    monkeypatch.delenv("VIVAVOCE_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert media.default_cache() == tmp_path / "cache" / "vivavoce"


def test_the_shipped_speech_is_speech_with_pauses(tmp_path: Path) -> None:
    speech = media._decode_audio(media.SPEECH)
    assert len(speech) / media.AUDIO_RATE_HZ == pytest.approx(20, abs=0.05)
    windows = np.abs(speech[: len(speech) // 4800 * 4800].astype(float)).reshape(-1, 4800).mean(1)
    speaking = windows > 200
    assert 0.5 < speaking.mean() < 0.85
    pauses = np.flatnonzero(np.diff(speaking.astype(int)) == -1)
    assert len(pauses) >= 3
