"""What was recorded on two days is one file, which tells when."""

import json
import subprocess
from pathlib import Path

import pytest

from server.core.frames import Codec, TrackName
from server.recorder.export import movie
from server.recorder.export.clip import Clip
from server.recorder.export.export import PauseTooLong, export
from server.recorder.export.long_pauses import LEFT_US, LONGEST_PAUSE_US, Chapter, WithoutLongPauses
from server.recorder.format.tracks import TIMESCALE
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, camera, in_order, interview, microphone
from tests.recorder.onsets import beep_after, flashes, sound_of

DAY_S = 86_400
SECOND = 1_000_000


def on_two_days(desk: Desk, codec: Codec = Codec.H264, apart_s: float = DAY_S) -> None:
    """Three seconds each."""
    desk.write(interview(codec, 3))
    desk.write(interview(codec, 3, START_S + apart_s))


def chapters_of(path: Path) -> list[tuple[float, str]]:
    command = ("ffprobe", "-v", "error", "-show_chapters", "-of", "json", path)
    told = subprocess.run(command, capture_output=True, check=True)
    return [
        (float(each["start_time"]), each["tags"]["title"])
        for each in json.loads(told.stdout)["chapters"]
    ]


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8], ids=["copied", "encoded"])
def test_an_interview_that_went_on_the_next_day_is_one_file(
    desk: Desk, codec: Codec, tmp_path: Path
) -> None:
    """The encoded media flashes and beeps together at each whole second."""
    on_two_days(desk, codec)
    out = tmp_path / "out.mp4"
    export(desk.reader(), out, lambda share: None)
    sound, seen = sound_of(out), flashes(out)
    assert len(sound) / 48_000 == pytest.approx(3 + 10 + 3, abs=0.1)
    assert [round(at_s) for at_s in seen] == [1, 2, 13, 14, 15]
    assert [beep_after(sound, at_s) for at_s in seen] == pytest.approx(seen, abs=0.01)
    assert chapters_of(out) == [
        (0.0, "2025-10-09 08:53:20 UTC"),
        (pytest.approx(13, abs=0.05), "2025-10-10 08:53:20 UTC"),
    ]


def test_a_pause_of_an_hour_keeps_its_length(desk: Desk) -> None:
    on_two_days(desk, apart_s=3 + LONGEST_PAUSE_US / 1e6 - 0.1)
    source = WithoutLongPauses(desk.reader())
    assert source.duration_us == desk.reader().duration_us
    assert list(source.all_samples()) == list(desk.reader().all_samples())
    assert source.chapters() == []


def test_of_a_part_a_long_pause_at_either_end_is_cut(desk: Desk) -> None:
    """The part's own length is what was asked for: from a moment in the hole to another."""
    on_two_days(desk)
    desk.write(interview(Codec.H264, 3, START_S + 2 * DAY_S))
    reader = desk.reader()
    part = Clip(reader, 10 * SECOND, (2 * DAY_S - 10) * SECOND)
    source = WithoutLongPauses(part)
    assert source.duration_us == pytest.approx(2 * LEFT_US + 3 * SECOND, abs=0.1 * SECOND)
    _, first = next(source.all_samples())
    assert first.start_us == pytest.approx(LEFT_US, abs=1000)
    asked, next_day = source.chapters()
    assert asked == Chapter(0, reader.began_us + 10 * SECOND)
    assert next_day == pytest.approx((LEFT_US, reader.began_us + DAY_S * SECOND), abs=1000)


def test_pictures_that_pause_alone_are_refused_in_so_many_words(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears seven hours to try it out: the longest step is made a short one."""
    monkeypatch.setattr(movie, "LONGEST_STEP", 3 * TIMESCALE[TrackName.CAMERA])
    late = camera(Codec.H264, 1, START_S + 5)
    desk.write(in_order([*camera(Codec.H264, 1), *late], microphone(6)))
    with pytest.raises(PauseTooLong, match=r"a step of 4 s .* encode the .*\(--transcode\)"):
        export(desk.reader(), tmp_path / "out.mp4", lambda share: None)
    export(desk.reader(), tmp_path / "out.mp4", lambda share: None, transcode=True)
