"""Turns recorded fragments into what one Media Source Extensions SourceBuffer plays through.

A SourceBuffer demands the same tracks of every init segment (W3C Media Source Extensions 3.5.7),
and stalls where either track has nothing. So every init announces all tracks of the recording,
a picture lasts until the next one, and missing sound is filled with Opus silence. Where pictures
pause for longer than `STILL_US`, the last keyframe stands in for them (`StandIns`). Only where
both tracks pause for longer than `MAX_FILL_US` a hole remains, for the player to jump over.
The screen is a replay of its own, for a second SourceBuffer, as it has times of its own: its
pictures last until the next, and where it was not shared there is a hole. So is the interviewer,
for a third: picture and sound, filled like the candidate's.
The export and the recording itself stay as they were captured.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Protocol

from server.core.frames import Codec, TrackName
from server.recorder.format import mp4, webm
from server.recorder.format.sealing import NO_FLAGS, Flags, RecordHeader
from server.recorder.format.tracks import (
    MAX_SOUND_BEHIND_US,
    OPUS_SILENCES,
    SOUND_STEP_TICKS,
    TIMESCALE,
    VISIT_STILL_US,
    Fragment,
    Sample,
    Tracks,
    VideoConfig,
    opus_duration,
    to_ticks,
)
from server.recorder.writing.fragmenter import FRAGMENT_US

#: The longest pause of both tracks that is filled.
MAX_FILL_US = 10_000_000
#: The longest that one picture lasts while others go on.
STILL_US = 3_000_000
#: A camera that shows nothing for so long while a recording runs is not waited for any longer:
#: who watches live hears on.
PICTURE_PATIENCE_US = 1_000_000
#: Nor is a microphone, but for a little longer than something has come late in the last minute:
#: sound that waits for a lost packet comes later than pictures. At least so long: where a packet is
#: sent again within 0.1 s it is waited for 1.2 s (`server/media/receiving/nack.py`), and then for
#: the fragment's end; at most so long: it is waited for 3 s on the longest path.
LEAST_SOUND_PATIENCE_US, MOST_SOUND_PATIENCE_US = 2_000_000, 3_500_000
_LATE_OF_US = 60_000_000
_LATER_US = 500_000
_MAX_DURATION_TICKS = 0x7FFF_FFFF
#: Of fragments so near to each other, sound and pictures may lie in different order.
_NEAR_US = 1_000_000


class Recorded(Protocol):
    """What is needed of a reader: fragments by index, from 0."""

    @property
    def plan(self) -> "Plan": ...
    @property
    def stand_ins(self) -> "StandIns": ...
    @property
    def running(self) -> bool: ...
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


class StandIns:
    """Which fragments show the keyframe of another one, and nothing else.

    A picture that lasted for minutes would be all that a player has to begin with in that time,
    and all of it would be forgotten with the picture. So fragments without pictures get a
    keyframe each: the last one, before the first picture that one. After that, pictures that
    build on others than the keyframe are left out, up to the next keyframe.
    """

    def __init__(self) -> None:
        self._shown: list[int | None] = []  # by fragment
        self._keyframe: int | None = None  # the last one's fragment
        self._first: int | None = None  # the first one's
        self._end_us = 0  # of the last fragment whose pictures are shown
        self._broken = False  # between a stand-in and the next keyframe

    def add(self, header: RecordHeader) -> None:
        """The next fragment's."""
        index, flags = len(self._shown), header.flags
        if flags & Flags.KEYFRAME:
            self._keyframe, self._broken = index, False
            self._first = index if self._first is None else self._first
        elif not flags & Flags.VIDEO:
            self._broken = self._broken or header.start_us - self._end_us >= STILL_US
        if flags & Flags.VIDEO:
            self._end_us = header.end_us
        self._shown.append(self._keyframe if self._broken else None)

    def of(self, index: int) -> int | None:
        """The fragment whose first picture stands in; None: pictures are those that came."""
        if self._first is None:
            return None
        return self._first if index < self._first else self._shown[index]


def plays_from(source: Recorded, index: int) -> bool:
    """Whether playback may begin at the fragment at ``index``."""
    if source.plan.first_video is None or source.stand_ins.of(index) is not None:
        return True
    return bool(source.header(index).flags & Flags.KEYFRAME)


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
        self._indices = array("I")  # in order
        self._looked_at = 0
        self.stand_ins = StandIns()
        self.plan = Plan(tuple(each.of_interviewer() for each in recorded if _speaks(each)))

    def grow(self) -> None:
        """Take what the source has more than before."""
        for index in range(self._looked_at, len(self._source)):
            if _of_interviewer(self._source.header(index).flags):
                self._indices.append(index)
                self.stand_ins.add(self.header(len(self) - 1))
        self._looked_at = len(self._source)

    @property
    def running(self) -> bool:
        return self._source.running

    def settled(self) -> int:
        """How many of the source's fragments stay as they are here (`settled`)."""
        if not len(self):
            return len(self._source)
        count = settled(self, self._source.header(len(self._source) - 1).end_us)
        return len(self._source) if count == len(self) else self._indices[count]

    def place(self, index: int) -> int | None:
        """Where the source's fragment is in this one; None if it has nothing of it."""
        place = bisect_left(self._indices, index)
        found = place < len(self._indices) and self._indices[place] == index
        return place if found else None

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


