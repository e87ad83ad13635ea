"""Layers chosen for the recording, for the analysis and for observers."""

from itertools import pairwise

import pytest

from server.core.frames import OF_CANDIDATE, Codec, GapCause, TrackName
from server.core.picture import octets_of_layers
from server.media.forwarding.down_track import MAX_KEYFRAMES, MAX_STEP_S
from server.media.forwarding.layer import LOOK_S, QUIET_LOOKS, RETURN_S
from server.media.forwarding.track import RAISE_S
from server.media.receiving.up_track import KEYFRAME_INTERVAL_S
from tests.media.layered import FPS, OCTETS, Simulcast, Sink, Watcher
from tests.media.spatial import Spatial, SpatialWatcher

#: As an assembled picture has them: a packet's without its descriptor.
L, M, H = (OCTETS[rid] for rid in "lmh")


def recorded(candidate: Simulcast) -> Sink:
    sink = Sink()
    candidate.source.add_sink(sink)
    return sink


# ---- the recording -------------------------------------------------------------------------


def test_the_best_layer_is_recorded_from_its_first_keyframe_and_no_gap_is_declared() -> None:
    """Browsers begin with small layers and add the others as the network proves able."""
    candidate = Simulcast()
    sink = recorded(candidate)
    candidate.run(1.0, "l")
    candidate.run(1.0, "lm")
    candidate.run(1.0, "lmh")
    assert (sink.sizes, sink.gaps) == ([L, M, H], [])
    times = [frame.capture_s for frame in sink.frames]
    assert max(later - time for time, later in pairwise(times)) < 1.5 / FPS


def test_layer_that_the_browser_stops_is_followed_by_the_next_and_taken_again_later() -> None:
    candidate = Simulcast()
    sink = recorded(candidate)
    candidate.run(3.0)
    stopped_s = sink.frames[-1].capture_s
    candidate.run(2.0, "lm")
    (gap,) = sink.gaps
    assert (gap.track, gap.cause, gap.start_s) == (
        TrackName.CAMERA,
        GapCause.LAYER_STOPPED,
        stopped_s,
    )
    longest_s = (QUIET_LOOKS + 2) * LOOK_S
    assert gap.lost == pytest.approx((gap.end_s - gap.start_s) * FPS, abs=1)
    assert 0 < gap.end_s - gap.start_s < longest_s
    candidate.run(RETURN_S / 2)
    assert sink.sizes == [H, M], "not before it was well for a while"
    candidate.run(RETURN_S)
    assert (sink.sizes, len(sink.gaps)) == ([H, M, H], 1)


def test_layer_of_fewer_pictures_than_the_next_has_no_gap_where_that_takes_over() -> None:
    candidate = Simulcast()
    sink = recorded(candidate)
    candidate.run(1.0, "l")
    for _ in range(40):
        candidate.step("lmh")
        candidate.run(0.1, "mh")
    assert (sink.sizes[-1], sink.gaps) == (H, [])


def test_layer_that_comes_and_goes_is_taken_ever_later() -> None:
    candidate = Simulcast()
    sink = recorded(candidate)
    candidate.run(2.0)
    for _ in range(3):
        candidate.run(1.0, "lm")
        candidate.run(1.5 * RETURN_S)
    assert len(sink.gaps) == 2, "the third time it was not taken again yet"


def test_pause_of_all_layers_is_no_reason_to_change() -> None:
    candidate = Simulcast()
    sink = recorded(candidate)
    candidate.run(2.0)
    candidate.run(1.0, "")
    candidate.run(1.0)
    assert (sink.sizes[-1], sink.gaps) == (H, [])


def test_lost_packets_of_the_best_layer_are_a_gap_as_ever_and_of_others_none() -> None:
    candidate = Simulcast()
    sink = recorded(candidate)
    candidate.run(2.0)
    candidate.step(lost="lm")
    candidate.run(2.0)
    assert sink.gaps == []
    candidate.step(lost="h")
    candidate.run(2.0)
    assert [(gap.cause, gap.lost) for gap in sink.gaps] == [(GapCause.PACKETS_LOST, 1)]
    assert sink.sizes[-1] == H


