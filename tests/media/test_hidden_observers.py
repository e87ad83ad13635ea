"""A candidate's connection is the same whether anybody observes or not."""

import contextlib

from server.core import rtcp
from server.media.publisher import Publisher
from server.media.receiving.up_track import KEYFRAME_INTERVAL_S
from tests.media.test_peer import (
    FORMATS,
    Browser,
    Room,
    camera,
    joined,
    observer,
    publisher,
    sound,
)

#: RFC 4585 6.1: payload-specific feedback, of which keyframe requests are. An observer's are among
#: those that the server makes for the recording, at times by chance (`SHORTER` in up_track.py).
_PAYLOAD_SPECIFIC = 206


def sent_to(candidate: Browser) -> list[bytes]:
    """What the server has sent, but for keyframe requests; RTCP packets are compound."""
    packets = []
    for compound in candidate.raw_rtcp:
        while compound:
            length = 4 + 4 * int.from_bytes(compound[2:4], "big")
            picture_loss = (compound[1], compound[0] & 0x1F) == (_PAYLOAD_SPECIFIC, 1)
            packets += [] if picture_loss else [compound[:length]]
            compound = compound[length:]
    return packets + candidate.rtp


def ask(watcher: Browser) -> None:
    """What it can ask for: its first packets again, and keyframes."""
    for down in watcher.peer.downs.values():  # type: ignore[attr-defined]
        assert down.packets
        watcher.send_rtcp(rtcp.nack(7, down.ssrc, [1, 2]))
        watcher.send_rtcp(rtcp.picture_loss_indication(7, down.ssrc))


async def session(observers: int) -> list[bytes]:
    """Three seconds in which packets are lost, and observers come, ask, miss some and go."""
    room = Room()
    async with joined(publisher(room)) as candidate, contextlib.AsyncExitStack() as stack:
        candidate.peer.ssrc, candidate.peer.id = 77, "candidate"  # random otherwise
        packets = camera(12)
        for step in range(30):
            if step == 5:
                watchers = [
                    await stack.enter_async_context(joined(observer(room)))
                    for _ in range(observers)
                ]
            if step == 15:
                for each in watchers:
                    ask(each)
            if step == 25:
                await stack.aclose()
            for data in packets[step::30]:
                if step % 7:
                    candidate.send_rtp(data)
            candidate.send_rtp(sound(1 + step))
            for each in room.browsers.values():
                each.tick()
            candidate.tick(0.1)
        sent = sent_to(candidate)
    return sent


async def test_the_server_sends_a_candidate_the_same_with_and_without_observers() -> None:
    alone = await session(0)
    observed = await session(3)
    assert len(alone) > 5
    assert observed == alone


async def test_keyframes_come_early_now_and_then_though_nobody_observes() -> None:
    room, waited = Room(), []
    async with joined(Browser(room, Publisher, FORMATS)) as candidate:
        for cycle in range(100):  # all of one length: once in half a million runs
            for data in camera(1, seqno=1 + cycle * len(camera(1))):
                candidate.send_rtp(data)
            since_s, asked = room.now, len(candidate.items(rtcp.KeyframeRequest))
            while len(candidate.items(rtcp.KeyframeRequest)) == asked:
                candidate.check()
                candidate.tick(0.1)
            waited.append(room.now - since_s)
    assert min(waited) < 0.9 * KEYFRAME_INTERVAL_S
    assert max(waited) < 1.1 * KEYFRAME_INTERVAL_S
