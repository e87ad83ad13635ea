"""Joins encoded frames of all tracks into fragments on one timeline. Pure: no I/O, no clock.

Contract: call :meth:`Fragmenter.add` for each frame and :meth:`Fragmenter.flush` when the input
pauses; write what they return; drain :meth:`Fragmenter.take_gaps`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from server.core import av1, h264, vp8, vp9
from server.core.frames import Codec, EncodedFrame, Gap, GapCause, TrackName
from server.recorder.format.tracks import (
    Fragment,
    Sample,
    VideoConfig,
    opus_duration,
    to_ticks,
)
from server.recorder.writing.sound_line import SOUND_STEP_US, SoundLine

#: Longest fragment: with the writer's poll and the sync of the disk it stays below the second
#: of media that a crash may cost. They end at the multiples of it: those of all recordings are
#: sealed and synced together, for half of what it costs to do so one after the other.
FRAGMENT_US = 750_000
#: A keyframe begins a new fragment once the pending one is this long.
KEYFRAME_CUT_US = 100_000
#: How far a capture time may lie from the arrival: a sender's clock is not to be trusted further.
MAX_SKEW_S = 10.0
#: Least time from sample to sample: more than one tick of either track.
MIN_STEP_US = 25
#: Pictures follow the voice that they are seen with by so much of the time that passes: faster
#: than it moves, and not so fast that it is seen.
FOLLOWING = 0.3
#: A picture that the next one follows later than this did not last until then.
MAX_PICTURE_US = 1_000_000
FIRST_PICTURE_US = 33_333
#: The voice that pictures are seen with, as one clock stamps both.
_VOICE = {
    TrackName.CAMERA: TrackName.MICROPHONE,
    TrackName.SCREEN: TrackName.MICROPHONE,
    TrackName.INTERVIEWER_CAMERA: TrackName.INTERVIEWER_MICROPHONE,
}


@dataclass(frozen=True, slots=True)
class Cut:
    """A finished fragment and how its pictures are coded (None: no picture came yet)."""

    fragment: Fragment
    video: VideoConfig | None
    screen: VideoConfig | None
    interviewer: VideoConfig | None
    early: bool  #: what follows ends when this would have, were it not for a keyframe

    @property
    def keyframe(self) -> bool:
        return bool(self.fragment.video) and self.fragment.video[0].keyframe

    @property
    def screen_keyframe(self) -> bool:
        return any(sample.keyframe for sample in self.fragment.screen)

    @property
    def interviewer_keyframe(self) -> bool:
        return any(sample.keyframe for sample in self.fragment.interviewer_video)


class _Pending(NamedTuple):  # made for each frame: a frozen dataclass costs three times as much
    time_us: int  # Unix
    duration_us: int  # of sound; 0 of a picture, which lasts until the next
    keyframe: bool
    data: bytes


class _Unusable(Exception):
    """A frame that no player could show, with the reason."""


class Fragmenter:
    """``epoch_us`` is the Unix time of the recording's start; None: the first fragment sets it."""

    def __init__(self, epoch_us: int | None) -> None:
        self.epoch_us = epoch_us
        self._pending: dict[TrackName, list[_Pending]] = {name: [] for name in TrackName}
        #: Unix time of the oldest sample that is in no fragment yet.
        self.pending_since_us: int | None = None
        self._newest_us = 0
        self._end_us = 0  # of the pending fragment, at the latest
        self._last_us: dict[TrackName, int] = {}
        self._voices = {name: SoundLine() for name in TrackName if name.is_sound}
        self._beginning = set(self._voices)  # in no fragment yet
        self._pictures = {
            name: _Pictures(name, self._voices[voice]) for name, voice in _VOICE.items()
        }
        self._gaps: list[Gap] = []

    def add(self, frame: EncodedFrame) -> list[Cut]:
        """Take one frame; returns the fragments that it completes."""
        pictures = self._pictures.get(frame.track)
        if pictures is None:
            duration_us = opus_duration(frame.payload) * 1000 // 48
            if not duration_us:
                return []  # RFC 7587 4: an empty packet carries nothing
            time_us = self._lay(frame.track, self._captured_us(frame), duration_us)
            cuts = self._cut_before(time_us)
            self._voices[frame.track].move(self._before_epoch_us(time_us))
            sample = _Pending(time_us, duration_us, True, frame.payload)
        else:
            time_us = self._show(pictures, self._captured_us(frame))
            try:
                config, data, keyframe = pictures.read(frame)
            except _Unusable:
                pictures.unusable.append(time_us)
                return []
            self._gaps += pictures.take_unusable(time_us)
            cuts = self._cut_before(
                time_us, pictures, keyframe=keyframe, changed=config != pictures.config
            )
            pictures.config = config
            sample = _Pending(time_us, 0, keyframe, data)
        if late_us := self._before_epoch_us(time_us):
            sample = sample._replace(time_us=time_us + late_us)
        self._append(frame.track, sample)
        return cuts

    def flush(self) -> list[Cut]:
        """Complete the pending fragment, however short."""
        return self._cut() if self.pending_since_us is not None else []

    def finish(self) -> list[Cut]:
        """Like flush; and pictures that waited for a keyframe are declared lost."""
        for pictures in self._pictures.values():
            self._gaps += pictures.take_unusable(None)
        return self.flush()

    def take_gaps(self) -> list[Gap]:
        gaps, self._gaps = self._gaps, []
        return gaps

    # ---- time ---------------------------------------------------------------------------

    def _captured_us(self, frame: EncodedFrame) -> int:
        """Unix time of a frame, made not to precede the epoch."""
        early, late = frame.arrived_s - MAX_SKEW_S, frame.arrived_s + MAX_SKEW_S
        time_us = round(min(max(frame.capture_s, early), late) * 1_000_000)
        return max(time_us, self.epoch_us or 0)

    def _before_epoch_us(self, time_us: int) -> int:
        """How much later what lies there has to lie, where a cut has just set the epoch."""
        return max(0, (self.epoch_us or 0) - time_us)

    def _show(self, pictures: "_Pictures", captured_us: int) -> int:
        """When a picture is shown: beside its voice, and after the one before it."""
        time_us = max(captured_us + pictures.apart_us(captured_us), self.epoch_us or 0)
        after_us = self._last_us.get(pictures.track)
        return time_us if after_us is None else max(time_us, after_us + MIN_STEP_US)

    def _lay(self, track: TrackName, captured_us: int, duration_us: int) -> int:
        """When a packet of sound is heard."""
        voice = self._voices[track]
        start_us = voice.lay(captured_us, duration_us)
        if voice.late_us > 0 and track in self._beginning:
            return start_us + self._begin_earlier(track, voice)
        return start_us

    def _begin_earlier(self, track: TrackName, voice: SoundLine) -> int:
        """The first packets came late, as it turns out: what is pending of the track moves.

        Returns by how much, which is not above 0.
        """
        pending = self._pending[track]
        if not pending:
            return 0
        by_us = max(-voice.late_us, (self.epoch_us or 0) - pending[0].time_us)
        pending[:] = [one._replace(time_us=one.time_us + by_us) for one in pending]
        self.pending_since_us = min(self.pending_since_us or 0, pending[0].time_us)
        voice.move(by_us)
        return by_us

    def _append(self, track: TrackName, sample: _Pending) -> None:
        time_us, since_us = sample.time_us, self.pending_since_us
        self._last_us[track] = time_us
        self._newest_us = max(self._newest_us, time_us)
        if since_us is None:
            self._end_us = time_us - time_us % FRAGMENT_US + FRAGMENT_US
        self.pending_since_us = time_us if since_us is None else min(since_us, time_us)
        self._pending[track].append(sample)

    def _cut_before(
        self,
        time_us: int,
        pictures: "_Pictures | None" = None,
        *,
        keyframe: bool = False,
        changed: bool = False,
    ) -> list[Cut]:
        started_us = self.pending_since_us
        if started_us is None:
            return []
        newest_us = max(time_us, self._newest_us)
        length_us = newest_us - min(time_us, started_us)
        # Of a track whose clock is behind the others' the end may be far away.
        ends = newest_us >= self._end_us or length_us >= FRAGMENT_US
        # Playback begins at the camera's keyframes: those of others stay where they are.
        of_camera = pictures is self._pictures[TrackName.CAMERA] and pictures.config is not None
        at_keyframe = keyframe and of_camera and length_us >= KEYFRAME_CUT_US
        new_coding = changed and pictures is not None and bool(self._pending[pictures.track])
        if ends or at_keyframe or new_coding:
            following_us = {pictures.track: time_us} if pictures is not None else {}
            return self._cut(following_us, early=not ends)
        return []

    def _cut(
        self, next_us: Mapping[TrackName, int] = MappingProxyType({}), *, early: bool = False
    ) -> list[Cut]:
        """`next_us`: when the picture after this fragment is due, where that is known."""
        if self.epoch_us is None:
            self.epoch_us = self.pending_since_us
        samples = {
            name: tuple(
                self._sounds(name) if name.is_sound else self._shown(name, next_us.get(name))
            )
            for name in TrackName
        }
        fragment = Fragment(*samples.values())
        self._beginning -= {name for name, cut in samples.items() if cut}
        self._pending = {name: [] for name in TrackName}
        self.pending_since_us, self._newest_us = None, 0
        camera, screen, interviewer = (self._pictures[name].config for name in _VOICE)
        return [Cut(fragment, camera, screen, interviewer, early)]

    def _sounds(self, track: TrackName) -> Iterator[Sample]:
        for one in self._pending[track]:
            steps = (one.time_us - (self.epoch_us or 0)) // SOUND_STEP_US
            start, duration = to_ticks(track, steps * SOUND_STEP_US), one.duration_us
            yield Sample(start, to_ticks(track, duration), one.keyframe, one.data)

    def _shown(self, track: TrackName, next_us: int | None) -> Iterator[Sample]:
        pending, epoch_us = self._pending[track], self.epoch_us or 0
        for index, one in enumerate(pending):
            following = pending[index + 1].time_us if index + 1 < len(pending) else next_us
            end_us = one.time_us + self._pictures[track].duration_us(one, following)
            start = to_ticks(track, one.time_us - epoch_us)
            duration = max(1, to_ticks(track, end_us - epoch_us) - start)
            yield Sample(start, duration, one.keyframe, one.data)


