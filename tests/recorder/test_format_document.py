"""`docs/recording-format.md` says what the code does; the vectors say it to other readers."""

import hmac
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.core.frames import Codec, GapCause, TrackName
from server.recorder.catalog import derived, receipt, recordings
from server.recorder.credentials import live_credentials
from server.recorder.evidence import derivation, tlog
from server.recorder.evidence.verify import verify
from server.recorder.format import manifest, mp4, sealing
from server.recorder.format.sealing import (
    FaultKind,
    Flags,
    Kind,
    Opener,
    SegmentError,
    parse_record_header,
    parse_segment_header,
    segment_key,
)
from server.recorder.format.segments import check_records, read_ciphertext, read_segment_header
from server.recorder.format.server_key import from_hex, raw
from server.recorder.keys import claim_signer, key_ring, succession
from server.recorder.writing.pauses import PAUSED_US
from tests.recorder import worked_example
from tests.recorder.conftest import Desk
from tests.recorder.encoded import interview
from tests.recorder.mutations import load_reader

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "recording-format.md").read_text()
TIMELINE = ROOT / "web_client" / "assets" / "timeline.js"
_NUMBERS = {3_000_000: "three"}


def _section(title: str) -> str:
    return DOCUMENT.split(f"# {title}", 1)[1].split("\n#", 1)[0]


def _rows(text: str, first_heading: str) -> Iterator[list[str]]:
    """Rows of the first table in ``text`` whose first column is called so."""
    lines = iter(text.split(f"\n| {first_heading} |", 1)[1].splitlines()[2:])
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _fields(section: str) -> dict[str, tuple[int, int]]:
    """Field name to offset and size; the offsets must add up."""
    fields, at = {}, 0
    for offset, size, name, _ in _rows(_section(section), "offset"):
        assert int(offset) == at, name
        fields[name] = (at, int(size))
        at += int(size)
    fields["end"] = (at, 0)
    return fields


def _dump() -> bytes:
    block = DOCUMENT.split("```hexdump\n")[1].split("```")[0]
    return b"".join(bytes.fromhex(line[10:57]) for line in block.splitlines())


def _field(data: bytes, base: int, place: tuple[int, int]) -> bytes:
    return data[base + place[0] : base + place[0] + place[1]]


def test_sample_entries_are_those_of_the_document() -> None:
    entries = [entry.strip("`").encode() for entry, _ in _rows(DOCUMENT, "entry")]
    assert entries == [*mp4.SAMPLE_ENTRIES.values(), b"Opus"]


def test_the_segment_headers_table_reads_the_dump() -> None:
    data, fields = _dump(), _fields("Segment header: 136 bytes")
    assert fields["end"][0] == sealing.SEGMENT_HEADER_BYTES == 136
    header = parse_segment_header(data)
    assert _field(data, 0, fields["magic"]) == sealing.MAGIC
    assert _field(data, 0, fields["version"]) == sealing.FORMAT_VERSION.to_bytes(2, "big")
    assert _field(data, 0, fields["index"]) == header.index.to_bytes(4, "big")
    for name in ("recording_id", "salt", "nonce_prefix", "policy", "previous"):
        assert _field(data, 0, fields[name]) == getattr(header, name), name


@pytest.mark.parametrize("base", [0x88, 0x11E])
def test_the_record_headers_table_reads_the_dump(base: int) -> None:
    data, fields = _dump(), _fields("Record header: 60 bytes")
    assert fields["end"][0] == sealing.RECORD_HEADER_BYTES == 60
    header = parse_record_header(data[base:])
    for name, place in fields.items():
        if name not in ("end", "previous"):
            value = getattr(header, name)
            assert _field(data, base, place) == int(value).to_bytes(place[1], "big"), name
    assert _field(data, base, fields["previous"]) == header.previous
    assert str(sealing.MAX_CIPHERTEXT_BYTES) in DOCUMENT


def test_the_flags_are_all_told_with_their_bits() -> None:
    rows = _rows(_section("Record header: 60 bytes"), "offset")
    told = next(meaning for _, _, name, meaning in rows if name == "flags")
    meant = dict(re.findall(r"(\d+) ([^,]+)", told))
    words = {
        Flags.KEYFRAME: "its first picture is a keyframe",
        Flags.VIDEO: "it has pictures",
        Flags.AUDIO: "it has sound",
        Flags.SCREEN: "it has pictures of the screen",
        Flags.SCREEN_KEYFRAME: "one of these is a keyframe",
        Flags.INTERVIEWER_VIDEO: "it has pictures of an interviewer",
        Flags.INTERVIEWER_AUDIO: "sound of an interviewer",
        Flags.INTERVIEWER_KEYFRAME: "one of an interviewer's pictures is a keyframe",
    }
    assert meant == {str(flag.value): words[flag] for flag in Flags}