def settled(source: Recorded, until_us: int) -> int:
    """How many fragments of a running recording stay as they are, whatever follows.

    A fragment is filled up to what comes after it: played before that is known, the next one
    would overlap it or leave a hole, and browsers drop all pictures from there up to the next
    keyframe (W3C Media Source Extensions 3.5.8, step 6). ``until_us``: how far the recording is.
    """
    count = _newest(source, Flags.VIDEO, until_us - PICTURE_PATIENCE_US)
    if count is None:
        last_us = source.header(len(source) - 1).end_us if len(source) else 0
        count = len(source) - (last_us >= until_us - PICTURE_PATIENCE_US)
    heard = _newest(source, Flags.AUDIO, until_us - MOST_SOUND_PATIENCE_US)
    if heard is None or _has_stopped(source, heard, until_us):
        return count
    while count and not _is_heard(source, count - 1, heard):
        count -= 1
    return count


def _has_stopped(source: Recorded, heard: int, until_us: int) -> bool:
    """Whether no more sound is waited for, of which the fragment at ``heard`` has the newest."""
    silent_us = until_us - source.header(heard).end_us
    if silent_us <= LEAST_SOUND_PATIENCE_US:
        return False  # nearly always
    return silent_us > _late_us(source, until_us - _LATE_OF_US) + _LATER_US


def _late_us(source: Recorded, since_us: int) -> int:
    """How much later than the rest of its time something came since then, at most."""
    late_us, begins_us = 0, source.header(len(source) - 1).end_us
    for index in range(len(source) - 1, -1, -1):
        header = source.header(index)
        late_us = max(late_us, header.end_us - begins_us)
        begins_us = min(begins_us, header.start_us)
        if header.end_us < since_us:
            break
    return late_us


def _newest(source: Recorded, flag: Flags, since_us: int) -> int | None:
    """The last fragment with that which ends after ``since_us``; None: none is waited for."""
    for index in range(len(source) - 1, -1, -1):
        header = source.header(index)
        if header.end_us < since_us:
            break
        if header.flags & flag:
            return index
    return None


def _is_heard(source: Recorded, index: int, newest: int) -> bool:
    """Whether all sound of the fragment has come, of which ``newest`` has the newest."""
    end_us = _handover_us(source, index, MAX_FILL_US)
    heard = _sound_end(source.samples(newest).audio[-1])
    return end_us is None or _sound_place(end_us) <= heard


def media_segment(source: Recorded, index: int, fill_us: int = MAX_FILL_US) -> bytes:
    """The fragment at ``index``, filled so that playback runs on into the next one.

    Where that begins more than ``fill_us`` later, a hole remains. Empty where its neighbours have
    taken all of it: sound that came while pictures waited for a packet that was lost.
    """
    plan = source.plan
    tracks = plan.inits[plan.number(source.tracks(index))]
    fragment = source.samples(index).of_candidate()
    if tracks.audio:
        fragment = replace(fragment, audio=_fill_sound(source, index, fill_us))
    if tracks.video is not None:
        fragment = replace(fragment, video=_fill_pictures(source, index, fragment.video, fill_us))
    return _written(tracks, index, fragment)


def picture_times(source: Recorded, index: int) -> list[int]:
    """When the pictures that the fragment at ``index`` shows begin, in ticks."""
    if source.stand_ins.of(index) is not None:
        return [to_ticks(TrackName.CAMERA, _cuts_us(source, index, MAX_FILL_US)[0])]
    return [picture.time for picture in source.samples(index).video]


def screen_segment(source: Recorded, index: int) -> bytes:
    """The screen's pictures of the fragment at ``index``. IndexError if it has none."""
    pictures = source.samples(index).screen
    if not pictures:
        raise IndexError(index)
    tracks = source.plan.screens[source.plan.screen_number(source.tracks(index))]
    last, following = pictures[-1], _next_screen_picture(source, index)
    if following is not None:
        pictures = (*pictures[:-1], last._replace(duration=following.time - last.time))
    elif source.running:  # it is not known what follows: later than this nothing does
        still = to_ticks(TrackName.SCREEN, VISIT_STILL_US + FRAGMENT_US)
        pictures = (*pictures[:-1], last._replace(duration=still))
    return _written(tracks, index, Fragment(pictures, ()))


def _written(tracks: Tracks, index: int, fragment: Fragment) -> bytes:
    if not any(samples for _, samples in fragment.by_track()):
        return b""  # all of its sound is its neighbours'; browsers take no part without media
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


