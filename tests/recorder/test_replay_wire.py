import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.keys.root_key import KeyUnavailable
from server.recorder.replay import wire
from server.recorder.replay.hls import NotForHls
from server.recorder.replay.index import Side

PLACE = wire.Place("/data/recordings/iv", "", "/data/keys", bytes(32), ("00" * 32,))
ASKED: list[wire.Asked] = [
    wire.Index(3, True),
    wire.Pictures(2),
    wire.Init(Side.SCREEN, 1),
    wire.Media(Side.CANDIDATE, 1, 6),
    wire.Multivariant(Side.CANDIDATE),
    wire.Playlist(Side.INTERVIEWER, False),
    wire.StreamInit(Side.CANDIDATE, 0, True),
    wire.StreamSegment(Side.CANDIDATE, 1, 2, False),
]
TO_READER: list[wire.ToReader] = [
    *(wire.Read(number, PLACE, asked) for number, asked in enumerate(ASKED)),
    wire.Forget(PLACE.folder),
    wire.Signer(1, "es256", b"pem"),
    wire.Signature(2, bytes(64)),
    wire.NotSigned(3, "Vault does not answer"),
]
FROM_READER: list[wire.FromReader] = [
    wire.Answer(1, ((0.0, 1.5), (7.0, 8.0))),
    wire.Failed(2, wire.Fault.DAMAGED, "tampered: 00000.seg"),
    wire.WhoSigns(3),
    wire.Sign(4, b"claim"),
]


class Cut(io.RawIOBase):
    """A stream that comes in pieces of these sizes, then as it is asked for."""

    def __init__(self, stream: bytes, sizes: list[int]) -> None:
        self._stream, self._sizes = stream, sizes

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        size = min(self._sizes.pop(0) if self._sizes else len(into), len(into))
        piece, self._stream = self._stream[:size], self._stream[size:]
        into[: len(piece)] = piece
        return len(piece)


def came(stream: bytes, sizes: list[int]) -> list[tuple[bytes, bytes]]:
    file = io.BufferedReader(Cut(stream, sizes), 16)
    whole = iter(lambda: wire.read(file), None)
    return [(head, bytes(body)) for head, body in whole]


@pytest.mark.parametrize("message", TO_READER, ids=repr)
def test_messages_to_the_process_arrive_as_they_were_sent(message: wire.ToReader) -> None:
    ((head, body),) = came(b"".join(wire.encode(message)), [])
    assert (wire.to_reader.decode(head), body) == (message, b"")


@pytest.mark.parametrize("message", FROM_READER, ids=repr)
def test_messages_from_the_process_arrive_as_they_were_sent(message: wire.FromReader) -> None:
    ((head, body),) = came(b"".join(wire.encode(message, b"media")), [])
    assert (wire.from_reader.decode(head), body) == (message, b"media")


@given(
    st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=40)), max_size=6),
    st.lists(st.integers(1, 30)),
)
def test_messages_are_whole_however_they_are_cut(
    answers: list[tuple[int, bytes]], sizes: list[int]
) -> None:
    sent = [(wire.Answer(number), body) for number, body in answers]
    got = came(b"".join(part for each in sent for part in wire.encode(*each)), sizes)
    assert [(wire.from_reader.decode(head), body) for head, body in got] == sent


@given(st.binary(max_size=60), st.lists(st.integers(1, 30)))
def test_one_that_is_cut_off_is_the_end(body: bytes, sizes: list[int]) -> None:
    whole = b"".join(wire.encode(wire.Answer(1), body))
    for size in range(len(whole)):
        assert came(whole[:size], list(sizes)) == []
        assert len(came(whole + whole[:size], list(sizes))) == 1


@pytest.mark.parametrize(
    ("error", "fault", "reason"),
    [
        (IndexError(7), "no-part", ""),
        (KeyError("iv"), "no-recording", ""),
        (ValueError("../iv"), "no-recording", ""),
        (NotForHls(), "not-for-hls", ""),
        (KeyUnavailable("Vault is away"), "locked", "Vault is away"),
        (SegmentError(FaultKind.TAMPERED, "changed"), "damaged", "tampered: changed"),
        (PermissionError(13, "Permission denied", "/secret"), "unreadable", "Permission denied"),
        (AssertionError("ours"), "unforeseen", "AssertionError('ours')"),
    ],
)
def test_what_readers_raise_has_a_name(error: Exception, fault: str, reason: str) -> None:
    assert wire.fault_of(error) == (wire.Fault(fault), reason)
