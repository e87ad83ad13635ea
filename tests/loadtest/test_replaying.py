import json

from loadtest.histogram import Histogram
from loadtest.replaying import Loads, Ratio, Result, Round


def round_of(*seconds: float, cpu_s: float = 0.1) -> Round:
    return Round(Histogram(seconds), {"media": cpu_s}, 2.0)


def test_a_ratio_is_that_of_most_rounds_and_says_how_sure_it_is() -> None:
    alone = [round_of(*[0.001] * 99), round_of(0.001), round_of(0.08)]
    replaying = [round_of(*[0.001] * 9, 0.002), round_of(0.003), round_of(0.001)]
    ratio = Ratio.of(replaying, alone)
    assert round(ratio.median, 1) == 2.0
    assert ratio.least < 0.1
    assert round(ratio.most, 1) == 3.0


def test_rounds_that_are_alike_leave_no_doubt() -> None:
    alike = [round_of(0.001)] * 3
    assert Ratio.of(alike, alike) == Ratio(1.0, 1.0, 1.0)


def test_those_who_replay_are_held_against_nobody_and_against_the_same_elsewhere() -> None:
    replaying = Loads([round_of(0.003)], Histogram([0.004]), fragments=6)
    elsewhere = Loads([round_of(0.002)])
    result = Result([round_of(0.001)], replaying, elsewhere)
    assert round(result.ratio.median, 1) == 3.0
    told = json.loads(result.as_json())
    ratios = {case: round(ratio[0], 1) for case, ratio in told["p99_ratio_with_bounds"].items()}
    assert ratios == {
        "replaying to elsewhere": 1.5,
        "replaying to alone": 3.0,
        "elsewhere to alone": 2.0,
    }
    assert told["alone"]["server_cpu_percent"] == {"media": 5.0}
    assert (told["replaying"]["fragments"], told["replaying"]["stalls"]) == (6, 0)
    assert round(told["elsewhere"]["latency_ms"]["p50"], 1) == 2.0
