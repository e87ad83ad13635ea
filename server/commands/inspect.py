"""The command `vivavoce inspect`."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from server.commands.data import open_keys_of
from server.commands.place import Place, find, in_archive
from server.commands.terminal import EXIT_FAULT, add_json_flag, print_json, shown
from server.commands.text import (
    bitrate,
    counted,
    item,
    labelled,
    length,
    local_time,
    moment,
    size,
    terminal_columns,
)
from server.config import (
    ConfigError,
    add_data_dir_flag,
    add_root_key_flag,
    add_store_flag,
    data_dir,
)
from server.core.frames import Codec
from server.recorder.catalog.derived import (
    Compressed,
    Left,
    check_statement,
    refusal_of,
    share_made,
)
from server.recorder.catalog.inspection import GapPart, Inspection, SegmentPart, TrackPart, inspect
from server.recorder.catalog.recordings import is_compressed
from server.recorder.evidence.archive import is_archive, open_archive
from server.recorder.evidence.log_check import logged_of
from server.recorder.evidence.tlog import EntryKind
from server.recorder.format.manifest import (
    MANIFEST_NAME,
    Manifest,
    State,
    manifest_hash,
    read_unproved,
    signed_by,
)
from server.recorder.format.reading import read_whole
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import ServerKey, fingerprint
from server.recorder.keys.key_ring import DATABASE, SIGNING_KEY, load_public_key, open_database
from server.recorder.keys.root_key import KeyProblem

#: So many lines of a list are shown; `--json` has all of them.
_MAX_LINES = 40


class Signature(msgspec.Struct, frozen=True):
    """Of the manifest; ``valid`` is null where there was no key to check it with."""

    valid: bool | None
    said: str  #: with which key, or what is wrong
    manifest_hash: str


class KeyState(msgspec.Struct, frozen=True):
    """Of the recording's key: what the key database says, and whether it could be used here."""

    state: Literal["present", "destroyed", "unknown"]
    usable: bool
    said: str
    destroyed_s: float | None = None  #: Unix time


class Logged(msgspec.Struct, frozen=True):
    """The newest of what the log says of this recording."""

    entries: int
    kind: EntryKind
    at_s: float  #: Unix time
    revision: int
    records: int
    end_s: float
    agrees: bool  #: with the manifest, if it is of the same revision


class Lies(msgspec.Struct, frozen=True):
    """Where its files are."""

    folder: str | None  #: null where they are in an archive or a store alone
    here: int  #: files; in an archive: there
    store: bool
    stored: int


class Compressing(msgspec.Struct, frozen=True):
    """What compressing the recording came to, where that was done or tried."""

    statement: Compressed | None = None  #: signed: what it was made of, and how near it comes
    left: Left | None = None  #: it stays as it is
    reason: str = ""  #: why, or why there is no statement
    made: float | None = None  #: share of what is being made of it, 0 to 1


class InspectReport(msgspec.Struct, frozen=True):
    """What `inspect --json` says."""

    recording: Inspection
    lies: Lies
    signature: Signature
    key: KeyState
    log: Logged | None
    log_said: str  #: why there is nothing of the log; else empty
    compressing: Compressing | None


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "named",
        metavar="PATH_OR_INTERVIEW_ID",
        help="a recording's folder, also s3://BUCKET/PREFIX/ID, a zip archive with one, or an "
        "interview of --data-dir",
    )
    parser.add_argument(
        "--public-key", type=Path, metavar="FILE", help="(keys/signing.pub of its data directory)"
    )
    add_root_key_flag(parser)
    add_store_flag(parser)
    add_json_flag(parser)
    add_data_dir_flag(parser)
    parser.set_defaults(run=_inspect)


