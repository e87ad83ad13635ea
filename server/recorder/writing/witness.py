"""What the recorder tells the log: that recordings begin, go on and end; and what others put down.

Belongs to the writer thread. A log that can't be written disturbs no recording: what it missed
is told once it can be.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from server.recorder.catalog.recordings import read_manifest, recording_path
from server.recorder.catalog.spool import Spool
from server.recorder.evidence.tlog import Entry, EntryKind, Log
from server.recorder.format.manifest import Manifest, State
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import ServerKey
from server.recorder.writing.writer import Durable, RecordingWriter, saved

log = logging.getLogger(__name__)

#: What may be cut off a recording that is open without the log's knowing.
HEARTBEAT_S = 10.0
#: After a write that failed.
RETRY_S = 1.0
#: Whoever was being recorded when a crash came is among so many of the newest entries: two
#: heartbeats of as many recordings as a process carries.
_LOOK_BACK = 512


class Witness:
    """``now_s`` is Unix time. Calls never raise OSError.

    ``is_erased`` says whether what the entry of an erasure tells is so.
    """

    def __init__(self, log: Log, public_key: ServerKey, is_erased: Callable[[Entry], bool]) -> None:
        self._log = log
        self._public_key = public_key
        self._is_erased = is_erased
        self._spool = Spool(log.folder)
        self._appended: set[str] = set()  # of the spool: to be removed
        self._told: dict[str, Durable] = {}  # of each open recording, by its id
        self._closings: list[Entry] = []
        self._next_s = 0.0
        self._failing = False

    def catch_up(self, data_dir: Path, repaired: Iterable[str], now_s: float) -> None:
        """At start: tell what was repaired, and what a crash kept from being told."""
        newest = self._log.latest(_LOOK_BACK)
        known = {entry.interview: entry for entry in newest if entry.is_state}
        told_before = set(newest)
        self._appended = {name for name, each in self._spooled().items() if each in told_before}
        for interview_id in dict.fromkeys((*repaired, *known)):
            try:
                path = recording_path(data_dir, interview_id)
                manifest = read_manifest(path, self._public_key)
            except (OSError, SegmentError, ValueError):
                continue  # `verify` says what is wrong with it
            last = known.get(interview_id)
            same = last is not None and last.recording == manifest.recording
            told = last is not None and same and last.revision >= manifest.revision
            if manifest.state is not State.RECORDING and not told:
                self._closings.append(_entry(manifest, saved(manifest), now_s))
        self.tell((), now_s)

    def closed(self, writer: RecordingWriter, now_s: float) -> None:
        """Its last manifest was written, or refused by the disk."""
        self._told.pop(writer.manifest.recording, None)
        if writer.durable is not None:
            self._closings.append(_entry(writer.manifest, writer.durable, now_s))

    @property
    def owes(self) -> bool:
        """Whether the log has still to be told of an end."""
        return bool(self._closings)

    def derived(self, manifest: Manifest, now_s: float) -> None:
        """This recording, made of the one before, has taken its place."""
        self._closings.append(derived_entry(manifest, now_s))

    def tell(self, writers: Iterable[RecordingWriter], now_s: float) -> None:
        """Append what is due of these, which are open: all in one batch."""
        # A clock that was set back must not keep the log waiting until it is as late again.
        beats = not self._next_s - HEARTBEAT_S <= now_s < self._next_s
        if self._failing and not beats:
            return
        spooled = self._spooled() if beats else {}
        entries, told = [*self._closings, *spooled.values()], dict(self._told)
        for writer in writers:
            durable, id = writer.durable, writer.manifest.recording
            if durable is None or (id in told and (not beats or told[id] == durable)):
                continue
            entries.append(_entry(writer.manifest, durable, now_s, new=id not in told))
            told[id] = durable
        try:
            if entries:
                self._log.append(entries)
        except OSError as error:
            if not self._failing:
                log.error("the log of recordings can't be written: %s", error.strerror or error)
            self._failing, self._next_s = True, now_s + RETRY_S
            return
        self._failing, self._told = False, told
        self._closings.clear()
        if beats:
            self._next_s = now_s + HEARTBEAT_S
            self._appended |= spooled.keys()
            self._clear_spool()

    def _spooled(self) -> dict[str, Entry]:
        """What others have put down and the log does not have."""
        try:
            waiting = self._spool.waiting(self._public_key)
        except OSError as error:
            log.error("what the log is to be told can't be read: %s", error.strerror or error)
            return {}
        return {
            name: entry
            for name, entry in waiting.items()
            if name not in self._appended
            and (entry.kind is not EntryKind.ERASED or self._is_erased(entry))
        }

    def _clear_spool(self) -> None:
        try:
            self._spool.remove(self._appended)
        except OSError as error:  # and so not told twice, but by the next start
            log.error("what the log was told can't be removed: %s", error.strerror or error)
        else:
            self._appended.clear()


def derived_entry(manifest: Manifest, now_s: float) -> Entry:
    """That this recording, made of another of its interview, has taken the other's place."""
    entry = _entry(manifest, saved(manifest), now_s)
    return msgspec.structs.replace(entry, kind=EntryKind.DERIVED)


def _entry(manifest: Manifest, durable: Durable, now_s: float, *, new: bool = False) -> Entry:
    kinds = {
        State.RECORDING: EntryKind.BEGUN if new else EntryKind.RECORDING,
        State.FINISHED: EntryKind.CLOSED,
        State.INTERRUPTED: EntryKind.REPAIRED,
    }
    return Entry(
        kinds[durable.state],
        manifest.recording,
        manifest.interview,
        durable.tree.size,
        durable.tree.root.hex(),
        durable.end_us,
        durable.revision,
        durable.manifest,
        round(now_s * 1e6),
    )
