"""The vocabulary that the store, the recordings, the protocol and the pages share."""

import enum


class Role(enum.StrEnum):
    CANDIDATE = "candidate"  #: publishes into one interview
    INTERVIEWER = "interviewer"  #: talks with the candidate of one interview, watches it live
    OBSERVER = "observer"  #: watches one interview live
    RECRUITER = "recruiter"  #: watches, replays and manages the links of one interview
    OWNER = "owner"  #: creates interviews, sees all of them; the link printed by `serve`


class InterviewState(enum.StrEnum):
    WAITING = "waiting"  #: nobody has joined yet
    LIVE = "live"
    INTERRUPTED = "interrupted"  #: the candidate's connection is lost, the link still works
    ENDED = "ended"  #: the candidate has left


class Way(enum.StrEnum):
    """How a recording was read."""

    REPLAY = "replay"  #: in the page
    HLS = "hls"  #: by a player of HTTP Live Streaming
    EXPORT = "export"  #: as a file


#: The event with which a recording ends when the server stops: the interview goes on after its
#: next start.
SERVER_STOPPED = "server-stopped"
#: The event by which a manifest says that the recording was made of another one.
COMPRESSED = "compressed"