def _fill_sound(source: Recorded, index: int, fill_us: int) -> tuple[Sample, ...]:
    """With neither hole nor overlap: browsers play sound packet after packet, whatever the time
    of each says, and pictures by how much sound they have played.

    All whose greater part lies between the fragment's cuts, whichever fragment it came in: sound
    comes later than pictures, or earlier.
    """
    cuts_us = _cuts_us(source, index, fill_us)
    begin, end = map(_sound_place, cuts_us)
    own, before, following = list[Sample](), 0, end
    for sample in _sounds_around(source, index, *cuts_us):
        if _is_after(sample, end):
            following = min(end, sample.time)
            break
        if _is_after(sample, begin):
            own.append(sample)
        else:
            before = _sound_end(sample)
    position, filled = max(before, min([begin, *(each.time for each in own[:1])])), list[Sample]()
    for sample in own:
        until = _sound_end(sample)
        if sample.time < position:  # its clock has run ahead by so much
            filled += _silence(position, until)
        else:
            filled += _silence(position, sample.time)
            filled.append(sample._replace(duration=until - sample.time))
        position = max(position, until)
    filled += _silence(position, following)
    return tuple(filled)


def _is_after(sample: Sample, cut: int) -> bool:
    """Whether it belongs to what begins at ``cut``.

    What reaches over a cut of WebM is cut short there (`webm.media_segment`): of a packet, or
    of the picture beside it, that must be less than half, or browsers take the rest for a hole.
    """
    return 2 * sample.time + opus_duration(sample.data) >= 2 * cut


def _cuts_us(source: Recorded, index: int, fill_us: int) -> tuple[int, int]:
    """From when to when the fragment is played."""
    begin_us = _handover_us(source, index - 1, fill_us) if index else None
    end_us = _handover_us(source, index, fill_us)
    header = source.header(index)
    return (
        header.start_us if begin_us is None else begin_us,
        header.end_us if end_us is None else end_us,
    )


def _handover_us(source: Recorded, index: int, fill_us: int) -> int | None:
    """When the fragment after that one takes over; None if there is none, or a hole before it.

    It does so with its first picture, if it has one.
    """
    if index + 1 == len(source):
        return None
    if source.header(index + 1).start_us - source.header(index).end_us > fill_us:
        return None
    return max(_begins_us(source, near + 1) for near in _near_before(source, index))


def _begins_us(source: Recorded, index: int) -> int:
    header = source.header(index)
    if not header.flags & Flags.VIDEO or source.stand_ins.of(index) is not None:
        return header.start_us
    return source.samples(index).video[0].time * 1_000_000 // TIMESCALE[TrackName.CAMERA]


def _sounds_around(source: Recorded, index: int, begin_us: int, end_us: int) -> Iterator[Sample]:
    """In order, of the fragments that may have sound of that time."""
    for near in _near(source, index, MAX_SOUND_BEHIND_US):
        header = source.header(near)
        if header.flags & Flags.AUDIO and header.start_us <= end_us and header.end_us >= begin_us:
            yield from source.samples(near).audio


def _near(source: Recorded, index: int, within_us: int) -> range:
    """The fragment, and those around it that begin or end so near to it."""
    header, first, last = source.header(index), index, index
    while first and header.start_us - source.header(first - 1).end_us < within_us:
        first -= 1
    while last + 1 < len(source) and source.header(last + 1).start_us - header.end_us < within_us:
        last += 1
    return range(first, last + 1)


def _near_before(source: Recorded, index: int) -> range:
    """The fragment, and those before it that may have something as late as it has."""
    first = index
    while first and source.header(index).start_us - source.header(first - 1).start_us < _NEAR_US:
        first -= 1
    return range(first, index + 1)


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


# ---- pictures ---------------------------------------------------------------------------


def _fill_pictures(
    source: Recorded, index: int, video: tuple[Sample, ...], fill_us: int
) -> tuple[Sample, ...]:
    stand_in = source.stand_ins.of(index)
    if stand_in is not None:
        start, end = (to_ticks(TrackName.CAMERA, cut) for cut in _cuts_us(source, index, fill_us))
        keyframe = source.samples(stand_in).video[0]
        return (keyframe._replace(time=start, duration=max(1, end - start)),)
    if not video or index + 1 == len(source):
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
            return to_ticks(TrackName.CAMERA, end_us)
        if source.stand_ins.of(later) is not None:
            return to_ticks(TrackName.CAMERA, _cuts_us(source, later, fill_us)[0])
        if header.flags & Flags.VIDEO:
            return source.samples(later).video[0].time
        end_us = max(end_us, header.end_us)
    if source.running and fill_us > STILL_US:  # later than this a keyframe stands in
        end_us = source.header(index).end_us + STILL_US + FRAGMENT_US
    return to_ticks(TrackName.CAMERA, end_us)


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
