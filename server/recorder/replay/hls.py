"""Playlists of HTTP Live Streaming over a recording's fragments. Pure: no I/O, no clock.

RFC 8216bis (draft-pantos-hls-rfc8216bis) with fMP4 segments: a multivariant playlist for each
side (candidate, screen, interviewer), whose media playlist is an EVENT while the recording runs
and VOD afterwards. A playlist's time is the recording's: where nothing was recorded it has
segments marked EXT-X-GAP.
"""

import datetime
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import NamedTuple, Protocol
from zlib import crc32

from server.recorder.format.table import Table
from server.recorder.format.tracks import VISIT_STILL_US, Tracks
from server.recorder.replay import source_buffer

MEDIA_TYPE = "application/vnd.apple.mpegurl"  #: 4: what a playlist is
SEGMENT_TYPE = "video/mp4"
#: A player joins three target durations (4.4.3.1) before the end: with two seconds, what is
#: still being made, and what is being written, it is less than ten seconds behind.
EVENT_TARGET_S = 2
#: Of a finished recording: long enough for few requests.
VOD_TARGET_S = 6
#: Of a screen or an interviewer: a still picture is sent anew every four seconds.
SIDE_TARGET_S = 11
#: Shorter segments are not made for the sake of a keyframe.
_SHORTEST_US = 1_000_000
#: A pause that is shorter is filled: what was before it lasts as long. Longer ones are gaps, and
#: then their media must not fill them either, or players find all that follows too late.
PAUSE_US = 1_000_000
#: 4.4.3.1: durations are rounded before they are held against the target.
_ROUNDING_US = 450_000
#: EXT-X-GAP is of version 8 (section 8).
_VERSION = 8
_INIT_NAME = re.compile(r"init-(\d{1,9})-[0-9a-f]{8}\.mp4", re.ASCII)
_SEGMENT_NAME = re.compile(r"(\d{1,9})-(\d{1,9})\.m4s", re.ASCII)
#: What an EVENT names is not what a VOD names: each counts its segments (`live_credentials`).
EVENT_PREFIX = "live-"
#: More fragments than a segment of any playlist here has.
MAX_FRAGMENTS = 100


class NotForHls(Exception):
    """The recording has VP8, which no MP4 for players of HLS can carry."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fragment of one side; times in microseconds since the recording's start."""

    seq: int
    start_us: int
    end_us: int
    keyframe: bool
    init: int  #: index into the side's inits
    size: int  #: bytes, at least as many as the side's share


class RowTable:
    """Rows in order, in 31 bytes each."""

    def __init__(self) -> None:
        self._rows = Table(">IQQ?HQ")

    def append(self, row: Row) -> None:
        span = row.start_us, row.end_us
        self._rows.append(row.seq, *span, row.keyframe, row.init, row.size)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return Row(*self._rows[index])


class RowsInOrder(Protocol):
    """A list of them, or a table."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Row: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """One side of a recording, of which ``inits`` announces the tracks."""

    inits: tuple[Tracks, ...]
    rows: RowsInOrder
    epoch_us: int  #: Unix time of the recording's start
    running: bool
    is_side: bool  #: a screen or an interviewer, whose picture may stand still

    def target_s(self, *, event: bool) -> int:
        if self.is_side:
            return SIDE_TARGET_S
        return EVENT_TARGET_S if event else VOD_TARGET_S


@dataclass(frozen=True, slots=True)
class Segment:
    """Fragments ``first`` to ``last``; a gap has none."""

    start_us: int
    end_us: int
    init: int
    first: int
    last: int
    size: int
    rows: int

    @property
    def is_gap(self) -> bool:
        return self.first == 0

    @property
    def name(self) -> str:
        return f"{self.first}-{self.last}.m4s"


class Numbered(NamedTuple):
    """A segment's place among those of its init, from 1 on."""

    init: int
    number: int
    duration_us: int


