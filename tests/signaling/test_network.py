from server.core.frames import Codec, TrackName
from server.media.source import SourceStats, TrackStats
from server.signaling.network import NetworkMeter


def stats(packets: int, lost: int = 0, jitter_s: float = 0.0) -> SourceStats:
    camera = TrackStats(Codec.VP8, packets, 1_000 * packets, lost, jitter_s, 0, 0, 0)
    microphone = TrackStats(Codec.OPUS, packets, 100 * packets, 0, 0.001, 0, 0, 0)
    return SourceStats({TrackName.CAMERA: camera, TrackName.MICROPHONE: microphone}, 0.05)


def test_a_sample_is_the_difference_of_the_counters() -> None:
    meter = NetworkMeter()
    assert meter.sample(stats(10), 1.0) is None
    sample = meter.sample(stats(30, lost=4, jitter_s=0.02), 2.0)
    assert sample is not None
    assert (sample.packets_received, sample.bytes_received) == (40, 22_000)
    assert (sample.packets_lost, sample.jitter_s, sample.round_trip_s) == (4, 0.02, 0.05)


def test_ticks_in_between_make_no_sample() -> None:
    meter = NetworkMeter()
    meter.sample(stats(0), 1.0)
    assert meter.sample(stats(5), 1.2) is None
    sample = meter.sample(stats(10), 2.0)
    assert sample is not None
    assert (sample.start_s, sample.packets_received) == (1.0, 20)


def test_a_reconnected_candidates_counters_begin_again() -> None:
    meter = NetworkMeter()
    meter.sample(stats(1_000, lost=50), 1.0)
    sample = meter.sample(stats(10, lost=1), 2.0)
    assert sample is not None
    assert (sample.packets_received, sample.packets_lost) == (20, 1)


def test_a_candidate_without_tracks_has_no_traffic() -> None:
    meter = NetworkMeter()
    meter.sample(stats(10), 1.0)
    sample = meter.sample(SourceStats(), 2.0)
    assert sample is not None
    assert (sample.packets_received, sample.jitter_s, sample.round_trip_s) == (0, 0.0, None)
