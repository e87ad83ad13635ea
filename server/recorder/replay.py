"""Turns recorded fragments into what one Media Source Extensions SourceBuffer plays through.

A SourceBuffer demands the same tracks of every init segment (W3C Media Source Extensions 3.5.7),
and stalls where either track has nothing. So every init announces all tracks of the recording,
a picture lasts until the next one, and missing sound is filled with Opus silence. Only where
both tracks pause for longer than `MAX_FILL_US` a hole remains, for the player to jump over.
The screen is a replay of its own, for a second SourceBuffer, as it has times of its own: its
pictures last until the next, and where it was not shared there is a hole. So is the interviewer,
for a third: picture and sound, filled like the candidate's.
The export and the recording itself stay as they were captured.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Protocol

from server.core.frames import Codec, TrackName
from server.recorder import mp4, webm
from server.recorder.sealing import NO_FLAGS, Flags, RecordHeader
from server.recorder.tracks import (
    MAX_SOUND_BEHIND_US,
    OPUS_SILENCES,
    SOUND_STEP_TICKS,
    VISIT_STILL_US,
    Fragment,
    Sample,
    Tracks,
    VideoConfig,
    opus_duration,
    to_ticks,
)

#: The longest pause of both tracks that is filled.
MAX_FILL_US = 10_000_000
_MAX_DURATION_TICKS = 0x7FFF_FFFF


class Recorded(Protocol):
    """What is needed of a reader: fragments by index, from 0."""

    @property
    def plan(self) -> "Plan": ...
    def __len__(self) -> int: ...
    def header(self, index: int) -> RecordHeader: ...
    def tracks(self, index: int) -> Tracks: ...
    def samples(self, index: int) -> Fragment: ...


class Plan:
    """Which init segments the replay has, from the recorded ones in their order."""

    def __init__(self, recorded: tuple[Tracks, ...]) -> None:
        self._audio = any(tracks.audio for tracks in recorded)
        videos = [tracks.video for tracks in recorded if tracks.video]
        self.first_video = videos[0] if videos else None
        self._replayed: dict[Tracks, Tracks] = {}
        video = self.first_video
        for tracks in recorded:
            video = tracks.video or video
            self._replayed.setdefault(tracks, Tracks(video, self._audio))
        self.inits = tuple(dict.fromkeys(self._replayed.values()))
        screens = (Tracks(tracks.screen, False) for tracks in recorded if tracks.screen)
        self.screens = tuple(dict.fromkeys(screens))

    def number(self, recorded: Tracks) -> int:
        """The index in ``inits`` for a fragment recorded under ``recorded``."""
        return self.inits.index(self._replayed[recorded])

    def screen_number(self, recorded: Tracks) -> int:
        """The index in ``screens`` for a fragment recorded under ``recorded``."""
        return self.screens.index(Tracks(recorded.screen, False))

    def plays_from(self, index: int, flags: Flags) -> bool:
        """Whether playback may begin at the fragment at `index`."""
        without_pictures = index == 0 and not flags & Flags.VIDEO
        return bool(flags & Flags.KEYFRAME) or self.first_video is None or without_pictures


#: What the flags say of the interviewer, as if it were the candidate.
_OF_INTERVIEWER = {
    Flags.INTERVIEWER_VIDEO: Flags.VIDEO,
    Flags.INTERVIEWER_AUDIO: Flags.AUDIO,
    Flags.INTERVIEWER_KEYFRAME: Flags.KEYFRAME,
}


class OfInterviewer:
    """The interviewer's part of a recording as a recording of its own: the fragments with it."""

    def __init__(self, source: Recorded, recorded: tuple[Tracks, ...]) -> None:
        """`recorded`: as the source's segments announce them."""
        self._source = source
        self._indices: list[int] = []
        self._places: dict[int, int] = {}
        self._looked_at = 0
        self.plan = Plan(tuple(each.of_interviewer() for each in recorded if _speaks(each)))

    def grow(self) -> None:
        """Take what the source has more than before."""
        for index in range(self._looked_at, len(self._source)):
            if _of_interviewer(self._source.header(index).flags):
                self._places[index] = len(self._indices)
                self._indices.append(index)
        self._looked_at = len(self._source)

    def place(self, index: int) -> int | None:
        """Where the source's fragment is in this one; None if it has nothing of it."""
        return self._places.get(index)

    def __len__(self) -> int:
        return len(self._indices)

    def header(self, index: int) -> RecordHeader:
        header = self._source.header(self._indices[index])
        return replace(header, flags=_of_interviewer(header.flags))

    def tracks(self, index: int) -> Tracks:
        return self._source.tracks(self._indices[index]).of_interviewer()

    def samples(self, index: int) -> Fragment:
        return self._source.samples(self._indices[index]).of_interviewer()


