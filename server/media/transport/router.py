"""Who is this datagram for? (RFC 7983 7) No I/O.

STUN is routed by our half of its user name; everything else by the path it came on, which
only an authenticated check can bind to a peer, and none can take from another peer that lives.
Whatever comes otherwise is counted and dropped, so an unauthenticated sender gets no answer
at all.
"""

import logging
from typing import Protocol

from server.media.transport.dtls import INBOX
from server.media.transport.ice import Address, Check, parse_check

log = logging.getLogger(__name__)

#: Paths kept per peer: a browser tries a handful of pairs and stays with one.
MAX_PATHS = 8
#: The least that can be RTP, RTCP with an SSRC, or a DTLS record.
MIN_LENGTH = 12


class Session(Protocol):
    """A peer's transport as the router sees it."""

    ufrag: str

    @property
    def is_silent(self) -> bool:
        """Whether it has not been heard for some seconds: its paths may be another's now."""
        ...

    def check_received(self, check: Check, path: "Path") -> bool:
        """Answers a check; False when it is not this session's, or nothing follows from it."""
        ...

    def dtls_received(self, data: bytes) -> None: ...

    def rtp_received(self, size: int, now: float) -> None:
        """SRTP or SRTCP of that many octets in the `INBOX`; `now`: Unix s."""
        ...


class Path(Protocol):
    """A way between one socket of ours and one remote address; made and kept by the socket.

    The same UDP address, or TCP connection, is the same object for as long as it is bound.
    """

    address: Address  #: the remote one
    session: Session | None  #: whose the router found it to be; nobody else writes it

    def send(self, data: bytes, /) -> None:
        """Before the loop does anything else; where the socket cannot keep up, not at all."""
        ...

    def bound(self) -> None:
        """It has a session: keep it."""
        ...

    def released(self) -> None:
        """It has none any more."""
        ...


class Router:
    """The sessions by user name, each one's paths, and counters of what came."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Session] = {}
        self._paths: dict[str, list[Path]] = {}
        self.datagrams_in = 0
        self.refused = 0
        self.failed = 0  #: for a fault of ours

    def add(self, session: Session) -> None:
        self._sessions[session.ufrag.encode()] = session
        self._paths[session.ufrag] = []

    def remove(self, session: Session) -> None:
        """Idempotent."""
        self._sessions.pop(session.ufrag.encode(), None)
        for path in self._paths.pop(session.ufrag, ()):
            _release(path)

    def route(self, ufrag: str, session: Session) -> None:
        """Another user name of a session: its ICE restarts."""
        self._sessions[ufrag.encode()] = session

    def unroute(self, ufrag: str) -> None:
        self._sessions.pop(ufrag.encode(), None)

    def datagram_received(self, size: int, path: Path, now: float) -> None:
        """Hands on what lies in the `INBOX` and came on `path`, or counts it as refused.

        `now`: Unix s, of a round of reading. The sockets count `datagrams_in`.
        """
        session, first = path.session, INBOX[0]
        try:
            if session is not None and first >> 6 == 2 and size >= MIN_LENGTH:  # 128 to 191
                session.rtp_received(size, now)
            elif first < 4:
                self._check_received(bytes(INBOX[:size]), path)
            elif session is not None and 19 < first < 64 and size >= MIN_LENGTH:
                session.dtls_received(bytes(INBOX[:size]))
            else:
                self.refused += 1
        except Exception:
            # The root of the packet path: one peer's packet must not end everyone's, nor fill
            # the disk with its like: the 1st, 2nd, 4th, 8th, ... is written down.
            self.failed += 1
            if self.failed.bit_count() == 1:
                log.exception("%d datagrams could not be handled; this was the last", self.failed)

    def path_closed(self, path: Path) -> None:
        """A connection has ended: nothing comes from it any more."""
        session = path.session
        if session is not None:
            self._paths[session.ufrag].remove(path)
            path.session = None

    def _check_received(self, data: bytes, path: Path) -> None:
        check = parse_check(data)
        session = self._sessions.get(check.ufrag) if check is not None else None
        if check is None or session is None or _is_taken(path, session):
            self.refused += 1
        elif session.check_received(check, path):
            self._bind(path, session)
        else:
            self.refused += 1

    def _bind(self, path: Path, session: Session) -> None:
        # Most recently checked last: a browser checks the pair in use the most often.
        known = self._paths[session.ufrag]
        if path.session is session:
            known.remove(path)
        elif path.session is not None:
            self._paths[path.session.ufrag].remove(path)
        known.append(path)
        path.session = session
        path.bound()
        if len(known) > MAX_PATHS:
            _release(known.pop(0))


def _release(path: Path) -> None:
    path.session = None
    path.released()


def _is_taken(path: Path, session: Session) -> bool:
    """Whether the path is another live peer's: source addresses can be made up."""
    owner = path.session
    return owner is not None and owner is not session and not owner.is_silent
