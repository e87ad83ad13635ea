"""`vivavoce inspect`, as a person types it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Codec
from server.recorder.catalog.erasure import erase
from server.recorder.keys.key_ring import open_keys
from server.recorder.stores.s3 import S3Store
from server.recorder.uploader import Uploader
from tests.commands.conftest import record, run
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, camera, in_order, interview, microphone
from tests.recorder.test_store import bucket

Capsys = pytest.CaptureFixture[str]


def inspected(capsys: Capsys, *argv: str) -> tuple[int, dict[str, Any]]:
    status, out, err = run(capsys, "inspect", *argv, "--json")
    assert not err
    return status, json.loads(out)


def test_a_person_reads_what_a_recording_consists_of(data: Path, capsys: Capsys) -> None:
    desk = Desk(data)
    desk.write(interview(Codec.H264, 12.0))
    desk.write(
        in_order(
            camera(Codec.VP8, 3.0, START_S + 20, width=64, height=48), microphone(3.0, START_S + 20)
        )
    )
    status, out, _ = run(capsys, "inspect", "iv")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "Interview iv"
    for expected in (
        "  Title:         A title",
        "  State:         finished",
        "  Length:        0:00:23.000",
        "Gaps (2)",
        "  0:00:12.000 to 0:00:20.000 camera: disconnected",
    ):
        assert expected in out, expected
    said = " ".join(out.split())
    assert f"Signature: valid, by the key of {data}/keys/signing.pub" in said
    assert "camera: H.264 160 x 120, then VP8 64 x 48 from 0:00:20.000;" in said
    assert "microphone: Opus; 0:00:00.000 to 0:00:23.000, 0:00:15 of it there" in said
    assert "Segments (3) 00000.seg 0:00:00.000 to 0:00:10.000:" in said
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


def test_a_program_gets_the_figures(data: Path, capsys: Capsys) -> None:
    frames = interview(Codec.VP8, 12.0)
    Desk(data).write(frames)
    status, report = inspected(capsys, "iv")
    seen = report["recording"]
    assert status == 0
    (video, audio) = seen["tracks"]
    assert video["bytes"] == sum(len(f.payload) for f in frames if f.codec is Codec.VP8)
    assert audio["bytes"] == sum(len(f.payload) for f in frames if f.codec is Codec.OPUS)
    assert video["bitrate_bps"] == pytest.approx(video["bytes"] * 8 / 12, rel=0.02)
    assert (video["start_s"], video["end_s"]) == (0, pytest.approx(12, abs=0.1))
    assert seen["size"] == sum(file.stat().st_size for file in Desk(data).path().glob("*.seg"))
    assert seen["records"] == seen["tree_size"]
    assert [each["name"] for each in seen["segments"]] == ["00000.seg", "00001.seg"]
    assert (report["key"]["state"], report["key"]["usable"]) == ("present", True)
    assert report["signature"]["valid"] is True


def test_without_the_key_it_says_what_it_cannot_read(
    data: Path, capsys: Capsys, tmp_path: Path
) -> None:
    desk = Desk(data)
    desk.write(interview(Codec.H264, 12.0))
    erase(data, "iv", 1_770_000_000_000_000)
    status, out, _ = run(capsys, "inspect", "iv")
    assert status == 0
    assert "Title:         sealed: it takes the key" in out
    assert "Key:           destroyed, on 2026-02-0" in out
    assert "bit rate take the key" in " ".join(out.split())
    elsewhere = shutil.copytree(desk.path(), tmp_path / "copy")
    nowhere = ("--data-dir", str(tmp_path / "none"))
    status, report = inspected(capsys, str(elsewhere), *nowhere)
    assert (status, report["key"]["state"]) == (0, "unknown")
    assert report["signature"]["valid"] is None
    (video, _) = report["recording"]["tracks"]
    assert (video["bytes"], video["codings"], video["duration_s"]) == (
        None,
        [],
        pytest.approx(12, abs=0.1),
    )
    assert not (tmp_path / "none").exists()


def test_one_that_is_being_written_is_shown_as_far_as_it_goes(data: Path, capsys: Capsys) -> None:
    Desk(data).write(interview(Codec.VP8, 12.0), finish=False)
    status, report = inspected(capsys, "iv")
    assert (status, report["recording"]["state"]) == (0, "recording")
    assert [each["listed"] for each in report["recording"]["segments"]] == [True, False]
    assert report["recording"]["duration_s"] > 11
    said = run(capsys, "inspect", "iv")[1]
    assert ("  Until: " in said, "Ended" in said) == (True, False)


def test_what_is_gone_or_changed_is_said(data: Path, capsys: Capsys) -> None:
    desk = Desk(data)
    desk.write(interview(Codec.VP8, 12.0))
    path = desk.path()
    (path / "00001.seg").unlink()
    status, out, _ = run(capsys, "inspect", "iv")
    assert (status, "4 fragments; GONE" in " ".join(out.split())) == (1, True)
    manifest = path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"finished"', b'"recording"'))
    status, out, _ = run(capsys, "inspect", "iv")
    assert (status, "NOT VALID, it is not by" in out) == (1, True)
    manifest.write_bytes(b"{}")
    status, _, err = run(capsys, "inspect", "iv")
    assert (status, "the manifest does not parse" in err) == (2, True)


def test_a_changed_record_is_named_and_the_rest_shown(data: Path, capsys: Capsys) -> None:
    path = record(data, "iv")
    segment = next(path.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[-400] ^= 1
    segment.write_bytes(content)
    status, out, _ = run(capsys, "inspect", "iv")
    assert (status, "00000.seg: wrong key" in out) == (1, True)


def test_the_log_is_asked_what_it_knows(data: Path, capsys: Capsys) -> None:
    desk = Desk(data)
    witness = desk.witness()
    writer = desk.write(interview(Codec.VP8, 2.0))
    assert "does not know this recording" in run(capsys, "inspect", "iv")[1]
    witness.closed(writer, START_S)
    witness.tell([], START_S)
    _, report = inspected(capsys, "iv")
    assert (report["log"]["kind"], report["log"]["agrees"]) == ("closed", True)
    assert report["log"]["records"] == report["recording"]["tree_size"]


def test_where_each_file_lies_is_told(
    data: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(data, "iv")
    with bucket(monkeypatch):
        monkeypatch.setenv("VIVAVOCE_STORE", "s3://recordings/p")
        public_key = open_keys(data / "keys").public_key
        Uploader(data, S3Store("recordings", "p"), public_key).round()
        status, report = inspected(capsys, "iv")
        assert (status, report["lies"]["here"], report["lies"]["stored"]) == (0, 1, 2)
        assert report["recording"]["tracks"][0]["codings"][0]["codec"] == "H264"
        status, report = inspected(capsys, "s3://recordings/p/iv")
        assert (status, report["lies"]["folder"], report["key"]["usable"]) == (0, None, True)


def test_an_archive_is_looked_into(data: Path, capsys: Capsys, tmp_path: Path) -> None:
    record(data, "iv")
    out = str(tmp_path / "out.zip")
    assert run(capsys, "export", "iv", "--evidence", "-o", out)[0] == 0
    status, report = inspected(capsys, out)
    assert (status, report["lies"]["folder"], report["lies"]["here"]) == (0, None, 2)
    assert (report["key"]["usable"], report["recording"]["interview_id"]) == (True, "iv")
    Path(out).write_bytes(b"nothing of the kind")
    status, _, err = run(capsys, "inspect", out)
    assert (status, "neither a recording's folder nor a zip" in err) == (2, True)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nothing", "no recording of an interview"),
        ("../no-such", "There is no file or folder"),
        ("/", "no recording"),
    ],
)
def test_what_is_no_recording_is_wrong_use(
    data: Path, capsys: Capsys, named: str, said: str
) -> None:
    status, _, err = run(capsys, "inspect", named)
    assert (status, said in err) == (2, True)


@pytest.mark.parametrize(
    "forged",
    [{"epoch_us": 10**30}, {"epoch_us": -1}, {"title": "zz"}, {"title": "00"}, {"recording": "zz"}],
)
def test_a_forged_manifest_is_said_to_be_none(
    data: Path, capsys: Capsys, forged: dict[str, int | str]
) -> None:
    file = record(data, "one") / "manifest.json"
    content = json.loads(file.read_bytes())
    content["manifest"] |= forged
    file.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    status, out, err = run(capsys, "inspect", "one")
    assert (status, "can't be read" in err) == (2, True) or (status, "NOT" in out) == (1, True)
