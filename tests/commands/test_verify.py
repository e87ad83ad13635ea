"""`vivavoce verify`, as a person types it."""

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from server.core.frames import Codec
from server.recorder.evidence.proof import Proof
from server.recorder.evidence.tiles import Tiles
from server.recorder.format.merkle import inclusion_path
from server.recorder.keys.key_ring import open_keys
from server.recorder.stores.s3 import S3Store
from server.recorder.uploader import Uploader
from tests.commands.conftest import record, run
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, interview
from tests.recorder.test_store import bucket


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


@pytest.mark.parametrize("log_left", ["all", "proofs"])
def test_proofs_that_somebody_put_into_a_whole_log_do_not_take_its_place(
    data: Path, log_left: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(data)
    desk.seal("one")
    older = shutil.copytree(desk.path("one"), tmp_path / "older")
    desk.seal("one", START_S + 100)
    tiles, size = Tiles(desk.log), 4
    closed, path = 1, inclusion_path(1, size, Tiles(desk.log).range_hash)
    proof = Proof(closed, tuple(path), (desk.log / "checkpoint").read_bytes())
    (desk.log / "1.entry").write_bytes(tiles.entry(closed))
    (desk.log / "1.tlog-proof").write_text(proof.text, encoding="utf-8")
    assert run(capsys, "verify", str(desk.path("one")))[0] == 0
    shutil.rmtree(desk.path("one"))
    shutil.copytree(older, desk.path("one"))
    said = "rolled back: put back to its revision 3, while the log knows 6"
    if log_left == "proofs":
        shutil.rmtree(desk.log / "tile")
        said = "log/tile/entries/000.p/4: missing"
    for what in (data, desk.path("one")):
        status, out, _ = run(capsys, "verify", str(what))
        assert (status, said in out) == (1, True)
    assert "4 entries" in run(capsys, "inspect", "one")[1] or log_left == "proofs"


_DEEP = b'{"manifest":{"version":1,"a":' + b"[" * 100_000 + b"]" * 100_000 + b'},"signature":""}'


@pytest.mark.parametrize("manifest", [None, _DEEP], ids=["pipe", "deep"])
def test_a_manifest_that_is_a_trap_is_a_fault(
    data: Path, manifest: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = record(data, "one") / "manifest.json"
    file.unlink()
    if manifest is None:
        os.mkfifo(file)
    else:
        file.write_bytes(manifest)
    status, out, _ = run(capsys, "verify", str(file.parent))
    assert (status, out.startswith("NOT INTACT: manifest.json: ")) == (1, True)


def test_a_store_does_not_hide_which_file_is_wrong(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = record(data, "one") / "manifest.json"
    file.write_text("{}")
    status, out, _ = run(capsys, "verify", str(file.parent), "--store", str(tmp_path / "store"))
    assert (status, out.startswith("NOT INTACT: manifest.json: tampered")) == (1, True)


def test_a_name_does_nothing_to_a_terminal(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(data, "one")
    (path / "\x1b[2K\r\u202eIntact").touch()
    _, out, _ = run(capsys, "verify", str(path))
    assert out.startswith("NOT INTACT: \\x1b[2K\\r\\u202eIntact: unexpected")


def test_verify_of_nothing_is_wrong_use(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "verify", str(data / "none"))[0] == 2
    assert run(capsys, "verify")[0] == 2


def test_of_a_data_directory_all_recordings_are_meant(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(data, "one")
    path = record(data, "two")
    status, out, _ = run(capsys, "verify", str(data))
    assert (status, out.splitlines()[0]) == (0, "Intact: 2 recordings.")
    next(path.glob("*.seg")).unlink()
    status, out, _ = run(capsys, "verify", str(data))
    assert (status, "NOT INTACT: two/00000.seg" in out) == (1, True)


def test_a_data_directory_whose_recordings_are_gone_is_not_intact(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Desk(data).seal("one")
    shutil.rmtree(data / "recordings")
    status, out, _ = run(capsys, "verify", str(data))
    assert (status, "NOT INTACT: one, 0.000 s to" in out) == (1, True)
    assert "the whole recording is gone" in out


def test_a_folder_without_any_recording_is_wrong_use(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a recording that is damaged: so a script would take it."""
    path = record(data, "one")
    shutil.rmtree(path)
    for folder in (data, data / "recordings", data / "keys"):
        status, out, err = run(capsys, "verify", str(folder))
        assert (status, out, "There is no recording in" in err) == (2, "", True), folder


def test_nothing_that_is_put_beside_segments_hides_them(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = record(data, "one").rename(tmp_path / "copy")
    (path / "recordings").mkdir()
    key = ("--public-key", str(data / "keys" / "signing.pub"))
    assert run(capsys, "verify", str(path), *key)[0] == 1, "the folder is not listed"
    (path / "manifest.json").unlink()
    status, out, _ = run(capsys, "verify", str(path), *key)
    assert (status, "manifest.json: missing" in out) == (1, True)


def test_a_recording_in_a_store_is_verified_and_exported_from_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "data"
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", str(data_dir))
    path = record(data_dir, "iv")
    public_key = str(data_dir / "keys" / "signing.pub")
    with bucket(monkeypatch):
        monkeypatch.setenv("VIVAVOCE_STORE", "s3://recordings/p")
        known = open_keys(data_dir / "keys").public_key
        Uploader(data_dir, S3Store("recordings", "p"), known).round()
        assert [file.name for file in path.iterdir()] == ["manifest.json"]
        for place in ("s3://recordings/p/iv", str(path)):
            status, out, _ = run(capsys, "verify", place, "--public-key", public_key)
            assert (status, out.split(":")[0]) == (0, "Intact")
        assert run(capsys, "export", "iv", "-o", str(tmp_path / "iv.mp4"))[0] == 0
        status, _, err = run(capsys, "verify", "s3://recordings/p/no", "--public-key", public_key)
        assert (status, "There is no recording at" in err) == (2, True)
    monkeypatch.delenv("VIVAVOCE_STORE")
    assert run(capsys, "verify", str(path))[0] == 1, "without the store the segment is missing"


def test_a_whole_recording_in_the_place_of_another_is_named(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Every byte of it is authentic, and the log knows it: it is of somebody else."""
    desk, recordings = Desk(data), data / "recordings"
    for interview_id in ("one", "two"):
        desk.seal(interview_id)
    shutil.rmtree(recordings / "one")
    copy = shutil.copytree(recordings / "two", recordings / "one")
    packed = shutil.make_archive(str(tmp_path / "all"), "zip", data, "recordings")
    public_key = ("--public-key", str(data / "keys" / "signing.pub"))
    for place in (str(copy), "one", str(recordings), packed):
        status, out, _ = run(capsys, "verify", place, *public_key)
        assert status == 1, place
        assert "manifest.json, 0.000 s to 2.000 s: foreign" in out
        assert "the recording of interview two lies in place of one's" in out
    listed = json.loads(run(capsys, "recordings", "--json")[1])
    assert [each["interview_id"] for each in listed] == ["two"]
    elsewhere = shutil.copytree(copy, tmp_path / "kept-for-the-court")
    assert run(capsys, "verify", str(elsewhere), *public_key)[0] == 0, "any name will do there"


# ---- archives ---------------------------------------------------------------------------


@pytest.fixture
def packed(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Path:
    """Evidence of a recording of two segments, far from the server, and the server's public key."""
    Desk(data).write(interview(Codec.VP8, 12.0))
    there = tmp_path / "there"
    there.mkdir()
    out = there / "out.zip"
    assert run(capsys, "export", "iv", "--evidence", "-o", str(out))[0] == 0
    shutil.copy(data / "keys" / "signing.pub", there / "known.pub")
    data.rename(tmp_path / "gone")
    return out


def verified(
    capsys: pytest.CaptureFixture[str], path: Path, key: Path | None = None
) -> tuple[int, str]:
    public_key = str(key or path.parent / "known.pub")
    status, out, err = run(capsys, "verify", str(path), "--public-key", public_key)
    return status, out + err


def repacked(path: Path, change: Callable[[str, bytes], bytes], method: int) -> Path:
    """Each file of an archive as ``change`` leaves it; of b"" nothing is left."""
    target = path.with_name("repacked.zip")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(target, "w", method) as after:
        for name in before.namelist():
            if data := change(name, before.read(name)):
                after.writestr(name, data)
    return target


def test_an_archive_is_verified_with_the_public_key_alone(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = verified(capsys, packed)
    assert (status, "Intact: interview iv, 24 fragments, 12.0 s" in said) == (0, True), said
    assert re.search(r"known\.pub \(SHA-256 [0-9a-f]{64}\)", said)
    status, said = verified(capsys, packed, packed.parent / "none.pub")
    assert (status, "There is no public key" in said) == (2, True)
    Desk(packed.parent / "another")
    other = packed.parent / "another" / "keys" / "signing.pub"
    status, said = verified(capsys, packed, other)
    assert (status, "signature does not fit" in said) == (1, True)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_first_fault_in_an_archive_is_named_with_its_time(
    packed: Path, capsys: pytest.CaptureFixture[str], method: int
) -> None:
    def flip(name: str, data: bytes) -> bytes:
        at = len(data) // 2
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if "00001.seg" in name else data

    assert verified(capsys, repacked(packed, lambda name, data: data, method))[0] == 0
    status, said = verified(capsys, repacked(packed, flip, method))
    assert status == 1
    assert re.search(r"NOT INTACT: 00001\.seg, 1[01]\.\d{3} s to 12\.\d{3} s: tampered", said)


def test_what_cannot_even_be_inflated_is_named_with_its_time(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = repacked(packed, lambda name, data: data, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("vivavoce-iv/recording/00001.seg")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(info.filename)] = 0xFF  # RFC 1951 3.2.3: no such block
    path.write_bytes(data)
    status, said = verified(capsys, path)
    assert status == 1
    assert re.search(r"00001\.seg, 10\.000 s to 12\.\d+ s: tampered: it can't be inflated", said)


def test_what_is_missing_from_an_archive_or_strange_in_it_is_named(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(name: str, data: bytes) -> bytes:
        return b"" if "00000.seg" in name else data

    status, said = verified(capsys, repacked(packed, without, zipfile.ZIP_STORED))
    assert (status, "00000.seg, 0.000 s to 10.000 s: missing" in said) == (1, True)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("vivavoce-iv/play.exe", "x")
    status, said = verified(capsys, packed)
    assert (status, "play.exe: unexpected" in said) == (1, True)


@pytest.mark.parametrize("name", ["receipt.json", "recording.vivavoce.json"])
def test_a_statement_in_an_archive_that_nobody_signed_is_named(
    packed: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(f"vivavoce-iv/{name}", "{}")
    status, said = verified(capsys, packed)
    assert (status, f"NOT INTACT: {name}: tampered" in said) == (1, True)


def test_so_is_each_of_several_in_an_archive(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(packed) as before:
        files = {name: before.read(name) for name in before.namelist()}
    with zipfile.ZipFile(packed, "a") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("vivavoce-iv", "vivavoce-too"), data)
    assert verified(capsys, packed)[0] == 0
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("vivavoce-too/receipt.json", "{}")
    status, said = verified(capsys, packed)
    assert (status, "NOT INTACT: vivavoce-too/receipt.json: tampered" in said) == (1, True), said


def test_another_reader_than_ours_in_an_archive_is_told(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def replaced(name: str, data: bytes) -> bytes:
        return b"print('Intact')" if name.endswith(".py") else data

    status, said = verified(capsys, repacked(packed, replaced, zipfile.ZIP_STORED))
    assert (status, "use one that you trust" in said) == (0, True)


def test_an_archive_that_is_cut_off_or_plays_tricks_is_not_intact(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-1000])
    status, said = verified(capsys, packed)
    assert (status, "out.zip: truncated: the archive is cut off" in said) == (1, True)
    packed.write_bytes(whole)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("../../.bashrc", "x")
    status, said = verified(capsys, packed)
    assert (status, "no path: '../../.bashrc'" in said) == (1, True)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("letter.txt", "x")
    status, said = verified(capsys, packed)
    assert (status, "no recording in the archive" in said) == (2, True)


def test_an_unpacked_archive_and_any_zip_of_recordings_are_verified_too(
    packed: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "un")
    known = packed.parent / "known.pub"
    for path in (tmp_path / "un" / "vivavoce-iv", tmp_path / "un" / "vivavoce-iv" / "recording"):
        assert verified(capsys, path, known)[0] == 0
    made = shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "gone", "recordings")
    status, said = verified(capsys, Path(made), known)
    assert (status, "Intact: interview iv" in said) == (0, True)


# ---- a bucket ---------------------------------------------------------------------------


def test_all_recordings_below_a_prefix_are_verified(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for interview_id in ("one", "two"):
        record(data, interview_id)
    public_key = ("--public-key", str(data / "keys" / "signing.pub"))
    with bucket(monkeypatch):
        store = S3Store("recordings", "p")
        Uploader(data, store, open_keys(data / "keys").public_key).round()
        # Which store it is, is in the address; the machine has no data directory.
        nowhere = ("--data-dir", str(tmp_path / "none"), *public_key)
        status, out, _ = run(capsys, "verify", "s3://recordings/p", *nowhere)
        assert (status, "Intact: 2 recordings." in out) == (0, True)
        store.put("two", "00000.seg", io.BytesIO(b"VIVAVOCE"), 8)
        status, out, _ = run(capsys, "verify", "s3://recordings/p", *nowhere)
        assert (status, "NOT INTACT: two/00000.seg, 0.000 s to 2.0" in out) == (1, True)
        for name in ("00000.seg", "manifest.json"):
            stored = (store.folder("one") / name).read_bytes()
            store.put("two", name, io.BytesIO(stored), len(stored))
        status, out, _ = run(capsys, "verify", "s3://recordings/p", *nowhere)
        assert (status, "of interview one lies in place of two's" in out) == (1, True)
        status, _, err = run(capsys, "verify", "s3://recordings/q", *nowhere)
        assert (status, "no recording at s3://recordings/q" in err) == (2, True)
        # By its interview, wherever the store has it.
        assert run(capsys, "verify", "one", "--store", "s3://recordings/p", *public_key)[0] == 0


def test_help_tells_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "verify", "--help")
    assert status == 0
    for line in ("exit status:", "  0  intact", "  1  not intact", "  2  it could not be checked"):
        assert line in out
