"""Three layers behind a line that is too slow for the best: what fits is seen."""

import asyncio
import re

import pytest
from playwright.async_api import Page

from loadtest.network import Impairments
from server.config import Endpoint
from server.core.frames import Codec
from server.media.server import Source, open_media
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.layered_page import THREE, answered, offer_to_receive, offer_to_send, received
from tests.e2e.rough_path import rough_path
from tests.e2e.test_layers import sees

CLEAN = Impairments(delay_s=0.03)


def through(answer: str, port: int) -> str:
    """The answer as if the server were at the relay's port, by UDP alone."""
    lines = [each for each in answer.split("\r\n") if not re.match(r"a=candidate:\S+ 1 tcp ", each)]
    moved = (re.sub(r"^(a=candidate:\S+ 1 udp \S+ \S+) \d+", rf"\1 {port}", each) for each in lines)
    return "\r\n".join(moved)


@pytest.mark.timeout(240)
async def test_an_observer_sees_the_layer_that_its_line_takes(chromium: ChromiumLauncher) -> None:
    source, browser = Source("one"), await chromium.launch()
    async with open_media(
        "127.0.0.1", 0, [Endpoint("127.0.0.1")], video_codecs=(Codec.VP8,)
    ) as media:
        sender, watcher = await browser.new_page(), await (await chromium.launch()).new_page()
        offer = await offer_to_send(sender, THREE, Codec.VP8.value)
        _, answer = await media.publish(source, offer, lambda _: None)
        await answered(sender, answer)
        async with rough_path(media.candidates[0].port, CLEAN, CLEAN) as path:
            offer = await offer_to_receive(watcher, tells=True)
            _, answer = await media.observe(source, offer, lambda _: None)
            await answered(watcher, through(answer, path.port))
            await sees(watcher, 720)
            before = await received(watcher)
            path.change(CLEAN, Impairments(delay_s=0.03, rate_bps=500e3), "slow")
            await smaller(watcher)
            await decodes(watcher, 60)
            assert (await received(watcher))["frameHeight"] < 720
            path.change(CLEAN, CLEAN, "well again")
            await sees(watcher, 720)
            after = await received(watcher)
    frozen_s = after["totalFreezesDuration"] - before["totalFreezesDuration"]
    # As long as it takes to see that less fits, and until a keyframe of it has come.
    assert frozen_s < 3


async def decodes(page: Page, pictures: int) -> None:
    """Returns once the observer has decoded so many more."""
    shown = (await received(page))["framesDecoded"]
    async with asyncio.timeout(20):
        while (await received(page))["framesDecoded"] < shown + pictures:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def smaller(page: Page) -> None:
    """Returns once the observer's decoder gives smaller pictures than the best."""
    async with asyncio.timeout(20):
        while (await received(page))["frameHeight"] == 720:  # noqa: ASYNC110 (told by nobody)
            await asyncio.sleep(0.05)
