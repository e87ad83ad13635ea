"""Who talks with the candidate right now: an interviewer's connection, and whether it works.

There is one at a time; a newer one takes over. The interview itself follows the candidate alone.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from server.core.frames import OF_INTERVIEWER
from server.media.server import MediaServer, Peer, PeerState, Source
from server.signaling.participant import Participant


@dataclass(eq=False, slots=True)
class _Taken:
    participant: Participant
    #: Kept by whoever is there alone: what refers to each other is freed much later.
    on_change: Callable[[bool, str], None]
    peer: Peer | None = None
    connected: bool = False


class InterviewerSeat:
    """Not to be shared: each live interview has one."""

    def __init__(self, media: MediaServer, source: Source) -> None:
        self._media = media
        self._source = source
        self._taken: _Taken | None = None
        self._present = False
        self._lock = asyncio.Lock()

    @property
    def present(self) -> bool:
        """Whether there is somebody to be seen and heard."""
        return self._present

    @property
    def link_id(self) -> str | None:
        """Of whoever has the seat."""
        return self._taken.participant.link_id if self._taken is not None else None

    async def publish(
        self, participant: Participant, sdp: str, on_change: Callable[[bool, str], None]
    ) -> str:
        """The answer to an interviewer's offer, which takes the seat. Raises SdpError, Refusal.

        `on_change` is told when `present` changes, with the id of the interviewer's link.
        """
        async with self._lock:
            participant.refuse_if_closed()
            taken = _Taken(participant, on_change)
            taken.peer, answer = await self._media.publish(
                self._source, sdp, partial(self._changed, taken), tracks=OF_INTERVIEWER
            )
            older, self._taken = self._taken, taken
            if older is not None and older.peer is not None:
                await older.peer.close()
            self._look(taken)
            return answer

    def peer_of(self, participant: Participant) -> Peer | None:
        """The connection of the same link, for an ICE restart; it is this socket's from now on."""
        taken = self._taken
        if taken is None or taken.participant.link_id != participant.link_id:
            return None
        taken.participant = participant
        return taken.peer

    async def leave(self, participant: Participant) -> None:
        """A goodbye of whoever has the seat."""
        if self.link_id == participant.link_id:
            await self.empty()

    async def empty(self) -> None:
        """Whoever has the seat has to go: nothing of theirs is missing from now on."""
        taken, self._taken = self._taken, None
        if taken is not None and taken.peer is not None:
            self._source.goodbye(OF_INTERVIEWER)
            await taken.peer.close()
            self._look(taken)

    def _changed(self, taken: _Taken, state: PeerState) -> None:
        if self._taken is not taken:
            return  # an older peer, on its way out
        taken.connected = state is PeerState.CONNECTED
        if state is PeerState.CLOSED:
            self._taken = None
        self._look(taken)

    def _look(self, changed: _Taken) -> None:
        present = self._taken is not None and self._taken.connected
        if present is not self._present:
            self._present = present
            changed.on_change(present, changed.participant.link_id)
