"""Folders of stores that fsspec reaches.

Most know no renaming and no links: a file is put by one request, or by an upload that appears when
it ends. Where a file would be seen while it is written, it is written under another name.
"""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from batchage.places.connections import connected, filesystem_of, strip
from batchage.places.folders import Folder, Pending
from batchage.places.names import EXTRA_OF_SCHEME, scheme_of
from batchage.places.patience import patiently, reason_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from upath import UPath

    from batchage.places.names import AnyPath

T = TypeVar("T")

UPLOAD_BYTES = 16 << 20
"""What of a file is held in memory before it goes to a store; S3 takes 10,000 such pieces."""
FLAT = ("s3", "gs", "az")
"""Extras of the stores whose folders are but beginnings of names."""
RENAMING = ("sftp",)
"""Extras of those in which a file is seen while it is written, and renamed in one step."""


class StoreFolder(Folder):
    """A folder in a store that fsspec reaches; requests that fail for the moment are repeated."""

    path: UPath

    def __init__(self, path: UPath) -> None:
        """Name it; nothing is connected to."""
        self.path = path
        self._url = str(path)
        extra = EXTRA_OF_SCHEME.get(scheme_of(self._url) or "")
        self._is_flat, self.renames = extra in FLAT, extra in RENAMING

    def at(self, name: str = "") -> str:
        """What its file system calls it, or a file in it."""
        path = strip(self._url)
        return f"{path.rstrip('/')}/{name}" if name else path

    def connect(self) -> AbstractFileSystem:
        """Its file system, for an upload."""
        return filesystem_of(self._url)[0]

    def _request(self, request: Callable[[AbstractFileSystem], T]) -> T:
        def once() -> T:
            with connected(self._url) as (files, _):
                return request(files)

        return patiently(once)

    def ask(self, request: Callable[[AbstractFileSystem], T]) -> T:
        """The answer to a request that may be made more than once.

        Raises:
            OSError: There is none.
        """
        try:
            return self._request(request)
        except NotImplementedError:
            raise OSError(errno.ENOTSUP, "this kind of address can't be written to") from None

    def make(self) -> None:
        """As of `Folder`; where folders are but names, nothing."""
        # There it might make a bucket.
        if not self._is_flat:
            self.ask(lambda files: files.makedirs(self.at(), exist_ok=True))

    def names(self) -> list[str]:
        """As of `Folder`."""
        place = self.at()

        def look(files: AbstractFileSystem) -> list[dict[str, Any]]:
            files.invalidate_cache(place)
            found: list[dict[str, Any]] = files.ls(place, detail=True)
            return found

        try:
            found = self.ask(look)
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
            self.ask(lambda files: files.info(self.at(name)))
        except FileNotFoundError:
            return False
        return True

    def modified(self, name: str) -> datetime | None:
        """When a file was last written, by the store's own clock; None where that is unknown."""
        try:
            moment: datetime = self._request(lambda files: files.modified(self.at(name)))
        except NotImplementedError:
            return None
        return moment

    def read(self, name: str) -> bytes:
        """As of `Folder`."""
        return cast("bytes", self.ask(lambda files: files.cat_file(self.at(name))))

    def write(self, name: str, data: bytes) -> None:
        """As of `Folder`."""
        place = self.at(name)

        def put(files: AbstractFileSystem) -> None:
            files.pipe_file(f"{place}.partial" if self.renames else place, data)
            if self.renames:
                files.mv(f"{place}.partial", place)

        self.ask(put)

    def write_new(self, name: str, data: bytes) -> None:
        """Write a file that doesn't exist yet, in one step that only one of many can take.

        Raises:
            FileExistsError: It does.
            NotImplementedError: The store has no such step.
        """
        from fsspec import AbstractFileSystem as Base

        def put(files: AbstractFileSystem) -> None:
            # That of all file systems looks first and writes then; that of sshfs replaces.
            is_common = not files.async_impl and type(files).pipe_file is Base.pipe_file
            if is_common or self.renames:
                raise NotImplementedError
            files.pipe_file(self.at(name), data, mode="create")

        try:
            self._request(put)
        except (TypeError, ValueError) as error:
            raise NotImplementedError from error
        except OSError as error:
            # As S3's look-alikes call it.
            if "implement" in str(error).lower():
                raise NotImplementedError from error
            raise

    def begin(self, name: str, partials: Folder, partial: str) -> Pending:
        """As of `Folder`; there is an unfinished file where it would be seen otherwise."""
        assert isinstance(partials, StoreFolder)
        return _Upload(self, self.at(name), partials.at(partial) if self.renames else None)

    def take(self, source: AnyPath, name: str) -> None:
        """A copy that the store makes by itself, where it can."""
        origin = strip(str(source))

        def copy(files: AbstractFileSystem) -> None:
            # A server of sftp needn't have the shell that sshfs does it by.
            if self.renames:
                raise NotImplementedError
            files.cp_file(origin, self.at(name))

        try:
            self._request(copy)
        except NotImplementedError:
            self.write(name, cast("bytes", self.ask(lambda files: files.cat_file(origin))))

    def remove(self, names: Iterable[str]) -> None:
        """As of `Folder`."""
        places = [self.at(name) for name in names]
        if not places:
            return
        try:
            self.ask(lambda files: files.rm(places))
        except FileNotFoundError:
            for place in places:
                with contextlib.suppress(FileNotFoundError):
                    self._remove_one(place)

    def _remove_one(self, place: str) -> None:
        self.ask(lambda files: files.rm_file(place))

    def remove_empty(self) -> None:
        """As of `Folder`."""
        if not self._is_flat:
            with (
                contextlib.suppress(OSError, NotImplementedError),
                connected(self._url) as (files, place),
            ):
                files.rmdir(place)


class _Upload(Pending):
    """Small files are put at the end; of a large one, piece after piece goes there before."""

    can_wait = False

    def __init__(self, folder: StoreFolder, place: str, partial: str | None) -> None:
        """Nothing is asked for.

        Args:
            folder: Where the file will be.
            place: What the folder's file system calls it.
            partial: And the file while it is unfinished, where there is one.
        """
        self._folder, self._place, self._partial = folder, place, partial
        self._large: Any = None
        self._is_placed = False
        self.stream = cast("BinaryIO", _Pieces(self._send))

    def _send(self, piece: bytes) -> None:
        # The libraries repeat what fails of an upload; from outside that can't be done.
        with _as_os_error():
            if self._large is None:
                place = self._partial or self._place
                self._large = self._folder.connect().open(place, "wb", block_size=UPLOAD_BYTES)
            self._large.write(piece)

    def finish(self) -> None:
        self.stream.flush()

    def put_into_place(self) -> None:
        rest = cast("_Pieces", self.stream).rest()
        if self._large is None:
            self._folder.ask(lambda files: files.pipe_file(self._partial or self._place, rest))
        else:
            with _as_os_error():
                self._large.write(rest)
                self._large.close()
        if self._partial:
            self._folder.ask(lambda files: files.mv(self._partial, self._place))
        self._is_placed = True

    def discard(self) -> None:
        if self._large is None or self._is_placed:
            return
        from fsspec.spec import AbstractBufferedFile

        with contextlib.suppress(OSError), _as_os_error():
            if isinstance(self._large, AbstractBufferedFile):
                try:
                    self._large.discard()
                finally:
                    # Or it would be uploaded when it is collected.
                    self._large.closed = True
            else:
                self._large.close()
                self._folder._remove_one(self._partial or self._place)


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
