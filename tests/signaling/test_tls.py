import datetime
import ssl
import stat
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector
from cryptography import x509

from server.signaling.tls import RENEW_DAYS, VALID_DAYS, own_certificate, server_context
from tests.signaling.serving import open_serving

NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
NAMES, ADDRESSES = ("localhost", "interviews.example"), ("127.0.0.1", "192.0.2.7", "2001:db8::1")


def make(folder: Path, addresses: tuple[str, ...] = ADDRESSES, days: int = 0) -> bytes:
    certificate, _ = own_certificate(folder, NAMES, addresses, NOW + datetime.timedelta(days))
    return certificate.read_bytes()


def test_it_names_this_machine_in_every_way(tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(make(tmp_path))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(names.get_values_for_type(x509.DNSName)) == NAMES
    assert tuple(map(str, names.get_values_for_type(x509.IPAddress))) == ADDRESSES


def test_it_stays_the_same_while_it_is_good(tmp_path: Path) -> None:
    first = make(tmp_path)
    assert make(tmp_path, days=VALID_DAYS - RENEW_DAYS - 1) == first
    assert make(tmp_path, addresses=("127.0.0.1",)) == first


def test_it_is_renewed_before_its_end_and_for_a_new_address(tmp_path: Path) -> None:
    first = make(tmp_path)
    second = make(tmp_path, days=VALID_DAYS - RENEW_DAYS + 1)
    third = make(tmp_path, addresses=("198.51.100.1",))
    assert len({first, second, third}) == 3


def test_a_damaged_certificate_is_replaced(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "certificate.pem").write_text("nonsense")
    x509.load_pem_x509_certificate(make(tmp_path))


def test_the_key_is_for_nobody_else(tmp_path: Path) -> None:
    _, key = own_certificate(tmp_path / "tls", NAMES, ADDRESSES, NOW)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_old_protocol_versions_are_not_spoken(tmp_path: Path) -> None:
    context = server_context(*own_certificate(tmp_path, NAMES, ADDRESSES, NOW))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_browser_that_trusts_the_certificate_is_served(tmp_path: Path) -> None:
    async with open_serving(tmp_path, tls=True, host="127.0.0.1") as serving:
        assert serving.server.certificate is not None
        trusting = ssl.create_default_context(cafile=str(serving.server.certificate))
        async with (
            ClientSession(connector=TCPConnector(ssl=trusting)) as http,
            http.get(f"{serving.server.base_url}/readyz") as answer,
        ):
            assert answer.status == 200
            assert serving.server.base_url.startswith("https://127.0.0.1:")


def test_a_pair_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    one, _ = own_certificate(tmp_path / "a", NAMES, ADDRESSES, NOW)
    _, other = own_certificate(tmp_path / "b", NAMES, ADDRESSES, NOW)
    with pytest.raises(ssl.SSLError):
        server_context(one, other)
