"""`one_trial.py SERVER`: one trial of one publisher, as JSON; 77: no network namespace here.

A program of its own: the network namespace that it enters is for its whole process.
"""

import asyncio
import sys

import msgspec

from loadtest.packets import packetise
from loadtest.peers import namespace
from loadtest.peers.bench import Plan, run_trial
from loadtest.peers.servers import CONTESTANTS
from tests.loadtest.conftest import short_clip


def main() -> int:
    try:
        namespace.enter()
    except namespace.NoNamespace as error:
        print(error, file=sys.stderr)
        return 77
    plan = Plan(namespace.ADDRESS, packetise(short_clip("vp8")), 1, 2.0, 1)
    contestant = next(each for each in CONTESTANTS if each.name == sys.argv[1])
    trial = asyncio.run(run_trial(plan, contestant, contestant.jobs[-1]))
    print(msgspec.json.encode(trial).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
