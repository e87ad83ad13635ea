"""A finished recording becomes a small one: the same segments, fragments and times, in AV1."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter

import av
import msgspec
import pytest

from server.core.frames import Codec, EncodedFrame, Gap, GapCause, TrackName
from server.recorder.catalog.derived import (
    Compressed,
    Left,
    check_statement,
    making_path,
    share_made,
)
from server.recorder.catalog.recordings import open_title, read_manifest
from server.recorder.compression import compression, track_recoder
from server.recorder.compression.compression import Compression, NotCompressed, discard
from server.recorder.compression.recode_job import Begin, Pictures, Quality
from server.recorder.compression.recoder import Recoded, Recoder, open_recoder
from server.recorder.compression.track_recoder import BARS, Bar, TrackRecoder
from server.recorder.decoders import picture_decoder
from server.recorder.evidence.derivation import origin
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import EventEntry, to_unix_us
from server.recorder.format.sealing import SEGMENT_HEADER_BYTES
from server.recorder.format.tracks import Fragment, Sample
from server.recorder.replay.reader import RecordingReader
from server.recorder.writing import writer
from tests.recorder.conftest import Desk
from tests.recorder.encoded import (
    NUMBER_BITS,
    START_S,
    camera,
    in_order,
    interview,
    interviewer,
    microphone,
    numbered,
    screen,
)

MADE_US = 1_760_000_100_000_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is so short and shrill is not small by the hour, nor does it come near."""
    for name in (TrackName.CAMERA, TrackName.INTERVIEWER_CAMERA):
        lower = replace(BARS[name], aim=db(35.0), least=db(30.0))
        monkeypatch.setitem(track_recoder.BARS, name, lower)
    monkeypatch.setattr(compression, "MAX_BYTES_PER_HOUR", 10**12)
    monkeypatch.setattr(compression, "MAX_SHARE", 10.0)


@pytest.fixture(scope="module")
def recoder() -> Iterator[Recoder]:
    with open_recoder() as opened:
        yield opened


def db(xpsnr_db: float) -> Quality:
    """A bar of XPSNR alone."""
    return Quality(0.0, xpsnr_db)


def begin(
    desk: Desk, recoder: Recoder, interview_id: str = "iv", *, keep_source: bool = True
) -> Compression:
    source = desk.reader(interview_id)
    return Compression(desk.data_dir, source, desk.keys, recoder, keep_source=keep_source)


def make(
    desk: Desk, recoder: Recoder, interview_id: str = "iv", *, keep_source: bool = True
) -> Compressed:
    made = begin(desk, recoder, interview_id, keep_source=keep_source)
    while made.left:
        made.step()
    return made.finish(MADE_US)


def made_of(desk: Desk, interview_id: str = "iv") -> RecordingReader:
    path = making_path(desk.data_dir, interview_id)
    public_key = desk.keys.public_key
    recording = read_manifest(path, public_key).recording
    key = desk.keys.recording_key(interview_id, bytes.fromhex(recording))
    return RecordingReader(path, key, public_key)


def times(reader: RecordingReader) -> list[tuple[TrackName, int, int]]:
    return [
        (name, sample.time, sample.duration)
        for _, fragment in reader.all_samples()
        for name, samples in fragment.by_track()
        for sample in samples
    ]


def numbers(reader: RecordingReader) -> list[int]:
    """What the camera's pictures say of themselves, decoded."""
    found, decoder, video = [], None, None
    for tracks, fragment in reader.all_samples():
        if tracks.video != video:
            assert tracks.video is not None
            decoder, video = picture_decoder(tracks.video), tracks.video
        assert decoder is not None
        for sample in fragment.video:
            found += [_number(frame) for frame in decoder.decode(av.Packet(sample.data))]
    assert decoder is not None
    return found + [_number(frame) for frame in decoder.decode(None)]


