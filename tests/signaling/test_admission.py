import contextlib
from dataclasses import replace

import pytest

from server.core.interviews import Role
from server.signaling.admission import (
    COST,
    DISK_S,
    FILES,
    LIMITS,
    MEMORY_BYTES,
    RECORDED_BYTES_PER_S,
    UNSEEN_S,
    Admission,
    Load,
    Resource,
)
from server.signaling.errors import Refusal
from server.signaling.protocol import ErrorId

LIMIT = LIMITS[Role.CANDIDATE].busy
LATER_S = 1_000.0  #: long after those inside have joined


def running(count: int, load: Load) -> Admission:
    """Interviews that have been there for long, under that load."""
    admission = Admission()
    for _ in range(count):
        admission.opened(0.0)
    admission.measured(load, LATER_S)
    return admission


def refused(admission: Admission, role: Role = Role.CANDIDATE, now: float = LATER_S) -> str | None:
    """For want of what a newcomer is refused."""
    before = admission.refused.copy()
    observer = role is Role.OBSERVER
    admit = admission.admit_observer if observer else admission.admit_candidate
    with contextlib.suppress(Refusal):
        admit(now)
    reasons = [reason for _, reason in admission.refused - before]
    return reasons[0] if reasons else None


def test_an_idle_server_takes_anybody() -> None:
    admission = Admission()
    assert refused(admission) is None
    assert set(admission.headroom(0.0)) == set(Resource)
    assert min(admission.headroom(0.0).values()) > 0.9


@pytest.mark.parametrize(
    ("load", "lacking"),
    [
        (Load(busy=LIMIT - 1.01 * LIMIT / 50), None),
        (Load(busy=LIMIT - 0.99 * LIMIT / 51), "loop"),  # with one more of its 50 it would be full
        (Load(late_s=0.059), None),
        (Load(late_s=0.061), "tick"),
        (Load(write_lag_s=0.9), None),
        (Load(write_lag_s=1.1), "writer"),
        (Load(disk_bytes=51.1 * DISK_S * RECORDED_BYTES_PER_S), None),
        (Load(disk_bytes=50.9 * DISK_S * RECORDED_BYTES_PER_S), "disk"),
        (Load(memory_bytes=1.1 * MEMORY_BYTES), None),
        (Load(memory_bytes=0.9 * MEMORY_BYTES), "memory"),
        (Load(files=FILES + 1), None),
        (Load(files=FILES - 1), "files"),
    ],
)
def test_the_next_one_is_refused_before_those_inside_lack_anything(
    load: Load, lacking: str | None
) -> None:
    assert refused(running(50, load)) == lacking


def test_what_is_measured_of_recordings_tells_what_the_next_one_takes() -> None:
    disk_bytes = 60 * DISK_S * RECORDED_BYTES_PER_S
    assert refused(running(50, Load(disk_bytes=disk_bytes))) is None
    twice = 2 * 50 * RECORDED_BYTES_PER_S
    load = Load(recorded_bytes_per_s=twice, disk_bytes=disk_bytes)
    assert refused(running(50, load)) == "disk"


def test_dear_interviews_leave_room_for_fewer() -> None:
    """Ten of them with many observers: the eleventh is taken to have as many."""
    busy = 0.9 * LIMIT
    assert refused(running(10, Load(busy=busy))) is None
    assert refused(running(5, Load(busy=busy))) == "loop"


def test_with_nobody_inside_nobody_is_kept_waiting() -> None:
    late = Load(busy=1.0, late_s=1.0, write_lag_s=9.0)
    assert refused(running(0, late)) is None
    assert refused(running(0, replace(late, disk_bytes=0.0))) == "disk"


def test_observers_are_taken_for_longer_than_candidates() -> None:
    between = running(50, Load(busy=(LIMIT + LIMITS[Role.OBSERVER].busy) / 2))
    assert refused(between) == "loop"
    assert refused(between, Role.OBSERVER) is None
    assert refused(running(50, Load(busy=1.0)), Role.OBSERVER) == "loop"


def test_a_crowd_that_comes_at_once_is_counted_before_it_is_measured() -> None:
    admission = Admission()
    taken = 0
    while refused(admission, now=0.0) is None:
        admission.opened(0.0)
        taken += 1
    assert taken == pytest.approx(LIMIT / COST, abs=1)
    # Once what they cost is measured it is that which counts: here a half.
    admission.measured(Load(busy=LIMIT / 2), UNSEEN_S)
    assert refused(admission, now=UNSEEN_S) is None


def test_a_crowd_of_observers_is_counted_before_it_is_measured_too() -> None:
    busy = 0.25
    admission = running(1, Load(busy=busy))
    taken = 0
    while taken < 1000 and refused(admission, Role.OBSERVER) is None:
        taken += 1
    assert taken == pytest.approx((LIMITS[Role.OBSERVER].busy - busy) / COST, abs=1)
    assert refused(admission) is None, "they keep no candidate out before they are measured"
    admission.measured(Load(busy=0.5), LATER_S + UNSEEN_S)
    assert refused(admission, Role.OBSERVER, LATER_S + UNSEEN_S) is None


def test_what_an_interview_takes_is_learned_from_those_that_are_measured() -> None:
    """Not from newcomers, with whom those inside would look cheap."""
    busy = 0.6 * LIMIT
    admission = running(5, Load(busy=busy))
    for _ in range(5):
        admission.opened(LATER_S)
    admission.measured(Load(busy=busy), LATER_S)
    assert refused(admission) == "loop"  # six more at 0.12 of the limit each


def test_who_has_gone_makes_room() -> None:
    admission = running(2, Load(disk_bytes=2.5 * DISK_S * RECORDED_BYTES_PER_S))
    assert refused(admission) == "disk"
    admission.closed()
    assert refused(admission) is None


def test_an_observer_costs_less_than_what_the_only_interview_is_measured_at() -> None:
    """A share of that may be waiting for others on the machine, which is not there twice."""
    admission = running(1, Load(busy=0.5))
    assert refused(admission) == "loop"
    assert refused(admission, Role.OBSERVER) is None
    admission.measured(Load(busy=0.75 - COST), LATER_S)
    assert refused(admission, Role.OBSERVER) == "loop"


def test_an_observer_is_told_to_come_back_sooner_than_a_candidate() -> None:
    """What is too busy for an observer is a moment; a candidate waits for somebody to leave."""
    admission = running(1, Load(busy=0.9))
    for admit, after_s in ((admission.admit_observer, 2), (admission.admit_candidate, 10)):
        with pytest.raises(Refusal) as caught:
            admit(LATER_S)
        assert caught.value.retry_after_s == after_s


def test_while_it_drains_new_candidates_are_told_of_the_restart() -> None:
    admission = Admission()
    admission.draining = True
    with pytest.raises(Refusal) as caught:
        admission.admit_candidate(0.0)
    assert caught.value.id is ErrorId.SERVER_RESTARTING
    assert admission.refused == {(Role.CANDIDATE, "draining"): 1}
    admission.admit_observer(0.0)
