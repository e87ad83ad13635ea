from hypothesis import given
from hypothesis import strategies as st

from server.signaling.limits import KeyedLimit, Rate, TokenBucket


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = TokenBucket(Rate(per_s=2, burst=3))
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(Rate(per_s=100, burst=2))
    assert bucket.take(0)
    assert [bucket.take(1_000) for _ in range(3)] == [True, True, False]


def test_a_clock_that_goes_back_refills_nothing() -> None:
    bucket = TokenBucket(Rate(per_s=1, burst=1))
    assert bucket.take(10)
    assert not bucket.take(0)
    assert not bucket.take(0.5)


@given(st.lists(st.floats(0, 10), max_size=200))
def test_no_more_pass_than_burst_and_rate_allow(times: list[float]) -> None:
    bucket = TokenBucket(Rate(per_s=3, burst=5))
    passed = sum(bucket.take(now) for now in sorted(times))
    assert passed <= 5 + 3 * 10 + 1e-6


def test_keys_do_not_use_up_each_other() -> None:
    limit = KeyedLimit(Rate(per_s=1, burst=1))
    assert limit.take("a", 0)
    assert limit.take("b", 0)
    assert not limit.take("a", 0)


def test_only_the_most_recent_keys_are_remembered() -> None:
    limit = KeyedLimit(Rate(per_s=1, burst=1), max_keys=2)
    for key in ("a", "b", "a", "c"):  # b is the least recent when c comes
        limit.take(key, 0)
    assert len(limit) == 2
    assert not limit.take("a", 0)
    assert limit.take("b", 0)


def test_a_key_whose_bucket_is_full_again_is_forgotten() -> None:
    limit = KeyedLimit(Rate(per_s=1, burst=2))
    for second in range(100):
        assert limit.take(f"link {second}", second)
        assert len(limit) <= 2
    assert [limit.take("link 99", 99), limit.take("link 99", 99)] == [True, False]


def test_a_key_that_has_used_up_its_rate_is_not_forgotten() -> None:
    limit = KeyedLimit(Rate(per_s=1, burst=10))
    assert sum(limit.take("greedy", 0) for _ in range(20)) == 10
    for second in range(1, 10):
        assert limit.take(f"link {second}", second)
    assert sum(limit.take("greedy", 9) for _ in range(20)) == 9
