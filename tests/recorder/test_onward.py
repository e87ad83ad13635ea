"""An interview that goes on after a restart whose clock was set back."""

from itertools import pairwise
from pathlib import Path

import av
import pytest

from server.core.frames import Codec, Gap, GapCause, TrackName
from server.core.interviews import SERVER_STOPPED
from server.recorder.evidence.verify import verify
from server.recorder.export.export import export
from server.recorder.format import mp4
from server.recorder.format.manifest import to_unix_us
from server.recorder.writing.onward import HOLE_S
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import BOTH, START_S, interview


def _gone_on(desk: Desk, at_s: float) -> None:
    """Four seconds; the server stops and starts; four more, from ``at_s`` on by its clock."""
    writer = desk.writer()
    feed(writer, interview(Codec.H264, 4))
    writer.note_event(SERVER_STOPPED, to_unix_us(START_S + 4))
    writer.finish()
    writer = desk.writer()
    writer.note_event("joined", to_unix_us(at_s - 0.2))
    feed(writer, interview(Codec.H264, 4, at_s))
    writer.note_gap(Gap(TrackName.CAMERA, at_s + 3, at_s + 4, GapCause.PACKETS_LOST, 5))
    writer.finish()


@pytest.mark.parametrize("at_s", [-100.0, -2.0, 1.0, 3.9])
def test_a_clock_that_was_set_back_leaves_a_recording_that_plays(
    desk: Desk, tmp_path: Path, at_s: float
) -> None:
    _gone_on(desk, START_S + at_s)
    reader, again_s = desk.reader(), 4 + HOLE_S + 0.2
    index = reader.describe()
    assert verify(desk.path(), desk.keys.public_key).intact
    assert index.duration_s == pytest.approx(again_s + 4, abs=0.05)
    for track in BOTH:
        fragments = [mp4.parse_media(reader.fragment(each.seq)) for each in index.fragments]
        times = [s.time for each in fragments for s in dict(each.by_track())[track]]
        assert all(before < after for before, after in pairwise(times))
    told = [(gap.track, gap.cause, gap.start_s, gap.end_s) for gap in index.gaps]
    lost = (TrackName.CAMERA, GapCause.PACKETS_LOST, again_s + 3, again_s + 4)
    holes = [(each, GapCause.SERVER_RESTART, 4.0, again_s) for each in BOTH]
    for found, expected in zip(told, [*holes, lost], strict=True):
        assert found[:2] == expected[:2]
        assert found[2:] == pytest.approx(expected[2:], abs=0.05)
    joined = [event.at_s for event in index.events if event.event == "joined"]
    assert joined == pytest.approx([4 + HOLE_S], abs=0.05)
    out = tmp_path / "out.mp4"
    export(reader, out, lambda share: None)
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 240


def test_a_clock_that_goes_on_moves_nothing(desk: Desk) -> None:
    _gone_on(desk, START_S + 9)
    index = desk.reader().describe()
    assert index.duration_s == pytest.approx(13, abs=0.05)
    assert [event.at_s for event in index.events if event.event == "joined"] == [8.8]
