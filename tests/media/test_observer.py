"""An observer behind a line that is too slow for pictures, and then is not: all but the socket."""

import math
from dataclasses import dataclass, field
from random import Random

import pytest

from server.core import rtcp
from server.core.frames import Codec, TrackName
from server.core.twcc import TICK_S, TransportFeedback
from server.media.observer import Observer
from server.media.peer import HURRY_INTERVAL_S
from tests.media.streams import TICKS, pictures, rtp
from tests.media.test_peer import COUNTED, NOW, THREE, Browser, Room, joined, publisher, sound

FAST_BPS = 50e6


class Machine:
    """One that others load: it runs for a while, then stands still."""

    def __init__(self, seed: str, still_s: float) -> None:
        self._random = Random(seed)
        self._most_s = still_s
        self._spans = [(NOW, NOW)]

    def runs(self, at: float) -> float:
        """When it does what is to be done at that time."""
        while self._spans[-1][1] < at:
            begin_s = self._spans[-1][1] + self._random.expovariate(3)
            self._spans.append((begin_s, begin_s + self._random.uniform(0, self._most_s)))
        return next((end for begin, end in self._spans[-4:] if begin <= at < end), at)


IDLE = Machine("idle", 0.0)


@dataclass
class SlowLine:
    """A candidate's pictures and sound to an observer behind a line of `rate_bps`."""

    candidate: Browser
    watcher: Browser
    server: Machine = IDLE
    browser: Machine = IDLE
    rate_bps: float = 300e3
    loss: float = 0.0
    ssrcs: tuple[int, ...] = (1,)  #: of the pictures
    free_s: float = 0.0
    told_of: int = 0
    pictures: int = 0
    sounds: int = 0
    seqno: int = 0
    random: Random = field(default_factory=lambda: Random(1))

    def tenth(self) -> tuple[int, int]:
        """100 ms of media, with feedback; packets of pictures and of sound that were sent on."""
        room, begun, arrivals = self.candidate.room, len(self.watcher.rtp), list[int | None]()
        for tick in range(round(0.1 / HURRY_INTERVAL_S)):
            room.now += HURRY_INTERVAL_S
            if tick % 2 == 0:  # sound comes every 20 ms
                self._send(with_picture=not tick)
            if self.server.runs(room.now) == room.now:
                self.watcher.tick()
                assert isinstance(self.watcher.peer, Observer)
                self.watcher.peer._drain()  # what a timer does, by the test's clock
            arrivals += [self._arrival(len(data)) for data in self.watcher.rtp[self.told_of :]]
            self.told_of = len(self.watcher.rtp)
        base = (self.told_of - len(arrivals)) & 0xFFFF
        if arrivals:
            told = TransportFeedback(7, 7, 0, base, tuple(arrivals))
            self.watcher.send_rtcp(rtcp.transport_feedback(told))
        kinds = [data[1] & 0x7F for data in self.watcher.rtp[begun:]]
        return kinds.count(120), kinds.count(109)

    def _arrival(self, octets: int) -> int | None:
        """In ticks; None: it is lost, or the queue is full."""
        if self.random.random() < self.loss:
            return None
        now = self.candidate.room.now
        free_s = max(self.free_s, now) + 8 * octets / self.rate_bps
        if free_s - now > 0.3:
            return None
        self.free_s = free_s
        return int(self.browser.runs(free_s) / TICK_S) & 0xFFFF_FFFF

    def _send(self, *, with_picture: bool) -> None:
        self.sounds += 1
        self.candidate.send_rtp(sound(self.sounds))
        if not with_picture:
            return
        every = pictures(Codec.VP8)
        picture, at = every[self.pictures % len(every)], TICKS * self.pictures
        self.pictures += 1
        for payload in picture.payloads:
            self.seqno += 1
            marker = payload is picture.payloads[-1]
            for ssrc in self.ssrcs:
                self.candidate.send_rtp(rtp(self.seqno, at, payload, marker=marker, ssrc=ssrc))

    def until(self, told: list[bool], *expected: bool) -> float:
        """Lets time pass until so much has been told; how many seconds."""
        tenths = 0
        while told != list(expected):
            self.tenth()
            tenths += 1
            assert tenths < 1000, told
        return tenths / 10


