"""What the server and a process that exports for it say to each other: a line of JSON each."""

import enum

import msgspec


class Job(msgspec.Struct, frozen=True):
    """The one line that the process reads. It is given one recording's key, and no other."""

    folder: str  #: the recording's
    store: str  #: where closed segments may be (`open_store`); empty: nowhere
    key: str  #: hex
    public_key: tuple[str, ...]  #: hex, the newest last
    start_us: int  #: of the recording, since its epoch
    end_us: int
    transcode: bool  #: make all pictures H.264
    file_key: str  #: hex; the file's, which is sealed (`SealedFile`)


class Fault(enum.StrEnum):
    """Why there is no file."""

    EMPTY = "empty"  #: nothing was recorded there
    DAMAGED = "recording-damaged"
    UNREADABLE = "recording-unreadable"
    DISK_FULL = "disk-full"  #: what is left is for recordings
    FAILED = "failed"  #: the process ended, or hung


class Share(msgspec.Struct, frozen=True, tag="share"):
    """How much is done, 0..1."""

    done: float


class Written(msgspec.Struct, frozen=True, tag="written"):
    """The file is whole. Its last word, or `Failed` is."""

    size: int  #: bytes, in the clear
    head: int  #: of them, so many lie at the file's end and come first
    sha256: str  #: hex, of them


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    fault: Fault
    reason: str  #: for the log


Said = Share | Written | Failed
said = msgspec.json.Decoder(Said)
