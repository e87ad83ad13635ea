"""A receipt proves what was sealed, to whoever has the public key and nothing else."""

import base64
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec, TrackName
from server.recorder.catalog.receipt import NotSealed, Receipt, check_receipt, is_receipt, issue
from server.recorder.evidence.log_check import check_log
from server.recorder.evidence.proof import Proof, check_proof, parse_proof
from server.recorder.evidence.tlog import Entry, EntryKind, open_log
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import manifest_hash
from server.recorder.format.merkle import leaf_hash
from server.recorder.format.sealing import FaultKind, SegmentError
from server.recorder.recorder import open_recorder
from tests.recorder import worked_example
from tests.recorder.conftest import POLICY, Desk
from tests.recorder.encoded import START_S, interview


def issued(desk: Desk, interview_id: str = "iv") -> bytes:
    return issue(desk.data_dir, interview_id, desk.keys.signer, desk.keys.public_key)


def fault(data: bytes, desk: Desk) -> FaultKind:
    with pytest.raises(SegmentError) as caught:
        check_receipt(data, desk.keys.public_key)
    return caught.value.kind


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("receipt"))
    for number in range(3):
        desk.seal(f"before-{number}", START_S - 100 + 20 * number)
    desk.seal()
    desk.seal("after", START_S + 100)
    return desk


@pytest.fixture(scope="module")
def receipt(sealed: Desk) -> bytes:
    return issued(sealed)


def test_it_says_what_was_sealed_and_proves_that_the_log_has_it(
    sealed: Desk, receipt: bytes
) -> None:
    found, manifest = check_receipt(receipt, sealed.keys.public_key), sealed.reader().manifest
    assert (found.entry.kind, found.entry.interview) == (EntryKind.CLOSED, "iv")
    assert found.entry.recording == manifest.recording
    assert (found.entry.tree_size, found.entry.root) == (manifest.tree_size, manifest.root)
    assert found.entry.manifest == manifest_hash(manifest)
    assert found.tracks == (TrackName.CAMERA, TrackName.MICROPHONE)
    assert found.policies == (POLICY,)
    assert found.started_us == round(START_S * 1e6)
    assert found.ended_us == pytest.approx((START_S + 2) * 1e6, abs=50_000)
    proof = parse_proof(found.proof)
    assert len(proof.path) >= 3
    assert check_log(sealed.log, sealed.keys.public_key, proof.checkpoint) == []


def test_others_tools_find_the_leaf_the_proof_and_the_key(sealed: Desk, receipt: bytes) -> None:
    told = json.loads(receipt)["receipt"]
    leaf = json.dumps(told["entry"], separators=(",", ":")).encode()
    assert leaf in (sealed.log / "tail").read_bytes()
    header, index, *path = told["proof"].split("\n\n")[0].split("\n")
    assert header == "c2sp.org/tlog-proof@v1"
    assert index.startswith("index ")
    assert all(len(base64.b64decode(each)) == 32 for each in path)
    origin, key_id, _ = told["key"].split("+", 2)
    assert told["proof"].split("\n\n")[1].split("\n")[0] == origin
    assert len(bytes.fromhex(key_id)) == 4


def test_every_changed_bit_is_found(sealed: Desk, receipt: bytes) -> None:
    for at in range(len(receipt)):
        changed = receipt[:at] + bytes([receipt[at] ^ 1 << at % 8]) + receipt[at + 1 :]
        assert fault(changed, sealed) in (FaultKind.TAMPERED, FaultKind.UNKNOWN_VERSION), at


def test_what_the_server_would_sign_wrongly_is_found_too(sealed: Desk, receipt: bytes) -> None:
    """Who has the signing key still needs a log that bears the receipt out."""
    true = check_receipt(receipt, sealed.keys.public_key)
    assert check_receipt(signed(true, sealed), sealed.keys.public_key) == true
    other = check_receipt(issued(sealed, "after"), sealed.keys.public_key)
    proof = parse_proof(true.proof)
    moved = Proof(proof.index + 1, proof.path, proof.checkpoint).text
    for lie in (
        msgspec.structs.replace(true, entry=other.entry),
        msgspec.structs.replace(true, proof=moved),
        msgspec.structs.replace(true, proof=Proof(proof.index, (), proof.checkpoint).text),
        msgspec.structs.replace(true, key=true.key[:-8] + "AAAAAAA="),
        msgspec.structs.replace(true, proof=true.proof.replace("index ", "index 0")),
    ):
        assert fault(signed(lie, sealed), sealed) is FaultKind.TAMPERED


def signed(receipt: Receipt, desk: Desk) -> bytes:
    text = msgspec.json.encode(receipt)
    signature = desk.keys.signer.sign(b"vivavoce/receipt/v1" + text)
    return b'{"receipt":' + text + b',"signature":"' + signature.hex().encode() + b'"}'


