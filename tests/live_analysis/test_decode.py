import math

import av
import numpy as np
import pytest
from av.codec.context import Flags
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.frames import Codec
from server.live_analysis.decode import (
    PICTURE_WIDTH,
    DecodedPicture,
    OpusDecoder,
    Scaler,
    Undecodable,
    VideoDecoder,
    annex_b,
)
from server.live_analysis.port import SAMPLE_RATE, Samples
from tests.live_analysis.planted import FPS, OPUS_RATE, VIDEO_CODECS, opus, scene, tone, video


def decode(packets: list[bytes]) -> Samples:
    decoder = OpusDecoder()
    return decoder.decimate(np.concatenate([decoder.decode(packet) for packet in packets]))


def level_dbfs(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(samples**2)))


def test_a_tone_keeps_its_pitch_and_level_through_opus() -> None:
    heard = decode(opus(tone(440, 1.0)))[2000:-2000]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert spectrum.argmax() * SAMPLE_RATE / len(heard) == pytest.approx(440, abs=2)
    assert level_dbfs(heard) == pytest.approx(level_dbfs(tone(440, 1.0)), abs=0.5)


def test_a_packet_of_20_ms_is_960_samples() -> None:
    assert len(OpusDecoder().decode(opus(tone(440, 0.1))[0])) == 960


def test_stereo_is_mixed_down() -> None:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.format, encoder.layout = OPUS_RATE, "flt", "stereo"
    t = np.arange(960 * 20) / OPUS_RATE
    left = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    both = np.stack((left, left), axis=1).reshape(1, -1)
    decoder, heard = OpusDecoder(), []
    for start in range(0, both.shape[1], 1920):
        packed = np.ascontiguousarray(both[:, start : start + 1920])
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout="stereo")
        frame.sample_rate = OPUS_RATE
        heard += [decoder.decode(bytes(packet)) for packet in encoder.encode(frame)]
    samples = np.concatenate(heard)[4800:]
    assert level_dbfs(samples) == pytest.approx(level_dbfs(left), abs=0.7)


def test_decimation_lets_nothing_fold_down() -> None:
    decoder = OpusDecoder()
    t = np.arange(OPUS_RATE) / OPUS_RATE
    for hertz, most in ((1000, 0.1), (9000, -30), (10_500, -60), (15_000, -60)):
        samples = np.sin(2 * np.pi * hertz * t).astype(np.float32)
        assert level_dbfs(decoder.decimate(samples)[100:]) + 3.01 < most


def test_decimation_in_pieces_is_decimation_at_once() -> None:
    samples = np.random.default_rng(9).standard_normal(9600).astype(np.float32)
    at_once, decoder = OpusDecoder().decimate(samples), OpusDecoder()
    pieces = [decoder.decimate(samples[start : start + 960]) for start in range(0, 9600, 960)]
    assert np.concatenate(pieces) == pytest.approx(at_once, abs=1e-6)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_every_frame_gives_its_picture_at_once(codec: Codec) -> None:
    decoder = VideoDecoder(codec)
    for payload, _ in video(codec, [scene((0.3 + 0.02 * n, 0.5)) for n in range(6)]):
        frame = decoder.decode(payload)
        assert frame is not None
        assert DecodedPicture(frame, Scaler()).luma.shape == (180, PICTURE_WIDTH)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_the_decoded_picture_is_the_one_that_was_sent(codec: Codec) -> None:
    rgb = scene((0.3, 0.5))
    decoder = VideoDecoder(codec)
    *_, frame = (decoder.decode(payload) for payload, _ in video(codec, [rgb] * 5))
    assert frame is not None
    picture = DecodedPicture(frame, Scaler())
    sent = DecodedPicture(av.VideoFrame.from_ndarray(rgb, format="rgb24"), Scaler())
    assert np.abs(picture.luma.astype(int) - sent.luma).mean() < 3
    assert np.abs(picture.rgb(64, 36).astype(int) - sent.rgb(64, 36)).mean() < 4


@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_keyframes_are_exact_and_the_deltas_after_them_drift_little(codec: Codec) -> None:
    places = [(0.5 + 0.05 * math.sin(n / 20), 0.5) for n in range(4 * FPS)]
    stream = video(codec, [scene(place, scale=2.5) for place in [*places, (0.5, 0.5)]], gop=4 * FPS)
    decoder, scaler, errors = VideoDecoder(codec), Scaler(), []
    exact = av.CodecContext.create("libdav1d" if codec is Codec.AV1 else codec.lower(), "r")
    assert isinstance(exact, av.VideoCodecContext)
    exact.flags |= Flags.low_delay
    for payload, _ in stream:
        data = annex_b(payload) if codec is Codec.H264 else payload
        one, (other,) = decoder.decode(payload), exact.decode(av.Packet(data))
        assert one is not None
        lumas = [DecodedPicture(frame, scaler).luma.astype(int) for frame in (one, other)]
        errors.append(np.abs(lumas[0] - lumas[1]).mean())
    assert [errors[n] for n, (_, keyframe) in enumerate(stream) if keyframe] == [0, 0]
    # FFmpeg's decoders of VP9 and AV1 always filter.
    assert (max(errors) > 0) == (codec in (Codec.H264, Codec.VP8))
    assert max(errors) < 3


def test_lengths_become_start_codes() -> None:
    assert annex_b(b"\0\0\0\2ab\0\0\0\1c") == b"\0\0\0\1ab\0\0\0\1c"


@pytest.mark.parametrize("payload", [b"\0\0\0\3ab", b"\0\0\0\0", b"\0", b"\xff" * 8])
def test_lengths_that_do_not_fit_are_refused(payload: bytes) -> None:
    with pytest.raises(Undecodable):
        annex_b(payload)


def test_a_picture_too_large_for_any_camera_is_refused() -> None:
    # RFC 6386 9.1: a key frame's start code, then width and height of 14 bits each.
    giant = b"\x10\x00\x00\x9d\x01\x2a" + (16_383).to_bytes(2, "little") * 2 + bytes(200)
    with pytest.raises(Undecodable):
        VideoDecoder(Codec.VP8).decode(giant)


@pytest.mark.parametrize("size", [(16, 2), (2, 640), (4000, 2), (176, 144)])
def test_pictures_of_any_shape_are_scaled(size: tuple[int, int]) -> None:
    frame = av.VideoFrame(*size, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    picture = DecodedPicture(frame, Scaler())
    assert picture.luma.shape[1] == PICTURE_WIDTH
    assert picture.rgb(8, 8).shape == (8, 8, 3)


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_bytes_decode_or_are_refused(payload: bytes) -> None:
    for codec in VIDEO_CODECS:
        try:
            VideoDecoder(codec).decode(payload)
        except Undecodable:
            continue
    try:
        OpusDecoder().decode(payload)
    except Undecodable:
        return


@given(at=st.integers(0, 5000), flip=st.integers(1, 255), which=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_a_damaged_stream_decodes_or_is_refused(at: int, flip: int, which: int) -> None:
    for codec, packets in STREAMS.items():
        decoder = VideoDecoder(codec)
        for number, (payload, _) in enumerate(packets):
            damaged = bytearray(payload)
            if number == which:
                damaged[at % len(damaged)] ^= flip
            try:
                decoder.decode(bytes(damaged))
            except Undecodable:
                break


STREAMS = {
    codec: video(codec, [scene((0.3 + 0.05 * n, 0.5)) for n in range(6)], (320, 180))
    for codec in VIDEO_CODECS
}