def test_the_kinds_and_fault_words_are_all_told() -> None:
    kinds = {
        name: int(number) for number, name, _ in _rows(_section("Record header: 60 bytes"), "kind")
    }
    assert kinds == {kind.name: kind.value for kind in Kind}
    words = {word for word, _ in _rows(_section("What a verifier checks"), "word")}
    assert words == set(FaultKind)
    states = {state for state, _ in _rows(_section("The manifest"), "state | meaning")}
    assert states == set(manifest.State)


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        ("field", manifest.Manifest),
        ("policy", manifest.Policy),
        ("segment", manifest.SegmentEntry),
        ("gap", manifest.GapEntry),
        ("event", manifest.EventEntry),
    ],
)
def test_the_manifests_tables_name_its_fields_in_order(
    heading: str, struct: type[msgspec.Struct]
) -> None:
    told = [name for name, _, _ in _rows(_section("The manifest"), heading)]
    assert told == [field.name for field in msgspec.structs.fields(struct)]


def test_the_table_of_what_was_made_names_its_fields_in_order() -> None:
    section = _section("What was made of a recording")
    told = [name for name, _, _ in _rows(section, "derivation | type | meaning")]
    assert told == list(derivation.Derivation.__struct_fields__)
    assert f'"{derivation.DERIVATION_CONTEXT.decode()}"' in section
    assert f"`NAME{derivation.SUFFIX}`" in section


def test_the_table_of_a_compressed_recording_names_its_fields_in_order() -> None:
    rows = list(_rows(_section("A compressed recording"), "derivation | type | meaning"))
    assert [name for name, _, _ in rows] == list(derived.Compressed.__struct_fields__)
    told = next(meaning for name, _, meaning in rows if name == "quality")
    named = [name for name in re.findall(r"`(\w+)`", told)]
    assert named == list(derived.TrackQuality.__struct_fields__)


def test_the_logs_table_names_an_entrys_fields_in_order() -> None:
    section = _section("The log")
    told = [name for name, _, _ in _rows(section, "entry")]
    assert told == [field.name for field in msgspec.structs.fields(tlog.Entry)]
    assert all(f"`{kind}`" in section for kind in tlog.EntryKind)


def test_the_table_of_a_change_of_keys_names_its_fields_in_order() -> None:
    section = _section("The signing keys")
    told = [name for name, _, _ in _rows(section, "succession")]
    assert told == list(succession.Succession.__struct_fields__)
    assert f'"{succession.CONTEXT.decode()}"' in section
    assert f"`data/keys/{succession.FILE}`" in section
    assert f"`{tlog.EntryKind.ROTATED}`" in section


def test_the_receipts_table_names_its_fields_in_order() -> None:
    section = _section("The receipt")
    assert [name for name, _, _ in _rows(section, "receipt")] == list(
        receipt.Receipt.__struct_fields__
    )
    assert f'"{receipt.RECEIPT_CONTEXT.decode()}"' in section
    assert all(f"`{kind}`" in section for kind in tlog.CLOSING)


def test_causes_and_tracks_are_all_told() -> None:
    section = _section("The manifest")
    assert all(f"`{name}`" in section for name in TrackName)
    assert {cause for cause, _ in _rows(section, "cause | meaning")} == set(GapCause)
    assert f"more than {_NUMBERS[PAUSED_US]} seconds" in section
    told = next(meaning for name, _, meaning in _rows(section, "event") if name == "event")
    shown = TIMELINE.read_text().split("const EVENTS = ")[1].split("]")[0]
    assert re.findall(r"`([a-z-]+)`", told) == re.findall(r'"([a-z-]+)"', shown)


def test_the_key_schedule_names_the_codes_constants() -> None:
    schedule = _section("The key schedule")
    for constant in (
        sealing.SEGMENT_INFO,
        sealing.SIGNATURE_CONTEXT,
        manifest.POLICY_CONTEXT,
        recordings.TITLE_INFO,
        key_ring.CANDIDATE_CONTEXT.encode(),
        key_ring.RECORDING_CONTEXT.encode(),
        live_credentials.INFO + b":",
    ):
        assert f'"{constant.decode()}"' in schedule
    assert f"`{claim_signer.CONTEXT}:`" in schedule
    assert f'"{manifest.MANIFEST_CONTEXT.decode()}"' in _section("The manifest")
    header = parse_segment_header(_dump())
    assert segment_key(worked_example.RECORDING_KEY, header).hex() in DOCUMENT
    assert raw(worked_example.PUBLIC_KEY.known).hex() in DOCUMENT
    assert header.policy.hex() in DOCUMENT
    assert all(digest.hex() in DOCUMENT for digest in worked_example.record_hashes())


def test_the_columns_of_the_key_database_are_told(desk: Desk) -> None:
    schedule = _section("The key schedule")
    with closing(sqlite3.connect(desk.keys.database.path)) as db:
        for table in ("candidate_keys", "recording_keys"):
            (listed,) = re.findall(rf"`{table}` \(([^)]+)\)", schedule)
            told = [column.split(":")[0] for column in listed.split(", ")]
            found = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            assert told == found, table


