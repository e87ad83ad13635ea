"""A store that is behind is a notice, a disk that fills an alarm; both end by themselves."""

import pytest

from server.core.indicators import Alert
from server.signaling.admission import RECORDED_BYTES_PER_S, Load
from server.signaling.storage import (
    BEHIND_S,
    DISK_FILLING,
    FULL_S,
    ROOM_S,
    STORE_BEHIND,
    Storage,
)


def told(storage: Storage) -> list[Alert]:
    return list(storage.alerts)


def behind(seconds: float) -> Load:
    return Load(store_behind_s=seconds)


def disk(lasts_s: float, bytes_per_s: float = RECORDED_BYTES_PER_S) -> Load:
    return Load(disk_bytes=lasts_s * bytes_per_s, recorded_bytes_per_s=bytes_per_s)


def test_a_store_that_is_behind_for_a_moment_is_nobodys_business() -> None:
    storage = Storage()
    storage.measured(behind(BEHIND_S - 0.1), 1, 500.0)
    assert told(storage) == []
    storage.measured(behind(BEHIND_S), 1, 500.1)
    assert told(storage) == [Alert(STORE_BEHIND, True, 440.1)]
    storage.measured(behind(BEHIND_S + 1), 1, 501.1)
    assert told(storage) == [Alert(STORE_BEHIND, True, 440.1)], "told once"
    storage.measured(behind(0), 1, 502.1)
    assert told(storage) == []


def test_a_disk_that_fills_is_told_while_there_is_time_and_until_there_is_room() -> None:
    storage = Storage()
    for lasts_s, active in (
        (FULL_S + 1, False),
        (FULL_S - 1, True),
        (ROOM_S - 1, True),
        (ROOM_S + 1, False),
        (ROOM_S - 1, False),
    ):
        storage.measured(disk(lasts_s), 1, 500.0)
        assert [alert.id for alert in told(storage)] == [DISK_FILLING] * active, lasts_s


def test_a_disk_is_held_against_what_is_recorded() -> None:
    storage = Storage()
    full = disk(FULL_S - 1)
    storage.measured(full, 0, 500.0)
    assert told(storage) == [], "nobody is being recorded"
    storage.measured(disk(FULL_S + 1, 10 * RECORDED_BYTES_PER_S), 2, 500.0)
    assert told(storage) == [], "as much as was measured"
    storage.measured(disk(FULL_S + 1), 2, 500.0)
    assert [alert.id for alert in told(storage)] == [DISK_FILLING], "two have just begun"


@pytest.mark.parametrize("alert_id", [STORE_BEHIND, DISK_FILLING])
def test_whoever_comes_late_is_told_what_holds_and_then_when_it_ends(alert_id: str) -> None:
    storage, other = Storage(), Alert("no-face", True, 1.0)
    known = {other.id: other}
    assert list(storage.changes(known, 500.0)) == []
    storage.measured(behind(100) if alert_id == STORE_BEHIND else disk(1), 1, 500.0)
    (begun,) = storage.changes(known, 501.0)
    assert (begun.id, begun.active) == (alert_id, True)
    assert list(storage.changes(known | {alert_id: begun}, 502.0)) == []
    storage.measured(Load(), 1, 503.0)
    assert list(storage.changes(known | {alert_id: begun}, 504.0)) == [
        Alert(alert_id, False, 504.0)
    ]
