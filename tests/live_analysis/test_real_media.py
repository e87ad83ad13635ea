"""Real people, where the recordings are there: the tests with planted truth stand without them."""

from pathlib import Path

import av
import numpy as np
import pytest

from server.live_analysis.analysers.face import Faces
from server.live_analysis.analysers.freeze import Freeze
from server.live_analysis.analysers.pitch import Pitch
from server.live_analysis.analysers.speaking import Speaking
from server.live_analysis.analysers.speech_activity import SpeechActivity
from server.live_analysis.port import BLOCK, SAMPLE_RATE, AudioWindow, Samples
from tests.live_analysis.planted import SHARED, picture

FACES = sorted([*SHARED.glob("faces/*.mpg"), *SHARED.glob("faces/*.mp4")])
SPEECH = sorted(SHARED.glob("speech/*.wav"))


def samples(path: Path) -> Samples:
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(str(path)) as file:
        frames = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.stem)
def test_one_moving_face_is_found_in_every_picture(path: Path) -> None:
    faces, freeze = Faces(), Freeze()
    with av.open(str(path)) as file:
        for number, frame in enumerate(file.decode(video=0)):
            if number % 5 == 0:
                rgb = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                shot = picture(rgb, number / 25)
                found = {it.name: it.value for it in (*faces.see(shot), *freeze.see(shot))}
                assert found["face.count"] == 1
                assert 0.2 < (found["face.size"] or 0) < 0.7
                assert (found["picture.frozen"] or 0) < 1


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
def test_speech_is_heard_and_has_the_pitch_of_a_voice(path: Path) -> None:
    activity, pitch, speaking, pitches = SpeechActivity(), Pitch(), Speaking(), []
    sound, found = samples(path), {}
    for start in range(0, len(sound) - 6 * BLOCK, 6 * BLOCK):
        window = AudioWindow(sound[start : start + 6 * BLOCK], 0, 1)
        list(activity.hear(window))
        pitches += [it.value for it in pitch.hear(window) if it.value is not None]
        found = {it.name: it.value for it in speaking.hear(window)}
    assert 0.6 < (found["speech.ratio_total"] or 0) <= 1
    assert 70 < np.median(pitches) < 300
    spread = np.percentile(pitches, [10, 90])
    assert spread[1] / spread[0] < 2.5


@pytest.mark.skipif(not SPEECH, reason="the recordings are not beside this checkout")
def test_two_people_on_a_telephone_speak_as_long_as_was_annotated() -> None:
    lines = (SHARED / "speech" / "two_speakers.rttm").read_text().splitlines()
    spans = [(float(row[3]), float(row[3]) + float(row[4])) for row in map(str.split, lines)]
    blocks = np.arange(0, 30, BLOCK / SAMPLE_RATE)
    annotated = np.mean([any(a <= at < b for a, b in spans) for at in blocks])
    sound = samples(SHARED / "speech" / "two_speakers.wav")
    window = AudioWindow(sound[: len(sound) // BLOCK * BLOCK], 0, 1)
    list(SpeechActivity().hear(window))
    found = {it.name: it.value for it in Speaking().hear(window)}
    assert found["speech.ratio_total"] == pytest.approx(annotated, abs=0.12)
