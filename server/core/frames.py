"""What a media track carries once its packets are joined: encoded frames and gaps.

Times called ``capture_s`` are Unix seconds on the server's clock at which the sample was
captured, derived from the sender's RTCP sender reports (RFC 3550 6.4.1), so that audio and
video of one interview are comparable with each other.
"""

import enum
from dataclasses import dataclass
from typing import Protocol

import msgspec


class Codec(enum.StrEnum):
    VP8 = "VP8"
    VP9 = "VP9"
    H264 = "H264"
    AV1 = "AV1"
    OPUS = "opus"


#: What cameras may send, best first, unless the operator orders it otherwise: H.264 is encoded by
#: hardware nearly everywhere and its recording plays everywhere; VP9 and AV1 say more in fewer
#: bits for more of the candidate's CPU; VP8 alone has to be transcoded for an export.
VIDEO_CODECS = (Codec.H264, Codec.VP9, Codec.AV1, Codec.VP8)


class TrackName(enum.StrEnum):
    CAMERA = "camera"
    MICROPHONE = "microphone"
    SCREEN = "screen"
    INTERVIEWER_CAMERA = "interviewer-camera"
    INTERVIEWER_MICROPHONE = "interviewer-microphone"

    @property
    def is_sound(self) -> bool:
        return self in (TrackName.MICROPHONE, TrackName.INTERVIEWER_MICROPHONE)


#: Who sends what into an interview. Only the candidate's is ever analysed.
OF_CANDIDATE = (TrackName.CAMERA, TrackName.MICROPHONE, TrackName.SCREEN)
OF_INTERVIEWER = (TrackName.INTERVIEWER_CAMERA, TrackName.INTERVIEWER_MICROPHONE)


#: RTP clock rate of each codec in Hz (RFC 7741 4.1, RFC 9628 4.1, RFC 6184 8.1, AV1 RTP 4.1,
#: RFC 7587 4.1).
CLOCK_RATE = {
    Codec.VP8: 90_000,
    Codec.VP9: 90_000,
    Codec.H264: 90_000,
    Codec.AV1: 90_000,
    Codec.OPUS: 48_000,
}


class EncodedFrame(msgspec.Struct, frozen=True, gc=False):
    """One whole encoded frame, in decoding order, never decoded by the media process.

    ``payload`` is a VP8 frame (RFC 6386), a VP9 frame or superframe, an H.264 access unit whose
    NAL units each have a four-byte big-endian length before them (ISO/IEC 14496-15; parameter
    sets stay in band), an AV1 temporal unit in the low-overhead format as AV1-ISOBMFF stores it
    (no temporal delimiter, no padding), or one Opus packet (RFC 6716).
    """

    track: TrackName
    codec: Codec
    payload: bytes
    capture_s: float
    keyframe: bool
    #: Unix seconds at which it was whole and in order: repair before it has been waited for.
    arrived_s: float
    #: Its temporal layer, 0 the base: it needs only frames of its own layer and of lower ones.
    temporal_id: int = 0


class GapCause(enum.StrEnum):
    PACKETS_LOST = "packets-lost"
    #: The browser sent a smaller picture instead, which could be shown only from its keyframe on.
    LAYER_STOPPED = "layer-stopped"
    #: Its sender sent nothing of it while the others went on: a camera that is off.
    PAUSED = "paused"
    QUEUE_FULL = "queue-full"
    DISCONNECTED = "disconnected"
    SERVER_RESTART = "server-restart"
    WRITE_FAILED = "write-failed"


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of a track that is missing for good, in the track's own ``capture_s`` time."""

    track: TrackName
    start_s: float
    end_s: float
    cause: GapCause
    #: Packets or frames known to be missing; 0 when unknown.
    lost: int = 0


class FrameSink(Protocol):
    """A subscriber of whole frames (the recorder, the analysis). Neither call may block."""

    def on_frame(self, frame: EncodedFrame) -> None: ...

    def on_gap(self, gap: Gap) -> None: ...
