import ipaddress

from server.config import Endpoint
from server.signaling.addresses import base_url, local_addresses, media_addresses


def test_local_addresses_are_for_others() -> None:
    for each in map(ipaddress.ip_address, local_addresses()):
        assert not each.is_loopback
        assert not each.is_link_local


def test_local_addresses_begin_with_those_that_links_name() -> None:
    families = [ipaddress.ip_address(each).version for each in local_addresses()]
    assert families == sorted(families)


def test_what_was_asked_for_is_advertised_and_nothing_else() -> None:
    assert media_addresses("0.0.0.0", [Endpoint("192.0.2.7", 3478)]) == (
        Endpoint("192.0.2.7", 3478),
    )


def test_a_bound_address_is_advertised() -> None:
    assert media_addresses("127.0.0.1", []) == (Endpoint("127.0.0.1"),)


def test_all_addresses_are_advertised_where_all_are_bound() -> None:
    expected = tuple(map(Endpoint, local_addresses() or ("127.0.0.1",)))
    assert media_addresses("0.0.0.0", []) == media_addresses("::", []) == expected


def test_links_name_the_first_advertised_address() -> None:
    assert base_url("127.0.0.1", 8080, False, []) == "http://127.0.0.1:8080"
    assert base_url("0.0.0.0", 443, True, [Endpoint("192.0.2.7")]) == "https://192.0.2.7:443"
    assert base_url("::", 8080, True, [Endpoint("2001:db8::1")]) == "https://[2001:db8::1]:8080"
