"""`/hls/TOKEN/INTERVIEW/SIDE/`: playlists and segments for players of HTTP Live Streaming.

Such players send no header of ours, so the token is part of the address, as in WHIP's; what is
in a playlist is relative to it.
"""

from aiohttp import web

from server.core.interviews import Way
from server.recorder.replay import hls
from server.recorder.replay.index import Side
from server.recorder.replay.wire import Asked, Multivariant, Playlist, StreamInit, StreamSegment
from server.signaling.access import Grant
from server.signaling.body import Pieces
from server.signaling.errors import Refusal
from server.signaling.protocol import ErrorId
from server.signaling.replay import Replay

#: The paths' last part but one.
SIDES = "|".join(Side)


class Hls:
    """Handlers; `replay` reads."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    async def multivariant(self, request: web.Request, _: Grant) -> web.Response:
        return await self._playlist(request, Multivariant(_side(request)))

    async def event(self, request: web.Request, _: Grant) -> web.Response:
        return await self._playlist(request, Playlist(_side(request), event=True))

    async def vod(self, request: web.Request, _: Grant) -> web.Response:
        return await self._playlist(request, Playlist(_side(request), event=False))

    async def part(self, request: web.Request, grant: Grant) -> web.Response:
        """What a playlist names: an init, or fragments in a row."""
        name = request.match_info["name"]
        try:
            part = hls.parse_name(name.removeprefix(hls.EVENT_PREFIX))
        except ValueError as error:
            raise Refusal(ErrorId.NOT_FOUND, "There is no such part.") from error
        event = name.startswith(hls.EVENT_PREFIX)
        interview_id, side = request.match_info["interview"], _side(request)
        asked: Asked
        if isinstance(part, int):
            asked = StreamInit(side, part, event)
        else:
            asked = StreamSegment(side, *part, event)
        found = await self._replay.ask(interview_id, asked)
        await self._replay.note(interview_id, grant, Way.HLS, found)
        # First on the record, then on the way.
        return _ranged(request, memoryview(found.body))

    async def _playlist(self, request: web.Request, asked: Asked) -> web.Response:
        text = (await self._replay.ask(request.match_info["interview"], asked)).body
        response = web.Response(
            body=text, content_type=hls.MEDIA_TYPE, headers={"Cache-Control": "no-store"}
        )
        response.enable_compression()
        return response


def _side(request: web.Request) -> Side:
    return Side(request.match_info["side"])


def _ranged(request: web.Request, body: memoryview) -> web.Response:
    """``body``, or the one range of it that is asked for (RFC 9110 14.2)."""
    headers = {"Cache-Control": "no-store", "Accept-Ranges": "bytes"}
    status = 200
    try:
        wanted = request.http_range
    except ValueError:  # what can't be understood is ignored
        wanted = slice(None)
    if wanted.start is not None:
        start, stop, _ = wanted.indices(len(body))
        if start >= stop:
            headers["Content-Range"] = f"bytes */{len(body)}"
            return web.Response(status=416, headers=headers)
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        body = body[start:stop]
    return web.Response(
        body=Pieces(body), status=status, content_type=hls.SEGMENT_TYPE, headers=headers
    )
