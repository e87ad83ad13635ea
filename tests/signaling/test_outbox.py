import asyncio
import json

from server.core.indicators import Indicator
from server.signaling.errors import RETRY_AFTER_S
from server.signaling.outbox import CLOSE_NORMAL, CLOSE_SLOW_READER, Outbox, close_code
from server.signaling.protocol import ErrorId, Indicators, Pong


def indicators(number: int) -> Indicators:
    return Indicators((Indicator("voice.loudness", float(number), "dBFS", number, number + 1),))


async def drained(outbox: Outbox) -> list[dict[str, object]]:
    texts = []
    while (text := await outbox.next()) is not None:
        texts.append(json.loads(text))
    return texts


async def test_messages_come_out_in_order_and_then_the_end() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.send(Pong(number, 0.0))
    outbox.close(CLOSE_NORMAL)
    assert [message["id"] for message in await drained(outbox)] == [0, 1, 2]
    assert outbox.close_code == CLOSE_NORMAL


async def test_the_newest_indicators_win() -> None:
    outbox = Outbox(capacity=3)
    outbox.send(Pong(7, 0.0))
    for number in range(10):
        outbox.send(indicators(number))
    outbox.close(CLOSE_NORMAL)
    first, *rest = await drained(outbox)
    assert first["type"] == "pong"
    starts = [m["values"][0]["start_s"] for m in rest]  # type: ignore[index]
    assert starts == [8, 9]
    assert outbox.dropped == 8


async def test_a_reader_that_takes_nothing_is_closed() -> None:
    outbox = Outbox(capacity=3)
    for number in range(5):
        outbox.send(Pong(number, 0.0))
    assert outbox.close_code == CLOSE_SLOW_READER
    assert await outbox.next() is None


async def test_a_refusal_is_said_before_the_close() -> None:
    outbox = Outbox()
    outbox.refuse(ErrorId.TOKEN_REVOKED, "gone")
    outbox.close(CLOSE_NORMAL)
    (message,) = await drained(outbox)
    assert (message["id"], message["fatal"]) == ("token-revoked", True)
    assert outbox.close_code == close_code(ErrorId.TOKEN_REVOKED) == 4401


async def test_who_may_try_again_later_is_told_when() -> None:
    outbox = Outbox()
    outbox.refuse(ErrorId.SERVER_RESTARTING, "wait")
    (message,) = await drained(outbox)
    assert message["retry_after_s"] == RETRY_AFTER_S[ErrorId.SERVER_RESTARTING]
    assert outbox.close_code == 4503


async def test_nothing_is_accepted_after_the_close() -> None:
    outbox = Outbox()
    outbox.close(CLOSE_NORMAL)
    outbox.send(Pong(1, 0.0))
    assert await outbox.next() is None


async def test_a_waiting_writer_wakes_for_a_message() -> None:
    outbox = Outbox()
    waiting = asyncio.create_task(outbox.next())
    await asyncio.sleep(0)
    outbox.send(Pong(1, 0.0))
    assert json.loads(await waiting or "")["id"] == 1
