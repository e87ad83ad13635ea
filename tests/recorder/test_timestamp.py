"""Time stamps by a real authority, `openssl ts`: asked for, kept, and proved."""

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import parse_headers
from pathlib import Path

import pytest
from cryptography.x509 import Certificate
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec
from server.recorder.catalog.recordings import recording_path
from server.recorder.catalog.timestamper import Timestamper
from server.recorder.evidence.timestamp import Request, check, load_roots, read_time
from server.recorder.evidence.verify import verify
from server.recorder.format.sealing import SegmentError
from tests.recorder.authority import Authority, authority
from tests.recorder.conftest import POLICY, Desk
from tests.recorder.encoded import START_S, interview
from tests.signaling.serving import open_serving

DATA = b"a manifest"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with authority(tmp_path_factory.mktemp("tsa") / "shared") as opened:
        yield opened


@pytest.fixture
def tsa(shared: Authority) -> Authority:
    shared.away, shared.asked = False, 0
    return shared


@pytest.fixture(scope="module")
def stamp(shared: Authority) -> bytes:
    return shared.answer(Request(DATA).body)


@pytest.fixture(scope="module")
def roots(shared: Authority) -> list[Certificate]:
    return load_roots(shared.root.read_bytes())


def test_a_stamp_proves_when_the_data_was_there(stamp: bytes, roots: list[Certificate]) -> None:
    at = check(stamp, DATA, roots)
    assert abs(at - datetime.now(UTC)) < timedelta(minutes=10)
    assert read_time(stamp, DATA) == at
    assert read_time(stamp, b"another") is None
    with pytest.raises(SegmentError):
        check(stamp, b"another", roots)


def test_another_authority_proves_nothing(
    stamp: bytes, roots: list[Certificate], tmp_path: Path
) -> None:
    with authority(tmp_path / "other") as other:
        strangers = load_roots(other.root.read_bytes())
    with pytest.raises(SegmentError):
        check(stamp, DATA, strangers)


def test_every_changed_byte_is_found_or_says_the_same(
    stamp: bytes, roots: list[Certificate]
) -> None:
    """What the signature does not cover, as a certificate's unused bits, changes nothing."""
    at, same = check(stamp, DATA, roots), 0
    for place in range(0, len(stamp), 3):
        changed = stamp[:place] + bytes([stamp[place] ^ 0x41]) + stamp[place + 1 :]
        try:
            assert check(changed, DATA, roots) == at
            same += 1
        except SegmentError:
            continue
    assert same < len(stamp) / 10


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_they_are_documented_to_be(data: bytes) -> None:
    with pytest.raises(SegmentError):
        read_time(data, DATA)


def test_an_answer_to_another_question_is_refused(tsa: Authority) -> None:
    request = Request(DATA)
    request.check(tsa.answer(request.body))
    for other in (Request(DATA), Request(b"another")):
        with pytest.raises(SegmentError, match="something else"):
            request.check(tsa.answer(other.body))


# ---- recordings --------------------------------------------------------------------------


def timestamper(desk: Desk, tsa: Authority) -> Timestamper:
    return Timestamper(desk.data_dir, tsa.url, desk.keys.public_key)


def proved(desk: Desk, roots: list[Certificate]) -> datetime:
    stamp, data = ((desk.path() / name).read_bytes() for name in ("manifest.tsr", "manifest.json"))
    return check(stamp, data, roots)


def test_a_closed_recording_is_stamped_once_and_an_open_one_not(
    desk: Desk, tsa: Authority, roots: list[Certificate]
) -> None:
    worker = timestamper(desk, tsa)
    writer = desk.write(interview(Codec.VP8, 1.0), finish=False)
    worker.round()
    assert tsa.asked == 0
    writer.finish()
    for each in (worker, worker, timestamper(desk, tsa)):  # also after a restart
        each.round()
    assert tsa.asked == 1
    proved(desk, roots)
    assert verify(desk.path(), desk.keys.public_key).intact
    desk.write(interview(Codec.VP8, 1.0, START_S + 20))  # it goes on: another manifest
    assert verify(desk.path(), desk.keys.public_key).intact
    with pytest.raises(SegmentError):
        proved(desk, roots)
    worker.round()
    proved(desk, roots)
    command = ["openssl", "ts", "-verify", "-in", "manifest.tsr", "-data", "manifest.json"]
    command += ["-CAfile", str(tsa.root)]
    done = subprocess.run(command, cwd=desk.path(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_authority_that_is_away_is_asked_later(
    desk: Desk, tsa: Authority, roots: list[Certificate]
) -> None:
    desk.write(interview(Codec.VP8, 1.0))
    worker = timestamper(desk, tsa)
    tsa.away = True
    for _ in range(2):
        with pytest.raises(OSError, match="503"):
            worker.round()
    assert not (desk.path() / "manifest.tsr").exists()
    tsa.away = False
    worker.round()
    proved(desk, roots)


def test_an_answer_that_is_no_stamp_is_not_kept(
    desk: Desk, tsa: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(interview(Codec.VP8, 1.0))
    for answer in (b"", tsa.answer(Request(DATA).body), tsa.answer(b"no question")):
        with monkeypatch.context() as wrong:
            wrong.setattr(tsa, "answer", lambda _, answer=answer: answer)
            with pytest.raises(SegmentError):
                timestamper(desk, tsa).round()
        assert not (desk.path() / "manifest.tsr").exists()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_who_answers_by_no_http_is_asked_later(desk: Desk, answer: bytes) -> None:
    desk.write(interview(Codec.VP8, 1.0))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answers() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as asked:
                asked.readline()
                asked.read(int(parse_headers(asked)["Content-Length"]))
                connection.sendall(answer)

        thread = threading.Thread(target=answers)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises((OSError, SegmentError)):
            Timestamper(desk.data_dir, url, desk.keys.public_key).round()
        thread.join()


async def test_a_server_has_what_it_seals_stamped(
    tmp_path: Path, tsa: Authority, roots: list[Certificate]
) -> None:
    async with open_serving(tmp_path, timestamp_url=tsa.url) as serving:
        interview_id = serving.one.interview_id
        recording = serving.server.recorder.record(interview_id, "One", POLICY, lambda _: None)
        for frame in interview(Codec.VP8, 1.0):
            recording.on_frame(frame)
        await recording.close()
        path = recording_path(serving.data_dir, interview_id)
        while not await asyncio.to_thread((path / "manifest.tsr").exists):
            pass  # until its thread looks again
        names = ("manifest.tsr", "manifest.json")
        stamp, data = await asyncio.to_thread(lambda: [(path / n).read_bytes() for n in names])
        check(stamp, data, roots)