def test_keyframes_come_by_themselves_only_in_layers_that_sinks_get() -> None:
    candidate = Simulcast()
    recorded(candidate)
    candidate.run(2.0)
    asked = {rid: up.keyframe_requests for rid, up in candidate.ups.items()}
    candidate.run(2 * KEYFRAME_INTERVAL_S)
    more = {rid: up.keyframe_requests - asked[rid] for rid, up in candidate.ups.items()}
    assert (more["l"], more["m"]) == (0, 0)
    assert more["h"] == 2


# ---- the analysis --------------------------------------------------------------------------


@pytest.mark.parametrize(("enough", "size"), [(180, L), (270, M), (720, H), (1080, H)])
def test_analysis_gets_the_smallest_layer_that_is_enough(enough: int, size: int) -> None:
    candidate = Simulcast()
    recording, analysis = recorded(candidate), Sink()
    candidate.source.add_sink(analysis, enough)
    candidate.run(3.0)
    assert (recording.sizes[-1], analysis.sizes[-1]) == (H, size)
    assert recording.gaps == analysis.gaps == []
    candidate.source.remove_sink(analysis)
    count = len(analysis.frames)
    candidate.run(0.5)
    assert len(analysis.frames) == count


def test_keyframe_for_the_analysis_is_asked_of_its_layer() -> None:
    candidate = Simulcast()
    recorded(candidate)
    candidate.source.add_sink(Sink(), 180)
    candidate.run(3.0)
    asked = {rid: up.keyframe_requests for rid, up in candidate.ups.items()}
    candidate.source.request_keyframe(TrackName.CAMERA, 180)
    candidate.run(0.1)
    more = [rid for rid, up in candidate.ups.items() if up.keyframe_requests > asked[rid]]
    assert more == ["l"]


# ---- observers -----------------------------------------------------------------------------


def watched(candidate: Simulcast) -> Watcher:
    watcher = Watcher(candidate)
    candidate.run(3.0)
    candidate.report()
    assert watcher.layers[-1] == "h"
    return watcher


def test_observer_goes_from_layer_to_layer_with_one_stream_of_numbers() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    for allowed_bps, rid in ((550e3, "m"), (150e3, "l"), (5e6, "h")):
        watcher.down.allow(allowed_bps)
        candidate.run(RAISE_S + 1)
        assert watcher.layers[-1] == rid
    first = watcher.headers[0][0]
    assert [seqno for seqno, _ in watcher.headers] == [
        (first + index) & 0xFFFF for index in range(len(watcher.sent))
    ]


def test_timestamps_go_on_as_the_pictures_were_taken() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    watcher.sent.clear()
    watcher.down.allow(550e3)
    candidate.run(2.0)
    assert watcher.layers == ["h", "m"]
    stamps = [timestamp for _, timestamp in watcher.headers]
    steps = [(later - stamp) & 0xFFFF_FFFF for stamp, later in pairwise(stamps)]
    ticks = 90_000 // FPS
    at = watcher.layers_at("m")
    assert 0 < steps[at - 1] <= 2 * ticks + 1500
    assert set(steps[at:]) == {ticks}


@pytest.mark.parametrize("apart_s", [-60.0, 60.0])
def test_timestamps_go_on_whatever_the_layers_clocks_say(apart_s: float) -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    clock = candidate.ups["m"].clock
    assert clock._offset_s is not None
    clock._offset_s += apart_s
    watcher.sent.clear()
    watcher.down.allow(550e3)
    candidate.run(2.0)
    assert watcher.layers == ["h", "m"]
    stamps = [timestamp for _, timestamp in watcher.headers]
    steps = [(later - stamp) & 0xFFFF_FFFF for stamp, later in pairwise(stamps)]
    assert 0 < max(steps) <= (MAX_STEP_S + 3 / FPS) * 90_000


def test_pictures_of_vp8_go_on_with_numbers_of_their_own() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    watcher.sent.clear()
    watcher.down.allow(550e3)
    candidate.run(2.0)
    at = watcher.layers_at("m")
    ids = watcher.picture_ids[at - 1 :]
    assert ids == [ids[0] + index for index in range(len(ids))]
    assert watcher.tl0s[at] == watcher.tl0s[at - 1] + 1


