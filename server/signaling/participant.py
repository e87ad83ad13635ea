"""Who is in an interview: one value for each opening of a link."""

from dataclasses import dataclass, field

from server.core.interviews import Role
from server.media.server import Peer
from server.signaling.errors import Refusal
from server.signaling.outbox import Outbox
from server.signaling.protocol import ErrorId
from server.store import new_id


@dataclass(eq=False, slots=True)
class Participant:
    """One opening of a link: a socket with its outbox, or a WHIP or WHEP session without."""

    link_id: str
    role: Role
    outbox: Outbox | None = None
    id: str = field(default_factory=new_id)
    peer: Peer | None = None  #: an observer's; the candidate's is in the interview's seat
    opening: str | None = None  #: which page of a candidate it is, whatever its sockets
    closed: bool = False  #: replaced or revoked: whatever it still sends comes too late

    def refuse_if_closed(self) -> None:
        if self.closed:
            raise Refusal(ErrorId.FORBIDDEN, "This opening of the link is closed.")

    async def close_peer(self) -> None:
        peer, self.peer = self.peer, None
        if peer is not None:
            await peer.close()
