"""HTTPS: the operator's certificate, or one that the server makes for itself."""

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Browsers of Apple refuse certificates that are valid for longer.
VALID_DAYS = 825
#: A certificate of our own is replaced at a start so long before its end.
RENEW_DAYS = 30


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or better; 1.3 with whoever has it. Raises ssl.SSLError, OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def own_certificate(
    folder: Path, names: Sequence[str], addresses: Sequence[str], now: datetime.datetime
) -> tuple[Path, Path]:
    """The self-signed certificate in ``folder`` and its key: the one there is while it is valid
    for all ``names`` and ``addresses``, else a new one. Raises OSError."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (key.exists() and certificate.exists() and _covers(certificate, names, addresses, now)):
        _make(certificate, key, names, addresses, now)
    return certificate, key


def _covers(
    path: Path, names: Sequence[str], addresses: Sequence[str], now: datetime.datetime
) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return False
    dns = extension.value.get_values_for_type(x509.DNSName)
    ips = [str(ip) for ip in extension.value.get_values_for_type(x509.IPAddress)]
    fresh = certificate.not_valid_after_utc > now + datetime.timedelta(days=RENEW_DAYS)
    return fresh and set(names) <= set(dns) and set(addresses) <= set(ips)


def _make(
    certificate: Path,
    key: Path,
    names: Sequence[str],
    addresses: Sequence[str],
    now: datetime.datetime,
) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Vivavoce")])
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write_private(key, pem)
    _write_private(certificate, made.public_bytes(serialization.Encoding.PEM))


def _write_private(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    part.replace(path)