def test_only_the_layer_to_go_to_is_asked_for_a_keyframe() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    asked = {rid: up.keyframe_requests for rid, up in candidate.ups.items()}
    watcher.down.allow(550e3)
    candidate.run(1.0)
    more = {rid for rid, up in candidate.ups.items() if up.keyframe_requests > asked[rid]}
    assert more == {"m"}


def turn(candidate: Simulcast, watcher: Watcher) -> None:
    """Until the observer is to get another layer, from its next keyframe on."""
    while watcher.down._next is None:
        candidate.step()


def test_nothing_of_a_larger_layer_is_sent_while_a_smaller_one_is_waited_for() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    watcher.sent.clear()
    watcher.down.allow(550e3)
    turn(candidate, watcher)
    before = len(watcher.sent)
    candidate.run(0.1, "lh")  # the keyframe is late
    assert len(watcher.sent) == before
    assert not watcher.down.waiting, "for a keyframe of the larger one"
    candidate.run(2.0)
    assert watcher.layers == ["h", "m"]


def test_a_picture_that_is_held_back_while_it_changes_comes_back_in_the_layer_chosen() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    watcher.sent.clear()
    watcher.down.allow(550e3)
    turn(candidate, watcher)
    watcher.down.hold_back()
    before = len(watcher.sent)
    candidate.run(2.0)
    assert len(watcher.sent) == before
    watcher.down.show()
    candidate.run(1.0)
    assert watcher.layers == ["h", "m"]


def test_observers_get_layers_of_their_own() -> None:
    candidate = Simulcast()
    watcher, other = watched(candidate), watched(candidate)
    watcher.down.allow(150e3)
    candidate.run(2.0)
    assert (watcher.layers[-1], other.layers) == ("l", ["h"])


def test_observer_of_a_layer_that_stops_goes_on_with_the_next() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    candidate.run(2.0, "lm")
    assert watcher.layers[-1] == "m"
    candidate.run(RETURN_S + 1)
    assert watcher.layers[-1] == "h"


def test_more_is_sent_only_with_room_and_rest() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    watcher.down.allow(550e3)
    candidate.run(RAISE_S + 1)
    whole_bps = 8 * H * FPS
    watcher.down.allow(whole_bps / 2 * 1.05)
    candidate.run(RAISE_S + 1)
    assert watcher.layers[-1] == "m", "half of the pictures would fit, with nothing left over"
    watcher.down.allow(whole_bps * 1.3)
    candidate.run(1.0)
    assert watcher.layers[-1] == "h"
    watcher.down.allow(550e3)
    candidate.run(0.5)
    watcher.down.allow(whole_bps * 1.3)
    candidate.run(RAISE_S / 2)
    assert watcher.layers[-1] == "m"


def test_observer_who_leaves_or_comes_back_leaves_nothing_behind() -> None:
    candidate = Simulcast()
    watcher = watched(candidate)
    watcher.down.allow(550e3)
    candidate.step()
    candidate.source.remove_down(TrackName.CAMERA, watcher.down)
    assert all(up.downs == [] for up in candidate.ups.values())


def test_candidate_who_comes_back_is_seen_again_and_the_time_between_is_a_gap() -> None:
    candidate = Simulcast()
    watcher, sink = watched(candidate), recorded(candidate)
    candidate.run(1.0)
    last_s, count = sink.frames[-1].capture_s, len(watcher.sent)
    candidate.source.publisher_connected(OF_CANDIDATE, lambda: None, candidate.now)
    assert candidate.source.stats(candidate.now).tracks == {}
    again = Simulcast(source=candidate.source, now=candidate.now + 3)
    again.run(1.0)
    assert [(gap.cause, gap.start_s) for gap in sink.gaps] == [(GapCause.DISCONNECTED, last_s)]
    assert (sink.sizes[-1], watcher.layers[-1]) == (H, "h")
    seqnos = [seqno for seqno, _ in watcher.headers[count - 1 :]]
    assert seqnos == [(seqnos[0] + index) & 0xFFFF for index in range(len(seqnos))]


# ---- temporal layers -----------------------------------------------------------------------


