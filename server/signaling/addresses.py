"""Where browsers find this machine."""

import ipaddress
from collections.abc import Sequence

import ifaddr

from server.config import Endpoint

LOOPBACK = "127.0.0.1"


def local_addresses() -> tuple[str, ...]:
    """This machine's addresses for others, IPv4 first, in the order of its interfaces."""
    found = [ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    hosts = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in found]
    return tuple(sorted(filter(_is_for_others, hosts), key=lambda host: ":" in host))


def _is_for_others(host: str) -> bool:
    """Not this machine alone, nor this link alone, where an address needs an interface's name."""
    address = ipaddress.ip_address(host)
    return not address.is_loopback and not address.is_link_local


def media_addresses(host: str, advertise: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """What ICE candidates name: what was asked for, the bound address, or all there are."""
    if advertise:
        return tuple(advertise)
    if not ipaddress.ip_address(host).is_unspecified:
        return (Endpoint(host),)
    return tuple(map(Endpoint, local_addresses() or (LOOPBACK,)))


def base_url(host: str, port: int, tls: bool, advertise: Sequence[Endpoint]) -> str:
    """The address in links, without a slash at the end."""
    address = media_addresses(host, advertise)[0].host
    name = f"[{address}]" if ":" in address else address  # RFC 3986 3.2.2
    return f"{'https' if tls else 'http'}://{name}:{port}"
