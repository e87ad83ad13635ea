"""What happens in one interview, on its way into the store."""

import asyncio
import logging
from collections import deque

from server.core.interviews import InterviewState
from server.store import AsyncStore, Event, Store, StoreError

log = logging.getLogger(__name__)

#: The process log of one interview between two ticks; a flood of reconnects is not evidence.
MAX_PENDING_EVENTS = 100


class Journal:
    """Takes events and the newest state at once, and writes them down in `save`."""

    def __init__(self, interview_id: str, db: AsyncStore) -> None:
        self._interview_id = interview_id
        self._db = db
        self._pending: deque[Event] = deque(maxlen=MAX_PENDING_EVENTS)
        self._unsaved: tuple[InterviewState, float | None] | None = None
        self._saving = asyncio.Lock()  # a tick, and the end of the server

    @property
    def is_written(self) -> bool:
        return not self._pending and self._unsaved is None

    def note(self, name: str, link_id: str | None, now: float) -> None:
        self._pending.append(Event(self._interview_id, name, link_id, now))

    def set_state(self, state: InterviewState, started_s: float | None) -> None:
        self._unsaved = (state, started_s)

    async def save(self) -> None:
        """Where the store fails, media and recording go on; the next call tries again."""
        try:
            async with self._saving:
                await self._write_down()
        except StoreError as error:
            log.error("not written down interview=%s reason=%s", self._interview_id, error)

    async def _write_down(self) -> None:
        while self._pending:
            event = self._pending[0]
            await self._db.run(Store.add_event, event)
            if self._pending[0] is event:  # else a flood has pushed it out meanwhile
                self._pending.popleft()
        saved = self._unsaved
        if saved is not None:
            await self._db.run(Store.set_state, self._interview_id, *saved)
            if self._unsaved is saved:  # else it has changed meanwhile
                self._unsaved = None
