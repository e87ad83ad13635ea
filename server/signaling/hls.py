"""`/hls/TOKEN/INTERVIEW/SIDE/`: playlists and segments for players of HTTP Live Streaming.

Such players send no header of ours, so the token is part of the address, as in WHIP's; what is
in a playlist is relative to it.
"""

from collections.abc import Callable

from aiohttp import web

from server.core.interviews import Way
from server.recorder import hls
from server.recorder.hls import NotForHls
from server.recorder.reader import RecordingReader, Side
from server.signaling.access import Grant
from server.signaling.errors import Refusal
from server.signaling.protocol import ErrorId
from server.signaling.replay import Replay
from server.signaling.view_log import Read

#: The paths' last part but one.
SIDES = "|".join(Side)


class Hls:
    """Handlers, on the readers and threads of ``replay``."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    async def multivariant(self, request: web.Request, _: Grant) -> web.Response:
        return await self._playlist(request, _multivariant)

    async def event(self, request: web.Request, _: Grant) -> web.Response:
        return await self._playlist(request, _event)

    async def vod(self, request: web.Request, _: Grant) -> web.Response:
        return await self._playlist(request, _vod)

    async def part(self, request: web.Request, grant: Grant) -> web.Response:
        """What a playlist names: an init, or fragments in a row."""
        name = request.match_info["name"]
        try:
            part = hls.parse_name(name.removeprefix(hls.EVENT_PREFIX))
        except ValueError as error:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such part.") from error
        event = name.startswith(hls.EVENT_PREFIX)
        if isinstance(part, int):
            return await self._init(request, part, event)
        return await self._segment(request, grant, *part, event)

    async def _init(self, request: web.Request, number: int, event: bool) -> web.Response:
        interview_id, side = _named(request)
        reader = await self._replay.reader(interview_id)
        read = RecordingReader.hls_init
        body = await self._replay.read(interview_id, read, reader, side, number, event=event)
        return _ranged(request, body)

    async def _segment(
        self, request: web.Request, grant: Grant, first: int, last: int, event: bool
    ) -> web.Response:
        interview_id, side = _named(request)
        reader = await self._replay.reader(interview_id)
        read = RecordingReader.hls_segment
        body = await self._replay.read(interview_id, read, reader, side, first, last, event=event)
        for span in reader.seen_s(side, first, last):
            await self._replay.views.note(Read(interview_id, grant.link_id, Way.HLS, *span))
        return _ranged(request, body)  # first on the record, then on the way

    async def _playlist(
        self, request: web.Request, made: Callable[[RecordingReader, Side], str]
    ) -> web.Response:
        interview_id, side = _named(request)
        reader = await self._replay.reader(interview_id)
        try:
            text = await self._replay.read(interview_id, made, reader, side)
        except NotForHls as error:
            raise Refusal(
                ErrorId.NO_HLS,
                "This recording is VP8, which players of HTTP Live Streaming do not take: "
                "replay it in the page, or export it.",
            ) from error
        response = web.Response(
            text=text, content_type=hls.MEDIA_TYPE, headers={"Cache-Control": "no-store"}
        )
        response.enable_compression()
        return response


def _named(request: web.Request) -> tuple[str, Side]:
    return request.match_info["interview"], Side(request.match_info["side"])


def _multivariant(reader: RecordingReader, side: Side) -> str:
    return hls.multivariant(reader.hls_rows(side))


def _event(reader: RecordingReader, side: Side) -> str:
    return reader.media_playlist(side, event=True)


def _vod(reader: RecordingReader, side: Side) -> str:
    return reader.media_playlist(side, event=False)


def _ranged(request: web.Request, body: bytes) -> web.Response:
    """``body``, or the one range of it that is asked for (RFC 9110 14.2)."""
    headers = {"Cache-Control": "no-store", "Accept-Ranges": "bytes"}
    try:
        wanted = request.http_range
    except ValueError:  # what can't be understood is ignored
        return web.Response(body=body, content_type=hls.SEGMENT_TYPE, headers=headers)
    if wanted.start is None:
        return web.Response(body=body, content_type=hls.SEGMENT_TYPE, headers=headers)
    start, stop, _ = wanted.indices(len(body))
    if start >= stop:
        headers["Content-Range"] = f"bytes */{len(body)}"
        return web.Response(status=416, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
    return web.Response(
        status=206, body=body[start:stop], content_type=hls.SEGMENT_TYPE, headers=headers
    )
