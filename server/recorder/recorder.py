"""The recorder of a process: frames come in on the event loop, one thread writes them all.

The thread wakes every `POLL_S`, writes what came in of every recording, then syncs every file:
fifty interviews share its rounds instead of waking it for each frame.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from server.core.frames import EncodedFrame, Gap
from server.recorder.catalog import derived, receipt
from server.recorder.catalog.erasure import is_done, settle
from server.recorder.catalog.key_change import finish as finish_key_change
from server.recorder.catalog.listing import RecordingSummary, list_recordings
from server.recorder.catalog.recordings import (
    lock_recordings,
    open_for_writing,
    read_manifest,
    recording_files,
    recording_key,
    recording_path,
)
from server.recorder.catalog.spool import put_down_derived
from server.recorder.evidence import derivation
from server.recorder.evidence.derivation import Derivation
from server.recorder.evidence.tlog import FOLDER as LOG_FOLDER
from server.recorder.evidence.tlog import open_log
from server.recorder.format.manifest import MANIFEST_NAME, Manifest, Policy, to_unix_us
from server.recorder.format.sealed_file import file_key
from server.recorder.format.server_key import ServerKey
from server.recorder.keys.claim_signer import ClaimSigner
from server.recorder.keys.key_ring import KeyRing, open_keys
from server.recorder.keys.root_key import KeyProblem, RootKey
from server.recorder.replay.reader import RecordingReader, open_reader
from server.recorder.stores.files import Folder, LocalFolder
from server.recorder.stores.store import Readable, Store
from server.recorder.uploader import Uploader
from server.recorder.writing.recording import Recording
from server.recorder.writing.repair import remove_leftovers, repair, repair_all
from server.recorder.writing.witness import Witness
from server.recorder.writing.writer import Metrics, RecordingWriter

log = logging.getLogger(__name__)

#: How often the writer thread looks for work; part of what a crash may cost.
POLL_S = 0.05
#: A fragment that no further frame completes is written after this.
IDLE_FLUSH_S = 0.8
#: Recordings that may be opened at once, that is wait for the key service.
OPENERS = 4
#: What can't be opened is tried again after this: a key service is asked each time.
REOPEN_S = 1.0


class Recorder:
    """All recordings of a data directory that this process writes. Use :func:`open_recorder`."""

    def __init__(
        self,
        data_dir: Path,
        keys: KeyRing,
        witness: Witness,
        folder_at: Callable[[Path], Folder] = LocalFolder,
        store: Store | None = None,
        signer: ClaimSigner | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._keys = keys
        self._signer = signer
        self._witness = witness
        self._folder_at = folder_at
        self._active: list[Recording] = []
        self._jobs: dict[Recording, _Job] = {}
        self._leaving: list[Recording] = []  # to be told once the log knows of their end
        # A key service may let one recording wait; the others' writer thread must not.
        self._openers = ThreadPoolExecutor(OPENERS, "recorder-opener")
        self._opening: dict[Recording, Future[tuple[Manifest, bytes]]] = {}
        self._adopting: deque[tuple[str, Future[bool]]] = deque()
        self._unsettled: list[tuple[str, Future[bool]]] = []  # adopted, until the log knows
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder-writer")
        self.metrics = Metrics()
        public_key = keys.public_key
        self.uploader = None if store is None else Uploader(data_dir, store, public_key)
        self._uploading = threading.Thread(target=self._upload, name="recorder-uploader")
        self._round_began_s: float | None = None  # while the writer thread is in one

    def lag_s(self) -> float:
        """From a frame's arrival to its being durable; a disk that hangs shows while it does."""
        began_s = self._round_began_s
        waiting_s = 0.0 if began_s is None else time.monotonic() - began_s
        return max(self.metrics.write_lag_s, waiting_s)

    def store_behind_s(self) -> float:
        """For how long the store has not had all that is closed; 0 where there is none."""
        return 0.0 if self.uploader is None else self.uploader.behind_s()

    @property
    def public_key(self) -> ServerKey:
        """For :func:`server.recorder.evidence.verify.verify`."""
        return self._keys.public_key

    def record(
        self,
        interview_id: str,
        title: str,
        policy: Policy,
        on_fault: Callable[[str], None],
        on_mended: Callable[[], None] = lambda: None,
    ) -> Recording:
        """Start an interview's recording, or continue it in a new segment, under this policy.

        The callbacks come on the event loop, where this is to be called; it does no I/O.
        ValueError if that interview is being recorded.
        """
        recording_path(self.data_dir, interview_id)  # refuses an id that is no file name
        if any(r.interview_id == interview_id and not r.closing for r in self._active):
            raise ValueError(f"interview {interview_id} is being recorded already")
        loop = asyncio.get_running_loop()
        recording = Recording(interview_id, title, policy, on_fault, on_mended, self.metrics, loop)
        self._active.append(recording)
        return recording

    def records(self, interview_id: str) -> bool:
        """Whether that interview is being recorded, or its recording not sealed yet."""
        return any(each.interview_id == interview_id for each in tuple(self._active))

    def list(self) -> list[RecordingSummary]:
        """Every recording, oldest first. Reads the disk: call it in a thread."""
        return list_recordings(self.data_dir, self._keys)

    @property
    def keys_folder(self) -> Path:
        """With the database of wrapped keys."""
        return self._keys.database.path.parent

    def check_key(self, interview_id: str) -> None:
        """KeyProblem if the key was destroyed; then it is forgotten, too. Reads the disk."""
        self._keys.check(interview_id)

    def reader(self, interview_id: str) -> RecordingReader:
        """A reader, also while the recording runs. KeyError if there is none. Reads the disk."""
        return open_reader(self.data_dir, interview_id, self._keys, self._store)

    def claim_signer(self) -> ClaimSigner:
        """Who signs for C2PA. Reads the disk. KeyProblem; OSError."""
        return self._signer or self._keys.claim_signer(time.time())

    def key(self, interview_id: str) -> bytes:
        """The recording's own, for a program that exports it. Errors as of `reader`."""
        return recording_key(self.data_dir, interview_id, self._keys)

    def export_key(self, interview_id: str, recording: str, export_id: str) -> bytes:
        """What seals a file made of that recording (its id in hex). Reads the disk. KeyProblem."""
        return file_key(self._keys.recording_key(interview_id, bytes.fromhex(recording)), export_id)

    def statement(self, made: Derivation) -> bytes:
        """Signed, of what an export was made of; the log will have it. Waits for the disk.

        SegmentError; OSError.
        """
        put_down_derived(self.data_dir, made, self._keys.public_key, self._keys.signer)
        return derivation.signed(made, self._keys.signer)

    def receipt(self, interview_id: str) -> bytes:
        """What whoever was recorded may keep. Reads the disk. Errors as of `receipt.issue`."""
        return receipt.issue(self.data_dir, interview_id, self._keys.signer, self.public_key)

    def files(self, interview_id: str) -> Readable:
        """For `server.recorder.evidence.verify`. KeyError if there is none. Reads the disk."""
        return recording_files(self.data_dir, interview_id, self._store)

    async def adopt(self, interview_id: str) -> bool:
        """Have what was made of a recording take its place; whether it has.

        After `check_ready`. The writer thread does it, unless it records that interview.
        """
        adopted = Future[bool]()
        self._adopting.append((interview_id, adopted))
        return await asyncio.wrap_future(adopted)

    def start(self) -> None:
        self._thread.start()
        self._uploading.start()

    async def close(self) -> None:
        """Close every recording, then stop the thread."""
        await asyncio.gather(*(recording.close() for recording in tuple(self._active)))
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._uploading.join)
        self._openers.shutdown()

    def _upload(self) -> None:
        if self.uploader is not None:
            self.uploader.run(self._stop)

    # ---- writer thread ------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            began_s = self._round_began_s = time.monotonic()
            fragments = self.metrics.fragments_written
            self._round()
            if self.metrics.fragments_written > fragments:
                self.metrics.write_lag_s = time.monotonic() - began_s
            self._round_began_s = None

    def _round(self) -> None:
        # Not in the loop of the thread: its variables would keep the last recording until the next.
        for recording in tuple(self._active):
            self._guarded(recording, self._work)
        for recording in tuple(self._jobs):
            self._guarded(recording, self._sync)
        while self._adopting:
            interview_id, adopted = self._adopting.popleft()
            if adopted.set_running_or_notify_cancel():
                self._adopt(interview_id, adopted)
        try:
            self._witness.tell([job.writer for job in self._jobs.values()], time.time())
        except Exception:  # the thread's root: without their log recordings go on all the same
            log.exception("the log of recordings failed")
        if self._unsettled and not self._witness.owes:
            self._settle(*self._unsettled.pop())
        while self._leaving:
            self._leaving.pop().closed()

    def _guarded(self, recording: Recording, step: Callable[[Recording], None]) -> None:
        try:
            step(recording)
        except Exception as error:  # the thread's root: one recording must not stop the others
            log.exception("the recording of %s failed", recording.interview_id)
            recording.fault(f"recording failed: {error}")
            self._forget(recording)

    def _work(self, recording: Recording) -> None:
        closing = recording.closing  # read before draining: nothing follows a close
        job = self._jobs.get(recording) or self._open(recording)
        if job is None:
            return
        for item in recording.drain():
            match item:
                case EncodedFrame():
                    job.writer.write(item)
                case Gap():
                    job.writer.note_gap(item)
                case (event, at_s):
                    job.writer.note_event(event, to_unix_us(at_s))
        if job.idle(time.monotonic()):
            job.writer.flush()
        if closing:
            job.writer.finish()
            self._witness.closed(job.writer, time.time())
            self._forget(recording)

    def _adopt(self, interview_id: str, adopted: Future[bool]) -> None:
        if any(each.interview_id == interview_id for each in self._active):
            adopted.set_result(False)
            return
        # What is being brought into the store is not moved under its hands; this thread waits
        # for nobody.
        bringing = threading.Lock() if self.uploader is None else self.uploader.bringing
        if not bringing.acquire(blocking=False):
            adopted.set_result(False)
            return
        try:
            manifest = derived.adopt(self.data_dir, interview_id, self.public_key)
        except Exception as error:  # the thread's root: the others are still to be recorded
            log.error("what was made of recording %s is not used: %s", interview_id, error)
            making = derived.making_path(self.data_dir, interview_id)
            derivation.statement_of(making).unlink(missing_ok=True)
            adopted.set_result(False)
            return
        finally:
            bringing.release()
        self._witness.derived(manifest, time.time())
        self._unsettled.append((interview_id, adopted))

    def _settle(self, interview_id: str, adopted: Future[bool]) -> None:
        try:
            stored = self._store is not None
            derived.settle(self.data_dir, interview_id, self.public_key, stored=stored)
        except Exception as error:  # likewise
            log.error("the source of recording %s is not put in order: %s", interview_id, error)
        adopted.set_result(True)

    def _sync(self, recording: Recording) -> None:
        writer = self._jobs[recording].writer
        if writer.sync_due:
            writer.sync()

    def _open(self, recording: Recording) -> "_Job | None":
        """None while it is being opened, and where disk or key service refuse: the queue holds
        the frames until a later round."""
        opening = self._opening.get(recording)
        if opening is None:
            same = (r for r in self._active if r.interview_id == recording.interview_id)
            if next(same) is not recording:
                return None  # the one before it is not closed yet
            refused_s = recording.refused_s
            if refused_s is not None and time.monotonic() - refused_s < REOPEN_S:
                return None
            self._opening[recording] = self._openers.submit(self._prepare, recording)
            return None
        if not opening.done():
            return None
        del self._opening[recording]
        try:
            manifest, key = opening.result()
        except (OSError, KeyProblem) as error:
            self.metrics.write_failures += 1
            if recording.closing:
                raise
            first, recording.refused_s = recording.refused_s is None, time.monotonic()
            if first:
                reason = getattr(error, "strerror", None) or error
                recording.fault(f"the recording can't be opened: {reason}")
            return None
        if recording.refused_s is not None:
            recording.refused_s = None
            recording.mended()
        writer = RecordingWriter(
            self._folder_at(recording_path(self.data_dir, recording.interview_id)),
            key,
            self._keys.signer,
            manifest,
            self.metrics,
            recording.fault,
            recording.mended,
        )
        self._jobs[recording] = _Job(writer)
        return self._jobs[recording]

    def _prepare(self, recording: Recording) -> tuple[Manifest, bytes]:
        """In a thread of its own: the manifest to go on from, and the recording's key."""
        path = recording_path(self.data_dir, recording.interview_id)
        if (path / MANIFEST_NAME).exists():
            repair(path, self._keys)  # where the disk refused the last manifest
        return open_for_writing(path, recording.title, recording.policy, self._keys)

    def _forget(self, recording: Recording) -> None:
        self._active.remove(recording)
        self._jobs.pop(recording, None)
        recording.closing = True
        self._leaving.append(recording)


