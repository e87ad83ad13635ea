"""What a player is told of a recording: what there is, where, and what is missing. Pure."""

import enum

import msgspec

from server.core.frames import GapCause, TrackName
from server.recorder.format.manifest import State


class Side(enum.StrEnum):
    """What has a replay of its own, with times of its own."""

    CANDIDATE = "candidate"  #: camera and microphone
    SCREEN = "screen"
    INTERVIEWER = "interviewer"


class ReplayInit(msgspec.Struct, frozen=True):
    """An init segment; where ``mime`` differs from the one before, changeType() comes first."""

    mime: str
    width: int  #: 0 without video
    height: int


class ReplayFragment(msgspec.Struct, frozen=True):
    """A fragment's place; times in seconds since the recording's start."""

    seq: int
    start_s: float
    duration_s: float
    keyframe: bool  #: playback may begin here
    init: int  #: index into ``inits``
    screen: int | None  #: index into ``screens``; null where it has no picture of the screen
    screen_keyframe: bool  #: one of these is a keyframe
    interviewer: int | None  #: index into ``interviewers``; null where it has nothing of them
    interviewer_keyframe: bool  #: playback of the interviewer may begin here


class ReplayGap(msgspec.Struct, frozen=True):
    track: TrackName
    start_s: float
    end_s: float
    cause: GapCause
    lost: int


class ReplayEvent(msgspec.Struct, frozen=True):
    event: str
    at_s: float


class ReplayIndex(msgspec.Struct, frozen=True):
    """What a player needs to know; it grows while ``state`` is `recording` (see `settled`)."""

    state: State
    started_s: float | None  #: Unix time of second 0
    mime: str  #: of the first init; empty while there is no fragment
    duration_s: float
    tracks: tuple[TrackName, ...]
    inits: tuple[ReplayInit, ...]
    screens: tuple[ReplayInit, ...]  #: of the screen's own replay
    interviewers: tuple[ReplayInit, ...]  #: of the interviewer's own
    fragments: tuple[ReplayFragment, ...]
    gaps: tuple[ReplayGap, ...]
    events: tuple[ReplayEvent, ...]
    revision: str  #: where it is another one, fragments that were told of before may have changed
