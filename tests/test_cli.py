"""The command as its users run it: in this process where it only reads, else as a process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from server.cli import main
from server.core.frames import Codec
from server.recorder.catalog import open_for_writing, recording_path
from server.recorder.files import LocalFolder
from server.recorder.keys import open_keys
from server.recorder.s3 import S3Store
from server.recorder.uploader import Uploader
from server.recorder.writer import Metrics, RecordingWriter
from server.store import Store
from tests.recorder.conftest import POLICY
from tests.recorder.encoded import camera, microphone
from tests.recorder.test_stores import bucket

TIMEOUT_S = 60


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("VIVAVOCE_PORT", "VIVAVOCE_ROOT_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        status = main(argv)
    except SystemExit as stopped:  # argparse
        status = int(stopped.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def invited(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    status, out, _ = run(capsys, "invite", "--title", "Backend engineer", "--json", *more)
    assert status == 0
    made: dict[str, Any] = json.loads(out)
    return made


def record(data_dir: Path, interview_id: str) -> Path:
    keys = open_keys(data_dir / "keys")
    path = recording_path(data_dir, interview_id)
    manifest, key = open_for_writing(path, "A title", POLICY, keys)
    faults: list[str] = []
    writer = RecordingWriter(
        LocalFolder(path), key, keys.signer, manifest, Metrics(), faults.append
    )
    for frame in sorted(camera(Codec.H264) + microphone(), key=lambda each: each.capture_s):
        writer.write(frame)
    writer.finish()
    assert faults == []
    return path


# ---- invite and revoke ------------------------------------------------------------------


def test_invite_works_before_the_first_start(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = invited(capsys)
    assert {"interview_id", "candidate_url", "whip_url", "observer_url", "whep_url"} <= set(made)
    assert made["candidate_url"].startswith("http://localhost:8080/join#v1.")
    with Store(data / "vivavoce.sqlite") as store:
        interview = store.interview(made["interview_id"])
        assert interview is not None
        assert interview.title == "Backend engineer"


def test_invite_takes_the_address_of_the_server_or_the_one_given(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIVAVOCE_PORT", "9000")
    assert invited(capsys)["recruiter_url"].startswith("http://localhost:9000/observe#")
    (data / "server.json").write_text('{"url": "https://192.0.2.7:443", "pid": 1}')
    assert invited(capsys)["whip_url"].startswith("https://192.0.2.7:443/whip/v1.")
    given = invited(capsys, "--url", "https://interviews.example/")
    assert given["whep_url"].startswith("https://interviews.example/whep/v1.")


def test_invite_prints_for_people_by_default(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "invite", "--title", "Backend engineer")
    assert status == 0
    pages = {"Candidate": "join", "Interviewer": "interview", "Observer": "observe"}
    for role, page in pages.items():
        assert re.search(rf"{role}: +http://localhost:\d+/{page}#v1\.", out)
    assert "work until 20" in out


@pytest.mark.parametrize("title", ["", " ", "x" * 201])
def test_a_bad_title_is_refused(data: Path, capsys: pytest.CaptureFixture[str], title: str) -> None:
    status, _, err = run(capsys, "invite", "--title", title)
    assert (status, "title" in err) == (2, True)


@pytest.mark.parametrize("named_by", ["candidate_url", "whip_url"])
def test_revoke_takes_a_url(data: Path, capsys: pytest.CaptureFixture[str], named_by: str) -> None:
    made = invited(capsys)
    assert run(capsys, "revoke", made[named_by])[0] == 0
    with Store(data / "vivavoce.sqlite") as store:
        revoked = [each.role for each in store.links(made["interview_id"]) if each.revoked_s]
    assert revoked == ["candidate"]


def test_revoke_refuses_what_is_no_link(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "revoke", "abc")[0] == 2  # nor is there a data directory
    made = invited(capsys)
    assert run(capsys, "revoke", "abc")[0] == 2
    assert run(capsys, "revoke", made["candidate_url"][:-4] + "AAAA")[0] == 2


# ---- recordings -------------------------------------------------------------------------


def test_recordings_are_listed_for_programs_and_for_people(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.mkdir()
    assert run(capsys, "recordings") == (0, "There are no recordings yet.\n", "")
    path = record(data, "interview-1")
    status, out, _ = run(capsys, "recordings", "--json")
    (line,) = json.loads(out)
    assert status == 0
    assert line == {
        "interview_id": "interview-1",
        "path": str(path),
        "started_s": 1_760_000_000.0,
        "duration_s": pytest.approx(2.0, abs=0.1),
        "state": "finished",
    }
    assert "interview-1" in run(capsys, "recordings")[1]


def test_verify_says_intact_or_names_the_fault(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(data, "interview-1")
    status, out, _ = run(capsys, "verify", str(path))
    assert (status, out.startswith("Intact")) == (0, True)
    segment = next(path.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    status, out, _ = run(capsys, "verify", str(path))
    assert (status, segment.name in out) == (1, True)


def test_verify_of_nothing_is_wrong_use(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "verify", str(data / "none"))[0] == 2
    assert run(capsys, "verify")[0] == 2


def test_export_writes_one_file_that_plays(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    assert run(capsys, "export", "interview-1", "-o", str(out))[0] == 0
    assert out.read_bytes()[4:8] == b"ftyp"


def test_an_export_is_signed_and_checked(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    times = ("--from", "0.5", "--to", "0:01.5")
    assert run(capsys, "export", "interview-1", "-o", str(out), *times)[0] == 0
    status, said, _ = run(capsys, "verify", str(out))
    assert (status, "recording interview-1, 0.5 to 1.5 s" in said) == (0, True)
    out.write_bytes(out.read_bytes()[:-1])
    status, said, _ = run(capsys, "verify", str(out))
    assert (status, "NOT INTACT: out.mp4: truncated: 1 bytes are cut off" in said) == (1, True)
    out.with_name("out.mp4.vivavoce.json").unlink()
    assert run(capsys, "verify", str(out))[0] == 2


def test_a_clip_of_nothing_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    out = tmp_path / "out.mp4"
    for times in (("--from", "1:00"), ("--to", "0"), ("--from", "1", "--to", "0.5")):
        status, _, err = run(capsys, "export", "interview-1", "-o", str(out), *times)
        assert (status, "the recording lasts 2.0 s" in err) == (2, True)
    status, _, err = run(capsys, "export", "interview-1", "-o", str(out), "--from", "1:2:3:4")
    assert (status, "as 90, 1:30" in err) == (2, True)
    assert not out.exists()


def test_viewings_tells_of_each_export(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    assert run(capsys, "viewings", "interview-1")[:2] == (0, "Nobody has read this recording.\n")
    run(capsys, "export", "interview-1", "-o", str(tmp_path / "out.mp4"))
    (line,) = run(capsys, "viewings", "interview-1")[1].splitlines()
    assert re.search(r"export +0\.0 to +\d+\.\d s +operator$", line)
    (item,) = json.loads(run(capsys, "viewings", "interview-1", "--json")[1])
    assert (item["role"], item["way"], item["start_s"]) == (None, "export", 0.0)


def test_export_of_what_is_not_there_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record(data, "interview-1")
    for interview in ("nothing", "../keys"):
        status, _, err = run(capsys, "export", interview, "-o", str(tmp_path / "out.mp4"))
        assert (status, "no recording" in err) == (2, True)


# ---- serve and demo ---------------------------------------------------------------------


class Process:
    """A `vivavoce` process whose output is read line by line."""

    def __init__(self, log: Path, *argv: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server.cli", *argv],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def until(self, pattern: str) -> str:
        """Wait for a line; its first group."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            if found := re.search(pattern, self.said, re.MULTILINE):
                return found.group(1)
            assert self.process.poll() is None, self.said
            time.sleep(0.05)
        raise AssertionError(f"{pattern} never came in: {self.said}")

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


