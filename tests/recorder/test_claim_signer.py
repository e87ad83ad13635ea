"""The certificate that signs for C2PA: made once, wrapped, rotated; or one's own."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.recorder.keys import claim_signer
from server.recorder.keys.claim_signer import ClaimSigner, PrivateKey
from server.recorder.keys.key_database import SignerRow
from server.recorder.keys.key_ring import KeyRing, open_keys, rotate
from server.recorder.keys.root_key import EnvironmentRootKey, FileRootKey, KeyProblem

NOW = 1_760_000_000.0
CLEAR = NoEncryption()
YEAR_S = 365 * 86_400


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    return open_keys(tmp_path / "keys")


def own_row(keys: KeyRing) -> SignerRow:
    row = keys.database.signer()
    assert row is not None
    return row


def test_it_is_made_once_and_its_root_lies_open(keys: KeyRing, tmp_path: Path) -> None:
    first = keys.claim_signer(NOW)
    again = open_keys(tmp_path / "keys").claim_signer(NOW + YEAR_S)
    assert again.chain == first.chain
    root = tmp_path / "keys" / "c2pa-root.pem"
    assert root.read_bytes() == first.anchor
    assert root.stat().st_mode & 0o777 == 0o644
    assert open_keys(tmp_path / "other").claim_signer(NOW).chain != first.chain


def test_the_root_vouches_for_it_and_its_own_key_signs(keys: KeyRing) -> None:
    signer = keys.claim_signer(NOW)
    own, root = signer.chain
    own.verify_directly_issued_by(root)
    assert signer.algorithm == "es256"
    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    for at_s, valid in ((NOW, True), (NOW + 19 * YEAR_S, True), (NOW + 21 * YEAR_S, False)):
        at = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
        assert (own.not_valid_before_utc <= at <= own.not_valid_after_utc) is valid


def test_the_roots_name_and_the_signers_tell_nothing_of_the_server(keys: KeyRing) -> None:
    for certificate in keys.claim_signer(NOW).chain:
        kinds = {attribute.oid._name for attribute in certificate.subject}
        assert kinds == {"organizationName", "commonName"}
        assert certificate.subject.rfc4514_string().split("O=")[1] == "Vivavoce"


def test_its_key_lies_there_wrapped_alone(keys: KeyRing, tmp_path: Path) -> None:
    keys.claim_signer(NOW)
    row = own_row(keys)
    scalar = keys.root.unwrap(row.wrapped, claim_signer._context(row.chain))
    files = b"".join(path.read_bytes() for path in (tmp_path / "keys").iterdir())
    assert len(scalar) == 32
    assert scalar not in files
    assert scalar.hex().encode() not in files


def test_a_certificate_of_another_key_is_not_believed(keys: KeyRing, tmp_path: Path) -> None:
    keys.claim_signer(NOW)
    others = open_keys(tmp_path / "others")
    others.claim_signer(NOW)
    row = own_row(keys)
    with keys.database.writing() as db:
        db.keep_signer(SignerRow(own_row(others).chain, row.root_key, row.wrapped))
    with pytest.raises(KeyProblem, match="was changed"):
        open_keys(tmp_path / "keys").claim_signer(NOW)


def test_rotation_rewraps_it_and_forgets_the_former_root_key(keys: KeyRing, tmp_path: Path) -> None:
    signer = keys.claim_signer(NOW)
    before = own_row(keys).wrapped
    folder, root = tmp_path / "keys", FileRootKey(tmp_path / "keys" / "root.key")
    assert rotate(folder, root, root, lambda done, of: None) == 1
    after = own_row(keys).wrapped
    assert after.version == root.version() != before.version
    assert root.path.read_text().count("\n") == 1
    assert open_keys(folder).claim_signer(NOW).chain == signer.chain
    assert before.data not in (folder / "keys.sqlite-journal").read_bytes()


def test_it_moves_to_another_root_key(keys: KeyRing, tmp_path: Path) -> None:
    signer = keys.claim_signer(NOW)
    folder, former = tmp_path / "keys", FileRootKey(tmp_path / "keys" / "root.key")
    elsewhere = EnvironmentRootKey("MY_KEY", "5a" * 32)
    assert rotate(folder, elsewhere, former, lambda done, of: None) == 1
    former.path.unlink()
    assert open_keys(folder, elsewhere).claim_signer(NOW).chain == signer.chain
    with pytest.raises(KeyProblem, match="--from env:MY_KEY"):
        open_keys(folder)


# ---- one's own ----------------------------------------------------------------------------

PRIVATE_KEYS: dict[str, PrivateKey] = {
    "es256": ec.derive_private_key(7, ec.SECP256R1()),
    "es384": ec.derive_private_key(7, ec.SECP384R1()),
    "es512": ec.derive_private_key(7, ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)),
    "ps256": rsa.generate_private_key(65537, 2048),
}


def bring(
    folder: Path,
    key: PrivateKey,
    issuer: str = "An authority",
    encryption: KeySerializationEncryption = CLEAR,
    now: float = NOW,
) -> tuple[ClaimSigner, bytes]:
    """A certificate and its key in two files, as one gets them, loaded; and the root's PEM."""
    authority = ec.derive_private_key(8, ec.SECP256R1())
    root = claim_signer._root(claim_signer._name(issuer), authority, now)
    name = claim_signer._name("A company")
    made = claim_signer._certified(name, key.public_key(), root.subject, authority, now)
    (folder / "chain.pem").write_bytes(made.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    (folder / "key.pem").write_bytes(pem)
    signer = claim_signer.load(folder / "chain.pem", folder / "key.pem")
    return signer, root.public_bytes(Encoding.PEM)


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
def test_ones_own_may_be_of_each_kind_that_c2pa_has(algorithm: str, tmp_path: Path) -> None:
    signer, _ = bring(tmp_path, PRIVATE_KEYS[algorithm])
    assert signer.algorithm == algorithm
    assert len(signer.sign(b"data")) == {
        "es256": 64, "es384": 96, "es512": 132, "ed25519": 64, "ps256": 256
    }[algorithm]  # fmt: skip


def test_a_key_that_does_not_belong_to_the_certificate_is_refused(tmp_path: Path) -> None:
    bring(tmp_path, PRIVATE_KEYS["es256"])
    pem = PRIVATE_KEYS["es384"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, CLEAR)
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(KeyProblem, match="not the key of the first certificate"):
        claim_signer.load(tmp_path / "chain.pem", tmp_path / "key.pem")


def test_what_c2pa_does_not_take_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="signed itself"):
        bring(tmp_path, PRIVATE_KEYS["es256"], issuer="A company")
    with pytest.raises(KeyProblem, match="curve secp256k1"):
        bring(tmp_path, ec.derive_private_key(7, ec.SECP256K1()))
    with pytest.raises(KeyProblem, match="less than 2048 bits"):
        bring(tmp_path, rsa.generate_private_key(65537, 1024))
    with pytest.raises(KeyProblem, match="without a password"):
        bring(tmp_path, PRIVATE_KEYS["es256"], encryption=BestAvailableEncryption(b"secret"))
    (tmp_path / "chain.pem").write_text("nothing")
    with pytest.raises(KeyProblem, match="no certificates"):
        claim_signer.load(tmp_path / "chain.pem", tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("purpose", "signs", "taken"),
    [
        (ExtendedKeyUsageOID.EMAIL_PROTECTION, True, True),
        (ExtendedKeyUsageOID.SERVER_AUTH, True, False),
        (ExtendedKeyUsageOID.EMAIL_PROTECTION, False, False),
        (None, True, False),
    ],
)
def test_a_certificate_for_something_else_is_refused(
    tmp_path: Path, purpose: x509.ObjectIdentifier | None, signs: bool, taken: bool
) -> None:
    bring(tmp_path, PRIVATE_KEYS["es256"])
    authority = ec.derive_private_key(8, ec.SECP256R1())
    names = claim_signer._name("A company"), claim_signer._name("An authority")
    public = PRIVATE_KEYS["es256"].public_key()
    usage = claim_signer._usage(signs_certificates=not signs)
    made = claim_signer._certificate(*names, public, NOW).add_extension(usage, critical=True)
    if purpose is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    certificate = made.sign(authority, SHA256())
    (tmp_path / "chain.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    if taken:
        claim_signer.load(tmp_path / "chain.pem", tmp_path / "key.pem")
        return
    with pytest.raises(KeyProblem, match="not for signing claims"):
        claim_signer.load(tmp_path / "chain.pem", tmp_path / "key.pem")
