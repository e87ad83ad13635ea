"""Some of a run's interviews, or all of them, in one process."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from loadtest.endpoints import Endpoints
from loadtest.histogram import Histogram
from loadtest.interview import DRAIN_S, Interview, Networks
from loadtest.invites import Invite
from loadtest.peer import Crowd
from loadtest.plan import Plan
from loadtest.priority import go_first, go_like_others
from loadtest.recording import Sent
from loadtest.results import GeneratorCost, InterviewResult
from loadtest.scenario import Act, Step, Timeline
from loadtest.series import Totals

#: Joins at a time before it is measured: more handshakes only wait for each other on the
#: server's core. Later ones come when the scenario says.
JOINS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class PartResult:
    """By the number of the interview."""

    interviews: dict[int, InterviewResult]
    sent: dict[int, Sent]  #: what their recordings should hold
    generator: GeneratorCost


class Part:
    """`await open()`, `begin()`, `await play()`, `await end()`, and always `await leave()`."""

    def __init__(self, crowd: Crowd, plan: Plan, invites: Mapping[int, Invite | None]) -> None:
        """`invites`: by number; None where the plan's foreign server needs none."""
        self._crowd, self._plan = crowd, plan
        self._interviews = {
            number: self._interview(number, invite) for number, invite in invites.items()
        }
        self._turns = {number: asyncio.Lock() for number in invites}
        #: Over before the run is: a soak of days must not hold what they were made of.
        self._over = PartResult({}, {}, GeneratorCost(0.0, Histogram()))
        self._over_totals = Totals()
        self._cpu_before = 0.0

    async def open(self) -> None:
        """What the scenario begins with."""
        turn = asyncio.Semaphore(JOINS_AT_ONCE)

        async def act(step: Step) -> None:
            async with turn:
                await self._act(step)

        async with asyncio.TaskGroup() as tasks:
            for step in self._plan.course.opening:
                if step.interview in self._interviews:
                    tasks.create_task(act(step), name=step.act.name)

    def anybody_in(self) -> bool:
        """Of those that `open` let join."""
        return any(each.result.error is None for each in self._interviews.values())

    def begin(self) -> None:
        """What was before is not measured: joining is allowed to be late."""
        self._crowd.pacer.lateness_s = Histogram()
        go_first()
        self._cpu_before = time.process_time()
        for interview in self._interviews.values():
            interview.begin_measuring()

    async def play(self) -> None:
        """The rest of the scenario, from `begin` on; returns when all of it is done."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        timeline = Timeline(self._plan.course, self._interviews.__contains__)
        async with asyncio.TaskGroup() as tasks:
            while (next_s := timeline.next_s) is not None:
                await asyncio.sleep(began + next_s - loop.time())
                for step in timeline.take(loop.time() - began):
                    tasks.create_task(self._act(step), name=step.act.name)

    def totals(self) -> Totals:
        """Since the interviews joined."""
        totals = Totals(generator_cpu_s=time.process_time())
        totals.merge(self._over_totals)
        for each in self._interviews.values():
            totals.add(each.collect())
        return totals

    async def end(self) -> PartResult:
        """Stops sending, waits for what is on its way, and says what was measured."""
        cpu_s = time.process_time() - self._cpu_before
        generator = GeneratorCost(cpu_s, self._crowd.pacer.lateness_s)
        for each in self._interviews.values():
            each.end_viewing()
            each.candidate.pause()
        await asyncio.sleep(DRAIN_S)
        going = self._interviews.items()
        return PartResult(
            self._over.interviews | {number: each.collect() for number, each in going},
            self._over.sent | {number: each.sent_tracks() for number, each in going},
            generator,
        )

    async def leave(self) -> None:
        go_like_others()
        await asyncio.gather(*(each.leave() for each in self._interviews.values()))

    def _interview(self, number: int, invite: Invite | None) -> Interview:
        plan = self._plan
        way: Invite | Endpoints | None = invite
        if plan.foreign is not None:
            way = plan.foreign.endpoints(self._crowd.http, number + 1)
        assert way is not None
        networks = Networks(plan.candidate_network(number), plan.observer_network(number))
        clip = plan.clips[number % len(plan.clips)]
        return Interview(self._crowd, plan.url, way, clip, networks)

    async def _act(self, step: Step) -> None:
        """In its interview's turn: on a slow server one act may outlast the next one's time."""
        interview = self._interviews[step.interview]
        async with self._turns[step.interview]:
            match step.act:
                case Act.JOIN:
                    await interview.join()
                case Act.JOIN_ALONE:
                    await interview.join(observed=False)
                case Act.OBSERVE:
                    await interview.observe()
                case Act.RECONNECT:
                    await interview.reconnect()
                case Act.LEAVE:
                    await interview.finish()
                    self._put_away(step.interview)

    def _put_away(self, number: int) -> None:
        interview = self._interviews.pop(number)
        self._over.interviews[number] = interview.result
        self._over.sent[number] = interview.sent_tracks()
        self._over_totals.add(interview.result)