def _inspect(flags: argparse.Namespace) -> int:
    try:
        with _place(flags) as place:
            report = _report(flags, place)
    except FileNotFoundError as error:
        raise ConfigError(f"{flags.named} is no recording: it has no {MANIFEST_NAME}.") from error
    except (SegmentError, OSError) as error:
        raise ConfigError(f"{flags.named} can't be read: {error}.") from error
    if flags.json:
        print_json(report)
    else:
        said = "\n".join(_lines(report, terminal_columns()))
        print(said if report.signature.valid else shown(said))
    whole = report.signature.valid is not False and not report.recording.unreadable
    return 0 if whole and all(each.there for each in report.recording.segments) else EXIT_FAULT


@contextmanager
def _place(flags: argparse.Namespace) -> Iterator[Place]:
    path = Path(flags.named)
    if not path.is_file():
        yield find(flags, flags.named)
        return
    if not is_archive(path):
        raise ConfigError(f"{path} is neither a recording's folder nor a zip archive with one.")
    with open_archive(path) as archive:
        place, *more = in_archive(archive, data_dir(flags, os.environ))
        if more:
            raise ConfigError(f"{path} holds {len(more) + 1} recordings: unpack it to see each.")
        yield place


def _report(flags: argparse.Namespace, place: Place) -> InspectReport:
    data = read_whole(place.files / MANIFEST_NAME)
    manifest = read_unproved(data)
    public_key, said = _public_key(flags.public_key or place.public_key)
    signature = _signature(data, manifest, public_key, said)
    key, state = _key(flags, place, manifest)
    try:
        seen = inspect(place.files, manifest, key)
    except KeyProblem as error:
        state = msgspec.structs.replace(state, usable=False, said=str(error))
        seen = inspect(place.files, manifest, None)
    logged, log_said = _logged(place, manifest, public_key)
    compressing = None if public_key is None else _compressing(place, manifest, public_key)
    return InspectReport(seen, _lies(place), signature, state, logged, log_said, compressing)


def _public_key(path: Path) -> tuple[ServerKey | None, str]:
    try:
        return load_public_key(path), f"the key of {path}"
    except FileNotFoundError:
        return None, f"not checked: there is no {path} (--public-key)"
    except (KeyProblem, SegmentError) as error:
        raise ConfigError(f"{error}.") from error


def _signature(data: bytes, manifest: Manifest, key: ServerKey | None, said: str) -> Signature:
    digest = manifest_hash(manifest)
    if key is None:
        return Signature(None, said, digest)
    try:
        by = fingerprint(signed_by(data, key))
    except SegmentError:
        return Signature(False, f"it is not by {said}", digest)
    if by == fingerprint(key.known):
        return Signature(True, f"by {said}", digest)
    return Signature(
        True, f"by the key with the SHA-256 {by}, of the same server as {said}", digest
    )


def _key(
    flags: argparse.Namespace, place: Place, manifest: Manifest
) -> tuple[bytes | None, KeyState]:
    """The recording's key, where this data directory has it and may use it."""
    keys = place.home / "keys"
    if not (keys / DATABASE).is_file() or not (keys / SIGNING_KEY).is_file():
        return None, KeyState("unknown", False, f"there is no key database in {keys}")
    try:
        row = open_database(keys).candidate_of(manifest.interview)
    except KeyProblem as error:
        return None, KeyState("unknown", False, str(error))
    if row.wrapped is None:
        at_s = (row.destroyed_us or 0) / 1e6
        said = f"on {local_time(at_s)}: nobody can open this recording any more"
        return None, KeyState("destroyed", False, said, at_s)
    wrapped = f"wrapped by {row.root_key}, version {row.wrapped.version}"
    try:
        ring = open_keys_of(place.home, flags)
        key = ring.recording_key(manifest.interview, bytes.fromhex(manifest.recording))
    except (ConfigError, KeyProblem) as error:
        return None, KeyState("present", False, f"{wrapped}, but not usable here: {error}")
    return key, KeyState("present", True, wrapped)


