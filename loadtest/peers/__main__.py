"""Our server beside others, under the same load: `python -m loadtest.peers`.

Exit codes: 0 measured, 1 some trial does not count, 2 wrong use; 130 interrupted, after the
table of what was measured until then.
"""

import argparse
import asyncio
import sys

import msgspec
import uvloop

from loadtest.media import default_cache, load_clip
from loadtest.packets import packetise
from loadtest.peers.bench import Plan, compare, present
from loadtest.peers.program import (
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    enter_network,
    machine,
    say,
    until_interrupted,
)
from loadtest.peers.table import Comparison, Trial, as_text, doubts, row


def main() -> int:
    arguments = _parse_arguments()
    address, notes = enter_network()
    clip = packetise(load_clip("vp8", default_cache()))
    plan = Plan(address, clip, arguments.publishers, arguments.seconds, arguments.rounds)
    trials: list[Trial] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        interrupted = runner.run(until_interrupted(_measure(plan, trials)))
    comparison = _comparison(plan, trials, notes)
    print(msgspec.json.encode(comparison).decode() if arguments.json else as_text(comparison))
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAULT if any(each.fault for each in trials) else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers", description=__doc__)
    parser.add_argument("--publishers", type=int, default=10, metavar="N")
    parser.add_argument("--seconds", type=float, default=10, metavar="S", help="of each trial")
    parser.add_argument("--rounds", type=int, default=3, metavar="R")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.publishers < 1 or arguments.rounds < 1 or not arguments.seconds > 0:
        parser.error("--publishers, --seconds and --rounds must be above zero")
    return arguments


async def _measure(plan: Plan, trials: list[Trial]) -> None:
    contestants, _ = present(plan.address)
    async for trial in compare(plan, contestants, say):
        trials.append(trial)
        say(f"    {trial.fault or f'{trial.cpu_ms:.1f} ms'}")


def _comparison(plan: Plan, trials: list[Trial], notes: list[str]) -> Comparison:
    contestants, absent = present(plan.address)
    notes = [*notes, *(each.note for each in contestants if each.note), *doubts(trials)]
    return Comparison(
        plan.publishers,
        plan.seconds,
        plan.rounds,
        machine(),
        [row(each.name, trials) for each in contestants],
        absent,
        notes,
        trials,
    )


if __name__ == "__main__":
    sys.exit(main())
