"""Another key signs: what the former one signed stays provable, and no crash loses either."""

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.recorder.catalog import key_change
from server.recorder.catalog.receipt import check_receipt, issue
from server.recorder.catalog.recordings import read_manifest
from server.recorder.catalog.spool import put_down_derived
from server.recorder.evidence import derivation
from server.recorder.evidence.log_check import lost_recordings
from server.recorder.evidence.tlog import EntryKind, Log, LogProblem, open_log, read_log
from server.recorder.evidence.verify import verify
from server.recorder.format.sealing import SegmentError
from server.recorder.format.server_key import alone, raw
from server.recorder.keys import succession
from server.recorder.keys.key_ring import (
    NEXT_SIGNING_KEY,
    SIGNING_KEY,
    SIGNING_PUB,
    load_public_key,
    open_keys,
    private_pem,
)
from server.recorder.keys.root_key import KeyProblem
from server.recorder.recorder import open_recorder
from server.recorder.stores.store import LocalStore
from server.recorder.uploader import Uploader
from tests.recorder.conftest import POLICY, Desk
from tests.recorder.encoded import START_S, interview
from tests.recorder.test_read_recording import reader

NOW_US = int(START_S + 100) * 1_000_000


@pytest.fixture
def sealed(desk: Desk) -> Desk:
    desk.seal("old")
    return desk


def rotate(desk: Desk, now_us: int = NOW_US) -> Desk:
    """What is there after it."""
    key_change.rotate_signer(desk.data_dir, now_us)
    return Desk(desk.data_dir)


def keys_dir(desk: Desk) -> Path:
    return desk.data_dir / "keys"


def test_the_new_key_signs_and_what_the_former_signed_is_intact(sealed: Desk) -> None:
    former = sealed.keys.public_key.known
    receipt = issue(sealed.data_dir, "old", sealed.keys.signer, sealed.keys.public_key)
    after = rotate(sealed)
    key = after.keys.public_key
    assert [raw(each) for each in key.keys] == [raw(former), raw(key.known)]
    assert raw(former) != raw(key.known)
    after.seal("new", START_S + 200)
    for interview_id, by in (("old", former), ("new", key.known)):
        report = verify(after.path(interview_id), key, after.log)
        assert (report.faults, report.signed_by) == ((), raw(by).hex())
        read = reader.Reader(after.path(interview_id), key.keys)
        assert list(read.verify()) == []
        assert raw(read.signer) == raw(by)
    assert check_receipt(receipt, key).entry.interview == "old"
    later = issue(after.data_dir, "old", after.keys.signer, key)
    assert check_receipt(later, alone(key.known)).entry == check_receipt(receipt, key).entry
    assert lost_recordings(after.data_dir / "recordings", key, after.log) == []


def test_an_export_that_the_former_key_put_down_is_told(sealed: Desk) -> None:
    keys = sealed.keys
    source = derivation.origin(read_manifest(sealed.path("old"), keys.public_key))
    made = derivation.of_digest(7, "ab" * 32, source, (0, 1), NOW_US, transcoded=False)
    put_down_derived(sealed.data_dir, made, keys.public_key, keys.signer)
    after = rotate(sealed)
    after.witness().tell((), START_S + 200)
    entry = read_log(after.log, after.keys.public_key).entries[-1]
    assert entry.statement == derivation.derivation_hash(made)


def test_the_log_goes_on_and_tells_of_it(sealed: Desk) -> None:
    before = read_log(sealed.log, sealed.keys.public_key).checkpoint
    after = rotate(sealed)
    view = read_log(after.log, after.keys.public_key)
    entry = view.entries[-1]
    (change,) = succession.decode((keys_dir(after) / succession.FILE).read_bytes())
    assert (entry.kind, entry.at_us) == (EntryKind.ROTATED, NOW_US)
    assert entry.statement == succession.succession_hash(change.succession)
    assert (change.succession.log_size, change.succession.log_root) == (
        before.size,
        before.root.hex(),
    )
    assert view.checkpoint.origin == before.origin
    assert open_log(after.log, after.keys.signer).root_at(before.size) == before.root


