import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.media.transport.dtls import INBOX
from server.media.transport.ice import Address, Check, IceLite
from server.media.transport.router import MAX_PATHS, MIN_LENGTH, Path, Router
from server.media.transport.router import Session as RoutedSession
from tests.media.test_ice import REMOTE, check

HERE = ("192.0.2.7", 1000)
RTP, DTLS = b"\x80" + bytes(20), b"\x16" + bytes(20)


class Line:
    """A path in memory."""

    def __init__(self, address: Address = HERE) -> None:
        self.address = address
        self.session: RoutedSession | None = None
        self.sent: list[bytes] = []
        self.is_bound = False

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def bound(self) -> None:
        self.is_bound = True

    def released(self) -> None:
        self.is_bound = False


class Session:
    def __init__(self) -> None:
        self.ice = IceLite(REMOTE)
        self.ufrag = self.ice.ufrag
        self.dtls: list[bytes] = []
        self.rtp: list[bytes] = []
        self.is_silent = False

    def check_received(self, check: Check, path: Path) -> bool:
        return self.ice.answer(check, path.address) is not None

    def dtls_received(self, data: bytes) -> None:
        self.dtls.append(data)

    def rtp_received(self, size: int, now: float) -> None:
        self.rtp.append(bytes(INBOX[:size]))


def arrive(router: Router, data: bytes, path: Path, now: float = 0.0) -> None:
    INBOX[: len(data)] = data
    router.datagram_received(len(data), path, now)


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def session(router: Router) -> Session:
    session = Session()
    router.add(session)
    return session


def check_of(session: Session) -> bytes:
    return bytes(check(session.ice))


def test_nothing_is_let_in_on_a_path_that_has_not_checked(router: Router, session: Session) -> None:
    for data in (RTP, DTLS):
        arrive(router, data, Line())
    assert (session.rtp, session.dtls, router.refused) == ([], [], 2)


def test_check_opens_its_own_path_and_no_other_of_the_same_address(
    router: Router, session: Session
) -> None:
    udp, tcp = Line(HERE), Line(HERE)
    arrive(router, check_of(session), udp)
    for path in (udp, tcp):
        arrive(router, RTP, path)
        arrive(router, DTLS, path)
    assert (session.rtp, session.dtls, router.refused) == ([RTP], [DTLS], 2)
    assert (udp.is_bound, tcp.is_bound) == (True, False)


def test_sessions_are_kept_apart(router: Router) -> None:
    sessions, lines = [Session(), Session()], [Line(), Line()]
    for session, line in zip(sessions, lines, strict=True):
        router.add(session)
        arrive(router, check_of(session), line)
    arrive(router, RTP, lines[1])
    assert [len(each.rtp) for each in sessions] == [0, 1]


def test_path_of_a_live_peer_cannot_be_taken_by_another(router: Router) -> None:
    victim, thief, line = Session(), Session(), Line()
    for each in (victim, thief):
        router.add(each)
    for each in (victim, thief, victim):
        arrive(router, check_of(each), line)
    arrive(router, RTP, line)
    assert (victim.rtp, thief.rtp, router.refused) == ([RTP], [], 1)
    victim.is_silent = True
    arrive(router, check_of(thief), line)
    arrive(router, RTP, line)
    assert (victim.rtp, thief.rtp, router.refused) == ([RTP], [RTP], 1)


def test_forged_or_unknown_check_opens_nothing(router: Router, session: Session) -> None:
    line, stranger = Line(), IceLite(REMOTE)
    arrive(router, bytes(check(session.ice, key="guess")), line)
    arrive(router, bytes(check(stranger)), line)
    arrive(router, RTP, line)
    assert (session.rtp, router.refused, line.is_bound, line.sent) == ([], 3, False, [])


def test_removed_session_is_routed_to_no_more(router: Router, session: Session) -> None:
    line = Line()
    arrive(router, check_of(session), line)
    router.remove(session)
    router.remove(session)
    arrive(router, RTP, line)
    arrive(router, check_of(session), line)
    assert (session.rtp, router.refused, line.is_bound) == ([], 2, False)
    assert (router._sessions, router._paths) == ({}, {})


def test_paths_of_a_session_are_bounded_and_the_least_used_goes(
    router: Router, session: Session
) -> None:
    used, others = Line(), [Line() for _ in range(10 * MAX_PATHS)]
    for line in others:
        arrive(router, check_of(session), line)
        arrive(router, check_of(session), used)
    bound = [line for line in others if line.is_bound]
    assert bound == others[-(MAX_PATHS - 1) :]
    assert all((line.session is session) == line.is_bound for line in others)
    arrive(router, RTP, used)
    assert session.rtp == [RTP]


def test_path_that_moved_to_another_session_stays_with_it(router: Router) -> None:
    older, newer, line = Session(), Session(), Line()
    for session in (older, newer):
        router.add(session)
        arrive(router, check_of(session), line)
        session.is_silent = True
    router.remove(older)
    arrive(router, RTP, line)
    assert (older.rtp, newer.rtp, line.is_bound) == ([], [RTP], True)


def test_connection_that_ended_is_forgotten(router: Router, session: Session) -> None:
    ended, other = Line(), Line()
    for line in (ended, other):
        arrive(router, check_of(session), line)
    router.path_closed(ended)
    router.path_closed(ended)
    router.path_closed(Line())
    for line in (ended, other):
        arrive(router, RTP, line)
    assert (session.rtp, router.refused) == ([RTP], 1)
    assert router._paths == {session.ufrag: [other]}


def test_first_bytes_that_are_no_protocol_of_ours_are_refused(
    router: Router, session: Session
) -> None:
    line = Line()
    arrive(router, check_of(session), line)
    foreign = [*range(4, 20), *range(64, 128), *range(192, 256)]  # RFC 7983 7
    for first in foreign:
        arrive(router, bytes([first]) + bytes(20), line)
    assert (router.refused, session.rtp, session.dtls) == (len(foreign), [], [])


def test_datagram_too_short_for_a_header_is_refused(router: Router, session: Session) -> None:
    line = Line()
    arrive(router, check_of(session), line)
    for data in (b"", b"\x80", RTP[: MIN_LENGTH - 1], DTLS[: MIN_LENGTH - 1]):
        arrive(router, data, line)
    assert (router.refused, session.rtp, session.dtls) == (4, [], [])


def test_session_that_fails_does_not_end_the_router(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Session):
        def rtp_received(self, size: int, now: float) -> None:
            raise RuntimeError("a bug")

    session, line = Failing(), Line()
    router.add(session)
    arrive(router, check_of(session), line)
    with caplog.at_level(logging.ERROR):
        for _ in range(100):
            arrive(router, RTP, line)
    assert "could not be handled" in caplog.text
    assert len(caplog.records) == 7, "the 1st, 2nd, 4th, ... 64th"
    arrive(router, DTLS, line)
    assert session.dtls == [DTLS]


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=20))
def test_random_datagrams_are_refused_or_handed_on_and_never_answered(
    datagrams: list[tuple[bytes, bool]],
) -> None:
    router, session, lines = Router(), Session(), (Line(), Line())
    router.add(session)
    arrive(router, check_of(session), lines[True])
    for data, bound in datagrams:
        arrive(router, data, lines[bound])
    assert router.refused + len(session.rtp) + len(session.dtls) == len(datagrams)
    assert [line.sent for line in lines] == [[], []]
    assert [line.is_bound for line in lines] == [False, True]
