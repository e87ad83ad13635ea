"""The command `vivavoce verify`."""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources.abc import Traversable
from pathlib import Path

from server.commands.log import logged_derivation
from server.commands.place import find, home_of, in_archive, log_of
from server.commands.receipt import verify_receipt
from server.commands.signer import say_signers
from server.commands.terminal import EXIT_FAULT, shown
from server.commands.text import counted
from server.commands.timestamp import ROOTS, check_timestamp
from server.config import ConfigError, add_data_dir_flag, add_store_flag, data_dir
from server.recorder.catalog.derived import Compressed, check_statement, making_path
from server.recorder.catalog.derived import decode as decode_compressed
from server.recorder.catalog.receipt import check_receipt, is_receipt
from server.recorder.catalog.recordings import FOLDER, is_compressed, read_manifest
from server.recorder.evidence.archive import ArchivePath, is_archive, open_archive
from server.recorder.evidence.bundle import CONTENTS, DERIVATION, LOG, READER, RECEIPT, RECORDING
from server.recorder.evidence.derivation import Derivation, Origin, statement_of
from server.recorder.evidence.fault import Fault
from server.recorder.evidence.log_check import log_fault, lost_recordings
from server.recorder.evidence.tlog import Entry
from server.recorder.evidence.verify import TOLD_S, VerifyReport, verify
from server.recorder.export.check import NothingSigned, check_export
from server.recorder.export.content_credentials import CredentialsUnavailable, Source
from server.recorder.format.manifest import MANIFEST_NAME
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.format.segments import unlisted_segments
from server.recorder.format.server_key import ServerKey, fingerprint
from server.recorder.keys import succession
from server.recorder.keys.claim_signer import load_roots
from server.recorder.keys.key_ring import C2PA_ROOT, SIGNING_PUB, load_public_key
from server.recorder.keys.root_key import KeyProblem
from server.recorder.keys.succession import extended
from server.recorder.stores.store import Readable, split_s3

_EXIT_STATUS = """exit status:
  0  intact: every byte is what was signed
  1  not intact: each fault is named, with its file and its time range in the recording
  2  it could not be checked: no such recording, no public key, a store that does not answer
  70 an error of the program itself: nothing is found out"""


@dataclass(frozen=True, slots=True)
class _Subject:
    """A recording to check; ``top``: what an archive for evidence has beside it."""

    files: Readable
    log: Traversable | None
    top: Traversable | None = None
    interview: str = ""  #: that it has to be of, by where it lies


@dataclass(frozen=True, slots=True)
class _Found:
    """What is to be checked; ``folder``: that of all recordings, and the log it goes by."""

    subjects: Sequence[_Subject]
    folder: tuple[Path, Path | None] | None = None
    faults: Sequence[Fault] = ()  #: of what holds them


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXIT_STATUS
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a recording's folder, the folder of all, either of them as s3://BUCKET/PREFIX, a "
        "data directory, a zip archive with recordings, a file that `export` made, a receipt, or "
        "an interview of --data-dir",
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="DIR",
        help="(the log of the recording's data directory, or what is with it in the archive)",
    )
    parser.add_argument(
        "--public-key",
        type=Path,
        metavar="FILE",
        help="all that it takes, anywhere and offline (keys/signing.pub of its data directory)",
    )
    parser.add_argument(
        "--c2pa-root",
        type=Path,
        metavar="FILE",
        help="certificates that vouch for an export's Content Credentials "
        "(keys/c2pa-root.pem of the data directory)",
    )
    parser.add_argument(
        "--timestamp-root",
        type=Path,
        metavar="FILE",
        help="certificates of the authority that stamps recordings "
        f"(keys/{ROOTS} of the data directory)",
    )
    add_store_flag(parser)
    add_data_dir_flag(parser)
    parser.set_defaults(run=_verify)


def _verify(flags: argparse.Namespace) -> int:
    path = _meant(Path(flags.path).resolve())
    try:
        if _has_no_statement(path):
            return _told(_verify_export(flags, path, None, None))
        home = _home(flags, path) / "keys"
        key_file = flags.public_key or home / SIGNING_PUB
        public_key = _load(key_file, home / succession.FILE)
        own = key_file.parent / ROOTS
        flags.timestamp_root = flags.timestamp_root or (own if own.is_file() else None)
        faults = _check(flags, path, public_key, key_file.resolve().parent.parent)
    except SegmentError as error:
        return _told([Fault(error.kind, succession.FILE, error.message)])
    except (CredentialsUnavailable, KeyProblem, OSError) as error:
        raise ConfigError(f"{flags.path} can't be read: {error}.") from error
    if not faults:
        print(f"Checked with the key of {key_file} (SHA-256 {fingerprint(public_key.known)}).")
    return _told(faults)


