import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.format.sealed_file import CHUNK_BYTES, KEY_BYTES, SealedFile, Turned
from server.recorder.format.sealing import SegmentError

KEY = bytes(range(KEY_BYTES))
#: Places and lengths around the borders of chunks.
_NEAR = st.integers(-3, 3)
_LENGTHS = st.builds(lambda n, near: max(0, n * CHUNK_BYTES + near), st.integers(0, 2), _NEAR)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def written(fd: int, data: bytes) -> None:
    file = SealedFile(fd, KEY)
    file.append(data)
    file.finish()


@given(lengths=st.lists(_LENGTHS, max_size=4), place=_LENGTHS, count=_LENGTHS)
def test_it_holds_what_was_appended(lengths: list[int], place: int, count: int) -> None:
    expected = b"".join(bytes([number]) * length for number, length in enumerate(lengths, 1))
    with tempfile.TemporaryFile() as temporary:
        file = SealedFile(temporary.fileno(), KEY)
        for number, length in enumerate(lengths, 1):
            file.append(bytes([number]) * length)
        assert file.read_at(0, len(expected) + 1) == expected, "while it grows"
        file.finish()
        again = SealedFile(temporary.fileno(), KEY)
        assert again.size == len(expected)
        assert again.read_at(place, count) == expected[place : place + count]


def test_nothing_of_it_is_on_the_disk_in_the_clear(tmp_path: Path, fd: int) -> None:
    said = b"moov and what a candidate said "
    written(fd, said * 5000)
    assert said[:4] not in (tmp_path / "file").read_bytes()


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


@given(data=st.binary(min_size=2, max_size=200), head=st.integers(1, 200))
def test_what_was_appended_last_can_be_read_first(data: bytes, head: int) -> None:
    head = min(head, len(data) - 1)
    with tempfile.TemporaryFile() as temporary:
        file = SealedFile(temporary.fileno(), KEY)
        file.append(data)
        file.finish()
        turned, read = Turned(SealedFile(temporary.fileno(), KEY), head), b""
        while part := turned.read_at(len(read), 7):
            read += part
    assert (read, turned.size) == (data[-head:] + data[:-head], len(data))
