"""Which rate factor is tried next, and where the search ends."""

from hypothesis import given
from hypothesis import strategies as st

from server.recorder.compression.recode_job import Quality
from server.recorder.compression.track_recoder import (
    WINDOW,
    WORST_CRF,
    Bar,
    Try,
    counted,
    next_crf,
)

BAR = Bar(Quality(91.0, 0.0), Quality(90.3, 0.0), 34, 12)
PLENTY = 1e9


def picture(crf: int, hard: float = 0.0) -> Try:
    """What an encoder comes to: a third of a point, and 9 % of the bytes, by step."""
    return Try(Quality(91.0 - hard + (34 - crf) / 3, 37.0), round(50_000 * 1.09 ** (34 - crf)))


def search(most: float, hard: float = 0.0, crf: int = 34) -> tuple[int, int]:
    """The rate factor that is found, and how many were tried."""
    tried: dict[int, Try] = {}
    while crf not in tried:
        tried[crf] = picture(crf, hard)
        crf = next_crf(tried, crf, BAR, most)
    return crf, len(tried)


def single(*vmafs: float) -> list[Quality]:
    return [Quality(each, 40.0) for each in vmafs]


def test_what_reaches_its_aim_is_made_once() -> None:
    assert search(PLENTY) == (34, 1)


def test_a_harder_one_is_made_better_as_far_as_its_aim() -> None:
    crf, count = search(PLENTY, hard=3.0)
    assert (picture(crf, 3.0).quality.vmaf >= 91.0, count) == (True, 2)


def test_where_there_is_no_room_the_least_is_enough() -> None:
    crf, _ = search(most=10.0)
    least = picture(crf).quality.vmaf
    assert 90.3 <= least < 90.3 + 1 / 3
    crf, _ = search(most=10.0, hard=3.0)
    assert 90.3 <= picture(crf, 3.0).quality.vmaf < 90.3 + 1 / 3


def test_what_the_best_does_not_bring_near_ends_the_search() -> None:
    crf, _ = search(PLENTY, hard=30.0)
    assert crf == BAR.best_crf


@given(
    st.integers(BAR.best_crf, WORST_CRF),
    st.floats(0.0, 1e7),
    st.lists(st.tuples(st.floats(60, 100), st.integers(1, 10**7)), min_size=64, max_size=64),
)
def test_whatever_encoders_do_it_ends_with_one_that_is_near_if_any_was(
    crf: int, most: float, comes_to: list[tuple[float, int]]
) -> None:
    tried: dict[int, Try] = {}
    while crf not in tried:
        vmaf, size = comes_to[crf]
        tried[crf] = Try(Quality(vmaf, 37.0), size)
        crf = next_crf(tried, crf, BAR, most)
        assert BAR.best_crf <= crf <= WORST_CRF
    near = any(each.quality.vmaf >= BAR.least.vmaf for each in tried.values())
    assert near == (tried[crf].quality.vmaf >= BAR.least.vmaf)


def test_any_ten_seconds_count_by_their_mean_and_a_second_that_is_far_below() -> None:
    assert counted(single(*(WINDOW * [92.0]))).vmaf == 92.0
    assert counted(single(*(WINDOW * [92.0]), *(WINDOW * [90.0]))).vmaf == 90.0
    assert counted(single(92.0, 92.0, 89.0)).vmaf == 91.0
    assert counted(single(*(9 * [92.0]), 85.0)).vmaf == 89.0, "4 more than the second"
