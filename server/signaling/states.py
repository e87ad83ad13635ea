"""The states of an interview: one table."""

import enum

from server.core.interviews import InterviewState as S


class Happening(enum.StrEnum):
    """What the candidate's side does."""

    CONNECTED = "connected"  #: its media flows
    LOST = "lost"  #: its connection is lost, without a goodbye
    LEFT = "left"  #: the candidate left, or the link was revoked


TRANSITIONS: dict[tuple[S, Happening], S] = {
    (S.WAITING, Happening.CONNECTED): S.LIVE,
    (S.WAITING, Happening.LOST): S.WAITING,  # an attempt that never connected
    (S.WAITING, Happening.LEFT): S.WAITING,  # looked at the page and closed it
    (S.LIVE, Happening.CONNECTED): S.LIVE,  # opened again elsewhere, which replaces
    (S.LIVE, Happening.LOST): S.INTERRUPTED,
    (S.LIVE, Happening.LEFT): S.ENDED,
    (S.INTERRUPTED, Happening.CONNECTED): S.LIVE,
    (S.INTERRUPTED, Happening.LOST): S.INTERRUPTED,
    (S.INTERRUPTED, Happening.LEFT): S.ENDED,
    (S.ENDED, Happening.CONNECTED): S.LIVE,  # left by mistake: the link works until revoked
    (S.ENDED, Happening.LOST): S.ENDED,
    (S.ENDED, Happening.LEFT): S.ENDED,
}
