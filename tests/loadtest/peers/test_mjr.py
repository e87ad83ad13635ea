"""Janus's files: what Janus 1.1.2 writes, and anything else."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.packets import packetise_opus, packetise_vp8, vp8_descriptor
from loadtest.peers.mjr import MjrError, packets, whole_frames
from loadtest.sender import Extensions, TrackSender

#: The beginning of a file that Janus 1.1.2 wrote, its description shortened.
BEGINNING = b'MJR00002\x00\x1d{"t": "v", "c": "vp8", "s":1}'


def written(recorded: list[bytes]) -> bytes:
    parts = (b"MEET" + bytes(4) + len(each).to_bytes(2, "big") + each for each in recorded)
    return BEGINNING + b"".join(parts)


def sent(frames: int, seqno: int = 65_530) -> list[bytes]:
    """Each of three packets."""
    sender = TrackSender(5, 96, 90_000, "1", Extensions(), describe=vp8_descriptor, seqno=seqno)
    picture = packetise_vp8(bytes(3000))
    return [
        packet
        for number in range(frames)
        for packet in sender.begin_frame(picture, number * 3000).burst(9, 100.0)
    ]


def test_the_packets_of_a_file_are_those_that_were_written() -> None:
    recorded = sent(4)
    assert list(packets(written(recorded))) == recorded


def test_a_file_that_is_cut_off_has_the_packets_before() -> None:
    recorded = sent(2)
    assert list(packets(written(recorded)[:-1])) == recorded[:-1]


@pytest.mark.parametrize(
    "data", [b"", b"MJR00001" + bytes(9), BEGINNING + b"NEAT" + bytes(6)], ids=str
)
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(MjrError):
        list(packets(data))


@given(st.binary(max_size=200), st.booleans())
def test_any_file_is_read_or_refused(data: bytes, begins: bool) -> None:
    with contextlib.suppress(MjrError):
        whole_frames("vp8", packets(BEGINNING + data if begins else data))


def test_a_frame_is_whole_when_all_of_its_packets_are_there_in_any_order_and_twice() -> None:
    recorded = sent(6) * 2
    random.Random(1).shuffle(recorded)
    assert sorted(whole_frames("vp8", recorded)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("lost", [6, 7, 8])
def test_a_frame_without_its_first_middle_or_last_packet_is_not(lost: int) -> None:
    recorded = sent(6)
    del recorded[lost]
    assert sorted(whole_frames("vp8", recorded)) == [0, 1, 3, 4, 5]


def test_a_sound_is_whole_in_its_packet() -> None:
    sender = TrackSender(5, 111, 48_000, "0", Extensions())
    sound = packetise_opus(b"\x78" + bytes(60))
    recorded = [sender.begin_frame(sound, 960 * n).burst(1, 1.0)[0] for n in range(4)]
    assert sorted(whole_frames("opus", recorded[1:])) == [1, 2, 3]
