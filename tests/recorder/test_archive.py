"""A zip archive is read where it lies; one that would do harm is refused."""

import contextlib
import io
import random
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.evidence import archive
from server.recorder.evidence.archive import is_archive, open_archive
from server.recorder.format import reading
from server.recorder.format.sealing import FaultKind, SegmentError

NOISE = random.Random(1).randbytes(1_000_000)
TEXT = b"a line of a manifest, which shrinks\n" * 3000


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def refusal(path: Path) -> SegmentError:
    with pytest.raises(SegmentError) as refused:
        read_all(path)
    return refused.value


def read_all(path: Path) -> None:
    with open_archive(path) as top:
        for folder in top.folders_with("a"):
            for each in folder.iterdir():
                if each.is_file():
                    each.read_bytes()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_it_reads_as_a_folder_does(tmp_path: Path, method: int) -> None:
    files = {"a": TEXT, "x/a": NOISE, "x/y/b": b""}
    path = packed(tmp_path / "it.zip", files, method)
    assert is_archive(path)
    with open_archive(path) as top:
        assert [each.name for each in top.iterdir()] == ["a", "x"]
        assert [each.name for each in (top / "x").iterdir()] == ["a", "y"]
        assert [(each.is_file(), each.is_dir()) for each in top.iterdir()] == [
            (True, False),
            (False, True),
        ]
        assert (top.joinpath("x/y/b").read_bytes(), (top / "a").read_bytes()) == (b"", TEXT)
        assert [each.name for each in top.folders_with("a")] == ["", "x"]
        assert (top / "x").parent.name == ""
        with pytest.raises(FileNotFoundError):
            (top / "none").read_bytes()
        with pytest.raises(FileNotFoundError):
            (top / "a").iterdir()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_part_of_a_file_is_found(tmp_path: Path, method: int) -> None:
    path = packed(tmp_path / "it.zip", {"before": TEXT, "a": NOISE}, method)
    chance = random.Random(2)
    with open_archive(path) as top, (top / "a").open() as file:
        assert file.seek(0, io.SEEK_END) == len(NOISE)
        assert file.read(10) == b""
        for _ in range(30):
            at = chance.randrange(len(NOISE))
            file.seek(at)
            assert file.read(5000) == NOISE[at : at + 5000]


@pytest.mark.parametrize(
    "name", ["../a", "/a", "x/../a", "x//a", "./a", "C:a", "x\\a", "a\x1b[2J", "..", "x/../../a/"]
)
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    error = refusal(packed(tmp_path / "it.zip", {name: b""}))
    assert (error.kind, "trick" in error.message) == (FaultKind.TAMPERED, True)


def test_a_name_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "it.zip", {"a.txtX../b": b""})
    path.write_bytes(path.read_bytes().replace(b"a.txtX", b"a.txt\0"))
    assert "trick" in refusal(path).message


def test_a_link_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as made:
        made.writestr(info, "/etc/passwd")
    assert "no file" in refusal(tmp_path / "it.zip").message


@pytest.mark.parametrize("names", [("a", "A"), ("x", "x/a"), ("X/b", "x")])
def test_paths_that_are_in_each_others_way_are_refused(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    assert refusal(packed(tmp_path / "it.zip", dict.fromkeys(names, b""))).kind == "tampered"


def test_a_name_that_another_program_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "it.zip", {"one": b"1"})
    path.write_bytes(path.read_bytes().replace(b"one", b"two", 1))
    assert "otherwise" in refusal(path).message
    info = zipfile.ZipInfo("one")
    info.extra = struct.pack("<HH", 0x7075, 5) + b"\1abcd"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(info, b"1")
    assert "two names" in refusal(path).message


def test_what_its_directory_does_not_tell_is_refused(tmp_path: Path) -> None:
    """Programs that read from the beginning would find another member, or a longer one."""
    hidden = packed(tmp_path / "hidden.zip", {"hidden": b"other"}).read_bytes()
    hidden = hidden[: hidden.index(b"PK\1\2")]
    path = tmp_path / "it.zip"
    for place in range(3):
        with zipfile.ZipFile(path, "w") as made:
            assert made.fp is not None
            for index, name in enumerate(("one", "two", "")):
                if index == place:
                    made.fp.write(hidden)
                    made.start_dir = made.fp.tell()
                if name:
                    made.writestr(name, b"1")
        assert "does not list" in refusal(path).message
    plain = packed(path, {"one": b"1"}).read_bytes()
    path.write_bytes(plain.replace(struct.pack("<II", 1, 1), struct.pack("<II", 9, 9), 1))
    assert "two sizes" in refusal(path).message


