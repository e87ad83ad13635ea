"""Brings the closed files of recordings into a store, and removes them here once it has them.

What is not there yet stays on the local disk, which is the spill: a store that is away costs
room, never a recording. Of each recording first the segments, in order, then the manifest that
lists them, so that what is in the store is at any time a recording that verifies; then, whenever
it comes, the manifest's time stamp. What was made of a recording lies beside it there; where the
policy destroys the source, that goes once the store has all that was made of it.
"""

import contextlib
import io
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from server.recorder.catalog.derived import destroyed, doomed
from server.recorder.catalog.recordings import (
    FOLDER,
    is_compressed,
    local_name,
    read_manifest,
    recording_folders,
    recording_path,
    stored_name,
)
from server.recorder.evidence.derivation import statement_of
from server.recorder.format.manifest import MANIFEST_NAME, TIMESTAMP_NAME, Manifest, decode_manifest
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import ServerKey
from server.recorder.stores.store import Store

log = logging.getLogger(__name__)

#: How often the thread looks for closed segments.
POLL_S = 2.0
#: After a failure the pauses double from `POLL_S` up to this.
MAX_PAUSE_S = 60.0


@dataclass(slots=True)
class UploadMetrics:
    """Since the process started, but for what waits now."""

    files: int = 0
    bytes: int = 0
    failures: int = 0
    waiting_bytes: int = 0  #: closed segments that are on the local disk alone


class _Due(NamedTuple):
    path: Path
    changed_ns: int  #: its manifest's time of change
    waiting_bytes: int


