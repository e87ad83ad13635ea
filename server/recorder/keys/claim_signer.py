"""Who signs for C2PA, a "claim signer": a certificate chain, and the private key of its first.

Nobody has to buy a certificate: at first use a data directory makes a certificate authority of
its own, which signs one certificate and whose key is then forgotten, so that a root that others
came to trust can vouch for nothing else. The certificate's own key is wrapped by the root key.
Who has a certificate from an authority that C2PA's readers know brings it instead.
"""

import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.recorder.keys.key_database import KeyDatabase, SignerRow
from server.recorder.keys.root_key import KeyProblem, RootKey

CONTEXT = "vivavoce/claim-signer/v1"
#: C2PA 2.4 14.5.1: what a claim signer's certificate may be for; and what readers accepted before.
_PURPOSES = (
    x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1"),  # c2pa-kp-claimSigning
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
)
#: Another that they accept: RFC 9336, for signing documents.
_OTHER_PURPOSES = (x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),)
_LEAST_RSA_BITS = 2048
#: A signature without a timestamp counts for as long as its certificate does.
_VALID = datetime.timedelta(days=20 * 365)
#: A reader's clock may be behind ours.
_BEFORE = datetime.timedelta(hours=1)
_SCALAR_BYTES = 32  # of P-256

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Ed25519PublicKey
Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class ClaimSigner:
    """``algorithm`` is a name as C2PA 2.4 13.2.1 has it; ``sign`` gives what COSE wants of it."""

    chain: tuple[x509.Certificate, ...]  #: the signer's own first
    algorithm: str
    sign: Sign

    @property
    def pem(self) -> bytes:
        """All of the chain."""
        return b"".join(map(_pem, self.chain))

    @property
    def certificates(self) -> bytes:
        """What goes into a signature, in PEM: all but a root, which its reader has or has not."""
        return b"".join(map(_pem, self._sent()))

    @property
    def der(self) -> list[bytes]:
        """The same, each in DER."""
        return [each.public_bytes(Encoding.DER) for each in self._sent()]

    def _sent(self) -> list[x509.Certificate]:
        return [each for each in self.chain if each.subject != each.issuer]

    @property
    def anchor(self) -> bytes:
        """The last of the chain in PEM: who trusts it trusts what is signed here."""
        return _pem(self.chain[-1])


def open_own(database: KeyDatabase, root_key: RootKey, now: float) -> ClaimSigner:
    """The data directory's own, made at first use. KeyProblem."""
    with database.writing() as db:
        row = db.signer()
        if row is None:
            row = _made(root_key, now)
            db.keep_signer(row)
    chain = tuple(x509.load_pem_x509_certificates(row.chain.encode()))
    scalar = root_key.unwrap(row.wrapped, _context(row.chain))
    return _claim_signer(chain, ec.derive_private_key(int.from_bytes(scalar), ec.SECP256R1()))


def rewrap(database: KeyDatabase, root_key: RootKey, former: RootKey) -> int:
    """Wrap the key by the newest version of ``root_key``; how many keys that were. KeyProblem."""
    with database.writing() as db:
        row = db.signer()
        if row is None or (row.root_key, row.wrapped.version) == (
            root_key.name,
            root_key.version(),
        ):
            return 0
        by = root_key if row.root_key == root_key.name else former
        key = by.unwrap(row.wrapped, _context(row.chain))
        wrapped = root_key.wrap(key, _context(row.chain))
        db.keep_signer(SignerRow(row.chain, root_key.name, wrapped))
    return 1


def load(certificates: Path, key: Path) -> ClaimSigner:
    """One's own: a chain in PEM, the signer's first, and its key. KeyProblem; OSError."""
    try:
        chain = tuple(x509.load_pem_x509_certificates(certificates.read_bytes()))
    except ValueError as error:
        raise KeyProblem(f"{certificates} holds no certificates in PEM") from error
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted
        raise KeyProblem(f"{key} is not a private key in PEM, without a password") from error
    if not isinstance(private, PrivateKey):
        raise KeyProblem(f"{key}: C2PA signs by ECDSA, RSA or Ed25519")
    if chain[0].public_key() != private.public_key():
        raise KeyProblem(f"{key} is not the key of the first certificate in {certificates}")
    if chain[0].subject == chain[0].issuer:
        raise KeyProblem(
            f"{certificates} begins with a certificate that signed itself, which C2PA does not "
            "take: begin with one that an authority signed for you"
        )
    if not _may_sign_claims(chain[0]):
        raise KeyProblem(
            f"the first certificate in {certificates} is not for signing claims: C2PA wants the "
            "key usage digitalSignature and an extended key usage (docs/operations.md)"
        )
    return _claim_signer(chain, private)


