"""What tracks hold: durations that an Opus packet tells of itself, and times."""

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import TrackName
from server.recorder.format.tracks import (
    OPUS_SILENCES,
    SOUND_STEP_TICKS,
    opus_duration,
    to_ticks,
    to_us,
)
from tests.recorder.encoded import opus


def test_an_encoders_packets_last_20_ms() -> None:
    assert {opus_duration(packet) for packet in opus(1.0)} == {960}


def test_silence_of_any_step_is_heard_as_such() -> None:
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    for ticks, packet in OPUS_SILENCES.items():
        (heard,) = decoder.decode(av.Packet(packet))
        assert opus_duration(packet) == heard.samples == ticks
        assert not heard.to_ndarray().any()
    assert min(OPUS_SILENCES) == SOUND_STEP_TICKS


@pytest.mark.parametrize(
    ("toc", "ms"),
    [
        (0, 10),
        (3 << 3, 60),
        (12 << 3, 10),
        (15 << 3, 20),
        (16 << 3, 2.5),
        (31 << 3, 20),
        (31 << 3 | 1, 40),
        (31 << 3 | 2, 40),
    ],
)
def test_the_toc_byte_tells_the_duration(toc: int, ms: float) -> None:
    assert opus_duration(bytes([toc])) == ms * 48


@given(st.binary(max_size=4))
def test_no_packet_lasts_longer_than_120_ms(packet: bytes) -> None:
    assert 0 <= opus_duration(packet) <= 5760


@given(st.integers(0, 10**12), st.sampled_from(TrackName))
def test_times_survive_the_way_to_ticks_and_back(time_us: int, track: TrackName) -> None:
    assert 0 <= time_us - to_us(track, to_ticks(track, time_us)) <= 21
