"""`vivavoce` as a program that takes in whoever comes.

The machine of the tests is busy with browsers and other tests, of which admission knows nothing.
"""

import math
import sys

from server.core.interviews import Role
from server.signaling import admission


def take_in_everybody() -> None:
    for role in (Role.CANDIDATE, Role.OBSERVER):
        admission.LIMITS[role] = admission.Limits(math.inf, math.inf, math.inf)


if __name__ == "__main__":
    from server.cli import main

    take_in_everybody()
    sys.exit(main())
