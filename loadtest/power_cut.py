"""A disk whose power can be cut: what was not synced by then is gone, the rest is there again.

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


class DiskError(Exception):
    """The disk cannot be made or mounted; the text says why."""


class Disk:
    """Files in `path`; after `cut` every call fails there until `restore`."""

    def __init__(self, image: Path, path: Path) -> None:
        self.path = path
        self._image = image

    def cut(self) -> None:
        """At once. OSError where the kernel refuses."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_FLUSH)
        finally:
            os.close(descriptor)

    def restore(self) -> None:
        """Once nobody has a file open there any more. Raises DiskError."""
        self.unmount()
        self.mount()

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
