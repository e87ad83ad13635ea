"""The independent reader says what the format's document says, and needs nothing of the server."""

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from server.core.frames import Codec
from server.recorder.catalog.receipt import issue
from server.recorder.evidence import derivation
from server.recorder.evidence.verify import verify
from server.recorder.format.manifest import encode_manifest
from server.recorder.format.merkle import inclusion_path, leaf_hash, range_hash_of, tree_of
from tests.recorder import worked_example
from tests.recorder.conftest import POLICY, Desk
from tests.recorder.encoded import START_S, interview
from tests.recorder.mutations import READER, load_reader

reader = load_reader()


def run(*arguments: str | Path) -> tuple[int, str]:
    """As a person runs it; isolated, so that nothing of this project can be imported."""
    done = subprocess.run(
        [sys.executable, "-I", str(READER), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    return done.returncode, done.stdout + done.stderr


def outcome(vector: dict[str, str]) -> str:
    file = io.BytesIO(bytes.fromhex(vector["segment"]))
    public_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(vector["public_key"]))
    try:
        segment = reader.read_header(file)
        for record in reader.read_records(file, segment, [public_key]):
            reader.open_record(record, segment, bytes.fromhex(vector["recording_key"]))
    except reader.Fault as fault:
        return str(fault.kind)
    return "success"


@pytest.mark.parametrize(
    "path", sorted(worked_example.VECTORS.glob("*.json")), ids=lambda path: path.stem
)
def test_a_vector_comes_to_what_it_expects(path: Path) -> None:
    vector = json.loads(path.read_text())
    assert outcome(vector) == vector["expect"]


def test_it_imports_nothing_but_cryptography() -> None:
    imported = set()
    for node in ast.walk(ast.parse(READER.read_text())):
        match node:
            case ast.Import(names):
                imported |= {each.name.partition(".")[0] for each in names}
            case ast.ImportFrom(module):
                imported.add(str(module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"cryptography"}


def test_it_verifies_and_decrypts(desk: Desk, tmp_path: Path) -> None:
    desk.write(interview(Codec.H264, 12.0))
    desk.write(interview(Codec.VP8, 3.0, START_S + 20))
    public_key = desk.data_dir / "keys" / "signing.pub"
    assert run(desk.path(), "--public-key", public_key) == (0, "Intact: 3 segments.\n")
    manifest = desk.reader().manifest
    key = desk.keys.recording_key("iv", bytes.fromhex(manifest.recording))
    out = tmp_path / "out.mp4"
    status, said = run(desk.path(), "--public-key", public_key, "--key", key.hex(), "-o", out)
    assert (status, f"Written: {out}" in said) == (0, True)
    data = out.read_bytes()
    assert out.stat().st_mode & 0o077 == 0, "it is in the clear: for nobody else"
    assert data[4:8] == b"ftyp"
    assert (data.count(b"avc1"), data.count(b"vp08")) == (1, 1), "an init once"
    samples = [sample.data for _, f in desk.reader().all_samples() for sample in f.video]
    assert all(sample in data for sample in samples)
    wrong = ("--key", bytes(32).hex(), "-o", tmp_path / "not.mp4")
    assert run(desk.path(), "--public-key", public_key, *wrong)[0] == 1
    assert not (tmp_path / "not.mp4").exists()


def test_an_open_recording_is_read_as_far_as_it_goes(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 12.0), finish=False)
    last = max(desk.path().glob("*.seg"))
    last.write_bytes(last.read_bytes()[:-7])
    public_key = desk.data_dir / "keys" / "signing.pub"
    assert run(desk.path(), "--public-key", public_key)[0] == 0


def test_a_fault_is_named_with_its_file(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 2.0))
    path = desk.path() / "00000.seg"
    path.write_bytes(path.read_bytes()[:-1])
    status, said = run(desk.path(), "--public-key", desk.data_dir / "keys" / "signing.pub")
    place = "00000.seg, 2.000 s to 2.000 s"
    assert (status, said) == (1, f"NOT INTACT: {place}: truncated: a record is cut off\n")


