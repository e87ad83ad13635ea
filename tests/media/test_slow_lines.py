"""An observer's line that takes much less from one moment to the next: what is seen and heard."""

from typing import NamedTuple

import pytest

from tests.media.watched import Call

SEEDS = 6
WELL_S, SLOW_S = 6.0, 12.0


class Seen(NamedTuple):
    frozen_s: float
    heard: float  #: share of the sound
    lines: int  #: of the pictures at the end
    repairs: float  #: octets, as part of all


def slowed(seed: str, **line: float) -> Seen:
    call = Call(seed)
    call.run(WELL_S)
    freezes = call.screen.freezes
    before_s, sent, heard = freezes.total_s, call.sounds_sent, call.sounds_heard
    call.octets = dict.fromkeys(call.octets, 0)
    call.change(**line)
    call.run(SLOW_S)
    up = call.camera_down._up
    assert up is not None
    shown_s = freezes.shown_s
    assert shown_s is not None
    assert call.now - shown_s < 1, "the picture stands"
    return Seen(
        freezes.total_s - before_s,
        (call.sounds_heard - heard) / (call.sounds_sent - sent),
        {"l": 180, "m": 360, "h": 720}[up.rid],
        call.octets["repairs"] / sum(call.octets.values()),
    )


def test_nothing_is_missing_while_the_line_takes_all() -> None:
    seen = slowed("1", rate_bps=20e6)
    assert seen.frozen_s == 0
    assert seen.heard > 0.99
    assert (seen.lines, seen.repairs) == (720, 0)


@pytest.mark.parametrize(("rate_bps", "most_s"), [(500e3, 2.0), (300e3, 2.0), (1e6, 1.0)])
def test_smaller_pictures_come_soon_and_sound_goes_on(rate_bps: float, most_s: float) -> None:
    runs = [slowed(str(seed), rate_bps=rate_bps) for seed in range(SEEDS)]
    assert max(each.frozen_s for each in runs) < most_s
    assert min(each.heard for each in runs) > 0.95
    assert all(each.lines < 720 for each in runs)
    # What is lost is far more than there is room for: a keyframe is cheaper.
    assert max(each.repairs for each in runs) < 0.15


def test_where_the_smallest_picture_hardly_fits_some_of_it_is_seen_and_nearly_all_is_heard() -> (
    None
):
    runs = [slowed(str(seed), rate_bps=150e3) for seed in range(SEEDS // 2)]
    assert max(each.frozen_s for each in runs) < 3
    assert min(each.heard for each in runs) > 0.9
    assert all(each.lines == 180 for each in runs)


def test_so_on_a_line_that_also_loses() -> None:
    runs = [slowed(str(seed), rate_bps=500e3, loss=0.05) for seed in range(SEEDS)]
    assert max(each.frozen_s for each in runs) < 3
    assert min(each.heard for each in runs) > 0.89


@pytest.mark.parametrize("burst", [1, 4])
def test_a_line_that_loses_a_fifth_from_the_first_on_shows_pictures_that_move(burst: int) -> None:
    standing_s = []
    for seed in range(SEEDS):
        call = Call(str(seed))
        call.change(loss=0.2, burst=burst)
        call.run(SLOW_S)
        standing_s.append(call.screen.freezes.standing_s)
    assert sum(standing_s) / SEEDS < 1


def test_so_on_one_that_begins_to_when_it_has_been_well() -> None:
    standing_s = []
    for seed in range(SEEDS):
        call = Call(str(seed))
        call.run(WELL_S)
        call.change(loss=0.2)
        call.run(SLOW_S)
        standing_s.append(call.screen.freezes.standing_s)
    assert sum(standing_s) / SEEDS < 1
