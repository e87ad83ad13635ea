"""One simulated candidate: `python -m loadtest.candidate --whip-url URL`.

It publishes a moving face and speech until it is told to stop, and joins again by itself when
the server restarts. Exit codes: 0 stopped, 2 wrong use, 4 refused by the server.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from loadtest import sdp, whip
from loadtest.media import (
    LAYERS,
    LOWER,
    VIDEO_CODECS,
    MediaError,
    VideoCodec,
    default_cache,
    load_clip,
    load_screen,
)
from loadtest.packets import PacketisedClip, packetise
from loadtest.peer import Candidate, Crowd, open_crowd
from loadtest.transport import ConnectError

EXIT_USAGE, EXIT_REFUSED = 2, 4
RETRY_S = 1.0
#: Refusals that trying again does not cure: the link is wrong, expired, revoked or unknown.
_FINAL_STATUS = (400, 401, 403, 404, 410)


def main() -> int:
    arguments = _parse_arguments()
    try:
        media = load_media(arguments, arguments.codec)
        run(_until_stopped(arguments.whip_url, media, arguments.until_stdin_closes))
    except MediaError as error:
        print(f"candidate: {error}", file=sys.stderr)
        return EXIT_USAGE
    except whip.Refused as error:
        print(f"candidate: the server refused {arguments.whip_url}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        pass
    return 0


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs on uvloop, whose datagrams cost half of asyncio's."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def add_media_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", type=Path, metavar="FILE", help="instead of the moving portrait")
    parser.add_argument("--audio", type=Path, metavar="FILE", help="instead of the read speech")
    parser.add_argument("--dtx", action="store_true", help="send no sound in pauses")
    parser.add_argument("--screen", action="store_true", help="share a screen, as a second video")
    parser.add_argument(
        "--simulcast", action="store_true", help="send the video in three sizes at once"
    )
    parser.add_argument(
        "--adapt", action="store_true", help="send less video when the server asks for it"
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR")


def load_media(arguments: argparse.Namespace, codec: VideoCodec) -> PacketisedClip:
    """What `add_media_arguments` asks for. Raises MediaError."""
    files = arguments.cache, arguments.video, arguments.audio, arguments.dtx
    screen = load_screen(codec, arguments.cache) if arguments.screen else None
    lower = [load_clip(codec, *files, encoding) for encoding in LOWER] if arguments.adapt else []
    smaller = LAYERS if arguments.simulcast else ()
    layers = [load_clip(codec, *files, encoding) for encoding in smaller]
    return packetise(load_clip(codec, *files), screen, lower, layers)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.candidate", description=__doc__)
    parser.add_argument("--whip-url", required=True)
    parser.add_argument("--codec", choices=VIDEO_CODECS, default="h264")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop at end of input")
    add_media_arguments(parser)
    return parser.parse_args()


async def _until_stopped(url: str, clip: PacketisedClip, watch_stdin: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_stdin:
        _set_at_end_of_input(stop)
    async with open_crowd() as crowd:
        await _keep_joined(crowd, url, clip, stop)


async def _keep_joined(crowd: Crowd, url: str, clip: PacketisedClip, stop: asyncio.Event) -> None:
    """Joins, and joins again whenever the connection is lost, until `stop`."""
    while not stop.is_set():
        candidate = Candidate(crowd, url, clip)
        try:
            await candidate.join()
            print(f"candidate connected to {url}", flush=True)
            await _first(candidate.lost, stop)
            await candidate.leave()
        except whip.Refused as error:
            if error.status in _FINAL_STATUS:
                raise
        except (aiohttp.ClientError, TimeoutError, ConnectError, sdp.AnswerError) as error:
            print(f"candidate: {error}; trying again", file=sys.stderr)
        if not stop.is_set():
            await _first(stop, timeout_s=RETRY_S)


async def _first(*events: asyncio.Event, timeout_s: float | None = None) -> None:
    """Waits until any of the events is set, or until the time is over."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _set_at_end_of_input(stop: asyncio.Event) -> None:
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        # Not `sys.stdin`: the interpreter cannot end while a thread holds its buffer's lock.
        while os.read(descriptor, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    # A thread, as an event loop cannot wait for every kind of input (a file, /dev/null).
    threading.Thread(target=read, name="stdin", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