def test_a_recording_is_opened_from_its_files_by_the_key_schedule_as_it_is_written(
    desk: Desk,
) -> None:
    """No code of the server's has a part in it, but for what wrote the files."""
    desk.write(interview(Codec.VP8, 1))
    told = json.loads((desk.path() / "manifest.json").read_bytes())["manifest"]
    recording, interview_id = told["recording"], told["interview"]
    root = bytes.fromhex((desk.data_dir / "keys" / "root.key").read_text().split()[-1])
    with closing(sqlite3.connect(desk.data_dir / "keys" / "keys.sqlite")) as db:
        query = "SELECT candidate, wrapped FROM candidate_keys WHERE interview = ?"
        candidate, wrapped = db.execute(query, (interview_id,)).fetchone()
        query = "SELECT wrapped FROM recording_keys WHERE recording = ? AND candidate = ?"
        (wrapped_by_candidate,) = db.execute(query, (recording, candidate)).fetchone()
    by_candidate = _unwrapped(root, wrapped, f"vivavoce/candidate-key/v1:{candidate}")
    context = f"vivavoce/recording-key/v1:{candidate}:{recording}:{interview_id}"
    key = _unwrapped(by_candidate, wrapped_by_candidate, context)
    by_title = hmac.digest(hmac.digest(bytes(32), key, "sha256"), b"vivavoce/title/v1\1", "sha256")
    sealed = bytes.fromhex(told["title"])
    title = AESGCM(by_title).decrypt(sealed[:12], sealed[12:], bytes.fromhex(recording))
    assert title == b"A title"
    reader = load_reader()
    with (desk.path() / "00000.seg").open("rb") as file:
        segment = reader.read_header(file)
        records = list(reader.read_records(file, segment, desk.keys.public_key.keys))
    opened = [reader.open_record(record, segment, key) for record in records]
    assert [plaintext[4:8] for plaintext in opened] == [b"ftyp", *[b"moof"] * 2, b""]


def _unwrapped(by: bytes, wrapped: bytes, context: str) -> bytes:
    return AESGCM(by).decrypt(wrapped[:12], wrapped[12:], context.encode())


def test_the_worked_example_is_what_the_code_writes_and_verifies(tmp_path: Path) -> None:
    assert _dump() == worked_example.segment()
    assert worked_example.hex_dump(_dump()) in DOCUMENT
    (tmp_path / "00000.seg").write_bytes(_dump())
    example = DOCUMENT.split("```json\n")[1].split("\n```")[0].encode()
    assert example == worked_example.manifest()
    (tmp_path / "manifest.json").write_bytes(example)
    report = verify(tmp_path, worked_example.PUBLIC_KEY)
    assert (report.intact, report.fragments, report.duration_s) == (True, 1, 0.75)
    example = DOCUMENT.split("```json\n")[2].split("\n```")[0].encode()
    assert example == worked_example.receipt()
    entry = receipt.check_receipt(example, worked_example.PUBLIC_KEY).entry
    assert verify(tmp_path, worked_example.PUBLIC_KEY, None, entry).intact


def _outcome(vector: dict[str, str]) -> str:
    """What reading a vector's segment with its keys comes to."""
    file = BytesIO(bytes.fromhex(vector["segment"]))
    public_key = from_hex((vector["public_key"],))
    try:
        header = read_segment_header(file)
        opener = Opener(bytes.fromhex(vector["recording_key"]), header)
        for record, _ in check_records(file, header, public_key):
            opener.open(record.header, read_ciphertext(file, record))
    except SegmentError as error:
        return error.kind
    return "success"


@pytest.mark.parametrize(
    "path", sorted(worked_example.VECTORS.glob("*.json")), ids=lambda p: p.stem
)
def test_a_vector_comes_to_what_it_expects(path: Path) -> None:
    vector = json.loads(path.read_text())
    assert _outcome(vector) == vector["expect"]


def test_the_vectors_are_those_of_this_version_and_cover_every_outcome() -> None:
    stored = {
        path.stem: json.loads(path.read_text()) for path in worked_example.VECTORS.glob("*.json")
    }
    assert stored == worked_example.vectors()
    outcomes = {vector["expect"] for vector in stored.values()}
    assert outcomes == {
        "success",
        "truncated",
        "tampered",
        "wrong key",
        "reordered",
        "unknown version",
    }


def test_an_offset_in_the_text_points_where_it_says() -> None:
    named = re.search(
        r"record header at `(\w+)`, its ciphertext at `(\w+)`, its signature at `(\w+)`", DOCUMENT
    )
    assert named is not None
    record_at, ciphertext_at, signature_at = (int(place, 16) for place in named.groups())
    header = parse_record_header(_dump()[record_at:])
    assert ciphertext_at == record_at + sealing.RECORD_HEADER_BYTES
    assert signature_at == ciphertext_at + header.length
