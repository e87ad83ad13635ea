import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.errors import SdpError
from server.media.sdp.offer import MAX_SDP_LENGTH, MAX_SECTIONS
from server.media.sdp.sdpfrag import parse_fragment
from server.media.transport.ice import Credentials

OURS = Credentials("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
#: As in RFC 9725 4.3.2, with a name for an address (mDNS) and an IPv6 one.
TRICKLE = """a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:0
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw
a=candidate:2 1 UDP 2122194687 7f3c1a2b-0000-4d4e-9f5a-6b7c8d9e0f1a.local 61765 typ host
a=candidate:3 1 udp 16 2001:db8::1 9 typ srflx raddr 192.0.2.1 rport 4 generation 0
a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0
a=end-of-candidates
"""
#: Some clients restart with the session's lines alone.
RESTART = "a=ice-options:trickle ice2\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"


@pytest.mark.parametrize("text", [TRICKLE, TRICKLE.replace("\n", "\r\n"), RESTART])
def test_the_credentials_of_a_fragment_are_read(text: str) -> None:
    assert parse_fragment(text) == OURS


def test_the_same_credentials_may_stand_in_each_section() -> None:
    assert parse_fragment(TRICKLE + TRICKLE.replace("audio", "video")) == OURS


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("EsAw\n", "EsA\n", 4),  # RFC 8839 5.4: 4 characters and more
        ("EsAw\n", "Es-w\n", 4),
        ("EsAw\n", "E" * 257 + "\n", 4),
        ("P2uYro0UCOQ4zxjKXaWCBui1", "P2uYro0UCOQ4zxjKXaWCB", 5),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio", 2),
        ("a=mid:0", "a=mid:", 3),
        ("a=mid:0", "v=0", 3),
        ("a=mid:0", "", 3),
        ("a=mid:0", "nonsense", 3),
        ("192.0.2.1 61764 typ host", "192.0.2.1 typ host", 6),
        (" 61764 ", " port ", 6),
        ("typ host generation", "typ host generation 0", 6),
        ("61765 typ host", "61765", 7),
        ("2122194687", "-5", 7),
    ],
)
def test_a_malformed_line_is_named(old: str, new: str, line: int) -> None:
    text = TRICKLE.replace(old, new, 1)
    assert text != TRICKLE
    with pytest.raises(SdpError, match=f"line {line} "):
        parse_fragment(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRICKLE.replace("a=ice-ufrag:EsAw\n", ""),
        TRICKLE.replace("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n", ""),
        TRICKLE + RESTART.replace("EsAw", "other"),
        TRICKLE + "m=audio 9 RTP 0\n" * MAX_SECTIONS,
        TRICKLE + "a=x:" + "x" * MAX_SDP_LENGTH,
    ],
)
def test_a_fragment_of_none_or_several_sessions_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(SdpError):
        parse_fragment(text)


LINES = st.sampled_from([*TRICKLE.splitlines(), "a=", "m=", "a=:", "\0"])


@given(st.one_of(st.text(max_size=400), st.lists(LINES, max_size=40).map("\n".join)))
def test_any_text_is_read_or_refused_as_documented(text: str) -> None:
    try:
        ufrag, pwd = parse_fragment(text)
    except SdpError:
        return
    assert f"a=ice-ufrag:{ufrag}" in text
    assert f"a=ice-pwd:{pwd}" in text
