import pytest

from loadtest.levels import DEMANDS, judge


@pytest.mark.parametrize(
    ("key", "measured", "kept"),
    [
        ("frames", 99.9, True),
        ("frames", 99.89, False),
        ("forward", 50, True),
        ("forward", 50.1, False),
        ("indicators", 501, False),
        ("joined", 99.99, False),
        ("recorded", None, None),
    ],
)
def test_a_level_is_kept_up_to_its_limit(
    key: str, measured: float | None, kept: bool | None
) -> None:
    (level,) = judge({key: measured})
    assert (level.measured, level.kept, level.limit) == (measured, kept, DEMANDS[key].limit)


def test_levels_come_in_one_order_and_only_those_asked_for() -> None:
    levels = judge({"forward": 1.0, "joined": 100.0})
    assert [level.name for level in levels] == ["interviews joined", "forward latency p99"]