def _may_sign_claims(certificate: x509.Certificate) -> bool:
    """C2PA 2.4 14.5.1."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    accepted = (*_PURPOSES, *_OTHER_PURPOSES)
    return usage.digital_signature and any(each in purposes for each in accepted)


def load_roots(path: Path) -> bytes:
    """Certificates in PEM that vouch for signers. KeyProblem if they are none; OSError."""
    pem = path.read_bytes()
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise KeyProblem(f"{path} holds no certificates in PEM") from error
    return pem


def _claim_signer(chain: tuple[x509.Certificate, ...], key: PrivateKey) -> ClaimSigner:
    match key:
        case Ed25519PrivateKey():
            return ClaimSigner(chain, "ed25519", key.sign)
        case rsa.RSAPrivateKey():
            if key.key_size < _LEAST_RSA_BITS:
                raise KeyProblem(f"C2PA takes no RSA key of less than {_LEAST_RSA_BITS} bits")
            return ClaimSigner(chain, "ps256", _pss(key))
        case ec.EllipticCurvePrivateKey():
            if key.curve.name not in _CURVES:
                raise KeyProblem(f"C2PA does not sign by the curve {key.curve.name}")
            return ClaimSigner(chain, *_ecdsa(key))
    raise KeyProblem("C2PA signs by ECDSA, RSA or Ed25519")


_CURVES: dict[str, tuple[str, HashAlgorithm]] = {
    "secp256r1": ("es256", SHA256()),
    "secp384r1": ("es384", SHA384()),
    "secp521r1": ("es512", SHA512()),
}


def _ecdsa(key: ec.EllipticCurvePrivateKey) -> tuple[str, Sign]:
    name, digest = _CURVES[key.curve.name]
    size = (key.key_size + 7) // 8

    def sign(data: bytes) -> bytes:
        # RFC 9053 2.1: the two numbers at their full length, in place of DER.
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size) + s.to_bytes(size)

    return name, sign


def _pss(key: rsa.RSAPrivateKey) -> Sign:
    # RFC 8230 2: the salt is as long as the hash.
    scheme = padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size)
    return lambda data: key.sign(data, scheme, SHA256())


# ---- the data directory's own -------------------------------------------------------------


def _made(root_key: RootKey, now: float) -> SignerRow:
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    # Its name tells one server's root from another's, and nothing of the server.
    key_id = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    name = key_id.digest.hex()[:8]
    root_name, own_name = _name(f"Vivavoce C2PA root {name}"), _name(f"Vivavoce recorder {name}")
    root = _root(root_name, authority, now)
    own = _certified(own_name, key.public_key(), root_name, authority, now)
    chain = (_pem(own) + _pem(root)).decode()
    scalar = key.private_numbers().private_value.to_bytes(_SCALAR_BYTES)
    return SignerRow(chain, root_key.name, root_key.wrap(scalar, _context(chain)))


def _root(name: x509.Name, authority: ec.EllipticCurvePrivateKey, now: float) -> x509.Certificate:
    public = authority.public_key()
    return (
        _certificate(name, name, public, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority, SHA256())
    )


def _certified(
    name: x509.Name,
    public: PublicKey,
    issuer: x509.Name,
    authority: ec.EllipticCurvePrivateKey,
    now: float,
) -> x509.Certificate:
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return (
        _certificate(name, issuer, public, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_PURPOSES), critical=False)
        .add_extension(issued_by, critical=False)
        .sign(authority, SHA256())
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, public: PublicKey, now: float
) -> x509.CertificateBuilder:
    at = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _BEFORE)
        .not_valid_after(at + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    # Readers show the organization.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Vivavoce"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _context(chain: str) -> str:
    return f"{CONTEXT}:{hashlib.sha256(chain.encode()).hexdigest()}"


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
