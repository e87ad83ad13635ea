import itertools

import pytest

from server.core.frames import Codec, TrackName
from server.core.indicators import Indicator
from server.live_analysis.analysers import AUDIO, VIDEO
from server.live_analysis.analysers.light import Light
from server.live_analysis.session import IDLE_S, Costs, Session
from server.live_analysis.wire import Frame
from tests.live_analysis.planted import (
    FPS,
    PACKET_S,
    opus,
    picture,
    scene,
    speech_with_pauses,
    tone,
    video,
)

START_S = 1000.0
PERIOD_S = 0.2
SOUND = opus(speech_with_pauses([1.0]))
PICTURES = [scene((0.35, 0.5), scale=2), scene((0.36, 0.5), scale=2)]
STREAM = video(Codec.H264, itertools.islice(itertools.cycle(PICTURES), FPS * 6))
AUDIO_NAMES = {measure.name for card, _ in AUDIO for measure in card.measures}
VIDEO_NAMES = {measure.name for card, _ in VIDEO for measure in card.measures}


def session() -> Session:
    return Session(Costs(itertools.count(0.0, 0.001).__next__), {})


def measure(it: Session, now_s: float) -> tuple[Indicator, ...]:
    return (*it.hear(now_s), *it.see(now_s))


def play(
    it: Session, until_s: float, *, since_s: float = 0.0, sound: bool = True, sight: bool = True
) -> list[tuple[Indicator, ...]]:
    """Media of some seconds as it would arrive, 50 ms old, measured every 200 ms."""
    batches, at_s = [], since_s
    while at_s < until_s:
        for n in range(round(at_s / PACKET_S), round((at_s + PERIOD_S) / PACKET_S)):
            if sound and n < len(SOUND):
                it.add(frame(TrackName.MICROPHONE, Codec.OPUS, SOUND[n], n * PACKET_S, True))
        for n in range(round(at_s * FPS), round((at_s + PERIOD_S) * FPS)):
            if sight:
                payload, keyframe = STREAM[n]
                it.add(frame(TrackName.CAMERA, Codec.H264, payload, n / FPS, keyframe))
        at_s += PERIOD_S
        batches.append(measure(it, START_S + at_s + 0.05))
    return batches


def frame(track: TrackName, codec: Codec, payload: bytes, at_s: float, keyframe: bool) -> Frame:
    return Frame(1, track, codec, payload, START_S + at_s, START_S + at_s + 0.05, keyframe)


def newest(batches: list[tuple[Indicator, ...]]) -> dict[str, Indicator]:
    return {indicator.name: indicator for batch in batches for indicator in batch}


def test_speech_and_a_face_are_measured() -> None:
    found = newest(play(session(), 2.0))
    assert set(found) == AUDIO_NAMES | VIDEO_NAMES
    assert (found["voice.speaking"].value or 0) > 0.5
    assert -40 < (found["voice.loudness"].value or 0) < -5
    assert found["face.x"].value == pytest.approx(0.355, abs=0.03)
    assert found["face.count"].value == 1
    assert found["picture.frozen"].value == 0


def test_values_come_five_times_a_second_and_slow_ones_twice() -> None:
    batches = play(session(), 4.0)
    names = [indicator.name for batch in batches for indicator in batch]
    assert 19 <= names.count("voice.loudness") <= 20
    assert 19 <= names.count("face.count") <= 20
    assert 7 <= names.count("picture.light") <= 10
    assert names.count("picture.sharpness") == 1, "of the one keyframe"


def test_the_base_layer_of_a_usual_camera_is_measured_five_times_a_second() -> None:
    it, names = session(), []
    stream = video(Codec.VP8, itertools.islice(itertools.cycle(PICTURES), 33))
    for tick in range(1, 21):
        for n in range(-(-(tick - 1) * 3 // 2), -(-tick * 3 // 2)):  # 7.5 a second
            it.add(frame(TrackName.CAMERA, Codec.VP8, stream[n][0], n / 7.5, stream[n][1]))
        names += [one.name for one in measure(it, START_S + 0.05 + tick * PERIOD_S)]
    assert names.count("face.count") >= 19


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8])
def test_face_and_light_are_right_as_far_from_a_keyframe_as_it_gets(codec: Codec) -> None:
    it, batches = session(), []
    stream = video(codec, itertools.islice(itertools.cycle(PICTURES), 4 * FPS))
    for n, (payload, keyframe) in enumerate(stream):
        it.add(frame(TrackName.CAMERA, codec, payload, n / FPS, keyframe))
        if n % 6 == 5:
            batches.append(measure(it, START_S + n / FPS + 0.05))
    found = newest(batches[-3:])
    assert found["face.count"].value == 1
    assert found["face.x"].value == pytest.approx(0.355, abs=0.03)
    assert found["face.y"].value == pytest.approx(0.5, abs=0.04)
    truth = {one.name: one.value for one in Light().see(picture(PICTURES[0]))}
    for name in ("picture.light", "picture.contrast"):
        assert found[name].value == pytest.approx(truth[name], abs=0.03)


