from itertools import product

from server.core.interviews import InterviewState as S
from server.signaling.states import TRANSITIONS, Happening


def test_every_happening_has_a_result_in_every_state() -> None:
    assert set(TRANSITIONS) == set(product(S, Happening))


def test_connected_media_always_makes_an_interview_live() -> None:
    assert {TRANSITIONS[state, Happening.CONNECTED] for state in S} == {S.LIVE}


def test_a_lost_connection_ends_nothing() -> None:
    assert TRANSITIONS[S.LIVE, Happening.LOST] is S.INTERRUPTED
    assert S.ENDED not in {TRANSITIONS[s, Happening.LOST] for s in S if s is not S.ENDED}
