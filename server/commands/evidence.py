"""`vivavoce export --evidence`: an archive for whoever has to rely on a recording."""

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from server.commands.data import open_keys_of
from server.commands.place import find_interview
from server.commands.terminal import Progress
from server.config import ConfigError, existing_data_dir
from server.core.interviews import Way
from server.data_dir import open_database as open_records
from server.recorder.catalog.receipt import NotSealed, issue
from server.recorder.catalog.recordings import is_recorded_now, recording_path
from server.recorder.evidence.bundle import Evidence, write_archive
from server.recorder.evidence.derivation import statement_of
from server.recorder.format.manifest import MANIFEST_NAME, Manifest, decode_manifest
from server.recorder.format.server_key import ServerKey, fingerprint
from server.recorder.keys import succession
from server.recorder.keys.key_ring import load_public_key, open_database, open_signer
from server.store import Viewing, new_id


def export_evidence(flags: argparse.Namespace) -> int:
    """The exit status. ConfigError; SegmentError, KeyProblem, OSError where nothing was written."""
    if flags.transcode or flags.c2pa or flags.start_s or flags.end_s is not None:
        raise ConfigError("Evidence is the whole recording, as it was made.")
    folder = existing_data_dir(flags, os.environ)
    place = find_interview(flags, flags.interview_id)
    public_key = load_public_key(place.public_key)
    if is_recorded_now(folder, flags.interview_id, public_key):
        raise ConfigError(f"Interview {flags.interview_id} is being recorded: end it first.")
    data = (place.files / MANIFEST_NAME).read_bytes()
    key = _key(flags, folder, decode_manifest(data, public_key)) if flags.with_key else None
    evidence = Evidence(
        place.files,
        data,
        place.public_key.read_bytes(),
        _signing_keys(place.public_key),
        public_key,
        place.log,
        _receipt(folder, flags.interview_id, public_key),
        _derivation(folder, flags.interview_id),
        key,
    )
    write_archive(flags.output, evidence, datetime.now(UTC), Progress(sys.stderr))
    print(f"Written: {flags.output} (vivavoce verify {flags.output})")
    sha256 = fingerprint(public_key.known)
    print(f"Tell its receiver in another way: the public key's SHA-256 is {sha256}")
    if key is not None:
        print("The recording's key is in it: whoever has the archive can see and hear everything.")
    if place.log is None:
        print("There is no log here, so that the archive has no proofs of it.")
    return 0


def _signing_keys(public_key: Path) -> bytes | None:
    path = public_key.with_name(succession.FILE)
    return path.read_bytes() if path.is_file() else None


def _receipt(folder: Path, interview_id: str, public_key: ServerKey) -> bytes | None:
    keys = folder / "keys"
    try:
        return issue(folder, interview_id, open_signer(keys, open_database(keys)), public_key)
    except (NotSealed, FileNotFoundError):
        return None


def _derivation(folder: Path, interview_id: str) -> bytes | None:
    statement = statement_of(recording_path(folder, interview_id))
    return statement.read_bytes() if statement.is_file() else None


def _key(flags: argparse.Namespace, folder: Path, manifest: Manifest) -> bytes:
    """First on the record, then given away."""
    keys = open_keys_of(folder, flags)
    key = keys.recording_key(manifest.interview, bytes.fromhex(manifest.recording))
    now, end_us = time.time(), max((each.end_us for each in manifest.segments), default=0)
    whole = Viewing(new_id(), manifest.interview, None, Way.EXPORT, now, now, 0.0, end_us / 1e6)
    with open_records(folder) as store:
        store.keep_viewings([whole])
    return key
