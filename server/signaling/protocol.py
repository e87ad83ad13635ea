"""The WebSocket protocol's messages, version 1, as `docs/protocol.md` tells them.

Every message is one JSON object whose ``type`` names it. A client's first message is
``hello``; the server answers ``welcome`` or ``error`` and closes. Unknown fields are
ignored, unknown types are refused with ``bad-message``.
"""

import enum
from typing import Annotated

import msgspec

from server.core.indicators import Alert, Indicator
from server.core.interviews import InterviewState, Role

__all__ = ["InterviewState", "Role"]  # named here too: they are part of the protocol

PROTOCOL_VERSION = 1


class ErrorId(enum.StrEnum):
    """Stable error ids: clients may depend on them, texts may change."""

    BAD_MESSAGE = "bad-message"
    BAD_SDP = "bad-sdp"
    UNSUPPORTED_VERSION = "unsupported-version"
    NO_COMMON_CODEC = "no-common-codec"
    UNPROCESSABLE = "unprocessable"
    RESTART_REFUSED = "restart-refused"
    PRECONDITION_MISSING = "precondition-missing"
    PRECONDITION_FAILED = "precondition-failed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    TOKEN_MISSING = "token-missing"
    TOKEN_INVALID = "token-invalid"
    TOKEN_EXPIRED = "token-expired"
    TOKEN_REVOKED = "token-revoked"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    RECORDING_LOCKED = "recording-locked"
    RECORDING_DAMAGED = "recording-damaged"
    NOT_SEALED = "not-sealed"
    NO_HLS = "no-hls"
    RECORDING_UNREADABLE = "recording-unreadable"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    TOO_LARGE = "too-large"
    TOO_SLOW = "too-slow"
    TOO_MANY_REQUESTS = "too-many-requests"
    TOO_MANY_EXPORTS = "too-many-exports"
    CONSENT_MISSING = "consent-missing"
    SERVER_BUSY = "server-busy"
    SERVER_RESTARTING = "server-restarting"
    INTERNAL = "internal"


class Connection(enum.StrEnum):
    """Which of a client's two media connections: some have both."""

    UP = "up"  #: by which it sends
    DOWN = "down"  #: by which it is sent to


class _Message(msgspec.Struct, frozen=True, tag_field="type"):
    pass


# ---- client to server -------------------------------------------------------------------


class Hello(_Message, frozen=True, tag="hello"):
    version: int
    token: str
    #: An owner's link is for no interview in particular: here it says which one.
    interview: str | None = None
    #: Names the candidate's page from its joining on, the same on each of its sockets: a page
    #: that was replaced can't come back as if it were a newer one.
    opening: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class Publish(_Message, frozen=True, tag="publish"):
    """Candidate, interviewer: here is my camera and microphone. `consent` must be true."""

    sdp: str
    consent: bool
    #: Version and language of the notice that was agreed to.
    notice: Annotated[str, msgspec.Meta(pattern="^([0-9]{1,6}/[a-z]{2})?$")] = ""


class Watch(_Message, frozen=True, tag="watch"):
    """Send me the live picture and sound: of everybody who speaks but myself."""

    sdp: str


class Restart(_Message, frozen=True, tag="restart"):
    """My connection's offer again, with new ICE credentials."""

    sdp: str
    #: Which one; whoever speaks means the one they send by, others have only one.
    connection: Connection | None = None


class Unshare(_Message, frozen=True, tag="unshare"):
    """Candidate: nothing more is sent in the screen's section for now."""


class Camera(_Message, frozen=True, tag="camera"):
    """Candidate, interviewer: my camera is on, or off and what it sends is black."""

    active: bool


class Microphone(_Message, frozen=True, tag="microphone"):
    """Candidate, interviewer: my microphone is on, or off and what it sends is silence."""

    active: bool


class Leave(_Message, frozen=True, tag="leave"):
    """Candidate: I end my part; the recording is closed. Others: stop sending to and from me."""


class Ping(_Message, frozen=True, tag="ping"):
    id: int


# ---- server to client -------------------------------------------------------------------


class InterviewInfo(msgspec.Struct, frozen=True):
    id: str
    title: str


class IceServer(msgspec.Struct, frozen=True):
    """A TURN server and credentials for it, as `RTCIceServer` has them (WebRTC 4.2.2)."""

    urls: tuple[str, ...]
    username: str
    credential: str


class Welcome(_Message, frozen=True, tag="welcome"):
    version: int
    role: Role
    interview: InterviewInfo
    state: InterviewState
    server_time_s: float
    #: Relays for a network that lets nothing else through; none where the server has none.
    ice_servers: tuple[IceServer, ...] = ()


class Answer(_Message, frozen=True, tag="answer"):
    """The answer to `publish`, `watch` or `restart`."""

    sdp: str
    connection: Connection


class StateChanged(_Message, frozen=True, tag="state"):
    state: InterviewState
    #: Unix seconds when the first media of this interview arrived; None before.
    started_s: float | None = None


class RecordingState(_Message, frozen=True, tag="recording"):
    """To everyone: whether what is sent is being recorded right now."""

    active: bool


class InterviewerState(_Message, frozen=True, tag="interviewer"):
    """To everyone: whether an interviewer is there to be seen and heard."""

    active: bool


class CameraState(_Message, frozen=True, tag="camera"):
    """To everyone: whether somebody who speaks has the camera on; until told, it is."""

    role: Role
    active: bool


class ScreenState(_Message, frozen=True, tag="screen"):
    """To all but the candidate: whether they share a screen right now."""

    active: bool


class Watchers(_Message, frozen=True, tag="watchers"):
    """To all but the candidate: who watches right now, by role; the reader is one of them."""

    roles: tuple[Role, ...]


class Indicators(_Message, frozen=True, tag="indicators"):
    """To all but the candidate."""

    values: tuple[Indicator, ...]


class AlertChanged(_Message, frozen=True, tag="alert"):
    """To all but the candidate."""

    alert: Alert


class Replaced(_Message, frozen=True, tag="replaced"):
    """To a candidate or an interviewer whose place was taken elsewhere: the newer one goes on."""


class Pong(_Message, frozen=True, tag="pong"):
    id: int
    server_time_s: float


class Error(_Message, frozen=True, tag="error"):
    """`fatal`: the server closes the socket after it."""

    id: ErrorId
    message: str
    fatal: bool = False
    #: Where the same may succeed later: after so many seconds.
    retry_after_s: int | None = None
    #: Whose offer was refused, if it was one.
    connection: Connection | None = None


ClientMessage = Hello | Publish | Watch | Restart | Unshare | Camera | Microphone | Leave | Ping
ServerMessage = (
    Welcome
    | Answer
    | StateChanged
    | RecordingState
    | InterviewerState
    | CameraState
    | ScreenState
    | Watchers
    | Indicators
    | AlertChanged
    | Replaced
    | Pong
    | Error
)
