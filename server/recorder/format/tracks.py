"""What a recording holds of a track: its configuration and its samples, whatever the container."""

from dataclasses import dataclass
from typing import NamedTuple

from server.core.frames import OF_INTERVIEWER, Codec, TrackName

#: Ticks a second of each track; RTP's own clock rates, so that no precision is lost.
TIMESCALE = {name: 48_000 if name.is_sound else 90_000 for name in TrackName}
#: Tracks that come and go in mid-interview.
VISITING = (TrackName.SCREEN, *OF_INTERVIEWER)
#: Such a track is asked for a keyframe every four seconds, and a voice that says nothing sends a
#: packet each 0.4 s: without anything for this long it is not there any more.
VISIT_STILL_US = 10_000_000
#: Opus is announced as stereo whatever it carries (RFC 7587 7).
OPUS_CHANNELS = 2
#: Opus packets of silence, the longest first, by the ticks that they last: CELT, fullband, stereo,
#: one frame (RFC 6716 3.1).
OPUS_SILENCES = {
    960: b"\xfc\xff\xfe",
    480: b"\xf4\xff\xfe",
    240: b"\xec\xff\xfe",
    120: b"\xe4\xff\xfe",
}
#: Sound lies on multiples of this since the recording began, so that silence fills a hole of it
#: to the last sample: what the shortest Opus packet lasts.
SOUND_STEP_TICKS = 120
#: Sound that waited for what was lost before it (`server/media/receiving/nack.py`: up to 3 s) is in
#: a later fragment than pictures of its time, but no further behind than this.
MAX_SOUND_BEHIND_US = 5_000_000


@dataclass(frozen=True, slots=True)
class VideoConfig:
    """How the pictures of a track are coded; the size in pixels.

    ``configuration`` is the record that ISO files keep of the codec: of AVC (ISO/IEC 14496-15
    5.3.3.1), of VP8 and VP9 (VP Codec binding 2.2), of AV1 (AV1-ISOBMFF 2.3).
    """

    codec: Codec
    width: int
    height: int
    configuration: bytes


@dataclass(frozen=True, slots=True)
class Tracks:
    """The tracks that an init segment announces. At least one is there."""

    video: VideoConfig | None
    audio: bool
    screen: VideoConfig | None = None
    interviewer_video: VideoConfig | None = None
    interviewer_audio: bool = False

    def names(self) -> tuple[TrackName, ...]:
        announced = (
            self.video,
            self.audio,
            self.screen,
            self.interviewer_video,
            self.interviewer_audio,
        )
        return tuple(name for name, config in zip(TrackName, announced, strict=True) if config)

    def videos(self) -> dict[TrackName, VideoConfig]:
        announced = {
            TrackName.CAMERA: self.video,
            TrackName.SCREEN: self.screen,
            TrackName.INTERVIEWER_CAMERA: self.interviewer_video,
        }
        return {name: config for name, config in announced.items() if config}

    def of_interviewer(self) -> "Tracks":
        """The interviewer's alone, as if they were the candidate's."""
        return Tracks(self.interviewer_video, self.interviewer_audio)


class Sample(NamedTuple):
    """One coded picture or Opus packet; times in ticks of its track since the recording began."""

    time: int
    duration: int
    keyframe: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """At most a second of all tracks, in order of time; any may be empty, but not all."""

    video: tuple[Sample, ...]
    audio: tuple[Sample, ...]
    screen: tuple[Sample, ...] = ()
    interviewer_video: tuple[Sample, ...] = ()
    interviewer_audio: tuple[Sample, ...] = ()

    def by_track(self) -> tuple[tuple[TrackName, tuple[Sample, ...]], ...]:
        return (
            (TrackName.CAMERA, self.video),
            (TrackName.MICROPHONE, self.audio),
            (TrackName.SCREEN, self.screen),
            (TrackName.INTERVIEWER_CAMERA, self.interviewer_video),
            (TrackName.INTERVIEWER_MICROPHONE, self.interviewer_audio),
        )

    def of_candidate(self) -> "Fragment":
        """Camera and microphone alone."""
        return Fragment(self.video, self.audio)

    def of_interviewer(self) -> "Fragment":
        """The interviewer's alone, as if they were the candidate's."""
        return Fragment(self.interviewer_video, self.interviewer_audio)

    @property
    def start_us(self) -> int:
        return min(to_us(track, s[0].time) for track, s in self.by_track() if s)

    @property
    def end_us(self) -> int:
        return max(to_us(track, s[-1].time + s[-1].duration) for track, s in self.by_track() if s)


def to_us(track: TrackName, ticks: int) -> int:
    """Ticks of ``track`` in microseconds, rounded down."""
    return ticks * 1_000_000 // TIMESCALE[track]


def to_ticks(track: TrackName, us: int) -> int:
    """Microseconds in ticks of ``track``, rounded down."""
    return us * TIMESCALE[track] // 1_000_000


#: Ticks of one frame by the configuration: of SILK 10, 20, 40, 60 ms, of hybrid 10, 20, of CELT
#: 2.5, 5, 10, 20, each for every bandwidth (RFC 6716 table 2).
_OPUS_FRAME = 3 * (480, 960, 1920, 2880) + 2 * (480, 960) + 4 * (120, 240, 480, 960)


def opus_duration(packet: bytes) -> int:
    """Ticks (48 kHz) that an Opus packet lasts by its TOC byte (RFC 6716 3.1); 0 if empty."""
    if not packet:
        return 0
    toc = packet[0]
    if toc & 3 != 3:
        return _OPUS_FRAME[toc >> 3] * (2 if toc & 3 else 1)
    # RFC 6716 3.2.5: the count's six bits; a packet lasts at most 120 ms.
    return min(_OPUS_FRAME[toc >> 3] * (packet[1] & 0x3F), 5760) if len(packet) > 1 else 0
