"""The observer against the real media plane, with faults planted on its network."""

import asyncio
from collections.abc import Callable

import pytest

from loadtest.media import VIDEO_CODECS, VideoCodec
from loadtest.observer import Observer
from loadtest.packets import packetise
from loadtest.peer import Candidate, Crowd
from server.media.observer import Observer as MediaObserver
from tests.loadtest.bad_network import BadNetwork, is_repair, is_video, seqno
from tests.loadtest.conftest import new_interview, short_clip
from tests.loadtest.mini_server import MiniServer


async def joined(
    crowd: Crowd, mini: MiniServer, codec: VideoCodec = "vp8", seconds: int = 1
) -> tuple[Candidate, Observer]:
    token = await new_interview(crowd, mini)
    candidate = Candidate(crowd, f"{mini.url}/whip/{token}", packetise(short_clip(codec, seconds)))
    await candidate.join()
    sources = {candidate.audio_ssrc, candidate.video_ssrc}
    observer = Observer(crowd, f"{mini.url}/whep/{token}", sources)
    await observer.join()
    return candidate, observer


async def until(crowd: Crowd, condition: Callable[[], bool]) -> None:
    """Looks a hundred times a second, by the crowd's own pacer."""
    met = asyncio.Event()

    def look(due: float, now: float) -> None:
        if condition():
            met.set()
        else:
            crowd.pacer.at(now + 0.01, look)

    crowd.pacer.at(0, look)
    async with asyncio.timeout(20):
        await met.wait()


def frames(observer: Observer) -> int:
    return sum(
        track.frames.received for track in observer.tracks.values() if track.name == "camera"
    )


async def leave(candidate: Candidate, observer: Observer) -> None:
    await observer.leave()
    await candidate.leave()


@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_it_receives_every_frame_of_its_candidate(
    crowd: Crowd, mini: MiniServer, codec: VideoCodec
) -> None:
    candidate, observer = await joined(crowd, mini, codec)
    await until(crowd, lambda: frames(observer) >= 45)
    await leave(candidate, observer)
    tracks = observer.tracks.values()
    assert sorted(track.clock_rate for track in tracks) == [48_000, 90_000]
    for track in tracks:
        assert (track.packets.lost, track.packets.duplicates, track.misrouted) == (0, 0, 0)
        assert track.frames.expected == track.frames.received
    assert observer.first_picture_s is not None
    assert observer.first_picture_s < 2


@pytest.mark.parametrize("codec", VIDEO_CODECS)
async def test_one_who_comes_late_asks_for_a_picture_and_gets_it_at_once(
    crowd: Crowd, mini: MiniServer, codec: VideoCodec
) -> None:
    candidate, observer = await joined(crowd, mini, codec, seconds=3)
    await until(crowd, lambda: frames(observer) >= 15)  # the next keyframe of the loop is the 60th
    token = str(len(mini.sources) - 1)
    late = Observer(crowd, f"{mini.url}/whep/{token}", observer._sources)
    await late.join()
    await until(crowd, lambda: late.first_picture_s is not None)
    await late.leave()
    await leave(candidate, observer)
    assert late.first_picture_s is not None
    assert late.first_picture_s < 0.8


async def test_a_planted_delay_is_measured_as_it_is(crowd: Crowd, mini: MiniServer) -> None:
    mini.observers_network = BadNetwork(lambda data: 0.120)
    candidate, observer = await joined(crowd, mini)
    await until(crowd, lambda: frames(observer) >= 30)
    await leave(candidate, observer)
    median = observer.latency_s().percentile(50)
    assert median is not None
    assert 0.118 < median < 0.150


async def test_packets_lost_once_are_repaired(crowd: Crowd, mini: MiniServer) -> None:
    dropped = set[int]()

    def lose_every_twentieth_once(data: bytes) -> float | None:
        if is_video(data) and seqno(data) % 20 == 0 and seqno(data) not in dropped:
            dropped.add(seqno(data))
            return None
        return 0

    mini.observers_network = BadNetwork(lose_every_twentieth_once)
    candidate, observer = await joined(crowd, mini)
    await until(crowd, lambda: len(dropped) >= 8)
    candidate.pause()
    (video,) = (track for track in observer.tracks.values() if track.name == "camera")
    await until(crowd, lambda: not video.packets.missing)
    await leave(candidate, observer)
    assert video.nacks >= 1, "before the server knows what is lost and sends all twice"
    assert video.frames.lost == 0


async def test_it_tells_when_packets_came_and_the_server_believes_it(
    crowd: Crowd, mini: MiniServer
) -> None:
    candidate, observer = await joined(crowd, mini)
    await until(crowd, lambda: frames(observer) >= 60)
    (watching,) = (peer for peer in mini.peers.values() if isinstance(peer, MediaObserver))
    assert watching.egress is not None
    assert watching.egress.packets_arrived > 60
    assert watching.egress.packets_lost == 0
    assert watching.egress.estimate.delivered_bps is not None
    await leave(candidate, observer)


async def test_packets_that_never_come_are_counted_one_by_one(
    crowd: Crowd, mini: MiniServer
) -> None:
    never = set[int]()

    def lose_every_fiftieth(data: bytes) -> float | None:
        if is_repair(data):
            return None
        if is_video(data) and seqno(data) % 50 == 0:
            never.add(seqno(data))
            return None
        return 0

    mini.observers_network = BadNetwork(lose_every_fiftieth)
    candidate, observer = await joined(crowd, mini)
    await until(crowd, lambda: len(never) >= 5)
    await until(crowd, lambda: sum(track.packets.lost for track in observer.tracks.values()) >= 4)
    candidate.pause()
    await leave(candidate, observer)
    (video,) = (track for track in observer.tracks.values() if track.name == "camera")
    # The first may have been lost before the first packet came, the last be the last of all.
    assert len(never) - 2 <= video.packets.lost <= len(never)
    assert video.frames.lost >= video.packets.lost - 1


async def test_another_candidates_frames_are_noticed(crowd: Crowd, mini: MiniServer) -> None:
    candidate, observer = await joined(crowd, mini)
    observer._sources.clear()
    await until(crowd, lambda: frames(observer) >= 5)
    await leave(candidate, observer)
    assert sum(track.misrouted for track in observer.tracks.values()) >= 5