def test_windows_are_in_media_time_and_follow_each_other() -> None:
    batches = play(session(), 3.0)
    for name in ("voice.loudness", "face.count", "picture.light"):
        windows = [it for batch in batches for it in batch if it.name == name]
        for one, two in itertools.pairwise(windows):
            assert two.start_s == pytest.approx(one.end_s, abs=0.002)
        assert windows[-1].end_s == pytest.approx(START_S + 3.0, abs=0.5)


def test_the_pause_and_the_speech_after_it_show() -> None:
    batches = play(session(), 6.0, sight=False)
    pauses = [it.value or 0 for batch in batches for it in batch if it.name == "speech.pause"]
    assert 0.7 < max(pauses) < 1.3
    assert pauses[-1] < 0.3


def test_without_sound_its_values_are_none_and_the_picture_goes_on() -> None:
    it = session()
    play(it, 1.0)
    found = newest(play(it, 3.0, since_s=1.0, sound=False)[-1:])
    assert {name for name, one in found.items() if one.value is None} == AUDIO_NAMES
    assert found["face.count"].value == 1


def test_without_pictures_the_freeze_grows_and_the_sound_goes_on() -> None:
    it = session()
    play(it, 1.0)
    found = newest(play(it, 4.0, since_s=1.0, sight=False)[-2:])
    assert found["picture.frozen"].value == pytest.approx(3.0, abs=0.3)
    assert found["face.present"].value is None
    assert found["voice.loudness"].value is not None


def test_a_microphone_that_never_sends_is_missed() -> None:
    assert newest(play(session(), 1.0, sound=False))["voice.loudness"].value is None


def test_after_long_silence_of_all_media_nothing_more_is_said() -> None:
    it = session()
    play(it, 1.0)
    assert measure(it, START_S + 1 + IDLE_S) != ()
    assert measure(it, START_S + 1.2 + IDLE_S) == ()


def test_before_any_media_nothing_is_said() -> None:
    assert measure(session(), START_S) == ()


def test_values_have_four_digits_and_their_cards_units() -> None:
    cards = [card for card, _ in (*AUDIO, *VIDEO)]
    units = {measure.name: measure.unit for card in cards for measure in card.measures}
    for indicator in newest(play(session(), 1.0)).values():
        assert indicator.unit == units[indicator.name]
        assert indicator.value is None or indicator.value == float(f"{indicator.value:.4g}")


def test_values_stay_in_the_ranges_of_their_cards() -> None:
    cards = [card for card, _ in (*AUDIO, *VIDEO)]
    ranges = {m.name: (m.low, m.high) for card in cards for m in card.measures}
    for batch in play(session(), 5.0):
        for indicator in batch:
            low, high = ranges[indicator.name]
            if indicator.value is not None:
                assert low is None or indicator.value >= low
                assert high is None or indicator.value <= high


def test_totals_go_on_in_another_process() -> None:
    first = session()
    ratio = newest(play(first, 2.0))["speech.ratio_total"].value
    second = Session(Costs(lambda: 0.0), first.keep())
    for n, payload in enumerate(opus(tone(50, 0.4, 0.0))):
        second.add(frame(TrackName.MICROPHONE, Codec.OPUS, payload, n * PACKET_S, True))
    found = newest([measure(second, START_S + 0.5)])["speech.ratio_total"].value
    assert ratio is not None
    assert found == pytest.approx(ratio * 2.0 / 2.4, abs=0.05)


def test_the_same_media_give_the_same_values() -> None:
    assert play(session(), 2.0) == play(session(), 2.0)


def test_costs_are_charged_by_kind() -> None:
    costs = Costs(itertools.count(0.0, 1.0).__next__)
    play(Session(costs, {}), 0.4)
    assert costs.decode_s > 0
    assert costs.audio_s > 0
    assert costs.video_s > 0
