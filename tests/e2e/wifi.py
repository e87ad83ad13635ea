"""A machine of its own for a browser, with one network interface that a test can cut or move.

A network namespace, joined to ours by a pair of virtual Ethernet devices (veth(4)).
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.chromium import chromium_path

SERVER_ADDRESS = "10.213.7.1"
_CLIENT_ADDRESSES = ("10.213.7.2", "10.213.7.3")


def may_make_networks() -> bool:
    """Whether this user and kernel allow it."""
    return subprocess.run(("unshare", "--net", "true"), capture_output=True).returncode == 0


class Wifi:
    """Made by `wifi`."""

    def __init__(self, name: str, launcher: Path) -> None:
        self.name = name
        self.launcher = launcher  #: a program that starts Chromium there
        self._address, self._next = _CLIENT_ADDRESSES

    def down(self) -> None:
        _ip("-n", self.name, "link", "set", "wifi0", "down")

    def up(self) -> None:
        _ip("-n", self.name, "link", "set", "wifi0", "up")

    def move(self) -> None:
        """Another network: the former address is gone."""
        _ip("-n", self.name, "address", "delete", f"{self._address}/24", "dev", "wifi0")
        _ip("-n", self.name, "address", "add", f"{self._next}/24", "dev", "wifi0")
        self._address, self._next = self._next, self._address


@contextmanager
def wifi(folder: Path) -> Iterator[Wifi]:
    """The network; at the end all of it is gone. Its launcher is written into `folder`."""
    name, ours = f"vivavoce-{os.getpid()}", f"viva{os.getpid()}"[:15]
    launcher = folder / "chromium-elsewhere"
    launcher.write_text(f'#!/bin/sh\nexec ip netns exec {name} {chromium_path()} "$@"\n')
    launcher.chmod(0o700)
    _ip("netns", "add", name)
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", "wifi0", "netns", name)
        _ip("address", "add", f"{SERVER_ADDRESS}/24", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip("-n", name, "address", "add", f"{_CLIENT_ADDRESSES[0]}/24", "dev", "wifi0")
        for device in ("lo", "wifi0"):
            _ip("-n", name, "link", "set", device, "up")
        yield Wifi(name, launcher)
    finally:
        _ip("netns", "delete", name)  # and both devices with it


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)