def test_pictures_are_left_out_where_there_is_one_layer_and_numbers_have_no_holes() -> None:
    candidate = Simulcast("h")
    watcher = Watcher(candidate)
    candidate.run(3.0, "h")
    watcher.sent.clear()
    watcher.down.allow(700e3)
    candidate.run(2.0, "h")
    assert set(watcher.temporal_ids[10:]) == {0, 1}
    watcher.down.allow(100e3)
    candidate.run(1.0, "h")
    last = watcher.temporal_ids[-5:]
    assert set(last) == {0}, "the least there is"
    watcher.down.allow(5e6)
    candidate.run(3.0, "h")
    assert set(watcher.temporal_ids[-8:]) == {0, 1, 2}
    seqnos = [seqno for seqno, _ in watcher.headers]
    assert seqnos == [(seqnos[0] + index) & 0xFFFF for index in range(len(seqnos))]
    ids = watcher.picture_ids
    assert ids == [ids[0] + index for index in range(len(ids))]


def test_a_smaller_picture_is_preferred_to_one_that_jerks() -> None:
    candidate = Simulcast("lh")
    watcher = Watcher(candidate)
    candidate.run(3.0, "lh")
    watcher.down.allow(400e3)  # room for h at 7.5 a second, or all of l
    candidate.run(2.0, "lh")
    assert watcher.layers[-1] == "l"
    assert set(watcher.temporal_ids[-8:]) == {0, 1, 2}


# ---- spatial layers ------------------------------------------------------------------------


@pytest.mark.parametrize("key", [True, False])
@pytest.mark.parametrize("codec", [Codec.VP9, Codec.AV1])
def test_an_observer_gets_the_size_that_its_network_carries_and_the_recording_all(
    codec: Codec, key: bool
) -> None:
    candidate, sink = Spatial(key=key, codec=codec), Sink()
    candidate.source.add_sink(sink)
    watcher = SpatialWatcher(candidate)
    candidate.run(3.0)
    # 1.8, 0.6 and 0.12 Mbit/s, of which a quarter are the base layer's pictures.
    for allowed_bps, layers, temporal_ids in (
        (700e3, 2, {0, 1, 2}),
        (200e3, 1, {0, 1, 2}),
        (45e3, 1, {0}),
        (200e3, 1, {0, 1, 2}),
        (900e3, 2, {0, 1, 2}),
        (5e6, 3, {0, 1, 2}),
    ):
        watcher.down.allow(allowed_bps)
        candidate.run(RAISE_S + 1.0)
        last = watcher.pictures()[-8:]
        assert {each.layers for each in last} == {layers}, allowed_bps
        assert {each.temporal_id for each in last} == temporal_ids, allowed_bps
    counts = [octets_of_layers(codec, frame.payload) for frame in sink.frames]
    assert {sum(map(bool, octets)) for octets in counts} == {3}
    assert sink.gaps == []


@pytest.mark.parametrize("codec", [Codec.VP9, Codec.AV1])
def test_layers_that_the_browser_leaves_out_and_adds_are_followed(codec: Codec) -> None:
    candidate = Spatial(key=False, codec=codec)
    watcher = SpatialWatcher(candidate)
    watcher.down.allow(700e3)
    candidate.run(4.0)
    candidate.ask_for_keyframe()
    candidate.run(4.0, layers=2)
    assert {each.layers for each in watcher.pictures()[-60:]} == {2}
    candidate.ask_for_keyframe()
    candidate.run(4.0)
    last = watcher.pictures()[-60:]
    assert {each.layers for each in last} == {2}


def test_an_observer_who_asks_all_the_time_costs_a_keyframe_a_second_at_most() -> None:
    """Each takes bits that the recording goes without."""
    candidate = Spatial(key=True)
    watcher, other = SpatialWatcher(candidate), SpatialWatcher(candidate)
    candidate.run(1.0)
    before = candidate.keyframes
    for _ in range(20 * FPS):
        watcher.down.request_keyframe(candidate.now)
        candidate.step()
    assert 20 <= candidate.keyframes - before <= 20 + MAX_KEYFRAMES
    asked = candidate.keyframes
    other.down.request_keyframe(candidate.now)
    candidate.run(0.1)
    assert candidate.keyframes == asked + 1, "whoever asks for the first time gets one at once"
