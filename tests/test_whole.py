"""Cancelled at any time, once or often: what was begun is waited for, and undone."""

import asyncio

import pytest

from server.whole import whole_or_undone


class Work:
    """Ends when it is told to."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.fails = False
        self.made: list[int] = []

    async def do(self) -> int:
        self.began.set()
        await self.may_end.wait()
        if self.fails:
            raise OSError("no descriptor is left")
        self.made.append(1)
        return 1

    async def undo(self, made: int) -> None:
        await asyncio.sleep(0)
        self.made.remove(made)


@pytest.fixture
def work() -> Work:
    return Work()


async def test_what_it_comes_to_is_given(work: Work) -> None:
    work.may_end.set()
    assert await whole_or_undone(work.do(), work.undo) == 1
    assert work.made == [1]


async def test_why_it_failed_is_raised(work: Work) -> None:
    work.fails = True
    work.may_end.set()
    with pytest.raises(OSError, match="descriptor"):
        await whole_or_undone(work.do(), work.undo)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_waits_for_its_end_and_leaves_nothing(
    work: Work, times: int, fails: bool
) -> None:
    work.fails = fails
    waiting = asyncio.create_task(whole_or_undone(work.do(), work.undo))
    await work.began.wait()
    for _ in range(times):
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not waiting.done()
    work.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.made == []


async def test_who_is_cancelled_as_it_ends_leaves_nothing(work: Work) -> None:
    work.may_end.set()
    waiting = asyncio.create_task(whole_or_undone(work.do(), work.undo))
    await work.began.wait()
    assert work.made == [1], "it has ended, and nobody has been told"
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.made == []
