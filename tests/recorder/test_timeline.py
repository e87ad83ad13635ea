"""Two hours by a sound card that is not in step: sound and picture stay together all the way.

From RTP packets and sender reports through up tracks, clocks and the writer to what a player does
with a replay, in virtual time. Each sample carries its number, hence when it was truly captured.
"""

import random
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from server.core import h264
from server.core.frames import Codec, EncodedFrame, GapCause, TrackName
from server.core.rtcp import SenderReport, ntp_from_unix
from server.media.receiving.clock import PeerClock
from server.media.receiving.up_track import UpTrack, assemble
from server.recorder.export.export import export
from server.recorder.format import mp4
from server.recorder.format.tracks import Fragment, Sample, opus_duration
from server.recorder.replay.reader import RecordingReader
from server.recorder.writing.sound_line import MAX_APART_US, SOUND_STEP_US
from server.recorder.writing.writer import RecordingWriter
from tests.media.streams import receive, rtp
from tests.recorder.conftest import Desk
from tests.recorder.encoded import BOTH, START_S, camera, in_order, interview, microphone, video
from tests.recorder.onsets import beep_after, flashes, sound_of

HOURS_S = 7200
#: What people notice between lips and voice.
TOGETHER_S = 0.040
SOUND_S, PICTURE_S = 0.06, 0.25  # few and long, so that two hours take seconds
SETTLED_S = 15.0
_SILK_60_MS = bytes([3 << 3])
_PARAMETER_SETS = [
    nal
    for nal in h264.nal_units(video(Codec.H264, 0.1)[0][0])
    if h264.nal_type(nal) in (h264.NAL_TYPE_SPS, h264.NAL_TYPE_PPS)
]


@dataclass
class Candidate:
    """Its clocks: of sound, `ppm` fast, of pictures, `picture_ppm`; the wall's, which is set at
    `set_s` to an hour before.

    At `stalls_s` the sound card loses half a second, which its clock does not count. Between
    `quiet_s` nobody speaks: a packet each 0.42 s. Of every `loss` packets one is lost.
    """

    ppm: float
    picture_ppm: float = 0.0
    quiet_s: tuple[float, float] = (0.0, 0.0)
    loss: int = 0
    set_s: float = HOURS_S * 0.7
    stalls_s: float = HOURS_S * 0.4
    jitter_s: float = 0.02
    reports_from_s: int = 0

    def captured_s(self, number: int) -> float:
        """When sound of that number truly was, since the start."""
        at_s = number * SOUND_S / (1 + self.ppm / 1e6)
        return at_s if at_s < self.stalls_s else at_s + 0.5

    def sound_timestamp(self, at_s: float) -> int:
        counted_s = at_s if at_s < self.stalls_s + 0.5 else at_s - 0.5
        return 2**32 - 1000 + round(counted_s * 48_000 * (1 + self.ppm / 1e6))

    def says(self, number: int) -> bool:
        """Whether sound of that number is sent."""
        quiet = self.quiet_s[0] <= self.captured_s(number) < self.quiet_s[1]
        return not quiet or number % 7 == 0

    def picture_timestamp(self, at_s: float) -> int:
        return round(at_s * 90_000 * (1 + self.picture_ppm / 1e6))

    def ntp(self, at_s: float) -> int:
        return ntp_from_unix(START_S + at_s + 7 - (3600 if at_s > self.set_s else 0))


class Interview:
    """Both up tracks of a candidate, whose frames go where the recorder's do."""

    def __init__(
        self, on_frame: Callable[[EncodedFrame], None], jitter_s: float, loss: int
    ) -> None:
        peer, self._delay, self._jitter_s = PeerClock(), random.Random(3), jitter_s
        self._lost, self._loss = random.Random(5), loss
        self._newest_s = 0.0
        self._tracks = {
            name: UpTrack(
                name, codec, 96, 1, peer, on_frame, lambda gap: None, lambda: None, [], repair=False
            )
            for name, codec in (
                (TrackName.CAMERA, Codec.H264),
                (TrackName.MICROPHONE, Codec.OPUS),
            )
        }
        self._seqnos = dict.fromkeys(self._tracks, 0)

    def send(
        self, track: TrackName, at_s: float, timestamp: int, payload: bytes, *, marker: bool = True
    ) -> None:
        seqno = self._seqnos[track]
        self._seqnos[track] = seqno + 1
        data = rtp(seqno, timestamp, payload, marker=marker)
        up, arrives_s = self._tracks[track], self._arrives_s(at_s)
        if not self._loss or self._lost.randrange(self._loss):
            receive(up, data, arrives_s)
            assemble(up.fresh)
        up.tick(arrives_s, None)

    def report(self, track: TrackName, at_s: float, ntp: int, timestamp: int) -> None:
        report = SenderReport(1, ntp, timestamp & 0xFFFF_FFFF, 0, 0, ())
        self._tracks[track].sender_report_received(report, self._arrives_s(at_s))

    def _arrives_s(self, at_s: float) -> float:
        arrives_s = START_S + at_s + 0.03 + self._delay.random() * self._jitter_s
        self._newest_s = max(self._newest_s, arrives_s)  # order is kept
        return self._newest_s


