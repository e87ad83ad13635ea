"""`vivavoce` as a program, on a machine that carries one interview.

What a candidate is taken to cost at least is set to all that there is; everything else is as ever.
"""

import sys

from server.cli import main
from server.core.interviews import Role
from server.signaling import admission, errors
from server.signaling.protocol import ErrorId

RETRY_AFTER_S = 3

if __name__ == "__main__":
    admission.COST = admission.LIMITS[Role.CANDIDATE].busy
    errors.RETRY_AFTER_S[ErrorId.SERVER_BUSY] = RETRY_AFTER_S
    sys.exit(main())