def _meant(path: Path) -> Path:
    """Of a data directory the folder of all recordings."""
    is_data_dir = (path / FOLDER).is_dir() or (path / "keys" / SIGNING_PUB).is_file()
    return path / FOLDER if is_data_dir and not _is_recordings(path) else path


def _is_recordings(path: Path) -> bool:
    """Whether it is one recording's folder, by its place, its manifest, or its segments alone."""
    if path.parent.name == FOLDER or (path / MANIFEST_NAME).exists():
        return True
    return path.is_dir() and bool(unlisted_segments(os.listdir(path), ()))


def _told(faults: Sequence[object]) -> int:
    """The exit status."""
    for fault in faults:
        print(f"NOT INTACT: {shown(str(fault))}")
    return EXIT_FAULT if faults else 0


def _has_no_statement(path: Path) -> bool:
    """Whether it is a file that needs no public key of ours: Content Credentials have their own."""
    if not path.is_file() or is_archive(path) or is_receipt(path):
        return False
    return not statement_of(path).exists()


def _load(key_file: Path, of_home: Path) -> ServerKey:
    """The key, with what the lists beside it and of the data directory say. SegmentError."""
    try:
        public_key = load_public_key(key_file)
        return extended(public_key, read_whole(of_home)) if of_home.is_file() else public_key
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no public key {key_file}: give the server's with --public-key. One that "
            "came with the recording proves nothing until its fingerprint is compared."
        ) from error
    except (OSError, KeyProblem) as error:
        raise ConfigError(f"The public key {key_file} can't be read: {error}.") from error


def _home(flags: argparse.Namespace, path: Path) -> Path:
    """The data directory whose key and log count: the one that the recording lies in, or ours."""
    ours = data_dir(flags, os.environ)
    if flags.path.startswith("s3://"):
        return ours
    return home_of(path / "any" if _holds_recordings(path) else path, ours)


def _holds_recordings(path: Path) -> bool:
    return path.name == FOLDER or (path.is_dir() and any(path.glob(f"*/{MANIFEST_NAME}")))


# ---- what there is to check -------------------------------------------------------------


def _check(
    flags: argparse.Namespace, path: Path, public_key: ServerKey, home: Path
) -> Sequence[object]:
    """The faults; what is intact is described. ConfigError where there is nothing; OSError.

    ``home`` is the data directory of the public key.
    """
    if flags.path.startswith("s3://"):
        return _verify_found(flags, _in_folder(flags, path), public_key)
    if _holds_recordings(path):
        faults = _verify_found(flags, _in_folder(flags, path), public_key)
        return [*faults, *_statement_faults(path, public_key)]
    if path.is_dir():
        faults = _verify_found(flags, _in_folder(flags, path), public_key)
        return [*faults, *_verify_compressed(path, public_key)]
    beside = flags.log or log_of(path.parent.parent)
    if not path.exists():
        gone = _lost(path.parent, public_key, beside)
        named = [fault for fault in gone if fault.file == path.name]
        return named or _verify_found(flags, _in_folder(flags, path), public_key)
    # A file lies anywhere: what it is of, where the key does.
    if is_receipt(path):
        return verify_receipt(path, public_key, home, beside or log_of(home))
    if not is_archive(path):
        return _verify_export(flags, path, public_key, beside or log_of(home))
    try:
        with open_archive(path) as archive:
            return _verify_found(flags, _in_archive(archive, path), public_key)
    except SegmentError as error:
        return [f"{path.name}: {error}"]


def _in_folder(flags: argparse.Namespace, path: Path) -> _Found:
    if flags.path.startswith("s3://"):
        # Ours tells of what our key signed.
        log = None if flags.public_key else log_of(data_dir(flags, os.environ))
        found = _in_bucket(flags.path)
        return _Found([_Subject(each, log, None, each.name * (len(found) > 1)) for each in found])
    if (path / RECORDING / MANIFEST_NAME).is_file():
        log = path / LOG if (path / LOG).is_dir() else None
        return _Found([_Subject(path / RECORDING, log, path)])
    if _holds_recordings(path):
        folders = sorted(path.glob("*/"))
        places = [find(flags, str(each)) for each in folders]
        names = [_interview(each) for each in folders]
        subjects = [
            _Subject(place.files, place.log, None, name)
            for place, name in zip(places, names, strict=True)
        ]
        return _Found(subjects, (path, log_of(path.parent)))
    if path.is_dir() and not _is_recordings(path):
        raise ConfigError(f"There is no recording in {path}.")
    place = find(flags, flags.path)
    name = _interview(place.local) if isinstance(place.local, Path) else ""
    return _Found([_Subject(place.files, place.log, None, name)])