def parse_name(name: str) -> int | tuple[int, int]:
    """Of what a playlist names: an init's number, or a segment's first and last fragment.

    Without the prefix of an EVENT. ValueError for any other name.
    """
    if found := _INIT_NAME.fullmatch(name):
        return int(found[1])
    found = _SEGMENT_NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"no part is named {name!r}")
    first, last = int(found[1]), int(found[2])
    if not 1 <= first <= last < first + MAX_FRAGMENTS:
        raise ValueError(f"no segment has fragments {first} to {last}")
    return first, last


def multivariant(side: Rows) -> str:
    """The one to give to a player. NotForHls; IndexError if there is no segment yet."""
    _check(side)
    event = side.running
    made = [each for each in segments(side, event=event) if not each.is_gap]
    if not made:
        raise IndexError("nothing was recorded yet")
    peak = max(each.size * 8e6 / max(1, each.end_us - each.start_us) for each in made)
    span_us = sum(each.end_us - each.start_us for each in made)
    average = sum(each.size for each in made) * 8e6 / max(1, span_us)
    attributes = [f"BANDWIDTH={round(peak)}", f"AVERAGE-BANDWIDTH={round(average)}"]
    codecs = dict.fromkeys(chain.from_iterable(map(source_buffer.codecs, side.inits)))
    attributes.append(f'CODECS="{",".join(codecs)}"')
    videos = [tracks.video for tracks in side.inits if tracks.video]
    if videos:
        width, height = max((video.width, video.height) for video in videos)
        attributes.append(f"RESOLUTION={width}x{height}")
    return _text(
        "#EXT-X-INDEPENDENT-SEGMENTS" if not event and _independent(side) else "",
        f"#EXT-X-STREAM-INF:{','.join(attributes)}",
        "event.m3u8" if event else "vod.m3u8",
    )


class MediaPlaylist:
    """One that is asked for again and again while its recording grows: only news cost anything."""

    def __init__(self, *, event: bool) -> None:
        """``event``: that of a running recording, which also tells of its end."""
        self._event = event
        self._told_of = ""
        self._rows = 0  # that it has told of
        self._end_us = 0
        self._init: int | None = None
        self._dated = False
        self._counts: Counter[int] = Counter()  # by init
        self._firsts = array("I")  # of each segment; and the rest of it:
        self._numbers = Table(">IHII")  # last fragment, init, number, duration in us

    def text(self, side: Rows) -> str:
        """As of now; ``side`` has all rows of the time before, too. NotForHls."""
        _check(side)
        for each in segments(side, event=self._event, known=self._rows, end_us=self._end_us):
            self._told_of += "".join(f"{line}\n" for line in self._told(side, each))
            self._rows, self._end_us = self._rows + each.rows, each.end_us
        return _text(
            f"#EXT-X-TARGETDURATION:{side.target_s(event=self._event)}",
            f"#EXT-X-PLAYLIST-TYPE:{'EVENT' if self._event else 'VOD'}",
            self._told_of.removesuffix("\n"),
            "" if side.running else "#EXT-X-ENDLIST",
        )

    def numbered(self, first: int, last: int) -> "Numbered | None":
        """The segment of these fragments, of what the text has told of so far."""
        place = bisect_left(self._firsts, first)
        if place == len(self._firsts) or self._firsts[place] != first:
            return None
        its_last, *numbered = self._numbers[place]
        return Numbered(*numbered) if its_last == last else None

    def _told(self, side: Rows, each: Segment) -> Iterator[str]:
        prefix = EVENT_PREFIX if self._event else ""
        if each.init != self._init:
            if self._init is not None:
                yield "#EXT-X-DISCONTINUITY"  # 4.4.4.3: another coding
            yield f'#EXT-X-MAP:URI="{prefix}{init_name(side.inits, each.init)}"'
            self._init, self._dated = each.init, False
        if not self._dated:
            yield f"#EXT-X-PROGRAM-DATE-TIME:{_date(side.epoch_us + each.start_us)}"
        if each.is_gap:
            yield "#EXT-X-GAP"
        self._dated = not each.is_gap  # after a gap the date is said anew
        yield f"#EXTINF:{(each.end_us - each.start_us) / 1e6:.6f},"
        if not each.is_gap:
            self._counts[each.init] += 1
            numbered = each.init, self._counts[each.init], each.end_us - each.start_us
            self._firsts.append(each.first)
            self._numbers.append(each.last, *numbered)
        yield "gap.m4s" if each.is_gap else f"{prefix}{each.name}"


