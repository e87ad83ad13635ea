"""Recordings with planted faults: written by the real recorder, read through its public API."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.peer import Crowd
from loadtest.recording import Gap, Inspection, RecordingError, SentTrack, check_recording
from loadtest.results import RecordingResult
from loadtest.stamp import MAGIC, pack_numbers, pack_source
from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder.replay.index import Side
from server.recorder.replay.reader import RecordingReader
from tests.recorder.conftest import Desk
from tests.recorder.encoded import camera, microphone

VIDEO, AUDIO = 7, 8  # SSRCs
SECONDS = 4
SENT = {VIDEO: SentTrack("camera", SECONDS * 30), AUDIO: SentTrack("microphone", SECONDS * 50)}
Fault = Callable[[EncodedFrame, int], EncodedFrame | None]


def stamped(frame: EncodedFrame, number: int) -> EncodedFrame:
    """The frame as a candidate sends it, at the time of its capture."""
    source = AUDIO if frame.codec is Codec.OPUS else VIDEO
    stamp = MAGIC + pack_numbers(pack_source(source), number, frame.capture_s)
    payload = frame.payload
    if frame.codec is Codec.OPUS:
        payload = bytes((payload[0] | 3, 0x41, len(stamp))) + payload[1:] + stamp
    elif frame.codec is Codec.VP8:
        payload += stamp
    else:
        sei = bytes((6, 5, len(stamp))) + stamp + b"\x80"
        payload = len(sei).to_bytes(4, "big") + sei + payload
    return msgspec.structs.replace(frame, payload=payload)


def sent(codec: Codec, seconds: int = SECONDS) -> list[tuple[EncodedFrame, int]]:
    both = [*enumerate(camera(codec, seconds)), *enumerate(microphone(seconds))]
    both.sort(key=lambda each: each[1].capture_s)
    return [(stamped(frame, number), number) for number, frame in both]


def inspect(reader: RecordingReader) -> RecordingResult:
    index, inspection = reader.describe(), Inspection(SENT)
    for fragment in index.fragments:
        inspection.add(reader.init(Side.CANDIDATE, fragment.init) + reader.fragment(fragment.seq))
    return inspection.result(tuple(Gap(g.track, g.start_s, g.end_s) for g in index.gaps))


def recorded(folder: Path, fault: Fault, codec: Codec = Codec.VP8) -> RecordingResult:
    kept = [fault(frame, number) for frame, number in sent(codec)]
    desk = Desk(folder)
    desk.write([frame for frame in kept if frame is not None])
    return inspect(desk.reader())


def is_picture(frame: EncodedFrame) -> bool:
    return frame.track is TrackName.CAMERA


def test_pictures_are_counted_by_layer(tmp_path: Path) -> None:
    assert recorded(tmp_path, lambda frame, number: frame).layers == {0: SECONDS * 30}


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
def test_every_frame_of_a_whole_recording_is_found_in_its_place(
    tmp_path: Path, codec: Codec
) -> None:
    result = recorded(tmp_path, lambda frame, number: frame, codec)
    assert (result.error, result.frames_sent) == (None, SECONDS * 80)
    assert (result.frames_missing, result.gaps_declared, result.gaps_undeclared) == (0, 0, 0)
    assert result.av_offsets.samples == SECONDS
    assert result.av_offsets.size_s(100) == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
def test_every_hundredth_picture_that_is_missing_is_told(tmp_path: Path, codec: Codec) -> None:
    def drop(frame: EncodedFrame, number: int) -> EncodedFrame | None:
        return None if is_picture(frame) and number % 100 == 99 else frame

    result = recorded(tmp_path, drop, codec)
    assert (result.video_missing, result.frames_missing, result.gaps_undeclared) == (1, 1, 1)
    assert result.frames_undeclared == 1


def test_a_second_of_silence_is_one_gap_that_nobody_declared(tmp_path: Path) -> None:
    def stall(frame: EncodedFrame, number: int) -> EncodedFrame | None:
        return None if not is_picture(frame) and 50 <= number < 100 else frame

    result = recorded(tmp_path, stall)
    assert (result.frames_missing, result.gaps_undeclared, result.video_missing) == (50, 1, 0)


def test_the_first_and_the_last_frames_are_missed_as_well(tmp_path: Path) -> None:
    def cut(frame: EncodedFrame, number: int) -> EncodedFrame | None:
        last = SENT[VIDEO if is_picture(frame) else AUDIO].frames - 1
        return None if is_picture(frame) == (number == last) and number in (0, last) else frame

    result = recorded(tmp_path, cut)
    assert (result.frames_missing, result.gaps_undeclared) == (2, 2)


@pytest.mark.parametrize("shift_s", [0.080, -0.080])
@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
def test_a_shift_of_the_sound_is_reported_within_two_milliseconds(
    tmp_path: Path, codec: Codec, shift_s: float
) -> None:
    def shift(frame: EncodedFrame, number: int) -> EncodedFrame:
        moved = 0 if is_picture(frame) else shift_s
        return msgspec.structs.replace(frame, capture_s=frame.capture_s + moved)

    offsets = recorded(tmp_path, shift, codec).av_offsets
    assert offsets.median_s() == pytest.approx(-shift_s, abs=0.002)


def test_frames_of_another_candidate_spoil_the_recording(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write([frame for frame, _ in sent(Codec.VP8, 1)])
    reader = desk.reader()
    inspection = Inspection({AUDIO: SentTrack("microphone", 50)})
    inspection.add(reader.init(Side.CANDIDATE, 0) + reader.fragment(1))
    assert "frames of another candidate" in (inspection.result(()).error or "")


# ---- the ledger


def track_with_a_hole(*gaps: tuple[float, float]) -> RecordingResult:
    """Sounds 0..49 in the first second, 100..149 in the third; the ledger says `gaps`."""
    inspection = Inspection({AUDIO: SentTrack("microphone", 150)})
    for number in (*range(50), *range(100, 150)):
        stamp = MAGIC + pack_numbers(pack_source(AUDIO), number, 1000 + number / 50)
        inspection._take(False, stamp, number / 50)
    return inspection.result(tuple(Gap("microphone", *gap) for gap in gaps))


@pytest.mark.parametrize(
    ("gaps", "undeclared"),
    [
        ([], 1),
        ([(1.0, 2.0)], 0),
        ([(0.9, 2.1)], 0),
        ([(1.0, 1.5)], 1),  # half of it
        ([(1.5, 2.0), (1.0, 1.5)], 0),  # in two entries
        ([(1.0, 1.3), (1.6, 2.0)], 1),
        ([(2.5, 2.9)], 1),
    ],
)
def test_missing_frames_are_declared_if_the_ledger_covers_their_time(
    gaps: list[tuple[float, float]], undeclared: int
) -> None:
    result = track_with_a_hole(*gaps)
    assert (result.frames_missing, result.gaps_declared) == (50, len(gaps))
    assert (result.gaps_undeclared, result.frames_undeclared) == (undeclared, 50 * undeclared)


def test_a_gap_of_one_track_says_nothing_about_the_other() -> None:
    inspection = Inspection(SENT)
    result = inspection.result((Gap("camera", 0, 4),))
    assert result.frames_missing == SENT[AUDIO].frames + SENT[VIDEO].frames
    assert result.frames_undeclared == SENT[AUDIO].frames


def test_a_candidate_who_joined_again_is_one_recording() -> None:
    inspection = Inspection(
        {AUDIO: SentTrack("microphone", 50), AUDIO + 1: SentTrack("microphone", 50)}
    )
    for source, number in [(AUDIO, n) for n in range(45)] + [(AUDIO + 1, n) for n in range(50)]:
        media_s = number / 50 + (source - AUDIO) * 3
        stamp = MAGIC + pack_numbers(pack_source(source), number, 1000 + media_s)
        inspection._take(False, stamp, media_s)
    result = inspection.result((Gap("microphone", 0.9, 3.0),))
    assert (result.frames_missing, result.gaps_undeclared) == (5, 0)


def test_a_screen_is_a_video_of_its_own_whose_frames_are_missed_by_themselves() -> None:
    inspection = Inspection(
        {
            VIDEO: SentTrack("camera", 30),
            AUDIO: SentTrack("microphone", 0),
            9: SentTrack("screen", 15),
        }
    )
    for source, rate in ((VIDEO, 30), (9, 15)):
        for number in (n for n in range(rate) if (source, n) != (9, 7)):
            stamp = MAGIC + pack_numbers(pack_source(source), number, 1000 + number / rate)
            inspection._take(True, stamp, number / rate)
    result = inspection.result((Gap("camera", 0, 1),))
    assert (result.error, result.screen_recorded) == (None, True)
    assert (result.video_missing, result.frames_missing, result.frames_undeclared) == (0, 1, 1)
    silent = Inspection({9: SentTrack("screen", 15)}).result(())
    assert (silent.screen_recorded, silent.frames_missing) == (False, 15)


def test_a_screen_in_the_track_of_sound_spoils_the_recording() -> None:
    inspection = Inspection({9: SentTrack("screen", 1)})
    inspection._take(False, MAGIC + pack_numbers(pack_source(9), 0, 1000.0), 0.0)
    assert "frames of another candidate" in (inspection.result(()).error or "")


@pytest.mark.parametrize("fragment", [b"", b"garbage", bytes(1000)])
def test_what_is_no_media_is_refused(fragment: bytes) -> None:
    with pytest.raises(RecordingError, match="cannot be demuxed"):
        Inspection(SENT).add(fragment)


# ---- through HTTP


class Api:
    """The three routes; `pending` requests say first that it is still being recorded."""

    def __init__(self, reader: RecordingReader, pending: int = 0) -> None:
        self._reader, self.pending, self.asked = reader, pending, 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/recordings/iv", self.index)
        app.router.add_get("/api/recordings/iv/init/{number}", self.init)
        app.router.add_get("/api/recordings/iv/fragment/{number}", self.fragment)
        return app

    async def index(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer token":
            return web.Response(status=401)
        index = await asyncio.to_thread(self._reader.describe)
        body = msgspec.to_builtins(index)
        if self.pending:
            self.pending -= 1
            body["state"] = "recording"
        return web.json_response(body)

    async def init(self, request: web.Request) -> web.Response:
        return await self._read(request, partial(self._reader.init, Side.CANDIDATE))

    async def fragment(self, request: web.Request) -> web.Response:
        return await self._read(request, self._reader.fragment)

    async def _read(self, request: web.Request, read: Callable[[int], bytes]) -> web.Response:
        self.asked += 1
        if self.asked == 2:
            return web.Response(status=429)
        return web.Response(body=await asyncio.to_thread(read, int(request.match_info["number"])))


async def checked(crowd: Crowd, folder: Path, token: str, pending: int = 0) -> RecordingResult:
    desk = Desk(folder)
    await asyncio.to_thread(desk.write, [frame for frame, _ in sent(Codec.H264)])
    async with TestServer(Api(desk.reader(), pending).app()) as server:
        url = str(server.make_url("")).rstrip("/")
        return await check_recording(crowd.http, url, "iv", token, SENT)


@pytest.mark.may_block("the test's own writing of a recording")
async def test_a_recording_is_read_once_it_is_finished(crowd: Crowd, tmp_path: Path) -> None:
    result = await checked(crowd, tmp_path, "token", pending=2)
    assert (result.error, result.frames_missing) == (None, 0)


@pytest.mark.may_block("the test's own writing of a recording")
async def test_a_rate_limit_is_waited_for(crowd: Crowd, tmp_path: Path) -> None:
    assert (await checked(crowd, tmp_path, "token")).error is None


@pytest.mark.may_block("the test's own writing of a recording")
async def test_a_refusal_is_the_recordings_error(crowd: Crowd, tmp_path: Path) -> None:
    result = await checked(crowd, tmp_path, "guess")
    assert result.error == "HTTP 401 for the index"