class Uploader:
    """One thread's work: call :meth:`run` in it, or :meth:`round`."""

    def __init__(self, data_dir: Path, store: Store, public_key: ServerKey) -> None:
        self._data_dir = data_dir
        self._store = store
        self._public_key = public_key
        self._brought: dict[str, int] = {}  # a manifest's time of change when it was stored
        self._stamps: dict[str, int] = {}  # likewise of time stamps
        self._spared: set[str] = set()  # sources that the store does not part with
        self._tidied = False
        #: Held while a recording is being brought: in its folder nothing may change places.
        self.bringing = threading.Lock()
        self._behind_since_s: float | None = None  # on the monotonic clock
        self.metrics = UploadMetrics()

    def behind_s(self) -> float:
        """How long ago a round began, if none since has brought all that was closed by then.

        A store that is away shows in it, and one that is slow, or hangs. For any thread.
        """
        since_s = self._behind_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``; failures are counted and logged, then tried again."""
        pause_s = POLL_S
        while not stop.wait(pause_s):
            if self._behind_since_s is None:
                self._behind_since_s = time.monotonic()
            try:
                self.round(stop.is_set)
            except Exception as error:  # the thread's root: recordings stay here
                if pause_s == POLL_S:
                    said = "the store does not take recordings, they stay here: %s"
                    log.error(said, error, exc_info=not isinstance(error, OSError))
                self.metrics.failures += 1
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            else:
                if pause_s > POLL_S:
                    log.info("the store takes recordings again")
                pause_s = POLL_S
                self._behind_since_s = None

    def round(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bring everything that is closed by now. OSError where store or disk refuse."""
        with self.bringing:
            due = self._due()
        self.metrics.waiting_bytes = sum(each.waiting_bytes for each in due)
        if not self._tidied:
            self._store.abandon_parts(self._is_here)
            self._tidied = True
        for each in due:
            with self.bringing:
                if _changed_ns(each.path) != each.changed_ns:
                    continue  # it has changed since: next time
                data = (each.path / MANIFEST_NAME).read_bytes()
                manifest = decode_manifest(data, self._public_key)
                if not self._bring(each.path, data, manifest, stopped):
                    return
                self._brought[each.path.name] = each.changed_ns
        self._bring_stamps(stopped)
        self._destroy_sources(stopped)

    def _due(self) -> list[_Due]:
        """The recordings whose manifest has changed since it was stored.

        After a start that is all of them: what they list is not kept.
        """
        found = []
        for path in recording_folders(self._data_dir):
            changed_ns = _changed_ns(path)
            if self._brought.get(path.name) == changed_ns:
                continue
            try:
                manifest = read_manifest(path, self._public_key)
            except SegmentError as error:
                log.error("recording %s is not stored: %s", path.name, error)
                self._brought[path.name] = changed_ns
                continue
            waiting = (each.size for each in manifest.segments if (path / each.name).exists())
            found.append(_Due(path, changed_ns, sum(waiting)))
        return found

    def _bring(
        self, path: Path, data: bytes, manifest: Manifest, stopped: Callable[[], bool]
    ) -> bool:
        """Whether all of it is in the store: False if it was to stop meanwhile."""
        here = [entry for entry in manifest.segments if (path / entry.name).exists()]
        there = stored_name(path.name, manifest)
        for entry in here:
            if stopped():
                return False
            with (path / entry.name).open("rb") as file:
                self._store.put(there, entry.name, file, entry.size)
            self._count(entry.size)
        # Who has just started knows of none that it went: only what differs is sent.
        if path.name in self._brought or not self._store.has(there, MANIFEST_NAME, data):
            self._put(there, MANIFEST_NAME, data)
        for entry in here:
            (path / entry.name).unlink(missing_ok=True)
            self.metrics.waiting_bytes -= entry.size
        return True

    def _bring_stamps(self, stopped: Callable[[], bool]) -> None:
        """Those that have come, or come anew, since their manifests went."""
        for path in recording_folders(self._data_dir):
            if stopped():
                return
            if path.name in self._brought:
                with self.bringing:
                    self._bring_stamp(path)

    def _bring_stamp(self, path: Path) -> None:
        try:
            changed_ns = (path / TIMESTAMP_NAME).stat().st_mtime_ns
        except FileNotFoundError:
            return
        if self._stamps.get(path.name) == changed_ns:
            return
        data = (path / TIMESTAMP_NAME).read_bytes()
        try:
            there = stored_name(path.name, read_manifest(path, self._public_key))
        except SegmentError:
            return  # `_due` has told of it
        if path.name in self._stamps or not self._store.has(there, TIMESTAMP_NAME, data):
            self._put(there, TIMESTAMP_NAME, data)
        self._stamps[path.name] = changed_ns

    def _destroy_sources(self, stopped: Callable[[], bool]) -> None:
        """Of those whose policy wants it, once the store has all that was made of them."""
        for interview_id in doomed(self._data_dir):
            if stopped():
                return
            path = recording_path(self._data_dir, interview_id)
            if interview_id in self._spared or not self._has_successor(path):
                continue
            try:
                self._remove(interview_id)
            except OSError as error:  # it may be locked there, or be another's right to remove
                said = "the source of recording %s is not removed from the store: %s"
                log.error(said, interview_id, error)
                self._spared.add(interview_id)
            else:
                destroyed(self._data_dir, interview_id)

    def _remove(self, interview_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # none of it ever came there
            for name in sorted(file.name for file in self._store.folder(interview_id).iterdir()):
                self._store.remove(interview_id, name)

    def _has_successor(self, path: Path) -> bool:
        """Whether the log knows what was made of that recording, and the store has it."""
        with self.bringing:
            try:
                changed_ns = _changed_ns(path)
                made = is_compressed(read_manifest(path, self._public_key))
            except (SegmentError, FileNotFoundError):
                return False  # likewise; or somebody has removed it
        brought = self._brought.get(path.name) == changed_ns
        return made and brought and statement_of(path).exists()

    def _put(self, there: str, name: str, data: bytes) -> None:
        self._store.put(there, name, io.BytesIO(data), len(data))
        self._count(len(data))

    def _count(self, size: int) -> None:
        self.metrics.files += 1
        self.metrics.bytes += size

    def _is_here(self, recording: str, name: str) -> bool:
        return (self._data_dir / FOLDER / local_name(recording) / name).exists()


def _changed_ns(path: Path) -> int:
    return (path / MANIFEST_NAME).stat().st_mtime_ns
