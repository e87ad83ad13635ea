"""A short run of the mutation campaign (tests/recorder/mutations.py)."""

import random
from collections import Counter

import pytest

from server.recorder.format.manifest import MANIFEST_NAME
from tests.recorder.mutations import (
    MUTATIONS,
    ONE,
    Bench,
    Harm,
    boundaries,
    campaign,
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("mutations"))


def test_all_harm_is_named_and_nothing_else(bench: Bench) -> None:
    found = campaign(bench, 5 * len(MUTATIONS), 3)
    assert found.failures == []
    assert {name for name, _ in found.named} == {each.__name__ for each in MUTATIONS}


def test_a_cut_at_every_boundary_is_named(bench: Bench) -> None:
    part = f"{ONE}/00001.seg", "one"
    places = iter(boundaries(bench.read(part[0])))

    def cut_at_next(bench: Bench, chance: random.Random) -> Harm:
        bench.write(part[0], bench.read(part[0])[: next(places)])
        return Harm("one", "00001.seg", ("truncated",), bench.spans_s[part[0]])

    count = len(boundaries(bench.read(part[0])))
    found = campaign(bench, count, 3, (cut_at_next,))
    assert (found.failures, found.named) == ([], Counter({("cut_at_next", "truncated"): count}))


def test_what_is_not_noticed_or_named_otherwise_is_a_failure(bench: Bench) -> None:
    def touch_what_nobody_signed(bench: Bench, chance: random.Random) -> Harm:
        bench.write("data/log/note", chance.randbytes(4))
        return Harm("one", "note", ("tampered",))

    def name_it_wrongly(bench: Bench, chance: random.Random) -> Harm:
        (bench.at / ONE / "00001.seg").unlink()
        wrong = ("00000.seg", "missing", 11.0), ("00001.seg", "foreign", 11.0)
        file, word, at_s = chance.choice([*wrong, ("00001.seg", "missing", 13.0)])
        return Harm("one", file, (word,), (at_s, at_s))

    def claim_what_holds(bench: Bench, chance: random.Random) -> Harm:
        bench.write("data/log/note", chance.randbytes(4))
        return Harm("one", MANIFEST_NAME, (), told="It was sealed by")

    found = campaign(bench, 3, 3, (touch_what_nobody_signed,))
    assert [each.split(": ")[2:4] for each in found.failures] == 3 * [
        ["verify", "finds nothing"],
        ["reader", "finds nothing"],
    ]
    assert len(campaign(bench, 9, 3, (name_it_wrongly,)).failures) == 18
    assert "it is claimed" in campaign(bench, 1, 3, (claim_what_holds,)).failures[0]