def test_the_former_key_is_gone_and_the_new_one_is_its_owners_alone(sealed: Desk) -> None:
    former = (keys_dir(sealed) / SIGNING_KEY).read_bytes()
    held = (keys_dir(sealed) / SIGNING_KEY).open("rb")
    after = rotate(sealed)
    with held:
        assert held.read() == bytes(len(former)), "overwritten where it lay"
    left = [path for path in keys_dir(after).iterdir() if former in path.read_bytes()]
    assert left == []
    assert not (keys_dir(after) / NEXT_SIGNING_KEY).exists()
    modes = {
        name: stat.S_IMODE((keys_dir(after) / name).stat().st_mode)
        for name in (SIGNING_KEY, SIGNING_PUB, succession.FILE)
    }
    assert modes == {SIGNING_KEY: 0o600, SIGNING_PUB: 0o644, succession.FILE: 0o644}


def test_a_recording_goes_on_under_the_new_key(sealed: Desk) -> None:
    after = rotate(rotate(sealed))
    after.seal("old", START_S + 300)
    key = after.keys.public_key
    report = verify(after.path("old"), key, after.log)
    assert (report.faults, report.segments, report.signed_by) == ((), 2, raw(key.known).hex())
    assert list(reader.Reader(after.path("old"), key.keys).verify()) == []
    damaged = after.path("old") / "00000.seg"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    (fault,) = verify(after.path("old"), key).faults
    assert (fault.kind, fault.file) == ("truncated", "00000.seg"), "and not that all is tampered"


