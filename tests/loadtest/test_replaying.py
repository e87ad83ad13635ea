import json

from loadtest.histogram import Histogram
from loadtest.replaying import Result, Round


def round_of(*seconds: float, cpu_s: float = 0.1) -> Round:
    return Round(Histogram(seconds), {"media": cpu_s}, 2.0)


def test_the_ratio_is_that_of_most_rounds_and_says_how_sure_it_is() -> None:
    alone = [round_of(*[0.001] * 99), round_of(0.001), round_of(0.08)]
    replaying = [round_of(*[0.001] * 9, 0.002), round_of(0.003), round_of(0.001)]
    result = Result(alone, replaying)
    assert round(result.ratio, 1) == 2.0
    least, most = result.ratio_between()
    assert least < 0.1
    assert round(most, 1) == 3.0
    result.reads.add(0.004)
    result.fragments = 1
    told = json.loads(result.as_json())
    assert (told["p99_ratio"], told["fragments"], told["stalls"]) == (round(result.ratio, 3), 1, 0)
    assert told["alone"]["server_cpu_percent"] == {"media": 5.0}
    assert (told["replaying"]["packets"], told["replaying"]["latency_ms"]["p50"]) == (12, 1.0)


def test_rounds_that_are_alike_leave_no_doubt() -> None:
    result = Result([round_of(0.001)] * 3, [round_of(0.001)] * 3)
    assert (result.ratio, result.ratio_between()) == (1.0, (1.0, 1.0))