@contextmanager
def process(log: Path, *argv: str) -> Iterator[Process]:
    started = Process(log, *argv)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_it_is_and_stops_cleanly(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with process(tmp_path / "log", "serve", "--port", "0", "--workers", "0") as server:
        url = server.until(r"^Vivavoce is at (http://127\.0\.0\.1:\d+)$")
        assert server.until(r"Owner .*: (http://\S+)$").startswith(f"{url}/#v1.")
        server.until(r"(Stop with Ctrl-C)")
        with urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200
        assert server.stop(number) == 0
        assert server.said.endswith("Stopped. All recordings are sealed.\n")
    assert not (data / "server.json").exists()


def test_what_lives_as_long_as_the_server_is_left_out_of_collections() -> None:
    script = "import gc; from server import cli; cli._leave_out_of_collections(); "
    script += "print(gc.get_freeze_count() > 20_000, len(gc.get_objects()) < 1_000)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stdout == "True True\n"


def test_a_second_server_says_what_to_do(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(tmp_path / "log", "serve", "--port", "0", "--workers", "0") as server:
        port = server.until(r"^Vivavoce is at http://127\.0\.0\.1:(\d+)$")
        status, _, err = run(capsys, "serve", "--port", port)
        assert (status, f"Port {port} is in use" in err) == (2, True)
        status, _, err = run(capsys, "serve", "--port", "0", "--workers", "0")
        assert (status, "Another server is using" in err) == (2, True)


def test_a_running_server_knows_new_links_at_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(tmp_path / "log", "serve", "--port", "0", "--workers", "0") as server:
        url = server.until(r"^Vivavoce is at (\S+)$")
        made = invited(capsys)
        assert made["observer_url"].startswith(url)
        command = [sys.executable, "-c", _ASK, url, made["observer_url"].rpartition("#")[2]]
        me = json.loads(subprocess.check_output(command, timeout=TIMEOUT_S))
        assert me["interview"]["id"] == made["interview_id"]


_ASK = """
import sys, urllib.request
request = urllib.request.Request(
    sys.argv[1] + "/api/me", headers={"Authorization": "Bearer " + sys.argv[2]}
)
print(urllib.request.urlopen(request).read().decode())
"""


def children(pid: int) -> dict[int, str]:
    """Pids and command lines of a process's children."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(each): Path(f"/proc/{each}/cmdline").read_text() for each in found}


def test_demo_puts_a_candidate_on_the_air_and_says_when_it_is_gone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with process(tmp_path / "log", "demo", "--port", "0", "--workers", "0") as demo:
        url = demo.until(r"^Vivavoce is at (\S+)$")
        assert demo.until(r"Watch it live: +(\S+)$").startswith(f"{url}/observe#v1.")
        assert demo.until(r"Join one yourself: +(\S+)$").startswith(f"{url}/join#v1.")
        (candidate,) = [
            pid
            for pid, command in children(demo.process.pid).items()
            if "loadtest.candidate" in command
        ]
        os.kill(candidate, signal.SIGKILL)
        demo.until(r"(simulated candidate ended)")
        assert demo.stop(signal.SIGINT) == 0
        assert "v1." not in re.sub(r"http://\S+", "", demo.said)
    (line,) = json.loads(run(capsys, "recordings", "--json")[1])
    assert line["state"] == "finished"
    assert run(capsys, "verify", line["path"])[0] == 0


def test_demo_stops_its_candidate_too(data: Path, tmp_path: Path) -> None:
    with process(tmp_path / "log", "demo", "--port", "0", "--workers", "0") as demo:
        demo.until(r"(Watch it live)")
        started = children(demo.process.pid)
        assert demo.stop(signal.SIGTERM) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in started)
        assert "Traceback" not in demo.said
        assert "Fatal" not in demo.said


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name in ("serve", "demo", "invite", "revoke", "recordings", "viewings", "verify", "export"):
        assert name in out


def test_a_recording_in_a_store_is_verified_and_exported_from_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "data"
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(data_dir))
    path = record(data_dir, "iv")
    public_key = str(data_dir / "keys" / "signing.pub")
    with bucket(monkeypatch):
        monkeypatch.setenv("VIVAVOCE_STORE", "s3://recordings/p")
        signer = open_keys(data_dir / "keys").signer
        Uploader(data_dir, S3Store("recordings", "p"), signer.public_key()).round()
        assert [file.name for file in path.iterdir()] == ["manifest.json"]
        for place in ("s3://recordings/p/iv", str(path)):
            status, out, _ = run(capsys, "verify", place, "--public-key", public_key)
            assert (status, out.split(":")[0]) == (0, "Intact")
        assert run(capsys, "export", "iv", "-o", str(tmp_path / "iv.mp4"))[0] == 0
        status, out, _ = run(capsys, "verify", "s3://recordings/p/no", "--public-key", public_key)
        assert (status, "there is no manifest" in out) == (1, True)
    monkeypatch.delenv("VIVAVOCE_STORE")
    assert run(capsys, "verify", str(path))[0] == 1, "without the store the segment is missing"
