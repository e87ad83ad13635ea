"""The messages on their way to one WebSocket: bounded, the newest indicators win."""

import asyncio
from collections import deque
from dataclasses import dataclass

import msgspec

from server.signaling.errors import STATUS, Refusal, error_message
from server.signaling.protocol import ErrorId, Indicators, ServerMessage

#: Some seconds of indicators of one interview. Measured values age: the oldest go first.
CAPACITY = 64

# RFC 6455 7.4.1 and 7.4.2: 4000-4999 are the application's own.
CLOSE_NORMAL = 1000
CLOSE_SLOW_READER = 4408
CLOSE_REPLACED = 4409

_encoder = msgspec.json.Encoder()


def close_code(id: ErrorId) -> int:
    """4000 and the HTTP status of the error: 4401 for a refused token, and so on."""
    return 4000 + STATUS[id]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One message as text, encoded once for any number of observers."""

    text: str
    droppable: bool


def encode(message: ServerMessage) -> Encoded:
    return Encoded(_encoder.encode(message).decode(), isinstance(message, Indicators))


class Outbox:
    """`put` never waits; one writer drains with `next` until it returns None.

    When ``capacity`` is reached the oldest indicators are dropped; a reader so slow that
    there are none to drop is closed with CLOSE_SLOW_READER.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._queue: deque[Encoded] = deque()
        self._changed = asyncio.Event()
        self.close_code: int | None = None  #: set once no more messages are accepted
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Messages not yet taken by `next`."""
        return len(self._queue)

    def put(self, message: Encoded) -> None:
        if self.close_code is not None:
            return
        if len(self._queue) >= self._capacity and not self._drop_indicators():
            self._queue.clear()
            self.close(CLOSE_SLOW_READER)
            return
        self._queue.append(message)
        self._changed.set()

    def send(self, message: ServerMessage) -> None:
        self.put(encode(message))

    def refuse(self, id: ErrorId, message: str) -> None:
        """Say a fatal error, then close with its code."""
        self.send(error_message(Refusal(id, message), fatal=True))
        self.close(close_code(id))

    def close(self, code: int) -> None:
        """Close once what is queued is written; the first code stays."""
        if self.close_code is None:
            self.close_code = code
        self._changed.set()

    async def next(self) -> str | None:
        """The next message's text; None when all is written and the socket shall close."""
        while not self._queue:
            if self.close_code is not None:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft().text

    def _drop_indicators(self) -> bool:
        for index, message in enumerate(self._queue):
            if message.droppable:
                del self._queue[index]
                self.dropped += 1
                return True
        return False