class _Pictures:
    """How the pictures of a track are coded; those that no player could show."""

    def __init__(self, track: TrackName, voice: SoundLine) -> None:
        self.track = track
        self._voice = voice
        self._apart_us = 0  # as the voice
        self._captured_us: int | None = None  # of the last one
        self.config: VideoConfig | None = None
        self.unusable: list[int] = []  # Unix us of pictures dropped since the last usable one
        self._picture_us = FIRST_PICTURE_US
        self._parameter_sets = _ParameterSets()

    def apart_us(self, captured_us: int) -> int:
        """How much later than it was captured a picture is shown: as its voice is heard."""
        since_us = MAX_PICTURE_US if self._captured_us is None else captured_us - self._captured_us
        self._captured_us = captured_us
        most_us = round(FOLLOWING * max(0, since_us))
        self._apart_us += max(-most_us, min(most_us, self._voice.late_us - self._apart_us))
        return self._apart_us

    def duration_us(self, picture: _Pending, following_us: int | None) -> int:
        """Until the following one; as long as the one before where that is unknown or far off."""
        if following_us is not None and 0 < following_us - picture.time_us <= MAX_PICTURE_US:
            self._picture_us = following_us - picture.time_us
        return self._picture_us

    def take_unusable(self, until_us: int | None) -> list[Gap]:
        """The gap that the unusable ones leave, up to the next usable one if there is one."""
        if not self.unusable:
            return []
        first_us, last_us = self.unusable[0], self.unusable[-1]
        end_us = last_us + self._picture_us if until_us is None else max(until_us, last_us)
        lost = len(self.unusable)
        self.unusable.clear()
        return [Gap(self.track, first_us / 1e6, end_us / 1e6, GapCause.PACKETS_LOST, lost)]

    def read(self, frame: EncodedFrame) -> tuple[VideoConfig, bytes, bool]:
        try:
            match frame.codec:
                case Codec.VP8:
                    return self._read_vp8(frame)
                case Codec.VP9:
                    return self._read_vp9(frame)
                case Codec.H264:
                    return self._read_h264(frame)
                case Codec.AV1:
                    return self._read_av1(frame)
                case Codec.OPUS:
                    raise _Unusable("sound on a track of pictures")
        except (vp8.Vp8Error, vp9.Vp9Error, h264.H264Error, av1.Av1Error) as error:
            raise _Unusable(str(error)) from error

    def _read_vp8(self, frame: EncodedFrame) -> tuple[VideoConfig, bytes, bool]:
        header = vp8.parse_header(frame.payload)
        if header.keyframe:
            config = VideoConfig(Codec.VP8, header.width, header.height, vp8.CONFIGURATION)
            return config, frame.payload, True
        return self._known(Codec.VP8), frame.payload, False

    def _read_vp9(self, frame: EncodedFrame) -> tuple[VideoConfig, bytes, bool]:
        layers = vp9.split_superframe(frame.payload)
        header = vp9.parse_header(layers[0])
        if not header.keyframe:
            return self._known(Codec.VP9), frame.payload, False
        # The picture has the size of its highest spatial layer, which says it if it differs.
        sizes = [(header.width, header.height)]
        sizes += [(one.width, one.height) for one in map(vp9.parse_header, layers[1:])]
        width, height = max(sizes)
        config = VideoConfig(Codec.VP9, width, height, vp9.configuration(header, width, height))
        return config, frame.payload, True

    def _read_av1(self, frame: EncodedFrame) -> tuple[VideoConfig, bytes, bool]:
        sequence = av1.sequence_header(frame.payload)
        if sequence is None or not av1.is_keyframe(frame.payload):
            return self._known(Codec.AV1), frame.payload, False
        header = av1.parse_sequence_header(sequence)
        record = av1.configuration(sequence)
        return VideoConfig(Codec.AV1, header.width, header.height, record), frame.payload, True

    def _read_h264(self, frame: EncodedFrame) -> tuple[VideoConfig, bytes, bool]:
        nals = list(h264.nal_units(frame.payload))
        self._parameter_sets.update(nals)
        parameters = (h264.NAL_TYPE_SPS, h264.NAL_TYPE_PPS)
        # ISO/IEC 14496-15 5.3.2: under `avc1` parameter sets live in the sample entry alone.
        data = h264.join_nal_units([nal for nal in nals if h264.nal_type(nal) not in parameters])
        if not data:
            raise _Unusable("parameter sets alone")
        if frame.keyframe:
            return self._parameter_sets.config(), data, True
        return self._known(Codec.H264), data, False

    def _known(self, codec: Codec) -> VideoConfig:
        if self.config is None or self.config.codec is not codec:
            raise _Unusable("before the first keyframe")
        return self.config


class _ParameterSets:
    """The H.264 parameter sets in force: those that came last."""

    def __init__(self) -> None:
        self._sps: tuple[bytes, ...] = ()
        self._pps: tuple[bytes, ...] = ()

    def update(self, nals: list[bytes]) -> None:
        self._sps = _of_type(nals, h264.NAL_TYPE_SPS) or self._sps
        self._pps = _of_type(nals, h264.NAL_TYPE_PPS) or self._pps

    def config(self) -> VideoConfig:
        """H264Error if there is no usable SPS and PPS."""
        record = h264.configuration(self._sps, self._pps)
        first = h264.parse_sps(self._sps[0])
        return VideoConfig(Codec.H264, first.width, first.height, record)


def _of_type(nals: list[bytes], wanted: int) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(nal for nal in nals if h264.nal_type(nal) == wanted))