def _logged(place: Place, manifest: Manifest, key: ServerKey | None) -> tuple[Logged | None, str]:
    if place.log is None:
        return None, "no log is beside it"
    if key is None:
        return None, "not read: there is no public key to check it with"
    try:
        whole = isinstance(place.log, Path)  # of an archive for evidence, proofs do
        entries = logged_of(place.log, key, manifest.recording, whole=whole)
    except SegmentError as error:
        return None, f"it is not authentic: {error}"
    if not entries:
        return None, "it does not know this recording"
    last = max(entries, key=lambda entry: (entry.revision, entry.tree_size))
    agrees = last.revision != manifest.revision or last.manifest == manifest_hash(manifest)
    end_s, at_s = last.end_us / 1e6, last.at_us / 1e6
    count = len(entries)
    return Logged(count, last.kind, at_s, last.revision, last.tree_size, end_s, agrees), ""


def _compressing(place: Place, manifest: Manifest, key: ServerKey) -> Compressing | None:
    """What lies beside the recording, in its data directory, tells."""
    path = place.local
    if not isinstance(path, Path):
        return None
    if is_compressed(manifest):
        try:
            return Compressing(check_statement(path, key))
        except FileNotFoundError:
            return Compressing(reason="no statement of what it was made of is beside it")
        except SegmentError as error:
            return Compressing(reason=f"its statement is not authentic: {error}")
    refusal = refusal_of(place.home, manifest)
    if refusal is not None:
        return Compressing(left=refusal.why, reason=refusal.reason)
    made = share_made(place.home, manifest, key)
    return None if made is None else Compressing(made=made)


def _lies(place: Place) -> Lies:
    here = 0 if place.local is None else len(list(place.local.iterdir()))
    stored = 0
    if place.stored is not None:
        stored = len(list(place.stored.iterdir()))
    folder = place.local if isinstance(place.local, Path) else None
    where = None if folder is None else str(folder)
    return Lies(where, here, place.stored is not None, stored)


# ---- for people -------------------------------------------------------------------------


def _lines(report: InspectReport, columns: int) -> Iterator[str]:
    seen = report.recording
    yield f"Interview {seen.interview_id}"
    for label, value in _facts(report):
        yield labelled(label, value, columns)
    yield from _listed("Tracks", [_track(each) for each in seen.tracks], columns)
    yield from _listed("Gaps", [_gap(each) for each in seen.gaps], columns)
    events = [f"{moment(each.at_s)} {each.event}" for each in seen.events]
    yield from _listed("Events", events, columns)
    yield from _listed("Segments", [_segment(each) for each in seen.segments], columns)
    yield from _listed("Not as they were written", list(seen.unreadable), columns)


def _facts(report: InspectReport) -> Iterator[tuple[str, str]]:
    seen = report.recording
    yield "Title", seen.title if seen.title is not None else "sealed: it takes the key"
    yield "State", _state(seen.state)
    if seen.started_s is not None:
        yield "Began", local_time(seen.started_s)
        until = "Until" if seen.state is State.RECORDING else "Ended"
        yield until, local_time(seen.started_s + seen.duration_s)
    yield "Length", moment(seen.duration_s)
    yield "Size", _size(seen)
    if report.compressing is not None:
        yield "Compressed", _compressed(report.compressing)
    yield "Lies", _where(report.lies)
    yield "Recording", f"{seen.recording}, revision {seen.revision} of its manifest"
    yield "Manifest", f"SHA-256 {report.signature.manifest_hash}"
    yield "Signature", _proof(report.signature)
    yield "Tree", f"{counted(seen.tree_size, 'record')}, root {seen.root}"
    for part in seen.policies:
        yield "Policy", _policy(part.policy.notice, part.policy.analysis, part.hash)
    yield "Key", f"{report.key.state}, {report.key.said}"
    yield "Log", report.log_said if report.log is None else _log(report.log)


def _state(state: State) -> str:
    if state is State.RECORDING:
        return "recording (it runs, or a crash cut it and no server has started since)"
    return state.value


def _size(seen: Inspection) -> str:
    whole = (
        f"{size(seen.size)} in {counted(len(seen.segments), 'segment')}, "
        f"{counted(seen.records, 'record')}, {counted(seen.fragments, 'fragment')}"
    )
    if not seen.duration_s:
        return whole
    return f"{whole}; {bitrate(round(seen.size * 8 / seen.duration_s))} all in all"


