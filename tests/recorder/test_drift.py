"""Senders' sound clocks run apart from ours: what is heard stays beside what is seen.

Players count samples: Chromium plays a packet when those before it are over, whatever its time
(measured: docs/decisions/recorder-replay-and-export.md). `_heard_s` does the same.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder import mp4
from server.recorder.export import export
from server.recorder.fragmenter import Fragmenter
from server.recorder.replay import Plan, media_segment
from server.recorder.sealing import Flags, Kind, RecordHeader
from server.recorder.tracks import OPUS_SILENCE, Fragment, Tracks, opus_duration
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, camera, in_order, opus

#: Sound and pictures lie no further apart.
APART_S = 0.04
_SOUND = Tracks(None, True)
#: The first octets of Opus packets of 20 ms and 60 ms (RFC 6716 3.1); their content is a number.
_TOC = {0.02: b"\xfc", 0.06: b"\x18"}


class Fragments:
    """What a fragmenter made of sound (a `Recorded`)."""

    plan = Plan((_SOUND,))

    def __init__(self, frames: Iterator[EncodedFrame]) -> None:
        fragmenter = Fragmenter(round(START_S * 1e6))
        cuts = [cut for frame in frames for cut in fragmenter.add(frame)]
        self._fragments = [cut.fragment for cut in (*cuts, *fragmenter.finish())]

    def __len__(self) -> int:
        return len(self._fragments)

    def header(self, index: int) -> RecordHeader:
        start_us, end_us = self._fragments[index].start_us, self._fragments[index].end_us
        length_us = end_us - start_us
        return RecordHeader(0, Kind.MEDIA, Flags.AUDIO, 0, 0, index, start_us, length_us, b"")

    def tracks(self, index: int) -> Tracks:
        return _SOUND

    def samples(self, index: int) -> Fragment:
        return self._fragments[index]


def _packets(
    seconds: float, packet_s: float, ppm: float, *, dtx: bool = False
) -> Iterator[EncodedFrame]:
    """Of a sender whose crystal is so much too fast; each with its number.

    `dtx`: two seconds of speech, then for two seconds a packet each 0.4 s.
    """
    for number in range(round(seconds / packet_s)):
        at_s = number * packet_s
        if not dtx or at_s % 4 < 2 or at_s % 0.4 < packet_s:
            captured_s = START_S + at_s / (1 + ppm / 1e6)
            data = _TOC[packet_s] + number.to_bytes(4, "big")
            yield EncodedFrame(TrackName.MICROPHONE, Codec.OPUS, data, captured_s, True, captured_s)


def _heard_s(recorded: Fragments) -> Iterator[tuple[float, int]]:
    """When a player plays which of the numbered packets."""
    ticks: int | None = None
    for index in range(len(recorded)):
        for sample in mp4.parse_media(media_segment(recorded, index)).audio:
            ticks = sample.time if ticks is None else ticks
            if sample.data not in OPUS_SILENCE.values():
                yield ticks / 48_000, int.from_bytes(sample.data[1:], "big")
            ticks += opus_duration(sample.data)


@pytest.mark.parametrize("ppm", [-300, -100, 100, 300])
def test_after_two_hours_all_is_heard_when_it_was_said(ppm: float) -> None:
    heard = list(_heard_s(Fragments(_packets(7200, 0.06, ppm))))
    assert len(heard) > 0.999 * 7200 / 0.06
    said_s = [number * 0.06 / (1 + ppm / 1e6) for _, number in heard]
    assert max(abs(at - said) for (at, _), said in zip(heard, said_s, strict=True)) < APART_S


@pytest.mark.parametrize("ppm", [-20_000, -300, 0, 300, 20_000])
def test_pauses_without_packets_shift_nothing(ppm: float) -> None:
    heard = list(_heard_s(Fragments(_packets(600, 0.02, ppm, dtx=True))))
    assert len(heard) > 0.9 * 600 / 0.02 / 2
    said_s = [number * 0.02 / (1 + ppm / 1e6) for _, number in heard]
    assert max(abs(at - said) for (at, _), said in zip(heard, said_s, strict=True)) < APART_S


def test_a_clock_that_is_as_ours_loses_no_packet_and_has_no_silence_put_in() -> None:
    recorded = Fragments(_packets(60, 0.02, 0))
    played = [
        sample.data
        for index in range(len(recorded))
        for sample in mp4.parse_media(media_segment(recorded, index)).audio
    ]
    assert played == [_TOC[0.02] + number.to_bytes(4, "big") for number in range(3000)]


def _beeps_s(path: Path) -> list[float]:
    """When the beeps of `opus` begin in an exported file."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    sound = np.abs(np.concatenate([frame.to_ndarray()[0] for frame in frames]))
    first_s = frames[0].time or 0.0
    steps = sound[: len(sound) // 480 * 480].reshape(-1, 480).max(axis=1) > 0.1
    return [first_s + n * 0.01 for n in np.flatnonzero(steps[1:] & ~steps[:-1]) + 1]


@pytest.mark.parametrize("ppm", [-20_000, 20_000])
def test_an_export_has_its_sound_where_it_was_said(desk: Desk, tmp_path: Path, ppm: float) -> None:
    drift = 1 + ppm / 1e6
    voice = [
        EncodedFrame(
            TrackName.MICROPHONE,
            Codec.OPUS,
            data,
            START_S + number * 0.02 / drift,
            True,
            START_S + number * 0.02 / drift,
        )
        for number, data in enumerate(opus(20))
    ]
    desk.write(in_order(voice, camera(Codec.H264, 20)))
    export(desk.reader(), tmp_path / "out.mp4", lambda done: None)
    beeps_s = [at for at in _beeps_s(tmp_path / "out.mp4") if at > 0.5]
    assert len(beeps_s) == 19
    for number, at_s in enumerate(beeps_s, 1):
        assert abs(at_s - number / drift) < APART_S
