"""What the server and a process that exports for it say to each other: a line of JSON each.

The process is given a `Job`. It tells its `Share`, then what is to be signed (`Bound`), is answered
by `Signed`, and ends with `Written`; or with `Failed`.
"""

import enum

import msgspec


class Job(msgspec.Struct, frozen=True):
    """What the process is given: of keys one recording's, and no other."""

    folder: str  #: the recording's
    store: str  #: where closed segments may be (`open_store`); empty: nowhere
    key: str  #: hex
    public_key: tuple[str, ...]  #: hex, the newest last
    start_us: int  #: of the recording, since its epoch
    end_us: int
    transcode: bool  #: make all pictures H.264
    file_key: str  #: hex; the file's, which is sealed (`sealed_file`)
    reserved: int  #: bytes, which follow ``ftyp``, of Content Credentials (C2PA); 0: none


class Fault(enum.StrEnum):
    """Why there is no file."""

    EMPTY = "empty"  #: nothing was recorded there
    DAMAGED = "recording-damaged"
    UNREADABLE = "recording-unreadable"
    DISK_FULL = "disk-full"  #: what is left is for recordings
    PAUSE_TOO_LONG = "pause-too-long"  #: of pictures, for hours: encoding them would fill it
    CUT_OFF = "cut-off"  #: the server ended meanwhile
    FAILED = "failed"  #: the process ended, or hung


class Share(msgspec.Struct, frozen=True, tag="share"):
    """How much is done, 0..1."""

    done: float


class Bound(msgspec.Struct, frozen=True, tag="bound"):
    """All but its credentials is written: these are to be signed."""

    digest: bytes  #: of the file (`Head.digest`)
    encoded: bool  #: pictures or sound were encoded anew


class Signed(msgspec.Struct, frozen=True):
    """The server's answer."""

    credentials: bytes  #: as many as are reserved


class Written(msgspec.Struct, frozen=True, tag="written"):
    """The file is whole. Its last word, or `Failed` is."""

    size: int  #: bytes, in the clear
    head: int  #: of them, so many lie at the file's end and come first
    sha256: str  #: hex, of them


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    fault: Fault
    reason: str  #: for the log


Said = Share | Bound | Written | Failed
said = msgspec.json.Decoder(Said)
