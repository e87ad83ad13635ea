"""Fragments of a session description that carry ICE alone (RFC 8840 9): what PATCH brings.

A lite agent needs nothing of them but the credentials: it learns where the peer is from the
peer's checks. The rest is read all the same, so that what is malformed is refused.
"""

import re

from server.media.errors import SdpError
from server.media.sdp.offer import MAX_SDP_LENGTH, MAX_SECTIONS
from server.media.transport.ice import PWD, UFRAG, Credentials

#: RFC 8839 5.1: foundation, component, transport, priority, address, port, type, extensions.
#: The address may be a name: browsers hide theirs behind one of mDNS.
_CANDIDATE = re.compile(
    r"[A-Za-z0-9+/]{1,32} [0-9]{1,3} [A-Za-z0-9-]+ [0-9]{1,10} "
    r"[A-Za-z0-9.:%_-]+ [0-9]{1,5} typ [a-z]+(?: \S+ \S*)*"
)
_MEDIA_LINE = re.compile(r"[a-z]+ [0-9]{1,5}(?:/[0-9]+)? [A-Za-z0-9/]+(?: \S+)+")


def parse_fragment(text: str) -> Credentials:
    """The ICE credentials in a fragment. Raises `SdpError` naming the line at fault."""
    if len(text) > MAX_SDP_LENGTH:
        raise SdpError(f"fragment is longer than {MAX_SDP_LENGTH} characters")
    ufrags: set[str] = set()
    pwds: set[str] = set()
    sections = 0
    for number, line in enumerate(text.splitlines(), 1):
        problem = _problem(line)
        if problem is not None:
            raise SdpError(f"line {number} of the fragment: {problem}")
        name, _, value = line[2:].partition(":")
        sections += line.startswith("m=")
        ufrags |= {value} if name == "ice-ufrag" else set()
        pwds |= {value} if name == "ice-pwd" else set()
    if sections > MAX_SECTIONS:
        raise SdpError(f"fragment has more than {MAX_SECTIONS} media sections")
    if len(ufrags) != 1 or len(pwds) != 1:
        # One bundle is one ICE session (RFC 9143 7.1); RFC 8840 4.4 asks for both in each.
        raise SdpError("the fragment needs one a=ice-ufrag and one a=ice-pwd")
    return Credentials(ufrags.pop(), pwds.pop())


def _problem(line: str) -> str | None:
    """What is wrong with a line, if anything is."""
    name, _, value = line.removeprefix("a=").partition(":")
    if line.startswith("m="):
        return None if _MEDIA_LINE.fullmatch(line[2:]) else "media section is malformed"
    if not re.fullmatch(r"a=[A-Za-z0-9-]+(?::.+)?", line):
        return "neither an attribute nor a media section"
    pattern = {"ice-ufrag": UFRAG, "ice-pwd": PWD, "candidate": _CANDIDATE}.get(name)
    if pattern is not None and not pattern.fullmatch(value):
        return f"{name} is malformed"
    return None
