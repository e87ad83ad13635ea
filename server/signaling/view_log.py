"""Who reads which seconds of a recording, written down before what was read is answered.

A viewing that goes on is one row that grows. However many watch, their rows are made durable
together, by whoever of them comes first while the others wait.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from server.core.interviews import Role, Way
from server.store import AsyncStore, Store, Viewing, new_id

#: Without a read for so long, the next one begins another viewing.
PAUSE_S = 60.0
#: Seconds of the recording this near to those read before continue them: fragments lie close,
#: but not without any space between them.
SLACK_S = 1.5
#: What was read before and is read again moves the end of the viewing this often.
LAST_SEEN_S = 10.0
#: Viewings that may still grow; beyond it the one that grew least recently is over.
MAX_OPEN = 1_000


class ViewingItem(msgspec.Struct, frozen=True):
    """Who read which seconds of a recording, and when (Unix seconds)."""

    role: Role | None  #: null: the server's operator
    link: str | None  #: its id; null for the operator, and in what a candidate is told
    way: Way
    began_s: float
    last_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Read:
    """``start_s`` to ``end_s`` of a recording, handed to whoever has the link."""

    interview_id: str
    link_id: str
    way: Way
    start_s: float
    end_s: float


@dataclass(slots=True)
class _Open:
    """A viewing that may still grow."""

    wanted: Viewing
    durable: Viewing | None = None

    def continues(self, read: Read, now: float) -> bool:
        seen = self.wanted
        same = (seen.interview_id, seen.link_id, seen.way)
        return (
            same == (read.interview_id, read.link_id, read.way)
            and now - seen.last_s <= PAUSE_S
            and read.start_s <= seen.end_s + SLACK_S
            and read.end_s >= seen.start_s - SLACK_S
        )

    def grow(self, read: Read, now: float) -> None:
        seen = self.wanted
        start_s, end_s = min(seen.start_s, read.start_s), max(seen.end_s, read.end_s)
        moved = (start_s, end_s) != (seen.start_s, seen.end_s)
        if moved or now - seen.last_s >= LAST_SEEN_S:
            last_s = max(seen.last_s, now)
            self.wanted = replace(seen, last_s=last_s, start_s=start_s, end_s=end_s)

    def holds(self, read: Read) -> bool:
        """Whether ``read`` is on the record, and as late as it was."""
        durable = self.durable
        return (
            durable is not None
            and durable.last_s == self.wanted.last_s
            and durable.start_s <= read.start_s
            and read.end_s <= durable.end_s
        )


class ViewLog:
    """One for all recordings; ``clock`` gives Unix seconds."""

    def __init__(self, db: AsyncStore, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._open: OrderedDict[str, _Open] = OrderedDict()  # by the viewing's id
        self._writing = asyncio.Lock()

    async def note(self, read: Read) -> None:
        """Returns once ``read`` is durable. StoreError if it can't be: then answer nothing."""
        viewing = self._grown(read, self._clock())
        if viewing.holds(read):
            return
        async with self._writing:
            if not viewing.holds(read):  # nobody wrote it while this one waited
                await self._write()

    async def begin(self, read: Read) -> Viewing:
        """A row of its own, however near others are, durable on return. StoreError."""
        viewing = _begun(read, self._clock())
        await self._db.run(Store.keep_viewings, [viewing])
        return viewing

    async def lengthen(self, viewing: Viewing) -> None:
        """What `begin` gave is read until now. StoreError."""
        grown = replace(viewing, last_s=max(viewing.last_s, self._clock()))
        await self._db.run(Store.keep_viewings, [grown])

    def _grown(self, read: Read, now: float) -> _Open:
        found = next((each for each in self._open.values() if each.continues(read, now)), None)
        if found is None:
            found = _Open(_begun(read, now))
            self._open[found.wanted.id] = found
            self._forget(now)
        found.grow(read, now)
        self._open.move_to_end(found.wanted.id)
        return found

    def _forget(self, now: float) -> None:
        """The viewings that are over; those in front grew least recently."""
        while len(self._open) > 1:
            oldest = next(iter(self._open.values()))
            over = len(self._open) > MAX_OPEN or now - oldest.wanted.last_s > PAUSE_S
            if not over or oldest.wanted != oldest.durable:  # its reader still waits for the disk
                return
            self._open.popitem(last=False)

    async def _write(self) -> None:
        due = [each for each in self._open.values() if each.wanted != each.durable]
        written = [each.wanted for each in due]
        await self._db.run(Store.keep_viewings, written)
        for each, viewing in zip(due, written, strict=True):
            each.durable = viewing


def _begun(read: Read, now: float) -> Viewing:
    place = read.start_s, read.end_s
    return Viewing(new_id(), read.interview_id, read.link_id, read.way, now, now, *place)


def item_of(viewing: Viewing, role: Role | None) -> ViewingItem:
    """``role``: that of the viewing's link; None for the operator."""
    times = viewing.began_s, viewing.last_s, viewing.start_s, viewing.end_s
    return ViewingItem(role, viewing.link_id, viewing.way, *times)
