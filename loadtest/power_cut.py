"""A disk whose power can be cut: what was not synced by then is gone, the rest is there again.
It can also hang, or turn read-only, as disks do whose file system meets an error.

A file system of its own in a file, which is shut down without a flush of its log, as the tests of
Linux' file systems do it; its journal is replayed at the next mount. Takes root, and Linux.
"""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The image is sparse: it takes what is written.
IMAGE_BYTES = 4 << 30
#: XFS_IOC_GOINGDOWN of linux/fs/xfs/libxfs/xfs_fs.h, which ext4 has as EXT4_IOC_SHUTDOWN.
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSH = struct.pack("I", 2)
#: FIFREEZE and FITHAW of linux/fs.h: who writes or syncs in between waits.
_FREEZE, _THAW = 0xC0045877, 0xC0045878


class DiskError(Exception):
    """The disk cannot be made or mounted; the text says why."""


class Disk:
    """Files in `path`; after `cut` every call fails there until `restore`."""

    def __init__(self, image: Path, path: Path) -> None:
        self.path = path
        self._image = image

    def cut(self) -> None:
        """At once. OSError where the kernel refuses."""
        self._control(_SHUTDOWN, _WITHOUT_FLUSH)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Who writes or syncs within the block waits for its end."""
        self._control(_FREEZE, bytes(4))
        try:
            yield
        finally:
            self._control(_THAW, bytes(4))

    def turn_read_only(self) -> None:
        """As if its journal had met an error; until `restore`. Raises DiskError."""
        _run("mount", "-o", "remount,abort", str(self.path))

    def restore(self) -> None:
        """Once nobody has a file open there any more. Raises DiskError."""
        self.unmount()
        self.mount()

    def _control(self, request: int, argument: bytes) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, request, argument)
        finally:
            os.close(descriptor)

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def unmount(self) -> None:
        _run("umount", str(self.path))


@contextmanager
def open_disk(folder: Path) -> Iterator[Disk]:
    """An empty one, mounted in `folder` until the block ends. Raises DiskError."""
    image, path = folder / "disk.image", folder / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    _run("mkfs.ext4", "-q", str(image))
    disk = Disk(image, path)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DiskError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise DiskError(f"{' '.join(command)}: {done.stderr.strip()}")
