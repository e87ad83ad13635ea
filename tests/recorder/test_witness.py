"""What the log is told, whoever is killed, and whatever the disk refuses meanwhile."""

import os
from itertools import pairwise

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.core.frames import Codec
from server.recorder.catalog import erasure
from server.recorder.catalog.erasure import erase
from server.recorder.catalog.recordings import read_manifest
from server.recorder.catalog.spool import Spool, entry_of, put_down_derived
from server.recorder.evidence import derivation
from server.recorder.evidence.derivation import Derivation
from server.recorder.evidence.log_check import lost_recordings
from server.recorder.evidence.tlog import Entry, EntryKind, open_log, read_log
from server.recorder.evidence.verify import verify
from server.recorder.format.sealing import FaultKind
from server.recorder.keys.key_database import KeyDatabase
from server.recorder.recorder import open_recorder
from server.recorder.writing.witness import HEARTBEAT_S, RETRY_S, Witness
from tests.recorder.conftest import Desk, feed
from tests.recorder.encoded import START_S, interview

AT_US = 1_760_000_200_000_000


@pytest.fixture
def sealed(desk: Desk) -> Desk:
    desk.seal()
    return desk


def started(desk: Desk, now_s: float = START_S + 100) -> Witness:
    """As a server that starts does it."""
    erasure.settle(desk.data_dir, desk.keys.database)
    witness = desk.witness()
    witness.catch_up(desk.data_dir, (), now_s)
    return witness


def told(desk: Desk) -> list[Entry]:
    return list(read_log(desk.log, desk.keys.public_key).entries)


def kinds(desk: Desk) -> list[EntryKind]:
    return [entry.kind for entry in told(desk)]


def derive(desk: Desk, sha256: str = "ab" * 32) -> Derivation:
    key = desk.keys.public_key
    source = derivation.origin(read_manifest(desk.path(), key))
    made = derivation.of_digest(7, sha256, source, (0, 1), AT_US, transcoded=False)
    put_down_derived(desk.data_dir, made, key, desk.keys.signer)
    return made


BEFORE = [EntryKind.BEGUN, EntryKind.CLOSED]


def test_what_others_put_down_is_told_at_the_next_heartbeat(sealed: Desk) -> None:
    witness = started(sealed)
    made = derive(sealed)
    witness.tell((), START_S + 100 + HEARTBEAT_S / 2)
    assert kinds(sealed) == BEFORE
    witness.tell((), START_S + 100 + HEARTBEAT_S)
    assert kinds(sealed) == [*BEFORE, EntryKind.DERIVED]
    entry = told(sealed)[-1]
    assert entry.statement == derivation.derivation_hash(made)
    assert (entry.manifest, entry.at_us) == (made.source.manifest, AT_US)
    assert Spool(sealed.log).waiting(sealed.keys.public_key) == {}
    assert verify(sealed.path(), sealed.keys.public_key, sealed.log).intact


def test_what_others_put_down_is_told_at_the_next_start(sealed: Desk) -> None:
    derive(sealed)
    assert erase(sealed.data_dir, "iv", AT_US + 1)
    started(sealed)
    started(sealed)
    assert kinds(sealed) == [*BEFORE, EntryKind.DERIVED, EntryKind.ERASED]
    assert verify(sealed.path(), sealed.keys.public_key, sealed.log).intact


def test_a_crash_between_telling_and_removing_tells_nothing_twice(sealed: Desk) -> None:
    derive(sealed)
    (entry,) = Spool(sealed.log).waiting(sealed.keys.public_key).values()
    open_log(sealed.log, sealed.keys.signer).append([entry])
    started(sealed)
    assert kinds(sealed) == [*BEFORE, EntryKind.DERIVED]
    assert Spool(sealed.log).waiting(sealed.keys.public_key) == {}