def _interview(folder: Path | ArchivePath) -> str:
    """Whose recording has to lie there; empty: anybody's, as in a copy under another name."""
    return folder.name if folder.parent.name == FOLDER else ""


def _in_archive(archive: ArchivePath, path: Path) -> _Found:
    folders = archive.folders_with(MANIFEST_NAME)
    tops = [each.parent if each.name == RECORDING else None for each in folders]
    places = in_archive(archive, path.parent)
    subjects = [
        _Subject(place.files, place.log, top, _interview(folder))
        for folder, place, top in zip(folders, places, tops, strict=True)
    ]
    faults = [fault for top in tops if top is not None for fault in _strangers(top)]
    return _Found(subjects, faults=faults)


def _strangers(top: ArchivePath) -> Iterator[Fault]:
    """What no archive for evidence has beside its recording."""
    for each in top.iterdir():
        if each.name not in CONTENTS:
            message = "no archive for evidence has such a file"
            yield Fault(FaultKind.UNEXPECTED, each.name, message)
    reader = top / READER.name
    if reader.is_file() and read_whole(reader) != READER.read_bytes():
        print(f"The {READER.name} in it is not the one of this version: use one that you trust.")


def _in_bucket(url: str) -> Sequence[Readable]:
    """The recording there, or all that lie one folder deeper."""
    from server.recorder.stores.s3 import open_s3_folder  # a third of a second, for its users

    folder = open_s3_folder(*split_s3(url))
    if (folder / MANIFEST_NAME).is_file():
        return [folder]
    folders = folder.folders()
    if not folders:
        raise ConfigError(f"There is no recording at {url}.")
    return folders


# ---- checking it ------------------------------------------------------------------------


def _verify_found(
    flags: argparse.Namespace, found: _Found, public_key: ServerKey
) -> Sequence[object]:
    if len(found.subjects) == 1 and found.folder is None:
        return [*found.faults, *_verify_one(flags, found.subjects[0], public_key)]
    faults: list[object] = [*found.faults]
    signers = []
    for each in found.subjects:
        key = _with_list(each.top, public_key)
        receipt, beside = _beside(each.top, key)
        report = _report(each, key, flags.log or each.log, receipt)
        signers.append(report.signer)
        _, more = check_timestamp(each.files, flags.timestamp_root)
        place = (each.top or each.files).name
        faults += [f"{place}/{fault}" for fault in (*beside, *report.faults, *more)]
    if found.folder is not None:
        folder, log = found.folder
        faults += _lost(folder, public_key, flags.log or log)
    if not faults and not found.subjects:
        raise ConfigError(f"There is no recording in {flags.path}.")
    if not faults:
        print(f"Intact: {counted(len(found.subjects), 'recording')}.")
        say_signers(public_key, signers)
    return faults


def _statement_faults(folder: Path, public_key: ServerKey) -> Iterator[object]:
    """Of all compressed recordings in it."""
    for path in sorted(folder.glob("*/")):
        try:
            _made_of(path, public_key)
        except SegmentError as error:
            yield Fault(error.kind, statement_of(path).name, error.message)


def _verify_compressed(path: Path, public_key: ServerKey) -> Sequence[object]:
    """Of a recording that was made of another one: what its statement says of that."""
    try:
        made = _made_of(path, public_key)
    except SegmentError as error:
        return (Fault(error.kind, statement_of(path).name, error.message),)
    if made is not None:
        kept = "kept" if made.source_kept else "destroyed by policy"
        print(f"Compressed: made of recording {made.source.recording}, whose tree had the root")
        print(f"{made.source_root}; its manifest {made.source.manifest}; its media {kept}.")
    return ()


def _made_of(path: Path, public_key: ServerKey) -> Compressed | None:
    """None where it is none, or what lies there is none. SegmentError, also without a statement."""
    try:
        if not is_compressed(read_manifest(path, public_key)):
            return None
    except (FileNotFoundError, SegmentError):
        return None  # which was said
    if statement_of(path).is_file():
        return check_statement(path, public_key)
    home = path.parent.parent
    at_home = path.parent.name == FOLDER and (home / "keys" / SIGNING_PUB).is_file()
    if at_home and not statement_of(making_path(home, path.name)).is_file():  # on its way
        raise SegmentError(FaultKind.MISSING, "the statement of what it was made of is gone")
    print("It is a compressed one; no statement of what it was made of is beside it.")
    return None


