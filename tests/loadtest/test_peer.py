"""The simulated candidate against an independent peer that decodes what it gets."""

import asyncio
import itertools

import numpy as np
import pytest
from aiortc import MediaStreamTrack
from av import AudioFrame, VideoFrame

from loadtest.media import VideoCodec
from loadtest.packets import packetise
from loadtest.peer import Candidate, Crowd
from loadtest.whip import Refused
from tests.loadtest.conftest import Answerer, new_interview, short_clip
from tests.loadtest.mini_server import MiniServer


def loudness(sound: object) -> int:
    assert isinstance(sound, AudioFrame)
    return int(np.abs(sound.to_ndarray().astype(int)).max())


def track(answerer: Answerer, kind: str) -> MediaStreamTrack:
    return next(track for track in answerer.tracks if track.kind == kind)


@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_an_independent_peer_decodes_picture_and_sound(
    crowd: Crowd, answerer: Answerer, codec: VideoCodec
) -> None:
    candidate = Candidate(crowd, answerer.url, packetise(short_clip(codec)))
    await candidate.join()
    video, audio = track(answerer, "video"), track(answerer, "audio")
    pictures = [await video.recv() for _ in range(40)]  # past the end of the one-second loop
    sounds = [await audio.recv() for _ in range(40)]
    await candidate.leave()
    assert all(isinstance(p, VideoFrame) and (p.width, p.height) == (1280, 720) for p in pictures)
    times = [picture.pts or 0 for picture in pictures]
    steps = {after - before for before, after in itertools.pairwise(times)}
    assert steps == {3000}
    assert max(loudness(sound) for sound in sounds) > 4000
    assert answerer.ended == 1


async def test_the_end_of_the_association_is_noticed(crowd: Crowd, mini: MiniServer) -> None:
    token = await new_interview(crowd, mini)
    candidate = Candidate(crowd, f"{mini.url}/whip/{token}", packetise(short_clip("vp8")))
    await candidate.join()
    assert not candidate.lost.is_set()
    await mini.close_media()
    async with asyncio.timeout(5):
        await candidate.lost.wait()
    await candidate.leave()


async def test_a_refusal_is_raised_with_its_status(crowd: Crowd, mini: MiniServer) -> None:
    candidate = Candidate(crowd, f"{mini.url}/nothing/here/at/all", packetise(short_clip("vp8")))
    with pytest.raises(Refused) as refused:
        await candidate.join()
    assert refused.value.status == 404
