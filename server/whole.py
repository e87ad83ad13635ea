"""Work that can't be stopped half-way: a thread that makes a file, a process that is started."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


async def whole_or_undone(
    work: Coroutine[Any, Any, _T], undo: Callable[[_T], Awaitable[object]]
) -> _T:
    """What ``work`` comes to, or raises. Who is cancelled, however often, waits for its end, and
    what it came to is undone: nobody has it."""
    doing = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([doing])
        if not doing.cancelled() and doing.exception() is None:
            await undo(doing.result())
        raise
