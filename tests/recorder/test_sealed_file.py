import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.sealed_file import CHUNK_BYTES, KEY_BYTES, Cursor, SealedFile
from server.recorder.sealing import SegmentError

KEY = bytes(range(KEY_BYTES))
#: Places and lengths around the borders of chunks, up to more than are kept in memory.
_NEAR = st.integers(-3, 3)
_PLACES = st.builds(lambda n, near: max(0, n * CHUNK_BYTES + near), st.integers(0, 11), _NEAR)
_LENGTHS = st.builds(lambda n, near: max(0, n * CHUNK_BYTES + near), st.integers(0, 2), _NEAR)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def written(fd: int, data: bytes) -> None:
    file = SealedFile(fd, KEY)
    file.write_at(0, data)
    file.flush()


@given(writes=st.lists(st.tuples(_PLACES, _LENGTHS), min_size=1, max_size=6))
def test_it_holds_what_was_written_last_at_each_place(writes: list[tuple[int, int]]) -> None:
    expected = bytearray()
    with tempfile.TemporaryFile() as temporary:
        file = SealedFile(temporary.fileno(), KEY)
        for number, (place, length) in enumerate(writes, 1):
            data = bytes([number]) * length
            expected += bytes(max(0, place - len(expected)))
            expected[place : place + length] = data
            file.write_at(place, data)
        assert file.read_at(0, len(expected) + 1) == expected
        file.flush()
        again = SealedFile(temporary.fileno(), KEY)
        assert again.size == len(expected)
        for place, length in writes:
            assert again.read_at(place, length) == expected[place : place + length]


def test_nothing_of_it_is_on_the_disk_in_the_clear(tmp_path: Path, fd: int) -> None:
    said = b"moov and what a candidate said "
    written(fd, said * 5000)
    assert said[:4] not in (tmp_path / "file").read_bytes()


def test_a_chunk_that_is_written_again_shares_nothing_with_the_former(
    tmp_path: Path, fd: int
) -> None:
    """The same key stream twice would give away the difference of both contents."""
    written(fd, bytes(100))
    former = (tmp_path / "file").read_bytes()
    written(fd, bytes(100))
    now = (tmp_path / "file").read_bytes()
    assert sum(a == b for a, b in zip(former, now, strict=True)) < 20


@pytest.mark.parametrize("place", [0, 12, 500, CHUNK_BYTES + 28 + 40])
def test_what_was_changed_or_swapped_does_not_open(fd: int, place: int) -> None:
    written(fd, secrets.token_bytes(2 * CHUNK_BYTES))
    os.pwrite(fd, bytes([os.pread(fd, 1, place)[0] ^ 1]), place)
    file = SealedFile(fd, KEY)
    with pytest.raises(SegmentError):
        file.read_at(place // (CHUNK_BYTES + 28) * CHUNK_BYTES, 1)


def test_chunks_do_not_open_in_each_others_places_nor_with_another_key(fd: int) -> None:
    written(fd, secrets.token_bytes(2 * CHUNK_BYTES))
    with pytest.raises(SegmentError):
        SealedFile(fd, bytes(KEY_BYTES)).read_at(0, 1)
    slot = CHUNK_BYTES + 28
    second = os.pread(fd, slot, slot)
    os.pwrite(fd, second, 0)
    with pytest.raises(SegmentError):
        SealedFile(fd, KEY).read_at(0, 1)


@pytest.mark.parametrize("cut", [1, 20, CHUNK_BYTES])
def test_a_chunk_that_is_cut_short_is_an_error_not_an_end(fd: int, cut: int) -> None:
    written(fd, secrets.token_bytes(CHUNK_BYTES + 100))
    file = SealedFile(fd, KEY)
    os.ftruncate(fd, CHUNK_BYTES + 28 + 128 - cut)
    with pytest.raises(SegmentError):
        file.read_at(0, CHUNK_BYTES + 100)


def test_cursors_share_the_file_and_not_their_places(fd: int) -> None:
    file = SealedFile(fd, KEY)
    one, two = Cursor(file), Cursor(file)
    assert one.write(b"abcdef") == 6
    assert (two.read(3), two.tell(), one.tell()) == (b"abc", 3, 6)
    assert two.seek(-1, os.SEEK_END) == 5
    two.write(b"X")
    one.seek(1)
    one.seek(1, os.SEEK_CUR)
    assert one.read(10) == b"cdeX"
