"""The targets of `make fuzz` on their seeds, and on what has failed once (both in `corpus`)."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MAKEFILE = Path(__file__).parents[2] / "Makefile"
SEEDS = {name: sorted((CORPUS / name).iterdir()) for name in TARGETS}


def test_each_target_has_seeds_and_each_folder_a_target() -> None:
    assert {each.name for each in CORPUS.iterdir()} == set(TARGETS)
    assert all(SEEDS.values())


def test_make_fuzz_runs_all_targets() -> None:
    (line,) = re.findall(r"^TARGETS \?= (.*)$", MAKEFILE.read_text(), re.MULTILINE)
    assert line.split() == list(TARGETS)


@pytest.mark.parametrize(
    ("target", "seed"),
    [(name, seed) for name, files in SEEDS.items() for seed in files],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_seed_fails_no_more(target: str, seed: Path) -> None:
    TARGETS[target](seed.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_fail_nothing(target: str, data: bytes) -> None:
    TARGETS[target](data)
