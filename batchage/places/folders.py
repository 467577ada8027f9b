"""Folders whose files appear whole or not at all, and those of this machine.

These also survive a power cut once they have appeared.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from batchage.places.names import AnyPath


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` last."""
    # Some network file systems can't; the files are whole all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def put_into_place(partial: Path, path: Path) -> None:
    """Sync a finished file and rename it.

    Raises:
        OSError: That can't be done.
    """
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


class Pending(ABC):
    """A file on its way to its place; all methods raise `OSError`.

    Attributes:
        stream: Takes its content.
        can_wait: Whether it holds no memory between `finish` and `put_into_place`.
    """

    stream: BinaryIO
    can_wait: bool

    @abstractmethod
    def finish(self) -> None:
        """All has been written."""

    @abstractmethod
    def put_into_place(self) -> None:
        """Let the finished file appear."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing of it."""


class Folder(ABC):
    """A folder whose files appear whole or not at all; all methods raise `OSError`.

    Attributes:
        path: Where it is.
    """

    path: AnyPath

    @abstractmethod
    def make(self) -> None:
        """Make it where it is missing."""

    @abstractmethod
    def names(self) -> list[str]:
        """What it holds, sorted, folders with a slash at the end; nothing where it is missing."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file's content."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write or replace a file."""

    @abstractmethod
    def begin(self, name: str, partials: Folder, partial: str) -> Pending:
        """Begin a file that may be large.

        Args:
            name: Its name.
            partials: Where unfinished files lie: on the same file system.
            partial: Its name there.
        """

    @abstractmethod
    def take(self, source: AnyPath, name: str) -> None:
        """Have the content of a file beside this folder under a name here, without moving it."""

    @abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Remove files; missing ones are no error."""

    @abstractmethod
    def remove_empty(self) -> None:
        """Remove the folder if nothing is in it."""

    def write_json(self, name: str, value: Any) -> None:
        """Write `value` as JSON."""
        self.write(name, (json.dumps(value, indent=2) + "\n").encode())


class LocalFolder(Folder):
    """A folder of this machine."""

    path: Path

    def __init__(self, path: Path) -> None:
        """Name it."""
        self.path = path

    def make(self) -> None:
        """As of `Folder`."""
        self.path.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """As of `Folder`."""
        try:
            with os.scandir(self.path) as found:
                return sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in found)
        except FileNotFoundError:
            return []

    def has(self, name: str) -> bool:
        """As of `Folder`."""
        return (self.path / name).exists()

    def read(self, name: str) -> bytes:
        """As of `Folder`."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """As of `Folder`."""
        partial = self.path / f"{name}.partial"
        try:
            partial.write_bytes(data)
            put_into_place(partial, self.path / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def begin(self, name: str, partials: Folder, partial: str) -> Pending:
        """As of `Folder`."""
        assert isinstance(partials, LocalFolder)
        return _LocalPending(partials.path / partial, self.path / name)

    def take(self, source: AnyPath, name: str) -> None:
        """A hard link, or a copy where the file system has none."""
        assert isinstance(source, Path)
        target = self.path / name
        try:
            os.link(source, target)
        except OSError:
            partial = self.path / f"{name}.partial"
            shutil.copyfile(source, partial)
            put_into_place(partial, target)

    def remove(self, names: Iterable[str]) -> None:
        """As of `Folder`; lasting."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        sync_folder(self.path)

    def remove_empty(self) -> None:
        """As of `Folder`."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


class _LocalPending(Pending):
    can_wait = True

    def __init__(self, partial: Path, path: Path) -> None:
        self._partial, self._path = partial, path
        self.stream = partial.open("wb")

    def finish(self) -> None:
        self.stream.close()

    def put_into_place(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        put_into_place(self._partial, self._path)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)