class _Job:
    """A recording in the writer thread, and since when its pending fragment has been the same."""

    def __init__(self, writer: RecordingWriter) -> None:
        self.writer = writer
        self._pending_us: int | None = None
        self._seen_s = 0.0

    def idle(self, now_s: float) -> bool:
        if self.writer.pending_since_us != self._pending_us:
            self._pending_us, self._seen_s = self.writer.pending_since_us, now_s
        return self._pending_us is not None and now_s - self._seen_s >= IDLE_FLUSH_S


def _repair(data_dir: Path, keys: KeyRing, *, stored: bool) -> Witness:
    """Put right what a crash left, and tell the log."""
    settle(data_dir, keys.database)
    public_key, is_erased = keys.public_key, partial(is_done, keys.database)
    witness = Witness(open_log(data_dir / LOG_FOLDER, keys.signer), public_key, is_erased)
    repaired = repair_all(data_dir, keys)
    unsettled = derived.recover(data_dir)
    for interview_id in unsettled:
        manifest = read_manifest(recording_path(data_dir, interview_id), public_key)
        witness.derived(manifest, time.time())
    witness.catch_up(data_dir, repaired, time.time())
    for interview_id in dict.fromkeys((*unsettled, *derived.doomed(data_dir))):
        derived.settle(data_dir, interview_id, keys.public_key, stored=stored)
    return witness


@asynccontextmanager
async def open_recorder(
    data_dir: Path,
    root_key: RootKey | None = None,
    folder_at: Callable[[Path], Folder] = LocalFolder,
    store: Store | None = None,
    signer: ClaimSigner | None = None,
) -> AsyncIterator[Recorder]:
    """The recorder of ``data_dir``: repairs what a crash left, then starts the writer thread.

    ``signer`` signs for C2PA, if not a certificate of the data directory's own.
    KeyProblem where the keys don't fit; LogProblem where the log is not what was published;
    OSError; RuntimeError while another process records there.
    """
    with await asyncio.to_thread(lock_recordings, data_dir):
        await asyncio.to_thread(remove_leftovers, data_dir)
        await asyncio.to_thread(finish_key_change, data_dir)
        keys = await asyncio.to_thread(open_keys, data_dir / "keys", root_key)
        await asyncio.to_thread(keys.database.scrub)
        stored = store is not None
        witness = await asyncio.to_thread(_repair, data_dir, keys, stored=stored)
        recorder = Recorder(data_dir, keys, witness, folder_at, store, signer)
        recorder.start()
        try:
            yield recorder
        finally:
            await recorder.close()