def mime(tracks: Tracks) -> str:
    """As MediaSource.isTypeSupported() takes it (RFC 6381; WebM's names by RFC 9559)."""
    kind = "audio" if tracks.video is None else "video"
    container = "webm" if in_webm(tracks) else "mp4"
    return f'{kind}/{container}; codecs="{",".join(codecs(tracks))}"'


def codecs(tracks: Tracks) -> list[str]:
    """By RFC 6381, the picture's first."""
    named = [_codec_name(tracks.video)] if tracks.video is not None else []
    return [*named, "opus"] if tracks.audio else named


def _codec_name(video: VideoConfig) -> str:
    record = video.configuration
    match video.codec:
        case Codec.VP8:
            return "vp8"
        case Codec.VP9:
            # VP Codec binding 2.3: profile, level and bit depth, two digits each.
            return f"vp09.{record[0]:02}.{record[1]:02}.{record[2] >> 4:02}"
        case Codec.AV1:
            # AV1-ISOBMFF 5: profile, level and tier, bit depth, from the fields of 2.3.
            tier = "H" if record[2] & 0x80 else "M"
            depth = 8 + 2 * (record[2] >> 6 & 1) + 2 * (record[2] >> 5 & 1)
            return f"av01.{record[1] >> 5}.{record[1] & 0x1F:02}{tier}.{depth:02}"
        case _:
            # RFC 6381 3.3: profile, constraint flags and level in hex.
            return f"avc1.{record[1:4].hex().upper()}"


def init_segment(tracks: Tracks) -> bytes:
    return webm.init_segment(tracks) if in_webm(tracks) else mp4.init_segment(tracks)


def media_segment(source: Recorded, index: int, fill_us: int = MAX_FILL_US) -> bytes:
    """The fragment at ``index``, filled so that playback runs on into the next one.

    Where that begins more than ``fill_us`` later, a hole remains.
    """
    plan = source.plan
    tracks = plan.inits[plan.number(source.tracks(index))]
    fragment = source.samples(index).of_candidate()
    if tracks.audio:
        fragment = replace(fragment, audio=_fill_sound(source, index, fragment.audio, fill_us))
    if tracks.video is not None:
        fragment = replace(fragment, video=_fill_pictures(source, index, fragment.video, fill_us))
    return _written(tracks, index, fragment)


def screen_segment(source: Recorded, index: int) -> bytes:
    """The screen's pictures of the fragment at ``index``. IndexError if it has none."""
    pictures = source.samples(index).screen
    if not pictures:
        raise IndexError(index)
    tracks = source.plan.screens[source.plan.screen_number(source.tracks(index))]
    last, following = pictures[-1], _next_screen_picture(source, index)
    if following is not None:
        pictures = (*pictures[:-1], last._replace(duration=following.time - last.time))
    return _written(tracks, index, Fragment(pictures, ()))


def _written(tracks: Tracks, index: int, fragment: Fragment) -> bytes:
    if in_webm(tracks):
        return webm.media_segment(fragment)
    return mp4.media_segment(index + 1, fragment)


def in_webm(tracks: Tracks) -> bool:
    """Media Source Extensions take VP8 in no other container."""
    return tracks.video is not None and tracks.video.codec is Codec.VP8


def _of_interviewer(flags: Flags) -> Flags:
    said = (as_candidate for flag, as_candidate in _OF_INTERVIEWER.items() if flags & flag)
    return reduce(or_, said, NO_FLAGS)


def _speaks(tracks: Tracks) -> bool:
    return bool(tracks.of_interviewer().names())


# ---- sound ------------------------------------------------------------------------------


