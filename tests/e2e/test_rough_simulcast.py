"""Three layers behind an uplink that loses: each is repaired in a stream of its own."""

import asyncio
from collections import Counter

import pytest
from playwright.async_api import Page

from loadtest.network import Impairments
from server.config import Endpoint
from server.core.frames import Codec
from server.media.publisher import Publisher
from server.media.receiving.carried import RetransmissionStream
from server.media.server import Source, open_media
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.layered_page import THREE, answered, offer_to_send
from tests.e2e.rough_path import rough_path
from tests.e2e.test_layers import Recorded, until
from tests.e2e.test_rough_layers import through

_RESENT = """async () => {
  const stats = [...(await pc.getStats()).values()];
  const sent = stats.filter((each) => each.type === 'outbound-rtp' && each.rid);
  return Object.fromEntries(sent.map((each) => [each.rid, each.retransmittedPacketsSent]));
}"""


async def resent(page: Page) -> dict[str, int]:
    """Packets of each layer that the browser has sent again."""
    counts: dict[str, int] = await page.evaluate(_RESENT)
    return counts


@pytest.mark.timeout(180)
async def test_each_layer_of_a_simulcast_is_repaired_by_its_name(
    chromium: ChromiumLauncher,
) -> None:
    source, recorded = Source("one"), Recorded()
    source.add_sink(recorded)
    rough, clean = Impairments(delay_s=0.03, loss=0.1), Impairments(delay_s=0.03)
    async with open_media(
        "127.0.0.1", 0, [Endpoint("127.0.0.1")], video_codecs=(Codec.VP8,)
    ) as media:
        page = await (await chromium.launch()).new_page()
        async with rough_path(media.candidates[0].port, rough, clean) as path:
            offer = await offer_to_send(page, THREE, Codec.VP8.value)
            publisher, answer = await media.publish(source, offer, lambda _: None)
            assert isinstance(publisher, Publisher)
            await answered(page, through(answer, path.port))
            async with asyncio.timeout(60):
                while min((await resent(page)).values(), default=0) < 5:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert set(await resent(page)) == {"h", "m", "l"}
            ups = {up.rid: up for up in publisher._ups.values()}
            # What was lost just now is still to come.
            await until(lambda: all(50 * up.packets_lost < up.packets for up in ups.values()))
            await until(lambda: recorded.heights[-1:] == [720])
        streams = set(publisher._streams.values())
        repairs = [each for each in streams if isinstance(each, RetransmissionStream)]
        assert Counter(each.up.rid for each in repairs) == {"h": 1, "m": 1, "l": 1}
        assert all(up.repaired for up in ups.values())
