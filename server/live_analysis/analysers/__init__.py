"""The table of analysers, in the order they measure: later ones read what earlier ones fill in.

To add one: a file here with a ``CARD`` and a class of the port, a line below, rows in
`docs/indicators.md`, and a test with planted truth.
"""

from collections.abc import Callable

from server.live_analysis.analysers import (
    face,
    freeze,
    light,
    loudness,
    pitch,
    sharpness,
    speaking,
    speech_activity,
)
from server.live_analysis.card import Card
from server.live_analysis.port import AudioAnalyser, VideoAnalyser

AUDIO: tuple[tuple[Card, Callable[[], AudioAnalyser]], ...] = (
    (speech_activity.CARD, speech_activity.SpeechActivity),
    (loudness.CARD, loudness.Loudness),
    (pitch.CARD, pitch.Pitch),
    (speaking.CARD, speaking.Speaking),
)

VIDEO: tuple[tuple[Card, Callable[[], VideoAnalyser]], ...] = (
    (face.CARD, face.Faces),
    (light.CARD, light.Light),
    (sharpness.CARD, sharpness.Sharpness),
    (freeze.CARD, freeze.Freeze),
)
