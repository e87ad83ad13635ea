"""The live interviews of this process: each has a task; revocations reach them all."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from server.core.indicators import Alert
from server.signaling.errors import Refusal
from server.signaling.interview import LiveInterview
from server.signaling.participant import Participant
from server.signaling.plant import Plant
from server.signaling.protocol import ErrorId
from server.store import Store

log = logging.getLogger(__name__)

#: How often the store is asked whether a link in use was revoked, also by another process.
REVOCATION_POLL_S = 1.0
#: Sealing and signing what is open when the server stops.
SHUT_DOWN_TIMEOUT_S = 10.0
DRAIN_POLL_S = 0.1


class Hub:
    """Interviews come to life at the first visitor and go when they are idle."""

    def __init__(self, plant: Plant, tasks: asyncio.TaskGroup) -> None:
        self._plant = plant
        self._tasks = tasks
        self._live: dict[str, LiveInterview] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    @property
    def live(self) -> tuple[LiveInterview, ...]:
        return tuple(self._live.values())

    def clock(self) -> float:
        return self._plant.clock()

    async def enter(self, interview_id: str, participant: Participant) -> LiveInterview:
        """Let somebody into an interview. Raises Refusal: none such, too many, draining."""
        row = await self._plant.db.run(Store.interview, interview_id)
        if row is None:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such interview.")
        interrupted_s = await self._plant.db.run(Store.interrupted_s, interview_id)
        interview = self._live.get(interview_id) or LiveInterview(row, self._plant, interrupted_s)
        if self._stopping or (self._plant.admission.draining and not interview.running):
            raise Refusal(ErrorId.SERVER_RESTARTING, "The server restarts: try again in a moment.")
        interview.enter(participant)
        if interview_id not in self._live:
            self._live[interview_id] = interview
            name = f"interview {interview_id}"
            self._runs[interview_id] = self._tasks.create_task(self._run(interview), name=name)
        return interview

    def find(self, interview_id: str) -> LiveInterview | None:
        return self._live.get(interview_id)

    def recording_failed(self, interview_id: str) -> bool:
        """Whether a live interview is not being recorded at present."""
        interview = self._live.get(interview_id)
        return interview is not None and interview.recording_failed

    @property
    def storage(self) -> tuple[Alert, ...]:
        """What threatens recordings at present, or may."""
        return self._plant.storage.alerts

    async def revoke(self, link_id: str, now: float) -> bool:
        """Revoke a link and close what is open with it; False if there is none."""
        found = await self._plant.db.run(Store.revoke, link_id, now)
        for interview in self.live:
            await interview.close_links({link_id})
        return found

    async def watch_revocations(self) -> None:
        """Close what was revoked by the command line; runs until cancelled."""
        while True:
            await asyncio.sleep(REVOCATION_POLL_S)
            await self.close_revoked()

    async def close_revoked(self) -> None:
        in_use = {link for interview in self.live for link in interview.open_links}
        if not in_use:
            return
        revoked = await self._plant.db.run(Store.revoked, in_use)
        for interview in self.live:
            if interview.open_links.intersection(revoked):
                await interview.close_links(revoked)

    async def drain(self, timeout_s: float) -> None:
        """Take no new interviews; returns once none runs any more, or when the time is over."""
        self._plant.admission.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.running:  # noqa: ASYNC110 - an end is not so urgent
                    await asyncio.sleep(DRAIN_POLL_S)

    @property
    def running(self) -> int:
        """Interviews that are being recorded, their candidates there or just lost."""
        return self._plant.admission.running

    async def shut_down(self) -> None:
        """Seal every recording and say goodbye to every socket, in bounded time."""
        self._stopping = self._plant.admission.draining = True
        try:
            async with asyncio.timeout(SHUT_DOWN_TIMEOUT_S), asyncio.TaskGroup() as closing:
                for interview in self.live:
                    closing.create_task(self._shut_down(interview), name=f"stop {interview.id}")
        except TimeoutError:
            log.error("interviews not closed in time count=%d", len(self._live))
        for run in self._runs.values():
            run.cancel()

    async def _run(self, interview: LiveInterview) -> None:
        try:
            await interview.run()
        except Exception:  # the task's root: one interview's fault must not end the others
            log.exception("interview failed interview=%s", interview.id)
            await self._shut_down(interview)
        finally:
            del self._live[interview.id], self._runs[interview.id]

    async def _shut_down(self, interview: LiveInterview) -> None:
        try:
            await interview.shut_down()
        except Exception:  # likewise: the other recordings are still to be sealed
            log.exception("interview not closed interview=%s", interview.id)


@contextlib.asynccontextmanager
async def open_hub(plant: Plant) -> AsyncIterator[Hub]:
    """The hub and its tasks; at the end every recording is sealed, then the tasks end."""
    await plant.db.run(Store.interrupt_live, plant.clock())
    async with asyncio.TaskGroup() as tasks:
        hub = Hub(plant, tasks)
        poll = tasks.create_task(hub.watch_revocations(), name="revocations")
        try:
            yield hub
        finally:
            poll.cancel()
            await hub.shut_down()