def test_a_file_that_cannot_be_removed_is_told_once_all_the_same(
    sealed: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    witness = started(sealed)
    derive(sealed)
    with monkeypatch.context() as broken:
        broken.setattr(Spool, "remove", _refuses)
        witness.tell((), START_S + 200)
        witness.tell((), START_S + 300)
    assert "can't be removed" in caplog.text
    derive(sealed, "cd" * 32)
    witness.tell((), START_S + 400)
    assert kinds(sealed) == [*BEFORE, EntryKind.DERIVED, EntryKind.DERIVED]
    assert Spool(sealed.log).waiting(sealed.keys.public_key) == {}


def test_a_log_that_refuses_is_told_later(
    sealed: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also of what a start found: what `catch_up` has to tell is not forgotten."""
    writer = sealed.write(interview(Codec.VP8, 1.0, START_S + 30))
    derive(sealed)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", _refuses)
        witness = started(sealed)
        witness.tell((), START_S + 100 + RETRY_S)
    assert caplog.text.count("can't be written") == 1
    witness.tell((), START_S + 100 + RETRY_S + RETRY_S / 2)
    assert kinds(sealed) == BEFORE, "not before it is time"
    witness.tell((), START_S + 100 + 2 * RETRY_S)
    assert kinds(sealed) == [*BEFORE, EntryKind.CLOSED, EntryKind.DERIVED]
    assert told(sealed)[2].revision == writer.manifest.revision
    assert verify(sealed.path(), sealed.keys.public_key, sealed.log).intact


def test_a_clock_that_is_set_back_stops_no_heartbeat(desk: Desk) -> None:
    witness, writer = started(desk, START_S), desk.writer()
    writer.sync()
    for second in range(0, 60, 2):
        feed(writer, interview(Codec.VP8, 2.0, START_S + second))
        witness.tell([writer], START_S + second - (3600 if second > 20 else 0))
    ends_s = [round(entry.end_us / 1e6) for entry in told(desk)]
    assert max(after - before for before, after in pairwise(ends_s)) <= HEARTBEAT_S + 2
    assert ends_s[-1] > 60 - HEARTBEAT_S - 2
    assert verify(desk.path(), desk.keys.public_key, desk.log).intact, "no false alarm"


def test_an_export_does_not_hide_that_an_end_was_not_told(sealed: Desk) -> None:
    sealed.write(interview(Codec.VP8, 1.0, START_S + 30))  # and a crash before the log was told
    key = sealed.keys.public_key
    manifest = read_manifest(sealed.path(), key)
    export = entry_of(EntryKind.DERIVED, manifest, AT_US, "ab" * 32)
    open_log(sealed.log, sealed.keys.signer).append([export])
    started(sealed)
    assert kinds(sealed) == [*BEFORE, EntryKind.DERIVED, EntryKind.CLOSED]


@pytest.mark.may_block("what is written here is on the disk at once")
async def test_an_erasure_is_told_though_its_process_dies_right_after_it(
    sealed: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(erasure, "settle", _refuses)
        with pytest.raises(OSError, match="refused"):
            erase(sealed.data_dir, "iv", AT_US)
    assert Spool(sealed.log).waiting(sealed.keys.public_key) == {}
    async with open_recorder(sealed.data_dir):
        assert kinds(sealed) == [*BEFORE, EntryKind.ERASED]
    assert not erase(sealed.data_dir, "iv", AT_US + 5)
    async with open_recorder(sealed.data_dir):
        assert kinds(sealed) == [*BEFORE, EntryKind.ERASED]


def test_an_erasure_that_was_only_intended_is_not_told(
    sealed: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(KeyDatabase, "destroy", _refuses)
        with pytest.raises(OSError, match="refused"):
            erase(sealed.data_dir, "iv", AT_US)
    started(sealed)
    assert kinds(sealed) == BEFORE
    assert erase(sealed.data_dir, "iv", AT_US + 9)
    started(sealed)
    assert [(each.kind, each.at_us) for each in told(sealed)[2:]] == [(EntryKind.ERASED, AT_US + 9)]


def test_an_erased_recording_may_go_and_no_other(sealed: Desk) -> None:
    """Also if an export of before is told after it."""
    sealed.seal("other", START_S + 50)
    erase(sealed.data_dir, "iv", AT_US)
    derive(sealed)
    started(sealed)
    recordings = sealed.data_dir / "recordings"
    for name in ("iv", "other"):
        for file in (recordings / name).iterdir():
            file.unlink()
    (lost,) = lost_recordings(recordings, sealed.keys.public_key, sealed.log)
    assert (lost.kind, lost.file) == (FaultKind.MISSING, "other")


def test_what_is_no_entry_in_the_spool_disturbs_nobody(sealed: Desk) -> None:
    derive(sealed)
    folder = sealed.log.with_name("spool")
    (folder / "0.json").write_bytes(b"\0\xff{")
    (folder / ".spool.1.json.tmp").write_bytes(b"{")
    started(sealed)
    assert kinds(sealed) == [*BEFORE, EntryKind.DERIVED]
    assert (folder / "0.json").exists()


def test_what_did_not_happen_is_not_told_though_it_is_put_down(sealed: Desk) -> None:
    """Whoever may write there, without the key, would have the server sign it."""
    manifest = read_manifest(sealed.path(), sealed.keys.public_key)
    spool, folder = Spool(sealed.log), sealed.log.with_name("spool")
    stranger = Ed25519PrivateKey.generate()
    for kind in EntryKind:
        entry = entry_of(kind, manifest, AT_US, "ab" * 32)
        spool.add(entry, stranger)
        (folder / f"{kind}.json").write_bytes(msgspec.json.encode(entry))
    started(sealed)
    assert kinds(sealed) == BEFORE
    assert verify(sealed.path(), sealed.keys.public_key, sealed.log).intact


def test_an_export_that_is_put_down_is_told_as_it_was_signed_and_not_otherwise(
    sealed: Desk,
) -> None:
    derive(sealed)
    (put_down,) = sealed.log.with_name("spool").iterdir()
    data = put_down.read_bytes()
    for other in (
        data.replace(b'"revision":', b'"revision":1'),
        data.replace(b'"at_us":', b'"at_us":1'),
    ):
        assert other != data
        put_down.write_bytes(other)
        started(sealed)
        assert kinds(sealed) == BEFORE
    put_down.write_bytes(data)
    started(sealed)
    assert kinds(sealed) == [*BEFORE, EntryKind.DERIVED]


def _refuses(*_: object, **__: object) -> None:
    raise OSError(5, "refused")