async def test_sound_goes_on_where_the_picture_does_not_fit_until_it_does() -> None:
    room, told = Room(), list[bool]()
    slow = Browser(room, Observer, COUNTED, told.append)
    async with joined(publisher(room)) as candidate, joined(slow) as watcher:
        line = SlowLine(candidate, watcher)
        assert isinstance(watcher.peer, Observer)
        camera_down = watcher.peer.downs[TrackName.CAMERA]
        assert camera_down.allowed_bps == math.inf
        assert line.until(told, True) < 3
        assert camera_down.allowed_bps < 1.2 * line.rate_bps, "by which its layers are chosen"
        for _ in range(20):
            assert line.tenth() == (0, 5)
        line.rate_bps = FAST_BPS
        assert line.until(told, True, False) < 8
        assert any(data[1] & 0x7F == 121 for data in watcher.rtp), "it was tried with padding"
        shown = [line.tenth() for _ in range(20)]
        assert all(sounds == 5 for _, sounds in shown)
        assert sum(packets for packets, _ in shown[2:]) > 20
    assert told == [True, False]


async def test_screen_goes_on_where_the_camera_does_not_fit_beside_it() -> None:
    room, told = Room(), list[bool]()
    outgoing = {**COUNTED, TrackName.SCREEN: COUNTED[TrackName.CAMERA]}
    slow = Browser(room, Observer, outgoing, told.append)
    async with joined(publisher(room, THREE)) as candidate, joined(slow) as watcher:
        line = SlowLine(candidate, watcher, rate_bps=2e6, ssrcs=(20, 21))  # one has 1.2e6
        line.until(told, True)
        assert isinstance(watcher.peer, Observer)
        camera, screen = [watcher.peer.downs[n] for n in (TrackName.CAMERA, TrackName.SCREEN)]
        before = camera.packets, screen.packets
        for _ in range(30):
            line.tenth()
        assert camera.packets == before[0]
        assert screen.packets > before[1] + 100


@pytest.mark.parametrize("still_s", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("slow_s", [4, 20])
async def test_picture_comes_back_on_machines_that_stand_still_now_and_then(
    still_s: float, slow_s: int
) -> None:
    returns = []
    for seed in range(10):
        room, told = Room(), list[bool]()
        slow = Browser(room, Observer, COUNTED, told.append)
        async with joined(publisher(room)) as candidate, joined(slow) as watcher:
            server, browser = (Machine(f"{seed} {name}", still_s) for name in ("server", "browser"))
            line = SlowLine(candidate, watcher, server, browser)
            line.until(told, True)
            for _ in range(10 * slow_s):
                line.tenth()
            line.rate_bps = FAST_BPS
            returns.append(line.until(told, True, False))
    assert max(returns) < 10
    assert sorted(returns)[len(returns) // 2] < 7


async def test_observer_that_leaves_while_its_picture_is_held_back_says_so() -> None:
    room, told = Room(), list[bool]()
    async with (
        joined(publisher(room)) as candidate,
        joined(Browser(room, Observer, COUNTED, told.append)) as watcher,
    ):
        SlowLine(candidate, watcher).until(told, True)
    assert told == [True, False]


async def test_pictures_come_twice_on_a_line_that_loses_and_has_room_for_them() -> None:
    room, told = Room(), list[bool]()
    lossy = Browser(room, Observer, COUNTED, told.append)
    async with joined(publisher(room)) as candidate, joined(lossy) as watcher:
        line = SlowLine(candidate, watcher, rate_bps=FAST_BPS, loss=0.1)
        for _ in range(100):
            line.tenth()
        begun = len(watcher.rtp)
        for _ in range(10):
            line.tenth()
        kinds = [data[1] & 0x7F for data in watcher.rtp[begun:]]
        assert kinds.count(121) == pytest.approx(kinds.count(120), abs=5)
        line.loss = 0.0
        for _ in range(100):
            line.tenth()
        assert all(data[1] & 0x7F != 121 for data in watcher.rtp[-20:])
    assert told == []