def _number(frame: av.VideoFrame) -> int:
    luma = frame.to_ndarray(format="gray")
    row = luma[luma.shape[0] // 4]
    cell = frame.width // NUMBER_BITS
    bits = [row[cell * bit + cell // 2] > 128 for bit in range(NUMBER_BITS)]
    return int("".join(str(int(bit)) for bit in bits), 2)


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP8, Codec.VP9, Codec.AV1])
def test_each_picture_and_packet_keeps_its_time(desk: Desk, recoder: Recoder, codec: Codec) -> None:
    frames = [
        EncodedFrame(
            frame.track,
            frame.codec,
            frame.payload,
            # A camera that is slow in the dark: no two pictures last alike.
            frame.capture_s + (0.011 * (index % 3) if frame.track is TrackName.CAMERA else 0),
            frame.keyframe,
            frame.arrived_s,
        )
        for index, frame in enumerate(
            in_order(camera(codec, 3, width=160, draw=numbered), microphone(3))
        )
    ]
    desk.write(frames)
    before = desk.reader()
    make(desk, recoder)
    after = made_of(desk)
    assert times(after) == times(before)
    assert numbers(after) == list(range(90))
    assert {tracks.video.codec for tracks in after.recorded_tracks if tracks.video} == {Codec.AV1}


def test_sound_is_what_it_was(desk: Desk, recoder: Recoder) -> None:
    desk.write(interview())
    make(desk, recoder)
    before, after = (
        [sample for _, fragment in reader.all_samples() for sample in fragment.audio]
        for reader in (desk.reader(), made_of(desk))
    )
    assert after == before


def test_tracks_that_come_late_gaps_and_events_stay(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        track_recoder.BARS, TrackName.SCREEN, Bar(db(36.0), db(36.0), 40, 12)
    )  # a screen of noise
    writer = desk.writer()
    writer.note_event("joined", to_unix_us(START_S))
    writer.note_gap(Gap(TrackName.CAMERA, START_S + 1, START_S + 2, GapCause.PACKETS_LOST, 3))
    for frame in in_order(
        camera(seconds=4),
        microphone(4),
        screen(seconds=2, start_s=START_S + 1.5),
        interviewer(Codec.VP8, seconds=2, start_s=START_S + 1),
    ):
        writer.write(frame)
    writer.finish()
    statement = make(desk, recoder)
    before, after = desk.reader(), made_of(desk)
    source, made = before.manifest, after.manifest
    assert times(after) == times(before)
    assert [(entry.start_us, entry.end_us, entry.tracks) for entry in made.segments] == [
        (entry.start_us, entry.end_us, entry.tracks) for entry in source.segments
    ]
    assert (made.gaps, made.policies, made.state) == (source.gaps, source.policies, source.state)
    assert made.events == (*source.events, EventEntry("compressed", MADE_US))
    pictures = (TrackName.SCREEN, TrackName.CAMERA, TrackName.INTERVIEWER_CAMERA)
    assert tuple(each.track for each in statement.quality) == pictures
    key = desk.keys.recording_key("iv", bytes.fromhex(made.recording))
    assert open_title(key, made) == "A title"
    for index in range(len(after)):
        after.fragment(index + 1)


def test_what_is_made_verifies_and_says_of_what(desk: Desk, recoder: Recoder) -> None:
    desk.write(interview())
    statement = make(desk, recoder)
    path = making_path(desk.data_dir, "iv")
    assert verify(path, desk.keys.public_key).intact
    assert check_statement(path, desk.keys.public_key) == statement
    source = desk.reader().manifest
    assert (statement.source, statement.source_root) == (origin(source), source.root)
    assert statement.quality[0].pictures == 60
    (quality,) = statement.quality
    assert quality.xpsnr_db >= quality.lowest_xpsnr_db >= 30.0
    assert quality.vmaf >= quality.lowest_vmaf > 0


def test_what_was_made_before_a_kill_is_not_made_again(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No keyframe after the first: what goes on has to decode from there.
    frames = camera(seconds=25, width=160, height=96, keyframe_s=100, draw=numbered)
    monkeypatch.setattr(writer, "LATE_KEYFRAME_US", 0)
    desk.write(frames)
    first = begin(desk, recoder)
    first.step()
    path = making_path(desk.data_dir, "iv")
    segment = (path / "00000.seg").read_bytes()
    (path / "00001.seg").write_bytes(segment[: SEGMENT_HEADER_BYTES + 7])  # torn by the kill
    key = desk.keys.public_key
    assert share_made(desk.data_dir, desk.reader().manifest, key) == pytest.approx(1 / 3)
    second = begin(desk, recoder)
    assert second.left == 2
    while second.left:
        second.step()
    second.finish(MADE_US)
    assert (path / "00000.seg").read_bytes() == segment
    assert numbers(made_of(desk)) == list(range(750))
    assert verify(path, desk.keys.public_key).intact


def test_one_that_a_kill_left_before_its_statement_is_finished(
    desk: Desk, recoder: Recoder
) -> None:
    desk.write(interview())
    make(desk, recoder)
    path = making_path(desk.data_dir, "iv")
    whole = read_manifest(path, desk.keys.public_key)
    job = begin(desk, recoder)  # its progress is gone: begun anew
    assert job.left == 1
    while job.left:
        job.step()
    assert job.finish(MADE_US).recording != whole.recording


def test_what_can_not_come_near_enough_is_refused(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(interview())
    monkeypatch.setitem(track_recoder.BARS, TrackName.CAMERA, Bar(db(99.0), db(99.0), 60, 50))
    with pytest.raises(NotCompressed, match=r"camera: around 0 s it comes no nearer than"):
        make(desk, recoder)


def test_a_better_rate_factor_is_tried_below_the_bar(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(camera(seconds=1))
    monkeypatch.setitem(track_recoder.BARS, TrackName.CAMERA, Bar(db(20.0), db(20.0), 63, 20))
    far = make(desk, recoder)
    bar = far.quality[0].xpsnr_db + 3
    monkeypatch.setitem(track_recoder.BARS, TrackName.CAMERA, Bar(db(bar), db(bar), 63, 20))
    near = make(desk, recoder)
    assert near.quality[0].lowest_xpsnr_db >= bar
    assert near.bytes > far.bytes


def test_what_there_is_no_room_for_need_not_be_nearer_than_the_least(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(camera(seconds=1))
    monkeypatch.setitem(track_recoder.BARS, TrackName.CAMERA, Bar(db(99.0), db(20.0), 50, 12))
    near = make(desk, recoder)
    monkeypatch.setattr(compression, "_ROOM", 0.0)
    far = make(desk, recoder)
    assert far.bytes < near.bytes
    assert 20 < far.quality[0].xpsnr_db < near.quality[0].xpsnr_db


def test_what_there_is_no_room_for_is_made_thoroughly_from_then_on(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Begin] = []
    recode = Recoder.recode

    def noted(
        self: Recoder, begin: Begin, fragments: Iterable[Pictures], shown: Sequence[Sample]
    ) -> Recoded | None:
        begun.append(begin)
        return recode(self, begin, fragments, shown)

    monkeypatch.setattr(Recoder, "recode", noted)
    for start_s in (START_S, START_S + 3600):
        desk.write(camera(start_s=start_s))
    roomy = make(desk, recoder)
    assert not any(each.thorough for each in begun)
    begun.clear()
    discard(making_path(desk.data_dir, "iv"))
    monkeypatch.setattr(compression, "_ROOM", 0.0)
    tight = make(desk, recoder)
    assert tight.bytes < roomy.bytes
    thorough = [each.thorough for each in begun]
    assert thorough == sorted(thorough), "the second segment begins with what the first ended with"
    assert {True, False} == set(thorough)


def test_what_would_be_large_or_not_smaller_is_refused(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(interview())
    monkeypatch.setattr(compression, "MAX_SHARE", 0.01)
    with pytest.raises(NotCompressed, match="instead of"):
        make(desk, recoder)
    discard(making_path(desk.data_dir, "iv"))
    monkeypatch.setattr(compression, "MAX_BYTES_PER_HOUR", 10_000_000)
    told = (
        r"would take \d+ MB an hour, more than 10, at VMAF 90: camera \d+, sound and the rest \d+ "
        r"\(100% of it was made\)"
    )
    with pytest.raises(NotCompressed, match=told):
        make(desk, recoder)


def test_who_needs_least_comes_first_and_leaves_the_rest_of_its_part_to_the_others(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, TrackRecoder, float, int]] = []
    near_enough = TrackRecoder.near_enough

    def noted(
        self: TrackRecoder, indices: range, fragments: Sequence[Fragment], most: float
    ) -> Recoded | None:
        found = near_enough(self, indices, fragments, most)
        assert found is not None
        given.append((indices.start, self, most, found.size))
        return found

    monkeypatch.setattr(TrackRecoder, "near_enough", noted)
    monkeypatch.setitem(BARS, TrackName.SCREEN, Bar(db(36.0), db(36.0), 20, 12))
    for start_s in (START_S, START_S + 3600):
        desk.write(
            in_order(camera(start_s=start_s), interviewer(start_s=start_s), screen(start_s=start_s))
        )
    make(desk, recoder)
    first, second = ([each for each in given if (each[0] > 0) == later] for later in (False, True))
    assert [each[1] for each in second] == [each[1] for each in sorted(first, key=itemgetter(3))]
    assert first[0][3] > first[1][3], "the screen comes first where nothing is known"
    for segment in (first, second):
        for left, (one, other) in zip((3, 2), pairwise(segment), strict=True):
            rest = left * one[2] - compression._ROOM * one[3]
            assert other[2] == pytest.approx(rest / (left - 1))


def test_all_tracks_share_one_limit_and_pauses_give_nothing(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything(start_s: float) -> list[EncodedFrame]:
        """Two seconds."""
        pictures = (each(Codec.VP8, 2.0, start_s) for each in (camera, interviewer, screen))
        return in_order(*pictures, microphone(2.0, start_s))

    monkeypatch.setitem(BARS, TrackName.SCREEN, Bar(db(36.0), db(36.0), 40, 12))
    monkeypatch.setattr(compression, "_ROOM", 0.0)  # nothing comes nearer than it has to
    desk.write(camera(seconds=2), "camera")
    desk.write(everything(START_S), "everything")
    desk.write(everything(START_S), "paused")
    desk.write(everything(START_S + 3600), "paused")
    whole = make(desk, recoder, "everything").bytes
    discard(making_path(desk.data_dir, "everything"))
    monkeypatch.setattr(compression, "MAX_BYTES_PER_HOUR", round(whole * 1800 * 0.9))
    assert make(desk, recoder, "camera").bytes < 0.9 * whole
    for interview_id in ("everything", "paused"):
        with pytest.raises(NotCompressed, match="all tracks together") as refused:
            make(desk, recoder, interview_id)
        assert refused.value.why is Left.LARGE


def test_where_fragments_overlap_time_counts_once(
    desk: Desk, recoder: Recoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sound of a fragment ends within the first picture of the next one."""
    seconds = 4.0
    desk.write(in_order(camera(seconds=seconds), microphone(seconds)))
    source = desk.reader()
    summed_s = sum(source.header(index).duration_us for index in range(len(source))) / 1e6
    assert summed_s > seconds + 0.01
    size = make(desk, recoder).bytes
    discard(making_path(desk.data_dir, "iv"))
    between_s = (summed_s + seconds) / 2
    monkeypatch.setattr(compression, "MAX_BYTES_PER_HOUR", round(size * 3600 / between_s))
    with pytest.raises(NotCompressed, match="all tracks together"):
        make(desk, recoder)


def test_only_what_is_finished_and_not_compressed_is(desk: Desk, recoder: Recoder) -> None:
    desk.write(interview(), finish=False)
    with pytest.raises(NotCompressed, match="still being recorded"):
        begin(desk, recoder)


def test_pictures_of_odd_sizes_are_encoded_in_even_ones(desk: Desk, recoder: Recoder) -> None:
    desk.write(camera(Codec.VP8, 1, width=161, height=121))
    make(desk, recoder)
    video = made_of(desk).recorded_tracks[0].video
    assert video is not None
    assert (video.width, video.height) == (160, 120)


def test_what_no_decoder_takes_shows_the_picture_before(desk: Desk, recoder: Recoder) -> None:
    frames = camera(seconds=1)
    torn = [
        msgspec.structs.replace(each, payload=each.payload[:40]) if i == 20 else each
        for i, each in enumerate(frames)
    ]
    desk.write(torn)
    make(desk, recoder)
    assert times(made_of(desk)) == times(desk.reader())
