"""One candidate and one observer on a bad network, and many of them at once: a trial."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from loadtest.network import Network, parse_network
from loadtest.observer import Observer
from loadtest.packets import PacketisedClip
from loadtest.peer import Candidate, Crowd, Signalling, open_crowd
from loadtest.peers.bench import FAULTS, SETTLE_S
from loadtest.peers.outcomes import NEVER_S, Outcome
from loadtest.peers.servers import Contestant, Place, Running, Seat, StartError
from loadtest.recording import RecordingError, Sent, SentTrack

#: Between two that join, so that a server's admission can count each.
STAGGER_S = 0.25
#: Joining a server whose answers are lost takes more than one try.
JOIN_TRIES, TRY_AGAIN_S = 20, 0.5
#: A repair comes within that, or not at all.
DRAIN_S = 3.5

Peer = TypeVar("Peer", Candidate, Observer)


@dataclass(frozen=True, slots=True)
class Plan:
    address: str
    clip: PacketisedClip
    adapted: PacketisedClip  #: with lower bitrates, for where the rate is limited
    seconds: float
    seeds: Sequence[str]
    networks: Mapping[str, str]


async def compare(
    plan: Plan, contestants: Sequence[Contestant], say: Callable[[str], None]
) -> AsyncIterator[Outcome]:
    """Yields each outcome once all networks with its seed are done."""
    for seed in plan.seeds:
        for contestant in contestants:
            for some in batches(list(plan.networks), contestant.max_publishers):
                say(f"seed {seed}: {contestant.name}: {', '.join(some)}")
                for outcome in await run_trial(plan, contestant, some, seed):
                    yield outcome


def batches(names: Sequence[str], most: int | None) -> list[Sequence[str]]:
    """Of nearly equal size, of at most so many."""
    count = 1 if most is None else -(-len(names) // most)
    return [names[at::count] for at in range(count)]


async def run_trial(
    plan: Plan, contestant: Contestant, names: Sequence[str], seed: str
) -> list[Outcome]:
    """One server started, with all these networks at once, and stopped."""
    blank = [Outcome(contestant.name, name, seed) for name in names]
    with tempfile.TemporaryDirectory(prefix="vivavoce-networks-") as folder:
        async with open_crowd() as crowd:
            place = Place(crowd.http, plan.address, Path(folder))
            try:
                async with contestant.start(contestant.jobs[-1], place) as server:
                    await asyncio.sleep(SETTLE_S)
                    outcomes = await _run_calls(crowd, plan, server, blank)
            except (StartError, *FAULTS) as error:
                return [structs.replace(each, failed=_text(error)) for each in blank]
            late_s = crowd.pacer.lateness_s.percentile(99) or 0.0
            return [structs.replace(each, lateness_p99_s=late_s) for each in outcomes]


async def _run_calls(
    crowd: Crowd, plan: Plan, server: Running, blank: list[Outcome]
) -> list[Outcome]:
    seats = await server.seats(len(blank))
    calls = [
        Call(crowd, plan, seat, outcome, number * STAGGER_S)
        for number, (seat, outcome) in enumerate(zip(seats, blank, strict=True))
    ]
    outcomes = await asyncio.gather(*(call.run() for call in calls))
    return [await call.read(each) for call, each in zip(calls, outcomes, strict=True)]


class Call:
    """A candidate and their observer: `run`, and when all have run, `read` what was kept."""

    def __init__(
        self, crowd: Crowd, plan: Plan, seat: Seat, outcome: Outcome, wait_s: float
    ) -> None:
        self._crowd, self._plan, self._seat = crowd, plan, seat
        self._outcome, self._wait_s = outcome, wait_s
        impairments = parse_network(plan.networks[outcome.network])
        self._clip = plan.clip if impairments.rate_bps == inf else plan.adapted
        label = f"{outcome.seed} {outcome.network}"
        self._up = Network(impairments, f"{label} candidate")
        self._down = Network(replace(impairments, move_s=inf), f"{label} observer")
        self._sent: Sent = {}
        self._before = (0, 0)  # pictures and sounds sent, when the observer had joined

    async def run(self) -> Outcome:
        """What was sent and seen; what went wrong is in it."""
        await asyncio.sleep(self._wait_s)
        candidate, observer = None, None
        try:
            candidate = await self._publish()
            observer = await self._observe(candidate)
            self._before = _sent(candidate)
            await asyncio.sleep(self._plan.seconds)
            if observer is not None:
                observer.end_viewing(time.time())
            candidate.pause()
            await asyncio.sleep(DRAIN_S)
            return self._measured(candidate, observer)
        except FAULTS as error:
            return structs.replace(self._outcome, failed=_text(error))
        finally:
            for peer in (observer, candidate):
                if peer is not None:
                    with suppress(*FAULTS):
                        await peer.leave()

    async def _publish(self) -> Candidate:
        seat = self._seat
        return await _joined(
            lambda: Candidate(self._crowd, seat.publish, self._clip, self._up), seat.publish
        )

    async def _observe(self, candidate: Candidate) -> Observer | None:
        way = self._seat.observe
        if way is None:
            return None
        sources = {candidate.audio_ssrc, candidate.video_ssrc}
        return await _joined(lambda: Observer(self._crowd, way, sources, self._down), way)

    def _measured(self, candidate: Candidate, observer: Observer | None) -> Outcome:
        tracks = candidate.tracks()
        self._sent = {each.ssrc: SentTrack(name, each.frames) for name, each in tracks.items()}
        (pictures, sounds), before = _sent(candidate), self._before
        outcome = structs.replace(
            self._outcome,
            pictures_sent=pictures,
            pictures_due=pictures - before[0],
            sounds_sent=sounds,
            sounds_due=sounds - before[1],
            lost=candidate.lost.is_set() or (observer is not None and observer.lost.is_set()),
        )
        return outcome if observer is None else _seen(outcome, observer, self._plan.seconds)

    async def read(self, outcome: Outcome) -> Outcome:
        """With what the server has kept, which may take it a moment to finish."""
        if outcome.failed is not None or self._seat.kept is None:
            return outcome
        try:
            kept = await self._seat.kept(self._sent)
        except (RecordingError, OSError, ValueError, *FAULTS) as error:
            return structs.replace(outcome, failed=_text(error))
        return structs.replace(outcome, pictures_kept=kept.pictures, sounds_kept=kept.sounds)


def _sent(candidate: Candidate) -> tuple[int, int]:
    """Pictures and sounds, until now."""
    tracks = candidate.tracks()
    return tracks["camera"].frames, tracks["microphone"].frames


async def _joined(make: Callable[[], Peer], way: Signalling) -> Peer:
    """After as many tries as it takes. Raises what the last one did."""
    tries = 0
    while True:
        peer = make()
        try:
            await peer.join()
        except FAULTS:
            tries += 1
            if tries == JOIN_TRIES:
                raise
            with suppress(*FAULTS):
                await way.end()
            await asyncio.sleep(TRY_AGAIN_S)
        else:
            return peer


def _seen(outcome: Outcome, observer: Observer, seconds: float) -> Outcome:
    screens = [each.watched for each in observer.tracks.values() if each.watched is not None]
    sounds = [each for each in observer.tracks.values() if each.name == "microphone"]
    heard = sum(each.frames.received or each.packets.received for each in sounds)
    black_s = seconds if observer.first_picture_s is None else observer.first_picture_s
    latency_s = observer.latency_s()
    if latency_s.count:  # else nothing tells when it was sent: a server that encodes anew
        for _ in range(outcome.pictures_due + outcome.sounds_due - latency_s.count):
            latency_s.add(NEVER_S)
    return structs.replace(
        outcome,
        # A few were on their way when it joined.
        pictures_shown=min(outcome.pictures_due, sum(each.pictures for each in screens)),
        sounds_heard=min(outcome.sounds_due, heard),
        black_s=black_s,
        still_s=black_s + sum(each.freezes.standing_s for each in screens),
        freezes=sum(each.freezes.count for each in screens),
        frozen_s=sum(each.freezes.total_s for each in screens),
        longest_s=max((each.freezes.longest_s for each in screens), default=0.0),
        latency_p50_s=latency_s.percentile(50),
        latency_p99_s=latency_s.percentile(99),
    )


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