def hold(candidate: Candidate, writer: RecordingWriter, seconds: float) -> None:
    """Hold the interview, of which everything is written."""
    interview = Interview(writer.write, candidate.jitter_s, candidate.loss)
    sound = picture = second = 0
    while picture * PICTURE_S < seconds:
        sound_s, picture_s = candidate.captured_s(sound), picture * PICTURE_S
        if second < min(sound_s, picture_s):
            if second >= candidate.reports_from_s:
                _report(candidate, interview, second)
            if second % 10 == 0:
                writer.sync()
            second += 1
        elif sound_s < picture_s:
            payload = _SILK_60_MS + struct.pack(">I", sound)
            timestamp = candidate.sound_timestamp(sound_s)
            if candidate.says(sound):
                interview.send(TrackName.MICROPHONE, sound_s + SOUND_S, timestamp, payload)
            sound += 1
        else:
            _send_picture(candidate, interview, picture)
            picture += 1
    writer.finish()


def _report(candidate: Candidate, interview: Interview, second: int) -> None:
    ntp = candidate.ntp(second)
    interview.report(TrackName.CAMERA, second, ntp, candidate.picture_timestamp(second))
    if second % 5 == 0:
        timestamp = candidate.sound_timestamp(second)
        interview.report(TrackName.MICROPHONE, second, ntp, timestamp)


def _send_picture(candidate: Candidate, interview: Interview, number: int) -> None:
    at_s, keyframe = number * PICTURE_S, number % 16 == 0
    timestamp = candidate.picture_timestamp(at_s)
    for nal in _PARAMETER_SETS if keyframe else []:
        interview.send(TrackName.CAMERA, at_s, timestamp, nal, marker=False)
    nal = (b"\x65" if keyframe else b"\x41") + struct.pack(">I", number)
    interview.send(TrackName.CAMERA, at_s, timestamp, nal)


def _number(sample: Sample) -> int:
    return int(struct.unpack(">I", sample.data[-4:])[0])


def _late_s(
    candidate: Candidate, fragments: list[Fragment], heard: Callable[[Sample], float]
) -> Iterator[tuple[float, TrackName, float]]:
    """Of each sample: when it truly was, and how much later it is seen or heard."""
    last = -1
    for fragment in fragments:
        for sample in fragment.video:
            if _number(sample) > last:  # or it stands in where pictures are away for long
                last = _number(sample)
                true_s = last * PICTURE_S
                yield true_s, TrackName.CAMERA, sample.time / 90_000 - true_s
        for sample in fragment.audio:
            at_s = heard(sample)
            if sample.data[:1] == _SILK_60_MS:
                true_s = candidate.captured_s(_number(sample))
                yield true_s, TrackName.MICROPHONE, at_s - true_s


def _apart_s(candidate: Candidate, late_s: Iterator[tuple[float, TrackName, float]]) -> float:
    """The worst between a picture and the sound beside it, once the clocks have settled."""
    late: dict[TrackName, dict[float, float]] = {name: {} for name in BOTH}
    for true_s, track, late_by_s in late_s:
        if min(true_s, abs(true_s - candidate.stalls_s)) > SETTLED_S:
            late[track][true_s] = late_by_s
    assert min(map(len, late.values())) > 400
    sounds, pictures = late[TrackName.MICROPHONE], late[TrackName.CAMERA]
    times_s = sorted(sounds)
    worst_s = 0.0
    for at_s, late_by_s in pictures.items():
        after = bisect_right(times_s, at_s)
        beside = (sounds[each] for each in times_s[max(0, after - 1) : after + 1])
        worst_s = max(worst_s, min(abs(late_by_s - each) for each in beside))
    return worst_s


class _Ear:
    """A browser's: it plays sound packet after packet, whatever the time of each says."""

    def __init__(self) -> None:
        self._ends: int | None = None

    def __call__(self, sample: Sample) -> float:
        at = sample.time if self._ends is None else self._ends
        self._ends = at + opus_duration(sample.data)
        return at / 48_000


def _replayed(reader: RecordingReader) -> list[Fragment]:
    """All that there is to play: of some fragments their neighbours have it all."""
    parts = (reader.fragment(seq + 1) for seq in range(len(reader)))
    return [mp4.parse_media(part) for part in parts if part]


