"""Who decodes what candidates sent has no keys, can't get out, and is not believed."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec, TrackName
from server.recorder.compression import recoder as recoder_module
from server.recorder.compression.recode_job import Begin, Coded, Made, Pictures, Quality, read, told
from server.recorder.compression.recode_worker import MOST_MEMORY
from server.recorder.compression.recoder import NotRecoded, Recoded, Recoder, open_recoder, recoded
from server.recorder.format.tracks import Sample, VideoConfig
from tests.recorder.encoded import video

VIDEO = VideoConfig(Codec.VP8, 160, 120, b"")
BEGIN = Begin(TrackName.CAMERA, 160, 120, 50, thorough=False, anew=False)
SECOND = tuple(data for data, _ in video(Codec.VP8, 1.0))
SHOWN = tuple(Sample(3000 * index, 3000, index == 0, data) for index, data in enumerate(SECOND))


@pytest.fixture
def recoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recoder]:
    monkeypatch.setenv("VIVAVOCE_ROOT_KEY", "env:SECRET")
    monkeypatch.setenv("SECRET", "00" * 32)
    with open_recoder() as opened:
        yield opened


def second(keyframe: bool = True) -> Pictures:
    return Pictures(VIDEO, SECOND, shown=True, keyframe=keyframe)


def made(recoder: Recoder) -> Recoded:
    found = recoder.recode(BEGIN, [second()], SHOWN)
    assert found is not None
    return found


def test_each_picture_keeps_its_time_and_is_measured(recoder: Recoder) -> None:
    found = made(recoder)
    assert [(each.time, each.duration) for each in found.samples] == [
        (each.time, each.duration) for each in SHOWN
    ]
    assert [each.keyframe for each in found.samples] == [True] + 29 * [False]
    assert (found.video.codec, found.video.width, found.video.height) == (Codec.AV1, 160, 120)
    (quality,) = found.quality
    assert 0 < quality.vmaf < 100
    assert 20 < quality.xpsnr_db < 100


def test_what_only_the_later_ones_build_on_is_not_shown(recoder: Recoder) -> None:
    before = Pictures(VIDEO, SECOND[:10], shown=False, keyframe=False)
    after = Pictures(VIDEO, SECOND[10:], shown=True, keyframe=False)
    found = recoder.recode(BEGIN, [before, after], SHOWN[10:])
    assert found is not None
    assert [each.time for each in found.samples] == [each.time for each in SHOWN[10:]]
    assert found.samples[0].keyframe, "an encoder begins with one"


def test_where_nothing_can_be_seen_nothing_is_made(recoder: Recoder) -> None:
    late = Pictures(VIDEO, SECOND[10:], shown=True, keyframe=True)
    assert recoder.recode(BEGIN, [late], SHOWN[10:]) is None
    assert made(recoder), "and the next one is"


def test_a_size_that_no_encoder_takes_is_refused_and_the_next_one_made(recoder: Recoder) -> None:
    for width, said in ((100_000, "100000x120 is not encoded"), (2, "too small to be measured")):
        other = msgspec.structs.replace(BEGIN, width=width)
        with pytest.raises(NotRecoded, match=said):
            recoder.recode(other, [second(), second()], SHOWN * 2)
    assert made(recoder)


def test_it_has_nothing_to_take_and_little_to_spend(recoder: Recoder) -> None:
    made(recoder)
    process = Path(f"/proc/{recoder.pid}")
    with suppress(PermissionError):  # nobody but root looks into it
        assert b"SECRET" not in (process / "environ").read_bytes()
    assert b"00000000" not in (process / "cmdline").read_bytes()
    assert "NoNewPrivs:\t1\n" in (process / "status").read_text()
    limits = (process / "limits").read_text().splitlines()
    assert any(line.split()[:4] == ["Max", "address", "space", str(MOST_MEMORY)] for line in limits)
    assert any(line.split()[:5] == ["Max", "core", "file", "size", "0"] for line in limits)


def test_one_that_is_killed_is_a_recording_that_stays(recoder: Recoder) -> None:
    os.kill(recoder.pid, signal.SIGKILL)
    with pytest.raises(NotRecoded, match="crashes or takes too long"):
        made(recoder)


@pytest.mark.parametrize("fragments", [1, 200])
def test_one_that_waits_for_itself_is_ended_and_not_the_recordings_fault(
    fragments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is to take more, which it would not, or to answer."""
    monkeypatch.setattr(recoder_module, "LOOK_S", 0.05)
    with open_recoder() as recoder:
        assert made(recoder)
        os.kill(recoder.pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError, match="did not go on"):
            recoder.recode(BEGIN, [second()] * fragments, SHOWN)


def test_nobody_is_ended_for_whom_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may take its time to tell what is to be decoded."""
    monkeypatch.setattr(recoder_module, "LOOK_S", 0.05)

    def slowly() -> Iterator[Pictures]:
        time.sleep(2 * recoder_module.LOOKS * recoder_module.LOOK_S)
        yield second()

    with open_recoder() as recoder:
        assert recoder.recode(BEGIN, slowly(), SHOWN)


@given(
    st.lists(st.tuples(st.integers(-3, 40), st.booleans(), st.binary(max_size=40)), max_size=4),
    st.integers(0, 2),
)
def test_what_it_answers_is_not_believed(
    pictures: list[tuple[int, bool, bytes]], measured: int
) -> None:
    answer = Made(tuple(Coded(*each) for each in pictures), (Quality(95.0, 40.0),) * measured)
    try:
        found = recoded(answer, SHOWN)
    except NotRecoded:
        return
    times = [each.time for each in found.samples] if found else []
    assert times == sorted(set(times))


@given(st.binary(max_size=100))
def test_any_message_is_read_or_refused(data: bytes) -> None:
    with suppress(EOFError, msgspec.MsgspecError):
        told.decode(read(BytesIO(data)))
