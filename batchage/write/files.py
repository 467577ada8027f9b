"""Files that appear whole or not at all, on this machine or in a store beyond it.

On this machine they also survive a power cut once they have appeared. Stores know no renaming and
no links: there a file is put by one request, or by an upload that appears when it ends.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from batchage.errors import OutputError
from batchage.storage import (
    EXTRA_OF_SCHEME,
    filesystem_of,
    patiently,
    reason_of,
    scheme_of,
    without_password,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from upath import UPath

    from batchage.storage import AnyPath

T = TypeVar("T")

AGAIN = "give the same command again, it goes on where it stopped"
REMEDY = f"free space and {AGAIN}"
STORE_REMEDY = f"see that the store can be reached and {AGAIN}"
UPLOAD_BYTES = 16 << 20
"""What of a file is held in memory before it goes to a store; S3 takes 10,000 such pieces."""
FLAT = ("s3", "gs", "az")
"""Extras of the stores whose folders are but beginnings of names."""


@contextlib.contextmanager
def as_output_error(
    place: AnyPath | str, remedy: str | None = None, done: str = "written"
) -> Iterator[None]:
    """Turn an operating system's error into one sentence.

    Args:
        place: What is at stake.
        remedy: What to do; None is what helps whoever runs out of space, or of network.
        done: What could not be done to it.

    Raises:
        OutputError: An `OSError` came from inside.
    """
    try:
        yield
    except OSError as error:
        if isinstance(place, (Path, str)):
            reason = error.strerror or str(error)
            advice = remedy or REMEDY
        else:
            is_missing = isinstance(error, FileNotFoundError)
            reason = "there is no such bucket or folder" if is_missing else reason_of(error)
            advice = remedy or STORE_REMEDY
        shown = without_password(str(place))
        raise OutputError(f"{shown}: could not be {done} ({reason}); {advice}") from None


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


class StoreFolder(Folder):
    """A folder in a store that fsspec reaches; requests that fail for the moment are repeated."""

    path: UPath

    def __init__(self, path: UPath) -> None:
        """Name it; nothing is connected to."""
        self.path = path

    @cached_property
    def _store(self) -> AbstractFileSystem:
        return filesystem_of(str(self.path))[0]

    def _at(self, name: str = "") -> str:
        return str(self._store._strip_protocol(str(self.path / name if name else self.path)))

    def _ask(self, call: Callable[..., T], *arguments: Any, **more: Any) -> T:
        try:
            return patiently(call, *arguments, **more)
        except NotImplementedError:
            raise OSError(errno.ENOTSUP, "this kind of address can't be written to") from None

    def make(self) -> None:
        """As of `Folder`; where folders are but names, nothing."""
        # There it might make a bucket.
        if EXTRA_OF_SCHEME.get(scheme_of(str(self.path)) or "") not in FLAT:
            self._ask(self._store.makedirs, self._at(), exist_ok=True)

    def names(self) -> list[str]:
        """As of `Folder`."""
        place = self._at()

        def look() -> list[dict[str, Any]]:
            self._store.invalidate_cache(place)
            found: list[dict[str, Any]] = self._store.ls(place, detail=True)
            return found

        try:
            found = self._ask(look)
        except FileNotFoundError:
            return []
        names = []
        for entry in found:
            name = entry["name"].rstrip("/")
            # Some stores list the folder itself, too.
            if name.strip("/") != place.strip("/"):
                last = name.rpartition("/")[2]
                names.append(f"{last}/" if entry["type"] == "directory" else last)
        return sorted(names)

    def has(self, name: str) -> bool:
        """As of `Folder`."""
        try:
            # Not `exists`, which takes every failure for a no.
            self._ask(self._store.info, self._at(name))
        except FileNotFoundError:
            return False
        return True

    def modified(self, name: str) -> datetime | None:
        """When a file was last written, by the store's own clock; None where that is unknown."""
        try:
            moment: datetime = patiently(self._store.modified, self._at(name))
        except NotImplementedError:
            return None
        return moment

    def read(self, name: str) -> bytes:
        """As of `Folder`."""
        return cast("bytes", self._ask(self._store.cat_file, self._at(name)))

    def write(self, name: str, data: bytes) -> None:
        """As of `Folder`."""
        self._ask(self._store.pipe_file, self._at(name), data)

    def write_new(self, name: str, data: bytes) -> None:
        """Write a file that doesn't exist yet, in one step that only one of many can take.

        Raises:
            FileExistsError: It does.
            NotImplementedError: The store has no such step.
        """
        try:
            patiently(self._store.pipe_file, self._at(name), data, mode="create")
        except (TypeError, ValueError) as error:
            raise NotImplementedError from error
        except OSError as error:
            # As S3's look-alikes call it.
            if "implement" in str(error).lower():
                raise NotImplementedError from error
            raise

    def begin(self, name: str, partials: Folder, partial: str) -> Pending:
        """As of `Folder`; there is no unfinished file."""
        return _Upload(self, self._at(name))

    def take(self, source: AnyPath, name: str) -> None:
        """A copy that the store makes by itself, where it can."""
        origin = self._store._strip_protocol(str(source))
        try:
            patiently(self._store.cp_file, origin, self._at(name))
        except NotImplementedError:
            self.write(name, cast("bytes", self._ask(self._store.cat_file, origin)))

    def remove(self, names: Iterable[str]) -> None:
        """As of `Folder`."""
        places = [self._at(name) for name in names]
        if not places:
            return
        try:
            self._ask(self._store.rm, places)
        except FileNotFoundError:
            for place in places:
                with contextlib.suppress(FileNotFoundError):
                    self._ask(self._store.rm_file, place)

    def remove_empty(self) -> None:
        """As of `Folder`."""
        if EXTRA_OF_SCHEME.get(scheme_of(str(self.path)) or "") not in FLAT:
            with contextlib.suppress(OSError, NotImplementedError):
                self._store.rmdir(self._at())