def media_playlist(side: Rows, *, event: bool) -> str:
    """The whole of one. NotForHls."""
    return MediaPlaylist(event=event).text(side)


def segments(side: Rows, *, event: bool, known: int = 0, end_us: int = 0) -> Iterator[Segment]:
    """Media segments and gaps in order, none longer than the target, after the ``known`` rows
    of former segments, the last of which ends at ``end_us``.

    What is added to a running recording changes none of an EVENT's: its last fragments are told
    of once it is known what follows them.
    """
    limit_us = side.target_s(event=event) * 1_000_000
    for each in _media(side, known, limit_us + _ROUNDING_US):
        if each.start_us - end_us > PAUSE_US:
            yield from _gaps(end_us, each.start_us, limit_us, each.init)
        yield each
        end_us = each.end_us


def _media(side: Rows, known: int, limit_us: int) -> Iterator[Segment]:
    still_us = VISIT_STILL_US if side.is_side else PAUSE_US
    growing: list[Row] = []
    until_us = 0
    new = (side.rows[index] for index in range(known, len(side.rows)))
    for row, following in pairwise(chain(new, (None,))):
        assert row is not None
        row_until_us = row.end_us
        if following is not None and following.start_us - row.end_us <= still_us:
            row_until_us = following.start_us
        elif following is None and side.running:
            return  # how long it lasts is not known yet
        if growing and _ends(growing, until_us, row, row_until_us, limit_us):
            yield _joined(growing, until_us)
            growing = []
        growing.append(row)
        until_us = row_until_us
    if growing:
        yield _joined(growing, until_us)


def _ends(growing: list[Row], until_us: int, row: Row, row_until_us: int, limit_us: int) -> bool:
    """Whether the segment of ``growing``, which lasts until then, ends before ``row``."""
    start_us = growing[0].start_us
    at_keyframe = row.keyframe and until_us - start_us >= _SHORTEST_US
    too_long = row_until_us - start_us > limit_us
    return row.init != growing[0].init or row.start_us > until_us or at_keyframe or too_long


def _joined(rows: list[Row], until_us: int) -> Segment:
    first, last = rows[0], rows[-1]
    size = sum(row.size for row in rows)
    return Segment(first.start_us, until_us, first.init, first.seq, last.seq, size, len(rows))


def _gaps(start_us: int, end_us: int, limit_us: int, init: int) -> Iterator[Segment]:
    while start_us < end_us:
        until_us = min(end_us, start_us + limit_us)
        yield Segment(start_us, until_us, init, 0, 0, 0, 0)
        start_us = until_us


def init_name(inits: Sequence[Tracks], number: int) -> str:
    """A running recording's tracks become more: another init, hence another name."""
    return f"init-{number}-{crc32(source_buffer.init_segment(inits[number])):08x}.mp4"


def _independent(side: Rows) -> bool:
    starts = {each.first for each in segments(side, event=False)}
    rows = (side.rows[index] for index in range(len(side.rows)))
    return all(row.keyframe for row in rows if row.seq in starts)


def _check(side: Rows) -> None:
    if any(map(source_buffer.in_webm, side.inits)):
        raise NotForHls


def _date(unix_us: int) -> str:
    at = datetime.datetime.fromtimestamp(unix_us // 1_000_000, datetime.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{unix_us % 1_000_000 // 1000:03}Z"


def _text(*lines: str) -> str:
    head = ("#EXTM3U", f"#EXT-X-VERSION:{_VERSION}")
    return "\n".join((*head, *filter(None, lines), ""))
