"""HTTP Live Streaming of one recording: playlists of each side, and what they name, signed."""

from collections.abc import Callable

from server.recorder.credentials.c2pa_manifest import SourceType
from server.recorder.credentials.live_credentials import SignedStream
from server.recorder.format.sealing import Flags
from server.recorder.keys.claim_signer import ClaimSigner
from server.recorder.replay import hls, source_buffer
from server.recorder.replay.index import Side
from server.recorder.replay.reader import RecordingReader


class _Rows:
    """What was told of one side so far."""

    def __init__(self) -> None:
        self.looked_at = 0
        self.rows = hls.RowTable()
        self.playlists: dict[bool, hls.MediaPlaylist] = {}  # by whether it is an EVENT's


class Streams:
    """Errors as `RecordingReader`; ``signer`` tells who signs, or raises KeyProblem."""

    def __init__(
        self, reader: RecordingReader, signer: Callable[[], ClaimSigner] | None = None
    ) -> None:
        self._reader = reader
        self._signer = signer
        self._revision = ""
        self._rows: dict[Side, _Rows] = {}
        self._signed_inits: dict[str, bytes] = {}  # asked for by ranges, it must stay the same

    def rows(self, side: Side) -> hls.Rows:
        """What playlists are made of, as of now."""
        with self._reader.lock:
            self._reader.refresh()
            self._look()
            reader, known = self._reader, self._rows.setdefault(side, _Rows())
            new = (self._row(side, index) for index in range(known.looked_at, len(reader)))
            for row in filter(None, new):
                known.rows.append(row)
            known.looked_at = len(reader)
            is_side = side is not Side.CANDIDATE
            return hls.Rows(
                reader.inits(side), known.rows, reader.began_us, reader.running, is_side
            )

    def media_playlist(self, side: Side, *, event: bool) -> str:
        """As of now. NotForHls."""
        with self._reader.lock:
            rows = self.rows(side)
            made = self._rows[side].playlists.setdefault(event, hls.MediaPlaylist(event=event))
            return made.text(rows)

    def init(self, side: Side, number: int, *, event: bool) -> bytes:
        """An init segment for that playlist, signed if anybody signs. IndexError if there is none.

        What is signed says so by C2PA 2.4 19.4 (`live_credentials`).
        """
        with self._reader.lock:
            self._look()
            init = self._reader.init(side, number)
            stream = self._stream(side, number, event)
            if stream is None:
                return init
            if stream.name not in self._signed_inits:
                self._signed_inits[stream.name] = stream.init(init)
            return self._signed_inits[stream.name]

    def segment(self, side: Side, first: int, last: int, *, event: bool) -> bytes:
        """Those fragments, signed likewise. IndexError if the playlist has no such segment."""
        with self._reader.lock:
            self._look()
            numbered = self._numbered(side, first, last, event)
            if numbered is None:
                self.media_playlist(side, event=event)  # it may have been another reader's
                numbered = self._numbered(side, first, last, event)
            if numbered is None:
                raise IndexError(first)
            stream = self._stream(side, numbered.init, event)
        body = self._reader.fragments(side, first, last, hls.PAUSE_US)
        return body if stream is None else stream.segment(body, *numbered[1:])

    def _look(self) -> None:
        """Whether what was told of still holds."""
        if self._reader.revision != self._revision:
            self._revision = self._reader.revision
            self._rows.clear()
            self._signed_inits.clear()

    def _numbered(self, side: Side, first: int, last: int, event: bool) -> hls.Numbered | None:
        known = self._rows.get(side)
        if known is None or event not in known.playlists:
            return None
        return known.playlists[event].numbered(first, last)

    def _stream(self, side: Side, number: int, event: bool) -> SignedStream | None:
        if self._signer is None:
            return None
        reader, prefix = self._reader, hls.EVENT_PREFIX if event else ""
        name = f"{side}/{prefix}{hls.init_name(reader.inits(side), number)}"
        kind = SourceType.SCREEN if side is Side.SCREEN else SourceType.CAPTURE
        recording = reader.manifest.recording
        return SignedStream(
            reader.key, recording, name, reader.began_us / 1e6, self._signer(), kind
        )

    def _row(self, side: Side, index: int) -> hls.Row | None:
        reader = self._reader
        header, tracks = reader.header(index), reader.tracks(index)
        span = header.seq, header.start_us, header.end_us
        match side:
            case Side.CANDIDATE:
                keyframe = source_buffer.plays_from(reader, index)
                return hls.Row(*span, keyframe, reader.plan.number(tracks), header.length)
            case Side.SCREEN:
                if not header.flags & Flags.SCREEN:
                    return None
                keyframe = bool(header.flags & Flags.SCREEN_KEYFRAME)
                return hls.Row(*span, keyframe, reader.plan.screen_number(tracks), header.length)
            case Side.INTERVIEWER:
                init, keyframe = reader.interviewer_at(index)
                return None if init is None else hls.Row(*span, keyframe, init, header.length)
