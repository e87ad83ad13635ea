"""A short run of the mutation campaign (tests/recorder/mutations.py)."""

import random
from pathlib import Path

from tests.recorder.mutations import MUTATIONS, Bench, campaign


def test_all_harm_is_named_and_nothing_else(tmp_path: Path) -> None:
    found = campaign(tmp_path, 200, 3)
    assert found.failures == []
    assert {name for name, _ in found.named} == {each.__name__ for each in MUTATIONS}


def test_what_is_not_noticed_is_a_failure(tmp_path: Path) -> None:
    def touch_what_nobody_signed(bench: Bench, chance: random.Random) -> None:
        (bench.log / "note").write_bytes(chance.randbytes(4))

    found = campaign(tmp_path, 3, 3, (touch_what_nobody_signed,))
    assert len(found.failures) == 6
    assert all(each.endswith("finds nothing") for each in found.failures)