def _fill_sound(
    source: Recorded, index: int, audio: tuple[Sample, ...], fill_us: int
) -> tuple[Sample, ...]:
    """With neither hole nor overlap: browsers play sound packet after packet, whatever the time
    of each says, and pictures by how much sound they have played."""
    first = audio[0].time if audio else _next_sound(source, index)
    begins = _no_later(_sound_place(source.header(index).start_us), first)
    position = max(begins, _sound_before(source, index))
    filled: list[Sample] = []
    for sample in audio:
        end = _sound_end(sample)
        if sample.time < position:  # its clock has run ahead by so much
            filled += _silence(position, end)
        else:
            filled += _silence(position, sample.time)
            filled.append(sample._replace(duration=end - sample.time))
        position = max(position, end)
    filled += _silence(position, _filled_until(source, index, fill_us))
    return tuple(filled)


def _sound_place(time_us: int) -> int:
    """Where sound of that time can lie."""
    ticks = to_ticks(TrackName.MICROPHONE, time_us)
    return ticks - ticks % SOUND_STEP_TICKS


def _sound_end(sample: Sample) -> int:
    return sample.time + opus_duration(sample.data)


def _silence(start: int, end: int) -> Iterator[Sample]:
    for ticks, packet in OPUS_SILENCES.items():
        while end - start >= ticks:
            yield Sample(start, ticks, True, packet)
            start += ticks


def _filled_until(source: Recorded, index: int, fill_us: int) -> int:
    """Where the fragment's sound has to reach, in ticks: the next sound or the next fragment,
    unless that is far off."""
    end_us = source.header(index).end_us
    if index + 1 == len(source):
        return _sound_place(end_us)
    next_us = source.header(index + 1).start_us
    if next_us - end_us > fill_us:
        return _sound_place(end_us)
    return _no_later(_sound_place(next_us), _next_sound(source, index))


def _no_later(place: int, sound: int | None) -> int:
    return place if sound is None else min(place, sound)


def _next_sound(source: Recorded, index: int) -> int | None:
    """When the next sound begins, in ticks; None if not in the fragments of the next seconds."""
    until_us = source.header(index).end_us + MAX_SOUND_BEHIND_US
    for later in range(index + 1, len(source)):
        header = source.header(later)
        if header.start_us > until_us:
            return None
        if header.flags & Flags.AUDIO:
            return source.samples(later).audio[0].time
    return None


def _sound_before(source: Recorded, index: int) -> int:
    """When the sound before ends, in ticks; 0 if there was none in the seconds before."""
    since_us = source.header(index).start_us - MAX_SOUND_BEHIND_US
    for earlier in range(index - 1, -1, -1):
        header = source.header(earlier)
        if header.end_us < since_us:
            return 0
        if header.flags & Flags.AUDIO:
            return _sound_end(source.samples(earlier).audio[-1])
    return 0


# ---- pictures ---------------------------------------------------------------------------


def _fill_pictures(
    source: Recorded, index: int, video: tuple[Sample, ...], fill_us: int
) -> tuple[Sample, ...]:
    if not video:
        following = _next_picture(source, index)
        if index or following is None:
            return ()
        # Sound came first: the recording's first picture stands in until it is due.
        start = to_ticks(TrackName.CAMERA, source.header(index).start_us)
        video = (following._replace(time=start),)
    if index + 1 == len(source):
        return video  # what follows is not known yet, or there is nothing
    last, end = video[-1], _shown_until(source, index, fill_us)
    span = min(end - last.time, _MAX_DURATION_TICKS)
    return (*video[:-1], last._replace(duration=span)) if span > 0 else video


def _shown_until(source: Recorded, index: int, fill_us: int) -> int:
    """When the last picture of the fragment at `index` ends: at the next one, a hole, the end.

    A picture that lasted through a hole would tell players that its fragment does: hls.js puts
    all that follows too late.
    """
    end_us = source.header(index).end_us
    for later in range(index + 1, len(source)):
        header = source.header(later)
        if header.start_us - end_us > fill_us:
            break
        if header.flags & Flags.VIDEO:
            return source.samples(later).video[0].time
        end_us = max(end_us, header.end_us)
    return to_ticks(TrackName.CAMERA, end_us)


def _next_picture(source: Recorded, index: int) -> Sample | None:
    for later in range(index + 1, len(source)):
        if source.header(later).flags & Flags.VIDEO:
            return source.samples(later).video[0]
    return None


def _next_screen_picture(source: Recorded, index: int) -> Sample | None:
    """None where the screen is not shared any more."""
    end_us = source.header(index).end_us
    for later in range(index + 1, len(source)):
        header = source.header(later)
        if header.start_us - end_us > VISIT_STILL_US:
            return None
        if header.flags & Flags.SCREEN:
            return source.samples(later).screen[0]
    return None