def _compressed(compressing: Compressing) -> str:
    made = compressing.statement
    if compressing.made is not None:
        return f"not yet: {compressing.made:.0%} is made"
    if made is None:
        return f"no: {compressing.reason}" if compressing.left else compressing.reason
    sizes = (
        f"{size(made.source_bytes)} to {size(made.bytes)} ({made.bytes / made.source_bytes:.0%})"
    )
    near = "; ".join(
        f"{each.track} VMAF {each.vmaf:.1f}, {each.lowest_vmaf:.1f} in the worst second"
        for each in made.quality
    )
    kept = "kept" if made.source_kept else "destroyed by policy"
    return f"{sizes} on {local_time(made.made_us / 1e6)}; {near}; the source is {kept}"


def _where(lies: Lies) -> str:
    parts = []
    if lies.folder is not None or not lies.store:
        parts.append(f"{counted(lies.here, 'file')} in {lies.folder or 'the archive'}")
    if lies.store:
        parts.append(f"{counted(lies.stored, 'file')} in the store")
    return ", ".join(parts)


def _proof(signature: Signature) -> str:
    if signature.valid is None:
        return signature.said
    return f"{'valid' if signature.valid else 'NOT VALID'}, {signature.said}"


def _policy(notice: str, analysis: bool, digest: str) -> str:
    told = f"notice {notice}" if notice else "no notice (the publisher saw to consent)"
    return f"{told}, indicators {'measured' if analysis else 'not measured'}, SHA-256 {digest}"


def _log(logged: Logged) -> str:
    said = (
        f"{counted(logged.entries, 'entry', 'entries')}, the newest: {logged.kind} at "
        f"{local_time(logged.at_s)}, {counted(logged.records, 'record')}, "
        f"revision {logged.revision}"
    )
    return said if logged.agrees else f"{said}; its manifest is ANOTHER ONE than this"


def _track(track: TrackPart) -> str:
    span = f"{moment(track.start_s)} to {moment(track.end_s)}"
    if track.bytes is None or track.bitrate_bps is None:
        return f"{track.name}: {span}; codec, picture size and bit rate take the key"
    coded = ", then ".join(
        (f"{_spelt(each.codec)} {each.width} x {each.height}" if each.width else _spelt(each.codec))
        + (f" from {moment(each.start_s)}" if index else "")
        for index, each in enumerate(track.codings)
    )
    there = f"{length(track.duration_s)} of it there"
    return f"{track.name}: {coded}; {span}, {there}, {size(track.bytes)}, " + bitrate(
        track.bitrate_bps
    )


def _spelt(codec: Codec) -> str:
    return {Codec.H264: "H.264", Codec.OPUS: "Opus"}.get(codec, codec.value)


def _gap(gap: GapPart) -> str:
    lost = f", {gap.lost} packets or frames" if gap.lost else ""
    return f"{moment(gap.start_s)} to {moment(gap.end_s)} {gap.track}: {gap.cause}{lost}"


def _segment(part: SegmentPart) -> str:
    said = (
        f"{part.name} {moment(part.start_s)} to {moment(part.end_s)}: {size(part.size)}, "
        f"{counted(part.records, 'record')}, {counted(part.fragments, 'fragment')}"
    )
    if not part.there:
        return f"{said}; GONE"
    if not part.listed:
        return f"{said}; not listed yet"
    return said if part.complete else f"{said}; not closed in order"


def _listed(title: str, lines: list[str], columns: int) -> Iterator[str]:
    """Nothing where there is nothing, but of gaps also that there are none is worth knowing."""
    if not lines:
        if title == "Gaps":
            yield "Gaps: none"
        return
    yield f"{title} ({len(lines)})"
    for line in lines[:_MAX_LINES]:
        yield item(line, columns)
    if len(lines) > _MAX_LINES:
        yield item(f"and {len(lines) - _MAX_LINES} more: --json lists all", columns)
