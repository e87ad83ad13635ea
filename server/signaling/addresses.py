"""Where browsers find this machine."""

import ipaddress
from collections.abc import Sequence

import ifaddr

LOOPBACK = "127.0.0.1"


def local_addresses() -> tuple[str, ...]:
    """This machine's IPv4 addresses for others, in the order of its interfaces."""
    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return tuple(str(ip) for ip in found if not ipaddress.ip_address(str(ip)).is_loopback)


def media_addresses(host: str, advertise: Sequence[str]) -> tuple[str, ...]:
    """What ICE candidates name: what was asked for, the bound address, or all there are."""
    if advertise:
        return tuple(advertise)
    if not ipaddress.ip_address(host).is_unspecified:
        return (host,)
    return local_addresses() or (LOOPBACK,)


def base_url(host: str, port: int, tls: bool, advertise: Sequence[str]) -> str:
    """The address in links, without a slash at the end."""
    address = media_addresses(host, advertise)[0]
    name = f"[{address}]" if ":" in address else address  # RFC 3986 3.2.2
    return f"{'https' if tls else 'http'}://{name}:{port}"