def _verify_one(
    flags: argparse.Namespace, subject: _Subject, public_key: ServerKey
) -> Sequence[object]:
    log: Traversable | None = flags.log or subject.log
    public_key = _with_list(subject.top, public_key)
    receipt, faults = _beside(subject.top, public_key)
    report = _report(subject, public_key, log, receipt)
    said, more = check_timestamp(subject.files, flags.timestamp_root)
    if faults or report.faults or more:
        return [*faults, *report.faults, *more]
    print(
        f"Intact: interview {report.interview_id}, {report.fragments} fragments, "
        f"{report.duration_s:.1f} s, {report.state}."
    )
    if log is None:
        print("No log is beside it: that a tail was cut off an open one could not be seen.")
    else:
        print(f"The log{f' in {log}' if isinstance(log, Path) else ''} knows it so.")
        if subject.top is not None and log is subject.log:
            print("Whether it has anything newer of it only the log itself shows, or a receipt.")
    say_signers(public_key, [report.signer])
    if receipt is not None:
        print("The receipt is of this recording.")
    if said:
        print(said)
    return ()


def _report(
    subject: _Subject,
    public_key: ServerKey,
    log: Traversable | None,
    receipt: Entry | None = None,
) -> VerifyReport:
    """Looks again where a server may just have closed it."""
    whole = subject.top is None and log is subject.log  # of an archive for evidence, proofs do
    check = partial(
        verify,
        subject.files,
        public_key,
        log,
        receipt,
        interview=subject.interview,
        whole_log=whole,
    )
    report = check()
    if not report.log_may_lack(time.time()):
        return report
    time.sleep(TOLD_S)
    return check()


def _with_list(top: Traversable | None, public_key: ServerKey) -> ServerKey:
    """With what the list in an archive for evidence says of the key. SegmentError."""
    file = None if top is None else top.joinpath(succession.FILE)
    if file is None or not file.is_file():
        return public_key
    return extended(public_key, read_whole(file))


def _beside(top: Traversable | None, public_key: ServerKey) -> tuple[Entry | None, list[Fault]]:
    """What the receipt in an archive for evidence holds the recording to; what is wrong there."""
    faults = list[Fault]()
    entry: Entry | None = None
    made: Compressed | None = None
    for name in (RECEIPT, DERIVATION):
        file = None if top is None else top.joinpath(name)
        if file is None or not file.is_file():
            continue
        try:
            if name == RECEIPT:
                entry = check_receipt(read_whole(file), public_key).entry
            else:
                made = decode_compressed(read_whole(file), public_key)
        except SegmentError as error:
            faults.append(Fault(error.kind, name, error.message))
    if entry is not None and made is not None and made.source.manifest == entry.manifest:
        print("The receipt is of what this was made of when it was compressed, which is signed.")
        entry = None
    return entry, faults


def _lost(recordings: Path, public_key: ServerKey, log: Path | None) -> list[Fault]:
    try:
        return lost_recordings(recordings, public_key, log) if log is not None else []
    except SegmentError as error:
        return [log_fault(error)]


def _verify_export(
    flags: argparse.Namespace, path: Path, public_key: ServerKey | None, log: Path | None
) -> Sequence[object]:
    """The faults; what is intact is described. Raises ConfigError if nothing was signed."""
    try:
        report = check_export(path, public_key, _c2pa_roots(flags))
    except NothingSigned as error:
        raise ConfigError(f"{error}.") from error
    if report.faults:
        return report.faults
    if report.statement is not None:
        source = report.statement.source
        _describe(f"recording {source.interview}", report.statement, source)
    if report.credentials is not None and report.credentials.source is not None:
        if report.statement is None:
            made = report.credentials.source
            _describe(f"the recording with the id {made.recording}", made, made)
        print(f"Its Content Credentials (C2PA) say so; signed by {report.credentials.signer}.")
    if public_key is None or report.statement is None:
        return ()
    say_signers(public_key, [report.signer])
    if log is None:
        return ()
    return logged_derivation(report.statement, public_key, log)


def _describe(recording: str, part: Derivation | Source, at: Origin | Source) -> None:
    start_s, end_s = part.start_us / 1e6, part.end_us / 1e6
    print(f"Intact: made of {recording}, {start_s:.1f} to {end_s:.1f} s.")
    print(f"That was at revision {at.revision}, its manifest {at.manifest}.")


def _c2pa_roots(flags: argparse.Namespace) -> bytes:
    """Empty where there are none. KeyProblem; OSError."""
    own = data_dir(flags, os.environ) / "keys" / C2PA_ROOT
    if flags.c2pa_root is None and not own.is_file():
        return b""
    return load_roots(flags.c2pa_root or own)