class _Upload(Pending):
    """Small files are put at the end; of a large one, piece after piece goes there before."""

    can_wait = False

    def __init__(self, folder: StoreFolder, place: str) -> None:
        self._folder, self._place = folder, place
        self._large: Any = None
        self._is_placed = False
        self.stream = cast("BinaryIO", _Pieces(self._send))

    def _send(self, piece: bytes) -> None:
        # The libraries repeat what fails of an upload; from outside that can't be done.
        with _as_os_error():
            if self._large is None:
                self._large = self._folder._store.open(self._place, "wb", block_size=UPLOAD_BYTES)
            self._large.write(piece)

    def finish(self) -> None:
        self.stream.flush()

    def put_into_place(self) -> None:
        rest = cast("_Pieces", self.stream).rest()
        if self._large is None:
            self._folder._ask(self._folder._store.pipe_file, self._place, rest)
        else:
            with _as_os_error():
                self._large.write(rest)
                self._large.close()
        self._is_placed = True

    def discard(self) -> None:
        if self._large is None or self._is_placed:
            return
        from fsspec.spec import AbstractBufferedFile

        with contextlib.suppress(OSError), _as_os_error():
            if isinstance(self._large, AbstractBufferedFile):
                self._large.discard()
                # Or it would be uploaded when it is collected.
                self._large.closed = True
            else:
                self._large.close()
                self._folder._store.rm_file(self._place)


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    # Each library has its own types.
    except Exception as error:
        raise OSError(errno.EIO, reason_of(error)) from error


class _Pieces(io.RawIOBase):
    """A stream that hands on what it takes in large pieces."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._held = io.BytesIO()
        self._length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, data: Any) -> int:
        n = self._held.write(data)
        self._length += n
        if self._held.tell() >= UPLOAD_BYTES:
            self._send(self.rest())
        return n

    def rest(self) -> bytes:
        """What was not handed on; it is forgotten."""
        data, self._held = self._held.getvalue(), io.BytesIO()
        return data


def folder_at(path: AnyPath) -> Folder:
    """The folder at `path`."""
    return LocalFolder(path) if isinstance(path, Path) else StoreFolder(path)


def read_bytes(path: AnyPath) -> bytes:
    """A file's content.

    Raises:
        OSError: It can't be read.
    """
    return folder_at(path.parent).read(path.name)


def open_input(path: AnyPath) -> BinaryIO:
    """A file to read in any order; one of a store is fetched whole.

    Raises:
        OSError: It can't be read.
    """
    return path.open("rb") if isinstance(path, Path) else io.BytesIO(read_bytes(path))


def write_json(path: AnyPath, value: Any) -> None:
    """Write `value` as JSON, whole or not at all.

    Raises:
        OSError: It can't be written.
    """
    folder_at(path.parent).write_json(path.name, value)


def read_object(path: AnyPath) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: It can't be read.
        ValueError: It holds something else.
    """
    try:
        value = json.loads(read_bytes(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value
