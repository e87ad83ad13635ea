"""A real browser's layers: the recording gets the best, observers the one that is allowed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page

from server.config import Endpoint
from server.core.frames import Codec, EncodedFrame, Gap, GapCause, TrackName
from server.core.picture import picture_size
from server.live_analysis.decode import VideoDecoder
from server.live_analysis.layers import SpatialLayers
from server.media.observer import Observer
from server.media.server import MediaServer, Source, open_media
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.layered_page import (
    THREE,
    answered,
    offer_to_receive,
    offer_to_send,
    received,
    send_only,
)

#: Browsers begin with little and add layers as the network proves able, here beside other tests.
PATIENCE_S = 40


class Recorded:
    """A sink of the best layer."""

    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.gaps: list[Gap] = []
        self.heights: list[int] = []  # of keyframes

    def on_frame(self, frame: EncodedFrame) -> None:
        if frame.track is not TrackName.CAMERA:
            return
        self.frames.append(frame)
        size = picture_size(frame.codec, frame.payload) if frame.keyframe else None
        if size is not None and size.height != (self.heights or [0])[-1]:
            self.heights.append(size.height)

    def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)


@asynccontextmanager
async def interview(
    chromium: ChromiumLauncher, codec: Codec, encodings: list[dict[str, object]]
) -> AsyncIterator[tuple[Source, Recorded, Observer, Page, Page]]:
    source, recorded = Source("one"), Recorded()
    source.add_sink(recorded)
    browser = await chromium.launch()
    async with open_media("127.0.0.1", 0, [Endpoint("127.0.0.1")], video_codecs=(codec,)) as media:
        sender, watcher = await browser.new_page(), await (await chromium.launch()).new_page()
        await _connect(media, source, sender, encodings, codec)
        peer, answer = await media.observe(source, await offer_to_receive(watcher), lambda _: None)
        await answered(watcher, answer)
        assert isinstance(peer, Observer)
        yield source, recorded, peer, sender, watcher


async def _connect(
    media: MediaServer,
    source: Source,
    page: Page,
    encodings: list[dict[str, object]],
    codec: Codec,
) -> None:
    offer = await offer_to_send(page, encodings, codec.value)
    _, answer = await media.publish(source, offer, lambda _: None)
    await answered(page, answer)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (told by nobody)
            await asyncio.sleep(0.05)


async def sees(page: Page, height: int) -> None:
    """Returns once the observer's decoder gives pictures of this size."""
    async with asyncio.timeout(PATIENCE_S):
        while (await received(page) or {}).get("frameHeight") != height:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264, Codec.VP9])
async def test_three_layers_are_recorded_at_their_best_and_observed_as_allowed(
    chromium: ChromiumLauncher, codec: Codec
) -> None:
    async with interview(chromium, codec, THREE) as (_, recorded, observer, sender, watcher):
        down = observer.downs[TrackName.CAMERA]
        await until(lambda: recorded.heights[-1:] == [720])
        assert recorded.gaps == [], "none while layers are added"
        await sees(watcher, 720)
        before = await received(watcher)
        for allowed_bps, height in ((450e3, 360), (160e3, 180), (5e6, 720)):
            down.allow(allowed_bps)
            await sees(watcher, height)
        after = await received(watcher)
        for fault in ("nackCount", "packetsLost", "pliCount"):
            assert after[fault] == before[fault], fault
        frozen_s = after["totalFreezesDuration"] - before["totalFreezesDuration"]
        assert frozen_s < 3.0, "a second for each switch on a busy machine"
        assert recorded.heights[-1] == 720, "whatever observers get"

        await send_only(sender, "m", "l")
        await until(lambda: recorded.heights[-1] == 360)
        await sees(watcher, 360)
        await send_only(sender, "h", "m", "l")
        await until(lambda: recorded.heights[-1] == 720)
        await sees(watcher, 720)
        assert [gap.cause for gap in recorded.gaps] == [GapCause.LAYER_STOPPED]
        (gap,) = recorded.gaps
        assert gap.end_s - gap.start_s < 1.5
        assert (await received(watcher))["pliCount"] == before["pliCount"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264, Codec.VP9, Codec.AV1])
async def test_observer_of_a_single_stream_gets_fewer_pictures_a_second_without_a_hole(
    chromium: ChromiumLauncher, codec: Codec
) -> None:
    alone = [{"maxBitrate": 1_000_000, "scalabilityMode": "L1T3"}]
    async with interview(chromium, codec, alone) as (_, recorded, observer, _, watcher):
        down = observer.downs[TrackName.CAMERA]
        await until(lambda: len(recorded.frames) > 20)
        await _gets(watcher, recorded, 0.8, 1.2)
        down.allow(1)
        await _gets(watcher, recorded, 0.15, 0.4)  # the base layer, a quarter
        before = await received(watcher)
        down.allow(5e6)
        await _gets(watcher, recorded, 0.8, 1.2)
        after = await received(watcher)
        for fault in ("nackCount", "packetsLost", "pliCount"):
            assert after[fault] == before[fault], fault


async def _gets(page: Page, recorded: Recorded, least: float, most: float) -> None:
    """Returns once the observer's browser decodes such a share of the pictures that come."""
    async with asyncio.timeout(PATIENCE_S):
        while not least < await _share(page, recorded) < most:
            pass


async def _share(page: Page, recorded: Recorded) -> float:
    """Of 40 pictures that come, two seconds, how many the observer's browser decodes."""
    shown, came = await _decoded(page), len(recorded.frames)
    await until(lambda: len(recorded.frames) >= came + 40)
    return (await _decoded(page) - shown) / (len(recorded.frames) - came)


async def _decoded(page: Page) -> int:
    return int((await received(page) or {}).get("framesDecoded", 0))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("codec", [Codec.VP9, Codec.AV1])
@pytest.mark.parametrize(("mode", "least"), [("L3T3_KEY", (170e3, 180)), ("L2T1", (500e3, 360))])
async def test_spatial_layers_in_one_stream_are_recorded_whole_and_observed_as_allowed(
    chromium: ChromiumLauncher, mode: str, least: tuple[float, int], codec: Codec
) -> None:
    """All sizes in one stream, which need each other in all pictures, or in keyframes' alone."""
    spatial: list[dict[str, object]] = [{"maxBitrate": 1_800_000, "scalabilityMode": mode}]
    async with interview(chromium, codec, spatial) as (_, recorded, observer, _, watcher):
        down = observer.downs[TrackName.CAMERA]
        await until(lambda: recorded.heights[-1:] == [720])
        await sees(watcher, 720)
        before, heights = await received(watcher), list(recorded.heights)
        for allowed_bps, height in ((600e3, 360), least, (5e6, 720)):
            down.allow(allowed_bps)
            await sees(watcher, height)
        after = await received(watcher)
        for fault in ("nackCount", "packetsLost", "pliCount"):
            assert after[fault] == before[fault], fault
        assert after["totalFreezesDuration"] - before["totalFreezesDuration"] < 3.0
        assert recorded.heights == heights, "whatever observers get"
        assert recorded.gaps == []
    if codec is Codec.VP9:
        assert _analysed(recorded.frames)[-1] == least[1]


def _analysed(frames: list[EncodedFrame]) -> list[int]:
    """Lines of the pictures that a worker decodes: none is missing."""
    layers, decoder = SpatialLayers(), VideoDecoder(frames[0].codec)
    decoded = [decoder.decode(layers.lowest(frame)) for frame in frames]
    lines = [picture.height for picture in decoded if picture is not None]
    assert len(lines) == len(frames)
    return lines