def test_large_sizes_are_read_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "it.zip"
    with zipfile.ZipFile(path, "w") as made, made.open("a", "w", force_zip64=True) as member:
        member.write(TEXT)
    read_all(tmp_path / "it.zip")
    data = bytearray((tmp_path / "it.zip").read_bytes())
    data[30 + 1 + 4] ^= 1  # of the size in the extra field
    (tmp_path / "it.zip").write_bytes(data)
    assert "two sizes" in refusal(tmp_path / "it.zip").message


def test_one_that_was_written_into_a_pipe_is_read(tmp_path: Path) -> None:
    """Sizes then follow each member."""

    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as made:
        for name in ("a", "b"):
            with made.open(name, "w", force_zip64=name == "b") as member:
                member.write(TEXT)
    (tmp_path / "it.zip").write_bytes(pipe.data)
    read_all(tmp_path / "it.zip")


def test_a_bomb_is_refused_before_anything_of_it_is_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "it.zip", {"a": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    assert "far more than it takes" in refusal(path).message


def test_a_file_is_never_longer_than_it_says(tmp_path: Path) -> None:
    path = packed(tmp_path / "it.zip", {"a": TEXT}, zipfile.ZIP_DEFLATED)
    honest = struct.pack("<I", len(TEXT))
    for lie in (len(TEXT) - 1, len(TEXT) + 1):
        lying = tmp_path / "lying.zip"
        lying.write_bytes(path.read_bytes().replace(honest, struct.pack("<I", lie)))
        assert "another size" in refusal(lying).message


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """As in David Fifield's "A better zip bomb" (WOOT 2019): one lies in another's data."""
    packed(tmp_path / "inner.zip", {"inner": NOISE})
    with zipfile.ZipFile(tmp_path / "inner.zip") as inner:
        (info,) = inner.infolist()
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as made:
        made.writestr("outer", (tmp_path / "inner.zip").read_bytes())
        info.header_offset = 30 + len("outer")
        made.filelist.append(info)
    with zipfile.ZipFile(tmp_path / "it.zip") as made:
        assert made.read("inner") == NOISE, "others read it"
    assert "overlap" in refusal(tmp_path / "it.zip").message


def test_an_empty_one_is_read(tmp_path: Path) -> None:
    with open_archive(packed(tmp_path / "it.zip", {})) as top:
        assert (list(top.iterdir()), top.folders_with("a")) == ([], [])


def test_one_that_is_cut_off_is_named_so(tmp_path: Path) -> None:
    path = packed(tmp_path / "it.zip", {"a": NOISE})
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path).kind is FaultKind.TRUNCATED


def test_a_directory_beyond_all_measure_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / "it.zip", {f"{index}": b"" for index in range(100)})
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 4000)
    assert "directory is too long" in refusal(path).message


def test_what_is_read_whole_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "it.zip", {"a": NOISE})
    monkeypatch.setattr(reading, "MAX_WHOLE_BYTES", 1000)
    assert "longer than any" in refusal(path).message


def test_reading_takes_little_memory(tmp_path: Path) -> None:
    path = packed(tmp_path / "it.zip", {"a": NOISE * 30}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with open_archive(path) as top, (top / "a").open() as file:
        while file.read(100_000):
            pass
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3_000_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {"a": TEXT[:3000], "x/a": b"short"}
    return packed(tmp_path_factory.mktemp("zip") / "it.zip", files, zipfile.ZIP_DEFLATED)


@given(data=st.data())
def test_whatever_is_done_to_one_it_is_read_or_refused(small: Path, data: st.DataObject) -> None:
    content = bytearray(small.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    harmed = small.with_name("harmed.zip")
    harmed.write_bytes(content)
    with contextlib.suppress(SegmentError):
        read_all(harmed)
