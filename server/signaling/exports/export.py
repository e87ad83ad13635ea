"""One export: what is asked for, what is told of it, and how far it has come."""

import asyncio
import enum
import secrets
from dataclasses import dataclass, field
from typing import IO

import msgspec

from server.recorder.content_credentials import Credentials
from server.recorder.derivation import Origin
from server.recorder.export_job import Fault, Job, Written
from server.store import Viewing


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


@dataclass(slots=True, eq=False)
class Export:
    """One file, from its being asked for to its end."""

    id: str
    interview_id: str
    name: str  #: for whoever saves it
    job: Job
    source: Origin
    credentials: Credentials | None
    viewing: Viewing
    file: IO[bytes]  #: has no name
    asked_s: float
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    state: ExportState = ExportState.WAITING
    done: float = 0.0
    until_s: float | None = None
    fault: Fault | None = None
    written: Written | None = None
    statement: bytes = b""
    task: asyncio.Task[None] | None = None

    @property
    def item(self) -> ExportItem:
        address = f"/exports/{self.ticket}" if self.written else None
        return ExportItem(
            self.id,
            self.state,
            self.done,
            self.job.start_us / 1e6,
            self.job.end_us / 1e6,
            self.job.transcode,
            self.asked_s,
            self.until_s,
            self.written.size if self.written else None,
            self.fault,
            address,
            f"{address}/statement" if address else None,
        )
