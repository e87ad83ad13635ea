"""The real local disk, made to refuse as full, broken and read-only ones do."""

import errno
import os
import threading
from pathlib import Path

from server.recorder.stores.files import LocalFile, LocalFolder


class Disk:
    """A disk whose failing is switched on and off; and for how many bytes it still has room."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.refuses_sync = False
        self.refuses_everything = False
        self.goes_read_only = False  #: when a sync fails, as ext4 does (errors=remount-ro)
        self.takes = threading.Event()  # cleared: whoever syncs waits
        self.takes.set()

    def spend(self, size: int) -> int:
        if self.refuses_everything:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if self.room is None:
            return size
        granted, self.room = min(size, self.room), max(0, self.room - size)
        return granted

    def folder(self, path: Path) -> "DiskFolder":
        return DiskFolder(path, self)


class DiskFolder(LocalFolder):
    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path)
        self._at, self._disk = path, disk

    def create(self, name: str) -> "DiskFile":
        self._disk.spend(0)
        return DiskFile(self._at / name, self._disk)

    def replace(self, name: str, data: bytes) -> None:
        if self._disk.spend(len(data)) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().replace(name, data)


class DiskFile(LocalFile):
    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path)
        self._disk = disk

    def write(self, data: bytes) -> None:
        granted = self._disk.spend(len(data))
        super().write(data[:granted])  # as a full disk does: some of it
        if granted < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        self._disk.takes.wait()
        if self._disk.refuses_sync:
            self._disk.refuses_everything |= self._disk.goes_read_only
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync()

    def truncate(self, size: int) -> None:
        self._disk.spend(0)
        super().truncate(size)