@pytest.mark.may_block("a data directory is made beside the server that is tested")
async def test_a_server_goes_on_with_what_lies_in_a_store(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    desk = Desk(tmp_path / "data")
    desk.seal("old")
    after = rotate(desk)
    Uploader(after.data_dir, store, after.keys.public_key).round()
    assert verify(store.folder("old"), after.keys.public_key).intact
    async with open_recorder(after.data_dir, store=store) as recorder:
        recording = recorder.record("old", "t", POLICY, pytest.fail, lambda: None)
        for frame in interview(seconds=2, start_s=START_S + 400):
            recording.on_frame(frame)
        await recording.close()
        assert recorder.reader("old").describe().duration_s > 2
        assert check_receipt(recorder.receipt("old"), recorder.public_key)
        report = verify(recorder.files("old"), recorder.public_key, after.log)
        assert (report.faults, report.segments) == ((), 2)


def test_a_statement_of_before_is_the_servers_still(sealed: Desk, tmp_path: Path) -> None:
    file = tmp_path / "out.mp4"
    file.write_bytes(b"film")
    manifest = read_manifest(sealed.path("old"), sealed.keys.public_key)
    made = derivation.describe(file, derivation.origin(manifest), (0, 1), NOW_US, transcoded=False)
    derivation.sign(file, made, sealed.keys.signer)
    key = rotate(sealed).keys.public_key
    assert derivation.check(file, key).sha256
    assert raw(derivation.signed_by(file, key)) == raw(key.keys[0])
    with pytest.raises(SegmentError, match="signature"):
        derivation.check(file, key.newest)


# ---- crashes ----------------------------------------------------------------------------


@pytest.mark.parametrize("survived", range(8))
def test_a_change_that_was_cut_is_ended_by_the_next_start(
    sealed: Desk, survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of its durable steps, and after none."""
    left = survived

    class Cut(Exception):
        pass

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object) -> object:
            nonlocal left
            if left == 0:
                raise Cut
            left -= 1
            return call(*arguments)

        return step

    with monkeypatch.context() as crashing:
        for name in ("write_durably", "open_log", "overwrite"):
            crashing.setattr(key_change, name, counted(getattr(key_change, name)))
        crashing.setattr(Log, "append", counted(Log.append))
        try:
            key_change.rotate_signer(sealed.data_dir, NOW_US)
        except Cut:
            pass
        else:
            assert survived == 7, "each step was counted"
    ended = key_change.finish(sealed.data_dir)
    after = Desk(sealed.data_dir)
    held = len(after.keys.public_key.keys) == 2
    assert held == (survived >= 3), "from the list on, which is the third"
    assert ended == (held and survived < 6)
    after.seal("new", START_S + 200)
    entries = read_log(after.log, after.keys.public_key).entries
    assert [entry.kind for entry in entries].count(EntryKind.ROTATED) == held
    for interview_id in ("old", "new"):
        assert verify(after.path(interview_id), after.keys.public_key, after.log).intact


def test_nobody_signs_with_either_key_while_a_change_is_cut(sealed: Desk) -> None:
    former = private_pem(sealed.keys.signer)
    after = rotate(sealed)
    newer = (keys_dir(after) / SIGNING_KEY).read_bytes()
    (keys_dir(after) / NEXT_SIGNING_KEY).write_bytes(newer)
    (keys_dir(after) / SIGNING_KEY).write_bytes(former)
    with pytest.raises(KeyProblem, match=r"cut off.*rotate-signing"):
        open_keys(keys_dir(after))
    assert key_change.finish(after.data_dir)
    assert verify(after.path("old"), open_keys(keys_dir(after)).public_key, after.log).intact


def test_what_a_crash_left_open_is_to_be_repaired_first(desk: Desk) -> None:
    desk.write(interview(seconds=3), finish=False)
    with pytest.raises(KeyProblem, match="start the server, which repairs"):
        rotate(desk)
    assert not (keys_dir(desk) / succession.FILE).exists()


# ---- attempts ---------------------------------------------------------------------------


def test_an_older_signing_key_put_back_is_refused(sealed: Desk, tmp_path: Path) -> None:
    shutil.copytree(keys_dir(sealed), tmp_path / "backup")
    after = rotate(sealed)
    shutil.copy(tmp_path / "backup" / SIGNING_KEY, keys_dir(after))
    with pytest.raises(KeyProblem, match=r"is not the key that .* names as the newest"):
        open_keys(keys_dir(after))


def test_key_and_list_put_back_to_before_are_found_by_the_log(sealed: Desk, tmp_path: Path) -> None:
    """A whole older folder of keys, as a thief of the former key has it."""
    shutil.copytree(keys_dir(sealed), tmp_path / "backup")
    after = rotate(sealed)
    shutil.rmtree(keys_dir(after))
    shutil.copytree(tmp_path / "backup", keys_dir(after))
    with pytest.raises(LogProblem, match="signed by another key"):
        open_log(after.log, open_keys(keys_dir(after)).signer)
    key = load_public_key(keys_dir(after) / SIGNING_PUB)
    faults = verify(after.path("old"), key, after.log).faults
    assert [(fault.kind, fault.file) for fault in faults] == [("tampered", "log/checkpoint")]


def test_a_list_that_was_put_back_or_is_gone_is_found(sealed: Desk) -> None:
    once = rotate(sealed)
    older = (keys_dir(once) / succession.FILE).read_bytes()
    twice = rotate(once, NOW_US + 1)
    (keys_dir(twice) / succession.FILE).write_bytes(older)
    with pytest.raises(SegmentError, match="does not have this one"):
        load_public_key(keys_dir(twice) / SIGNING_PUB)
    with pytest.raises(KeyProblem):
        open_keys(keys_dir(twice))
    (keys_dir(twice) / succession.FILE).unlink()
    key = load_public_key(keys_dir(twice) / SIGNING_PUB)
    with pytest.raises(SegmentError, match="lacks a change of the key"):
        read_log(twice.log, key)


def test_a_key_that_the_former_one_did_not_sign_for_is_refused(sealed: Desk) -> None:
    after = rotate(sealed)
    forger = Ed25519PrivateKey.generate()
    path = keys_dir(after) / succession.FILE
    (signed,) = succession.decode(path.read_bytes())
    change = signed.succession
    forged = succession.Succession(
        change.format, 1, 2, change.key, raw(forger.public_key()).hex(), NOW_US, 0, ""
    )
    path.write_bytes(succession.encode((signed, succession.sign(forged, forger, forger))))
    (keys_dir(after) / SIGNING_KEY).write_bytes(private_pem(forger))
    with pytest.raises(KeyProblem, match="was not signed for by the key before it"):
        open_keys(keys_dir(after))


def test_what_a_stolen_former_key_signs_later_is_not_in_the_log(sealed: Desk) -> None:
    after = rotate(sealed)
    key = after.keys.public_key
    sealed.write(interview(seconds=2, start_s=START_S - 5000), "forged")
    report = verify(after.path("forged"), key, after.log)
    assert [fault.message for fault in report.faults] == ["the log does not know this recording"]
    assert report.signed_by == raw(key.keys[0]).hex()


def test_a_log_that_the_former_key_has_signed_anew_is_refused(sealed: Desk) -> None:
    older = (sealed.log / "checkpoint").read_bytes()
    after = rotate(sealed)
    (after.log / "checkpoint").write_bytes(older)
    with pytest.raises(SegmentError, match="signed by another key"):
        read_log(after.log, after.keys.public_key)
    with pytest.raises(LogProblem):
        open_log(after.log, after.keys.signer)
