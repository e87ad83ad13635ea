import json

from loadtest.replaying import Result


def test_the_ratio_is_that_of_the_medians_as_one_round_may_be_disturbed() -> None:
    result = Result(p99_alone_ms=[4.0, 90.0, 5.0], p99_replaying_ms=[5.0, 5.5, 80.0])
    assert result.ratio == 1.1
    result.reads.add(0.004)
    result.fragments = 1
    told = json.loads(result.as_json())
    assert (told["p99_ratio"], told["fragments"], told["stalls"]) == (1.1, 1, 0)
