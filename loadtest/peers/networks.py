"""Our server beside others on bad networks: `python -m loadtest.peers.networks`.

Of each server, each network has a candidate and an observer, all at once and with the same
seeds; both of them have that network before them, in both directions. An address changes at the
candidate's end only.

Exit codes: 0 measured, 1 some trial failed, 2 wrong use; 130 interrupted, after the table of
what was measured until then.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping

import msgspec
import uvloop

from loadtest.media import LOWER, default_cache, load_clip
from loadtest.packets import packetise
from loadtest.peers.calls import Plan, compare
from loadtest.peers.outcomes import Comparison, Outcome, as_text, behind, line
from loadtest.peers.program import (
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    enter_network,
    machine,
    say,
    until_interrupted,
)
from loadtest.peers.servers import RECEIVERS, Contestant
from loadtest.priority import go_first

_RTT = "delay=30ms"
#: By name, as `--network` of the load test has it: one direction of a round trip of 60 ms.
NETWORKS: Mapping[str, str] = {
    "1 %": f"{_RTT},loss=1%",
    "5 %": f"{_RTT},loss=5%",
    "10 %": f"{_RTT},loss=10%",
    "20 %": f"{_RTT},loss=20%",
    "1 % in bursts": f"{_RTT},loss=1%,burst=4",
    "5 % in bursts": f"{_RTT},loss=5%,burst=4",
    "10 % in bursts": f"{_RTT},loss=10%,burst=4",
    "20 % in bursts": f"{_RTT},loss=20%,burst=4",
    "jitter": f"{_RTT},jitter=30ms,reorder=2%",
    "300 kbit/s": f"{_RTT},rate=300kbit/s",
    "another address": f"{_RTT},move=5s",
}


def main() -> int:
    arguments = _parse_arguments()
    address, notes = enter_network()
    clip = load_clip("vp8", default_cache())
    lower = [load_clip("vp8", default_cache(), encoding=each) for each in LOWER]
    plan = Plan(
        address,
        packetise(clip),
        packetise(clip, lower=lower),
        arguments.seconds,
        [str(number) for number in range(1, arguments.seeds + 1)],
        NETWORKS,
    )
    outcomes: list[Outcome] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        interrupted = runner.run(until_interrupted(_measure(plan, outcomes)))
    made = comparison(plan, outcomes, notes)
    print(msgspec.json.encode(made).decode() if arguments.json else as_text(made))
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAULT if any(each.fault for each in outcomes) else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers.networks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=40, metavar="S", help="of each trial")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="how many")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.seeds < 1 or not arguments.seconds > 0:
        parser.error("--seeds and --seconds must be above zero")
    return arguments


def _present(address: str) -> tuple[list[Contestant], dict[str, str]]:
    """Who takes part, and why the others don't."""
    absent = {each.name: why for each in RECEIVERS if (why := each.absent(address)) is not None}
    return [each for each in RECEIVERS if each.name not in absent], absent


async def _measure(plan: Plan, outcomes: list[Outcome]) -> None:
    contestants, _ = _present(plan.address)
    go_first()
    async for outcome in compare(plan, contestants, say):
        outcomes.append(outcome)
        if outcome.fault is not None:
            say(f"    {outcome.network}: {outcome.fault}")


def comparison(plan: Plan, outcomes: list[Outcome], notes: list[str]) -> Comparison:
    contestants, absent = _present(plan.address)
    lines = {
        each.name: [
            line(name, [outcome for outcome in outcomes if outcome.server == each.name])
            for name in plan.networks
        ]
        for each in contestants
    }
    notes = [*notes, *(each.note for each in contestants if each.note)]
    notes += [
        f"{each.server}, {each.network}, seed {each.seed}: does not count: {each.fault}"
        for each in outcomes
        if each.fault is not None
    ]
    return Comparison(
        plan.seconds,
        list(plan.seeds),
        machine(),
        dict(plan.networks),
        lines,
        absent,
        notes,
        behind(lines),
        outcomes,
    )


if __name__ == "__main__":
    sys.exit(main())
