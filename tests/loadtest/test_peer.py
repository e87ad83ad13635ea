"""The simulated candidate against an independent peer that decodes what it gets."""

import itertools
from collections.abc import AsyncIterator

import pytest
from aiortc import MediaStreamTrack
from av import AudioFrame, VideoFrame

from loadtest.media import VideoCodec
from loadtest.packets import packetise
from loadtest.peer import Candidate, Crowd, open_crowd
from tests.loadtest.conftest import Answerer, short_clip


@pytest.fixture
async def crowd() -> AsyncIterator[Crowd]:
    async with open_crowd() as crowd:
        yield crowd


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
    steps = {b.pts - a.pts for a, b in itertools.pairwise(pictures)}
    assert steps == {3000}
    assert any(isinstance(s, AudioFrame) and abs(s.to_ndarray()).max() > 4000 for s in sounds)
    assert answerer.ended == 1