def test_what_lies_there_is_no_trap(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 2.0))
    arguments = (desk.path(), "--public-key", desk.data_dir / "keys" / "signing.pub")
    (desk.path() / "\x1b[2KIntact").touch()
    os.truncate(desk.path() / "00000.seg", 1 << 40)  # of holes
    status, said = run(*arguments)
    assert (status, len(said.splitlines())) == (1, 2)
    assert "00000.seg, " in said
    assert "NOT INTACT: \\x1b[2KIntact: unexpected" in said
    (desk.path() / "manifest.json").unlink()
    os.mkfifo(desk.path() / "manifest.json")
    assert run(*arguments)[1] == "NOT INTACT: manifest.json: missing: there is no manifest\n"


def test_a_signature_in_capitals_is_another_manifest(desk: Desk) -> None:
    desk.write(interview(Codec.VP8, 2.0))
    path = desk.path() / "manifest.json"
    manifest, _, signature = path.read_text().rpartition('"signature":')
    path.write_text(f'{manifest}"signature":{signature.upper()}')
    status, said = run(desk.path(), "--public-key", desk.data_dir / "keys" / "signing.pub")
    assert (status, "tampered: the manifest is not canonical" in said) == (1, True)


def test_a_policy_that_nobody_listed_is_named(desk: Desk) -> None:
    """By a manifest that the server itself has signed."""
    desk.write(interview(Codec.VP8, 2.0))
    policy = replace(POLICY, analysis=not POLICY.analysis)
    manifest = replace(desk.reader().manifest, policies=(policy,))
    (desk.path() / "manifest.json").write_bytes(encode_manifest(manifest, desk.keys.signer))
    assert not verify(desk.path(), desk.keys.public_key).intact
    status, said = run(desk.path(), "--public-key", desk.data_dir / "keys" / "signing.pub")
    assert (status, "a policy that nobody listed" in said) == (1, True)


def test_wrong_use_is_told(desk: Desk, tmp_path: Path) -> None:
    public_key = desk.data_dir / "keys" / "signing.pub"
    assert run(tmp_path / "nothing", "--public-key", public_key)[0] == 2
    assert run(tmp_path, "--public-key", tmp_path / "nothing")[0] == 2
    assert run()[0] == 2


def test_it_checks_a_receipt_with_the_public_key_alone(desk: Desk, tmp_path: Path) -> None:
    for number in range(6):
        desk.seal(f"iv-{number}", START_S + 10 * number)
    path, public_key = tmp_path / "receipt.json", desk.data_dir / "keys" / "signing.pub"
    key = desk.keys.public_key
    for number in range(6):
        receipt = issue(desk.data_dir, f"iv-{number}", desk.keys.signer, desk.keys.public_key)
        assert reader.read_receipt(receipt, key.keys)[0]["entry"]["interview"] == f"iv-{number}"
    path.write_bytes(receipt)
    assert run(path, "--public-key", public_key)[0] == 0
    for at in range(len(receipt)):
        changed = receipt[:at] + bytes([receipt[at] ^ 1 << at % 8]) + receipt[at + 1 :]
        with pytest.raises(reader.Fault) as caught:
            reader.read_receipt(changed, key.keys)
    path.write_bytes(changed)
    assert run(path, "--public-key", public_key) == (
        1,
        f"NOT INTACT: {path.name}: {caught.value}\n",
    )


