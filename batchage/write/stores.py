"""Folders of stores that fsspec reaches.

Stores know no renaming and no links: a file is put by one request, or by an upload that appears
when it ends.
"""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from batchage.storage import EXTRA_OF_SCHEME, filesystem_of, patiently, reason_of, scheme_of
from batchage.write.folders import Folder, Pending

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from upath import UPath

    from batchage.storage import AnyPath

T = TypeVar("T")

UPLOAD_BYTES = 16 << 20
"""What of a file is held in memory before it goes to a store; S3 takes 10,000 such pieces."""
FLAT = ("s3", "gs", "az")
"""Extras of the stores whose folders are but beginnings of names."""


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
