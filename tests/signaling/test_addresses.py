import ipaddress

from server.signaling.addresses import base_url, local_addresses, media_addresses


def test_local_addresses_are_for_others() -> None:
    assert all(not ipaddress.ip_address(each).is_loopback for each in local_addresses())


def test_what_was_asked_for_is_advertised_and_nothing_else() -> None:
    assert media_addresses("0.0.0.0", ["192.0.2.7"]) == ("192.0.2.7",)


def test_a_bound_address_is_advertised() -> None:
    assert media_addresses("127.0.0.1", []) == ("127.0.0.1",)


def test_all_addresses_are_advertised_where_all_are_bound() -> None:
    assert media_addresses("0.0.0.0", []) == (local_addresses() or ("127.0.0.1",))


def test_links_name_the_first_advertised_address() -> None:
    assert base_url("127.0.0.1", 8080, False, []) == "http://127.0.0.1:8080"
    assert base_url("0.0.0.0", 443, True, ["192.0.2.7"]) == "https://192.0.2.7:443"
    assert base_url("::", 8080, True, ["2001:db8::1"]) == "https://[2001:db8::1]:8080"
