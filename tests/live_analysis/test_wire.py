import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec, TrackName
from server.core.indicators import Indicator
from server.live_analysis import wire

TO_WORKER = [
    wire.Open(1, {"speaking": b"\0"}),
    wire.Frame(1, TrackName.CAMERA, Codec.VP8, b"\x10\x02", 12.5, 12.75, True),
    wire.Close(1),
]
FROM_WORKER = [
    wire.Measured(1, (Indicator("voice.pitch", None, "Hz", 1.0, 2.0),)),
    wire.NeedKeyframe(1, 3),
    wire.Keep(1, {"speaking": b"x"}),
    wire.Report(1.0, 0.5, 0.25, 0.125, 0.0, 7),
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda m: type(m).__name__)
def test_messages_to_a_worker_arrive_as_they_were_sent(message: wire.ToWorker) -> None:
    (body,) = wire.Deframer().feed(wire.encode(message))
    assert wire.to_worker.decode(body) == message


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda m: type(m).__name__)
def test_messages_from_a_worker_arrive_as_they_were_sent(message: wire.FromWorker) -> None:
    (body,) = wire.Deframer().feed(wire.encode(message))
    assert wire.from_worker.decode(body) == message


@given(st.lists(st.binary(max_size=40), max_size=10), st.data())
def test_messages_are_whole_however_the_bytes_are_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    deframer = wire.Deframer()
    got: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += deframer.feed(stream[:size])
        stream = stream[size:]
    assert got == bodies


def test_a_message_longer_than_any_is_refused() -> None:
    with pytest.raises(wire.BrokenWire):
        list(wire.Deframer().feed((wire.MAX_MESSAGE + 1).to_bytes(4, "big")))
