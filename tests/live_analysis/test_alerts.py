from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.indicators import Alert, Indicator
from server.live_analysis.alerts import RULES, Alerts

STEP_S = 0.2


def play(alerts: Alerts, name: str, values: Iterable[float | None], start_s: float) -> list[Alert]:
    """Give a value every 0.2 s; collect what changes."""
    changed = []
    for at, value in enumerate(values):
        now_s = start_s + at * STEP_S
        changed += alerts.update([Indicator(name, value, "", now_s - STEP_S, now_s)])
    return changed


CASES = [
    ("audio-lost", "voice.loudness", None, -40.0, 5.0, 0.4),
    ("audio-lost", "voice.loudness", -100.0, -40.0, 5.0, 0.4),
    ("silence", "speech.pause", 31.0, 0.0, 0.0, 0.4),
    ("video-frozen", "picture.frozen", 3.2, 0.0, 0.0, 1.0),
    ("no-face", "face.count", 0.0, 1.0, 3.0, 1.0),
    ("several-faces", "face.count", 2.0, 1.0, 2.0, 2.0),
    ("too-dark", "picture.light", 0.05, 0.4, 3.0, 1.0),
    ("poor-connection", "network.loss", 0.1, 0.0, 3.0, 5.0),
    ("poor-connection", "network.round_trip", 600.0, 50.0, 3.0, 5.0),
    ("poor-connection", "network.jitter", 90.0, 5.0, 3.0, 5.0),
]


@pytest.mark.parametrize(("id_", "name", "bad", "good", "begin_s", "end_s"), CASES)
def test_alert_begins_and_ends_after_its_hold_times(
    id_: str, name: str, bad: float | None, good: float, begin_s: float, end_s: float
) -> None:
    alerts = Alerts()
    steps = round(begin_s / STEP_S)
    assert play(alerts, name, [bad] * steps, 100.0) == []
    begin = play(alerts, name, [bad] * 3, 100.0 + steps * STEP_S)
    assert [(it.id, it.active, round(it.since_s, 2)) for it in begin] == [(id_, True, 100.0)]
    steps = round(end_s / STEP_S)
    assert play(alerts, name, [good] * steps, 200.0) == []
    end = play(alerts, name, [good] * 3, 200.0 + steps * STEP_S)
    assert [(it.id, it.active, round(it.since_s, 2)) for it in end] == [(id_, False, 200.0)]


def test_a_condition_that_does_not_last_raises_no_alert() -> None:
    assert play(Alerts(), "face.count", [0] * 14 + [1] + [0] * 14, 0.0) == []


def test_values_between_the_two_limits_change_nothing() -> None:
    alerts = Alerts()
    between = [0.14] * 100
    assert play(alerts, "picture.light", between, 0.0) == []
    assert len(play(alerts, "picture.light", [0.05] * 20, 50.0)) == 1
    assert play(alerts, "picture.light", between, 60.0) == []


def test_a_value_that_cannot_be_measured_keeps_an_alert_as_it_is() -> None:
    alerts = Alerts()
    assert len(play(alerts, "face.count", [0] * 20, 0.0)) == 1
    assert play(alerts, "face.count", [None] * 100, 10.0) == []


def test_a_poor_connection_ends_only_when_all_of_it_is_good() -> None:
    alerts = Alerts()
    play(alerts, "network.jitter", [5.0], 0.0)
    assert len(play(alerts, "network.loss", [0.2] * 20, 0.0)) == 1
    play(alerts, "network.jitter", [60.0], 5.0)
    assert play(alerts, "network.loss", [0.0] * 50, 10.0) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted({name for rule in RULES for name in rule.reads})),
            st.none() | st.floats(-1000, 1000),
        ),
        max_size=60,
    )
)
def test_alerts_begin_before_they_end(values: list[tuple[str, float | None]]) -> None:
    alerts = Alerts()
    active: set[str] = set()
    for second, (name, value) in enumerate(values):
        for alert in alerts.update([Indicator(name, value, "", second, second + 1)]):
            assert alert.active == (alert.id not in active)
            active ^= {alert.id}