@pytest.mark.parametrize("ppm", [-300, 300])
def test_two_hours_stay_together_in_the_recording_and_in_its_replay(desk: Desk, ppm: int) -> None:
    candidate = Candidate(ppm)
    hold(candidate, desk.writer(), HOURS_S)
    reader = desk.reader()
    recorded = [fragment for _, fragment in reader.all_samples()]
    as_written = _late_s(candidate, recorded, lambda sample: sample.time / 48_000)
    assert _apart_s(candidate, as_written) < TOGETHER_S
    replayed = _replayed(reader)
    assert _apart_s(candidate, _late_s(candidate, replayed, _Ear())) < TOGETHER_S
    sounds = [sample for fragment in replayed for sample in fragment.audio]
    assert all(one.time + one.duration == other.time for one, other in pairwise(sounds))
    numbered = [sample for fragment in recorded for sample in fragment.audio]
    assert [_number(each) for each in numbered] == list(range(len(numbered))), "nothing is lost"
    heard = {sample.data for sample in sounds}
    left_out = sum(sample.data not in heard for sample in numbered)
    ahead_s = HOURS_S * ppm / 1e6 - MAX_APART_US / 1e6
    assert left_out <= max(0, ahead_s // (SOUND_S - SOUND_STEP_US / 1e6) + 1), "of what overlaps"


def test_two_hours_stay_together_whatever_is_lost_and_however_quiet_they_are(desk: Desk) -> None:
    """Both clocks run, apart; an hour in, half an hour is silence; of 50 packets one is lost."""
    candidate = Candidate(250, -250, (HOURS_S * 0.5, HOURS_S * 0.75), loss=50)
    hold(candidate, desk.writer(), HOURS_S)
    reader = desk.reader()
    recorded = [fragment for _, fragment in reader.all_samples()]
    as_written = _late_s(candidate, recorded, lambda sample: sample.time / 48_000)
    assert _apart_s(candidate, as_written) < TOGETHER_S
    assert _apart_s(candidate, _late_s(candidate, _replayed(reader), _Ear())) < TOGETHER_S
    numbers = [_number(sample) for fragment in recorded for sample in fragment.audio]
    assert numbers == sorted(set(numbers))
    said = sum(candidate.says(number) for number in range(numbers[-1] + 1))
    assert 0.97 * said < len(numbers) < 0.99 * said, "and nothing but what was lost on the way"


@pytest.mark.parametrize("reports_from_s", [0, 1, 4])
@pytest.mark.parametrize("jitter_s", [0.002, 0.03, 0.1])
def test_while_the_clock_of_capture_is_found_out_no_sound_is_left_out(
    desk: Desk, jitter_s: float, reports_from_s: int
) -> None:
    candidate = Candidate(100, jitter_s=jitter_s, reports_from_s=reports_from_s)
    hold(candidate, desk.writer(), 120)
    reader = desk.reader()
    recorded = [sample.data for _, fragment in reader.all_samples() for sample in fragment.audio]
    replayed = _replayed(reader)
    heard = [sample.data for fragment in replayed for sample in fragment.audio]
    assert [each for each in heard if each[:1] == _SILK_60_MS] == recorded
    assert len(recorded) == 1997
    late_s = _late_s(candidate, replayed, _Ear())
    assert _apart_s(candidate, late_s) < TOGETHER_S


def _eventful() -> list[EncodedFrame]:
    """An upright phone turned over, another codec, a camera that is off, sparse sound, a pause of
    all; the camera flashes and the microphone beeps at each whole second."""
    voice = microphone(33)
    sparse = [each for index, each in enumerate(voice) if index < 1250 or index % 20 == 0]
    return in_order(
        sparse[:1250] + [each for each in sparse[1250:] if each.capture_s < START_S + 28],
        voice[1400:1550],
        camera(Codec.H264, 3, width=120, height=160),
        camera(Codec.H264, 3, START_S + 3),
        camera(Codec.VP9, 3, START_S + 6),
        camera(Codec.VP9, 9, START_S + 22),
        interview(Codec.H264, 3, START_S + 36),
    )


def test_whatever_happens_in_an_interview_is_played_in_step_and_told(
    desk: Desk, tmp_path: Path
) -> None:
    desk.write(_eventful())
    reader = desk.reader()
    index = reader.describe()
    told = [(gap.track, gap.cause, round(gap.start_s), round(gap.end_s)) for gap in index.gaps]
    assert told == [
        (TrackName.CAMERA, GapCause.PAUSED, 9, 22),
        *((each, GapCause.DISCONNECTED, 31, 36) for each in BOTH),
    ]
    assert [(init.width, init.height) for init in index.inits] == [
        *((120, 160), (160, 120), (160, 120))
    ]
    for track in BOTH:
        samples = [each for f in _replayed(reader) for each in dict(f.by_track())[track]]
        ends = [each.time + each.duration for each in samples[:-1]]
        assert ends == pytest.approx([each.time for each in samples[1:]], abs=1)
    out = tmp_path / "out.mp4"
    export(reader, out, lambda share: None)
    sound, seen = sound_of(out), flashes(out)
    assert [round(at_s) for at_s in seen] == [1, 2, 3, 4, 5, 6, 7, 8, *range(22, 31), 36, 37, 38]
    heard = [at_s for at_s in seen if not 25 <= round(at_s) < 28]
    assert [beep_after(sound, at_s) for at_s in heard] == pytest.approx(heard, abs=TOGETHER_S / 2)