def test_an_entry_that_is_no_end_is_no_receipt(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    desk.seal()
    true = check_receipt(issued(desk), desk.keys.public_key)
    begun, closed = open_log(desk.log, desk.keys.signer).latest(2)
    assert begun.kind is EntryKind.BEGUN
    sibling = leaf_hash(msgspec.json.encode(closed))
    proof = Proof(0, (sibling,), parse_proof(true.proof).checkpoint)
    assert check_proof(proof, msgspec.json.encode(begun), desk.keys.public_key).size == 2
    lie = msgspec.structs.replace(true, entry=begun, proof=proof.text)
    assert fault(signed(lie, desk), desk) is FaultKind.TAMPERED


def test_another_servers_key_and_a_later_version_are_named(
    sealed: Desk, receipt: bytes, tmp_path: Path
) -> None:
    assert fault(receipt, Desk(tmp_path / "other")) is FaultKind.TAMPERED
    later = receipt.replace(b'"version":1', b'"version":2', 1)
    assert fault(later, sealed) is FaultKind.UNKNOWN_VERSION


def test_a_recording_that_goes_on_or_that_the_log_does_not_know_has_none(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    with pytest.raises(KeyError):
        issued(desk)
    open_log(desk.log, desk.keys.signer)
    writer = desk.write(interview(Codec.VP8, 1), finish=False)
    with pytest.raises(NotSealed):
        issued(desk)
    writer.finish()
    with pytest.raises(NotSealed):
        issued(desk)


@pytest.mark.may_block("what is written here is on the disk at once")
async def test_one_that_a_crash_cut_has_a_receipt_once_it_is_repaired(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    desk.write(interview(Codec.VP8, 2), finish=False)
    async with open_recorder(desk.data_dir):
        found = check_receipt(issued(desk), desk.keys.public_key)
    assert found.entry.kind is EntryKind.REPAIRED
    assert found.started_us is not None
    assert verify(desk.path(), desk.keys.public_key, desk.log, found.entry).intact


def test_one_that_went_on_has_a_newer_receipt_and_bears_out_the_older(
    tmp_path: Path, receipt: bytes
) -> None:
    desk = Desk(tmp_path / "data")
    desk.seal()
    first = check_receipt(issued(desk), desk.keys.public_key)
    desk.seal(start_s=START_S + 20)
    second = check_receipt(issued(desk), desk.keys.public_key)
    assert second.entry.tree_size > first.entry.tree_size
    for each in (first, second):
        assert verify(desk.path(), desk.keys.public_key, None, each.entry).intact
    stranger = msgspec.structs.replace(first.entry, recording="00" * 16)
    report = verify(desk.path(), desk.keys.public_key, None, stranger)
    assert [each.kind for each in report.faults] == [FaultKind.FOREIGN]


def test_a_recording_put_back_or_made_anew_does_not_bear_its_receipt_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    desk.seal()
    older = {file.name: file.read_bytes() for file in desk.path().iterdir()}
    desk.seal(start_s=START_S + 20)
    entry = check_receipt(issued(desk), desk.keys.public_key).entry
    for file in desk.path().iterdir():
        file.unlink()
    for name, data in older.items():
        (desk.path() / name).write_bytes(data)
    report = verify(desk.path(), desk.keys.public_key, None, entry)
    assert [each.kind for each in report.faults] == [FaultKind.ROLLED_BACK]
    other = msgspec.structs.replace(entry, revision=desk.reader().manifest.revision, tree_size=2)
    report = verify(desk.path(), desk.keys.public_key, None, other)
    assert [each.kind for each in report.faults] == [FaultKind.TAMPERED, FaultKind.TAMPERED]


def test_it_is_found_in_a_long_log_wherever_its_end_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    log = open_log(desk.log, desk.keys.signer)
    minute = 60_000_000

    def others(first_us: int) -> list[Entry]:
        return [
            Entry(EntryKind.RECORDING, "0a" * 16, "x", 1, "", 1, 1, "", first_us + at * minute)
            for at in range(600)
        ]

    log.append(others(round(START_S * 1e6) - 600 * minute))
    desk.seal()
    open_log(desk.log, desk.keys.signer).append(others(round(START_S * 1e6)))
    found = check_receipt(issued(desk), desk.keys.public_key)
    assert parse_proof(found.proof).index == 601


def test_it_is_found_although_the_clock_was_set_back_since(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    hour = 3_600_000_000

    def others(first_us: int) -> list[Entry]:
        return [
            Entry(EntryKind.RECORDING, "0a" * 16, "x", 1, "", 1, 1, "", first_us + at * hour // 60)
            for at in range(600)
        ]

    log = open_log(desk.log, desk.keys.signer)
    log.append(others(round(START_S * 1e6) - 10 * hour))
    desk.seal()
    log = open_log(desk.log, desk.keys.signer)
    for _ in range(4):  # so that a search by times leads past it
        log.append(others(round(START_S * 1e6) - 30 * hour))
    found = check_receipt(issued(desk), desk.keys.public_key)
    assert parse_proof(found.proof).index == 601


# ---- whatever comes ----------------------------------------------------------------------


@given(st.binary(max_size=400) | st.builds(lambda text: b'{"receipt":' + text, st.binary()))
def test_any_bytes_are_refused_as_they_are_documented_to_be(data: bytes) -> None:
    with pytest.raises(SegmentError):
        check_receipt(data, worked_example.PUBLIC_KEY)


@given(data=st.data())
def test_a_receipt_with_anything_in_place_of_a_part_is_refused(
    sealed: Desk, receipt: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(receipt)))
    end = data.draw(st.integers(start, min(len(receipt), start + 80)))
    part = data.draw(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
    changed = receipt[:start] + part + receipt[end:]
    if changed != receipt:
        fault(changed, sealed)


HEAD = "c2sp.org/tlog-proof@v1\nindex 1\n"


@given(st.text() | st.text(alphabet="index 0123\nAB=\ud800", max_size=200).map(HEAD.__add__))
def test_a_proof_parses_to_what_it_says_or_is_refused(text: str) -> None:
    try:
        assert parse_proof(text).text == text
    except SegmentError:
        return


def test_a_receipt_is_told_from_other_files(tmp_path: Path) -> None:
    for data, expected in (
        (b'{"receipt":{', True),
        (b'\n { "receipt" : {', True),
        (b'{"manifest":{', False),
        (b"", False),
        (b"\0\0\0\x1cftyp", False),
    ):
        (tmp_path / "file").write_bytes(data)
        assert is_receipt(tmp_path / "file") is expected