def test_a_recording_has_to_bear_its_receipt_out(desk: Desk, tmp_path: Path) -> None:
    desk.seal()
    path, public_key = tmp_path / "receipt.json", desk.data_dir / "keys" / "signing.pub"
    path.write_bytes(issue(desk.data_dir, "iv", desk.keys.signer, desk.keys.public_key))
    held = desk.path(), "--public-key", public_key, "--receipt", path
    older = (desk.path() / "manifest.json").read_bytes()
    assert run(*held) == (0, "Intact: 1 segments.\nThe receipt is of this recording.\n")
    desk.seal(start_s=START_S + 20)
    assert run(*held)[0] == 0, "it went on"
    path.write_bytes(issue(desk.data_dir, "iv", desk.keys.signer, desk.keys.public_key))
    (desk.path() / "manifest.json").write_bytes(older)
    (desk.path() / "00001.seg").unlink()
    assert run(*held[:3])[0] == 0, "by itself it is intact"
    status, said = run(*held)
    assert (status, said.startswith("NOT INTACT: manifest.json: rolled back")) == (1, True)
    desk.seal("other", START_S + 40)
    path.write_bytes(issue(desk.data_dir, "other", desk.keys.signer, desk.keys.public_key))
    assert "manifest.json: foreign" in run(*held)[1]


def test_it_checks_an_export_by_the_statement_beside_it(desk: Desk, tmp_path: Path) -> None:
    desk.write(interview(Codec.VP8, 1.0))
    path, public_key = tmp_path / "out.mp4", desk.data_dir / "keys" / "signing.pub"
    path.write_bytes(b"a film")
    source = derivation.origin(desk.reader().manifest)
    made = derivation.describe(path, source, (0, 1_000_000), 1, transcoded=False)
    derivation.sign(path, made, desk.keys.signer)
    status, said = run(path, "--public-key", public_key)
    assert (status, f"made of recording {source.recording}" in said) == (0, True)
    for data, word in ((b"a fill", "tampered"), (b"a fil", "truncated")):
        path.write_bytes(data)
        assert run(path, "--public-key", public_key)[1].startswith(f"NOT INTACT: out.mp4: {word}")
    statement = derivation.statement_of(path)
    statement.write_bytes(statement.read_bytes().replace(b'"start_us":0', b'"start_us":1'))
    said = run(path, "--public-key", public_key)[1]
    assert said.startswith("NOT INTACT: out.mp4.vivavoce.json: tampered")


# ---- whatever comes ----------------------------------------------------------------------

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
PARSERS = {
    "manifest": lambda data, keys: reader.read_manifest(data, keys),
    "receipt": lambda data, keys: reader.read_receipt(data, keys),
    "derivation": lambda data, keys: reader.read_statement(data, "compressed", keys),
    "successions": lambda data, keys: reader.read_keys(data),
}


@pytest.mark.parametrize("what", PARSERS)
@given(data=st.data())
def test_whatever_is_said_to_be_signed_is_refused(what: str, data: st.DataObject) -> None:
    """With what it needs to come so far, and anything in the place of a part."""
    names = [*reader.MANIFEST_FIELDS, *reader.RECEIPT_FIELDS, *reader.SUCCESSION_FIELDS]
    names += reader.STATEMENT_FIELDS["compressed"]
    inner = {name: data.draw(ANY) for name in data.draw(st.lists(st.sampled_from(names)))}
    value = inner | {"version": 1} if data.draw(st.booleans()) else data.draw(ANY)
    outer = {what: value, "signature": data.draw(st.just("00" * 64) | ANY)}
    text = json.dumps(outer, separators=(",", ":"), ensure_ascii=data.draw(st.booleans()))
    with pytest.raises(reader.Fault):
        PARSERS[what](text.encode(errors="surrogatepass"), worked_example.PUBLIC_KEY.keys)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 13])
def test_it_proves_inclusion_as_the_server_does(size: int) -> None:
    """Every leaf of a tree, and no other."""
    leaves = [bytes([at]) for at in range(size)]
    hashes = [leaf_hash(each) for each in leaves]
    root = tree_of(leaves).root
    for index, leaf in enumerate(leaves):
        path = inclusion_path(index, size, range_hash_of(hashes))
        assert reader._root_from(leaf, index, size, path) == root
        assert reader._root_from(leaf, index, size, [*path, root]) is None
        assert reader._root_from(leaf, index, size, path[:-1]) != root or not path
        others = {reader._root_from(leaf, at, size, path) for at in range(size) if at != index}
        assert root not in others
