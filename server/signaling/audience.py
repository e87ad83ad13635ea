"""Who is in one interview, and what they are told. Nothing here waits for anybody."""

from collections import deque
from collections.abc import Collection, Iterator

from server.core.interviews import Role
from server.signaling.access import OBSERVERS, SPEAKERS
from server.signaling.errors import Refusal
from server.signaling.limits import MAX_OPENINGS_PER_LINK
from server.signaling.outbox import CLOSE_REPLACED, Outbox, encode
from server.signaling.participant import Participant
from server.signaling.protocol import ErrorId, Replaced, ServerMessage, Watchers


class Audience:
    """Of those who speak, the page that came last has the place; older ones are told so."""

    def __init__(self) -> None:
        self._participants: set[Participant] = set()
        self._openings: dict[Role, str | None] = {}  # of the page of those who speak that came last
        self._replaced: deque[str] = deque(maxlen=MAX_OPENINGS_PER_LINK)

    def __contains__(self, participant: Participant) -> bool:
        return participant in self._participants

    def __iter__(self) -> Iterator[Participant]:
        return iter(tuple(self._participants))

    def __len__(self) -> int:
        return len(self._participants)

    def enter(self, participant: Participant) -> bool:
        """Whether another page's place is taken; `closed` where a newer one has its own already.

        Raises Refusal when one link has too many openings.
        """
        openings = sum(p.link_id == participant.link_id for p in self._participants)
        if openings >= MAX_OPENINGS_PER_LINK:
            raise Refusal(ErrorId.TOO_MANY_REQUESTS, "This link is open too many times.")
        if participant.role in OBSERVERS:
            self.tell_others(Watchers((*self.watchers, participant.role)))
        self._participants.add(participant)
        if participant.outbox is None or participant.role not in SPEAKERS:
            return False
        if participant.opening in self._replaced:
            _replace(participant, participant.outbox)
            return False
        return self.replace_sockets(participant)

    def remove(self, participant: Participant) -> None:
        if participant in self._participants:
            self._participants.remove(participant)
            if participant.role in OBSERVERS:
                self.tell_others(Watchers(self.watchers))

    def replace_sockets(self, newer: Participant) -> bool:
        """The newer one goes on: what else has its place is told, or will be.

        Whether that was another page, and not an earlier socket of the same.
        """
        opening = self._openings.get(newer.role)
        is_another = opening is not None and opening != newer.opening
        if opening is not None and is_another:
            self._replaced.append(opening)
        self._openings[newer.role] = newer.opening
        for older in self._participants - {newer}:
            if older.role is newer.role and older.outbox is not None:
                _replace(older, older.outbox)
        return is_another

    @property
    def watchers(self) -> tuple[Role, ...]:
        """Those who are hidden from the candidate."""
        return tuple(sorted(p.role for p in self._participants if p.role in OBSERVERS))

    def tell_everyone(self, message: ServerMessage) -> None:
        _tell(message, self._participants)

    def tell_others(self, message: ServerMessage) -> None:
        """All but the candidate."""
        _tell(message, [p for p in self._participants if p.role is not Role.CANDIDATE])


def _tell(message: ServerMessage, to: Collection[Participant]) -> None:
    outboxes = [each.outbox for each in to if each.outbox is not None]
    if outboxes:
        encoded = encode(message)
        for outbox in outboxes:
            outbox.put(encoded)


def _replace(older: Participant, outbox: Outbox) -> None:
    older.closed = True
    outbox.send(Replaced())
    outbox.close(CLOSE_REPLACED)
