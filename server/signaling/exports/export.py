"""One export: what is asked for, what is told of it, and how far it has come."""

import asyncio
import enum
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from server.recorder.evidence.derivation import Origin
from server.recorder.export.content_credentials import Credentials
from server.recorder.export.job import Failed, Fault, Job, Written
from server.store import KeptExport, Viewing


class ExportState(enum.StrEnum):
    WAITING = "waiting"  #: for those before it
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


class NewExport(msgspec.Struct, frozen=True):
    """Seconds since the recording's start; all of it if not told otherwise."""

    start_s: float = 0.0
    end_s: float | None = None
    transcode: bool = False  #: pictures become H.264, which plays everywhere


class ExportItem(msgspec.Struct, frozen=True):
    id: str
    state: ExportState
    done: float  #: 0..1
    start_s: float
    end_s: float
    transcode: bool
    asked_s: float  #: Unix time, as the next
    until_s: float | None  #: when it will be removed; null before it is ready or has failed
    size: int | None  #: bytes
    fault: Fault | None
    file: str | None  #: where it is fetched; whoever has this address can
    statement: str | None  #: and what was signed of it, for `vivavoce verify`


@dataclass(frozen=True, slots=True)
class Order:
    """What it takes to make one."""

    job: Job
    source: Origin
    credentials: Credentials | None


@dataclass(slots=True, eq=False)
class Export:
    """One file, from its being asked for to its end."""

    kept: KeptExport  #: as the database has it, or is about to
    name: str  #: for whoever saves it
    viewing: Viewing
    path: Path  #: of the sealed file
    ticket: str  #: that its address has
    order: Order | None  #: None: it is not to be made any more
    state: ExportState = ExportState.WAITING
    done: float = 0.0
    task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.kept.id

    @property
    def interview_id(self) -> str:
        return self.viewing.interview_id

    @property
    def ready(self) -> bool:
        return self.state is ExportState.READY

    @property
    def item(self) -> ExportItem:
        kept, address = self.kept, f"/exports/{self.ticket}" if self.ready else None
        return ExportItem(
            self.id,
            self.state,
            self.done,
            kept.start_us / 1e6,
            kept.end_us / 1e6,
            kept.transcode,
            kept.asked_s,
            kept.until_s,
            kept.size if self.ready else None,
            Fault(kept.fault) if kept.fault else None,
            address,
            f"{address}/statement" if address else None,
        )

    def restored(self) -> None:
        """It was finished by the server before."""
        self.state = ExportState.FAILED if self.kept.fault else ExportState.READY
        self.done = float(self.ready)

    def finished(self, last: Written | Failed, statement: bytes, until_s: float) -> None:
        """It is ready with ``statement``, or has failed; either is kept so long (Unix time)."""
        match last:
            case Written(size, head, sha256):
                self.kept = replace(
                    self.kept,
                    until_s=until_s,
                    size=size,
                    head=head,
                    sha256=sha256,
                    statement=statement,
                )
                self.state, self.done = ExportState.READY, 1.0
            case Failed(fault):
                self.kept = replace(self.kept, until_s=until_s, fault=fault)
                self.state = ExportState.FAILED
        self.order = None
