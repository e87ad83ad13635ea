"""A machine of its own for a browser, with one network interface that a test can cut or move.

A network namespace, joined to ours by a pair of virtual Ethernet devices (veth(4)).
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from tests.e2e.chromium import chromium_path

#: RFC 2544: for tests of networks. Each process takes eight addresses, so that two test runs on
#: one machine don't hear each other.
_RANGE = IPv4Network("198.18.0.0/15")
_PREFIX = 29


def may_make_networks() -> bool:
    """Whether this user and kernel allow it."""
    return subprocess.run(("unshare", "--net", "true"), capture_output=True).returncode == 0


class Wifi:
    """Made by `wifi`."""

    def __init__(self, name: str, launcher: Path, addresses: IPv4Network) -> None:
        self.name = name
        self.launcher = launcher  #: a program that starts Chromium there
        self.server_address, self._address, self._next = map(str, list(addresses.hosts())[:3])

    def down(self) -> None:
        self.ip("link", "set", "wifi0", "down")

    def up(self) -> None:
        self.ip("link", "set", "wifi0", "up")

    def take_address(self) -> None:
        self.ip("address", "add", f"{self._address}/{_PREFIX}", "dev", "wifi0")

    def move(self) -> None:
        """Another network: the former address is gone."""
        self.ip("address", "delete", f"{self._address}/{_PREFIX}", "dev", "wifi0")
        self._address, self._next = self._next, self._address
        self.take_address()

    def ip(self, *arguments: str) -> None:
        """ip(8), on that machine."""
        _ip("-n", self.name, *arguments)


@contextmanager
def wifi(folder: Path) -> Iterator[Wifi]:
    """The network; at the end all of it is gone. Its launcher is written into `folder`."""
    name, ours = f"vivavoce-{os.getpid()}", f"viva{os.getpid()}"[:15]
    launcher = folder / "chromium-elsewhere"
    launcher.write_text(f'#!/bin/sh\nexec ip netns exec {name} {chromium_path()} "$@"\n')
    launcher.chmod(0o700)
    network = Wifi(name, launcher, _own_addresses())
    _ip("netns", "add", name)
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", "wifi0", "netns", name)
        try:
            _connect(network, ours)
            yield network
        finally:
            # Takes both ends. With the namespace alone they would stay for minutes: as long as
            # a socket in it has something to say to an address that is gone.
            _ip("link", "delete", ours)
    finally:
        _ip("netns", "delete", name)


def _own_addresses() -> IPv4Network:
    each = 1 << (32 - _PREFIX)
    first = os.getpid() * each % _RANGE.num_addresses
    return IPv4Network((int(_RANGE.network_address) + first, _PREFIX))


def _connect(network: Wifi, ours: str) -> None:
    # An IPv6 address would appear seconds after the link (RFC 4862 5.4), which to a browser is
    # a change of network: it drops what it was loading.
    if Path("/proc/sys/net/ipv6").exists():
        _ip("link", "set", ours, "addrgenmode", "none")
        network.ip("link", "set", "wifi0", "addrgenmode", "none")
    _ip("address", "add", f"{network.server_address}/{_PREFIX}", "dev", ours)
    _ip("link", "set", ours, "up")
    network.take_address()
    network.ip("link", "set", "lo", "up")
    network.up()


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)
