"""Has the manifests of closed recordings stamped by a time-stamping authority (RFC 3161).

One thread asks over HTTP (RFC 3161 3.4). A recording whose authority is away is sealed all the
same; its stamp is asked for later, and then says the later time.
"""

import asyncio
import logging
import threading
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPException
from pathlib import Path

from server.recorder.catalog.recordings import FOLDER, recording_folders
from server.recorder.evidence.timestamp import MAX_BYTES, Request, read_time
from server.recorder.format.manifest import MANIFEST_NAME, TIMESTAMP_NAME, State, decode_manifest
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import ServerKey
from server.recorder.stores.files import write_durably

log = logging.getLogger(__name__)

#: How often the thread looks for recordings that were closed.
POLL_S = 2.0
#: After a failure the pauses double from `POLL_S` up to this.
MAX_PAUSE_S = 300.0
#: For an answer; a stop waits for it.
TIMEOUT_S = 5.0


class Timestamper:
    """One thread's work: call :meth:`run` in it, or :meth:`round`."""

    def __init__(self, data_dir: Path, url: str, public_key: ServerKey) -> None:
        self._data_dir = data_dir
        self._url = url
        self._public_key = public_key
        self._seen: dict[str, int] = {}  # a manifest's time of change when there was nothing to do

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``; failures are logged, then tried again."""
        pause_s = POLL_S
        while not stop.wait(pause_s):
            try:
                self.round()
            except Exception as error:  # the thread's root: they are asked for later
                if pause_s == POLL_S:
                    foreseen = isinstance(error, OSError | SegmentError)
                    said = "no time stamps from %s for now: %s"
                    log.error(said, self._url, error, exc_info=not foreseen)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            else:
                pause_s = POLL_S

    def round(self) -> None:
        """Stamp what is closed and is not stamped. OSError, SegmentError where that is refused."""
        for path in recording_folders(self._data_dir):
            changed_ns = (path / MANIFEST_NAME).stat().st_mtime_ns
            if self._seen.get(path.name) != changed_ns:
                self._stamp(path)
                self._seen[path.name] = changed_ns

    def _stamp(self, path: Path) -> None:
        data = (path / MANIFEST_NAME).read_bytes()
        try:
            state = decode_manifest(data, self._public_key).state
        except SegmentError:
            return  # `verify` says what is wrong with it
        if state is State.RECORDING or _is_stamped(path, data):
            return
        request = Request(data)
        answer = ask(self._url, request.body)
        request.check(answer)
        write_durably(path / TIMESTAMP_NAME, answer, self._data_dir / FOLDER)


def _is_stamped(path: Path, manifest: bytes) -> bool:
    try:
        return read_time((path / TIMESTAMP_NAME).read_bytes(), manifest) is not None
    except (FileNotFoundError, SegmentError):
        return False


def ask(url: str, body: bytes) -> bytes:
    """What an authority answers to a `Request` (RFC 3161 3.4). OSError."""
    headers = {"Content-Type": "application/timestamp-query"}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            data: bytes = answer.read(MAX_BYTES + 1)
    except (HTTPException, ValueError) as error:  # ValueError: it sends us to no address
        raise OSError(f"{url} does not answer by HTTP: {error!r}") from error
    return data


@asynccontextmanager
async def open_timestamper(data_dir: Path, url: str, public_key: ServerKey) -> AsyncIterator[None]:
    """Runs until the block ends."""
    stop = threading.Event()
    worker = Timestamper(data_dir, url, public_key)
    thread = threading.Thread(target=worker.run, args=(stop,), name="timestamper")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
