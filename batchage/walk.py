"""Folders → `ImageRef`, sorted and one at a time; those elsewhere are walked by `remote_walk`.

The order is that of the inputs, and in a folder that of the names' bytes, depth first. Memory holds
the names of the folders from an input down to the current one, never a whole tree.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from batchage.errors import UsageError
from batchage.raw import RAW_SUFFIXES, is_raw, missing_reader
from batchage.storage import (
    LOCAL_SCHEMES,
    is_url,
    reason_of,
    scheme_of,
    without_password,
    without_slash,
)
from batchage.types import UNREAD_FOLDER, ImageRef

if TYPE_CHECKING:
    from batchage.storage import AnyPath

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".avif",
    ]
)
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}WEBP|II[*+]\0|MM\0[*+]"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|.{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1|avi[fs])",
    re.DOTALL,
)
_MAGIC_BYTES = 32
_LIKE_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2})")
# Longer than any path, so that a NUL-separated list shows a NUL in its first chunk.
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class ScanFilter:
    """Which files of a folder are looked at.

    A pattern is a shell glob, matched with case against the path relative to the scanned folder
    (POSIX form) and against the bare name. `*` also matches `/`; `**/` stands for any number of
    folders, none included. A folder that `exclude` matches is not entered.

    Attributes:
        recursive: Enter subfolders.
        include: Only files that match one of these; empty means all.
        exclude: No file and no folder that matches one of these.
        hidden: Also look at names that start with a dot.
    """

    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False

    def keeps_file(self, relative: str) -> bool:
        """Whether a file at this path, relative to the scanned folder, is looked at."""
        name = relative.rpartition("/")[2]
        if name.startswith(".") and not self.hidden:
            return False
        if _matches(self.exclude, relative, name):
            return False
        return not self.include or _matches(self.include, relative, name)

    def keeps_folder(self, relative: str) -> bool:
        """Whether a folder at this path, relative to the scanned folder, is entered."""
        name = relative.rpartition("/")[2]
        if not self.recursive or (name.startswith(".") and not self.hidden):
            return False
        return not _matches(self.exclude, relative, name, relative + "/")


DEFAULT_FILTER = ScanFilter()


def iter_images(
    inputs: Iterable[str | os.PathLike[str]],
    filter: ScanFilter = DEFAULT_FILTER,
    leave_out: Iterable[AnyPath] = (),
) -> Iterator[ImageRef]:
    """Finds the images among files and folders, of this machine and elsewhere.

    A file given directly is always looked at, whatever its name; `filter` is for what folders hold.
    In a folder an image is known by its suffix or, failing that, by its first bytes. Camera raw
    files, entries that are no regular files and folders that can't be read come with an `error`.
    In a remote folder it is known by its suffix only, which needs no request for each file.

    An input given twice, or that lies in a folder given too, is looked at once. This compares
    absolute paths and remembers the inputs only: a file that is reached by two names through
    links is two files.

    Args:
        inputs: Files and folders, or URLs of them, in the order to be scanned.
        filter: What to look at inside folders.
        leave_out: Folders that are not entered, such as those for thumbnails and crops.

    Returns:
        The images, found while they are consumed.

    Raises:
        UsageError: An input doesn't exist, can't be examined or is to be left out; raised by the
            call itself.
    """
    paths = [_as_text(path) for path in ([inputs] if isinstance(inputs, str) else inputs)]
    left_out = _all_absolute(leave_out)
    identities = _identities(left_out)
    for path in paths:
        if _absolute(path) in left_out or (identities and _identity_of(path) in identities):
            shown = display_name(without_password(path))
            raise UsageError(
                f"'{shown}' can't be scanned, as the scan's own pictures go there: choose another "
                "folder for them"
            )
        problem = _problem(path)
        if problem:
            shown = display_name(without_password(path))
            raise UsageError(
                f"'{shown}' can't be scanned ({problem}): check "
                + (
                    "the address and the credentials"
                    if is_url(path)
                    else "the path and that its disk is connected"
                )
            )
    return _Walk(filter, {_absolute(path) for path in paths}, left_out).inputs(paths)


def iter_listed(
    paths: Iterable[str | os.PathLike[str]],
    filter: ScanFilter = DEFAULT_FILTER,
    leave_out: Iterable[AnyPath] = (),
) -> Iterator[ImageRef]:
    """Finds the images among the entries of a list, which may be very long.

    Like `iter_images`, but entries are consumed one at a time, a missing one comes with an `error`
    instead of raising, and an entry listed twice is looked at twice.

    Args:
        paths: Files and folders, or URLs of them.
        filter: What to look at inside folders.
        leave_out: Folders that are not entered.

    Yields:
        The images.
    """
    return _Walk(filter, set(), _all_absolute(leave_out)).inputs(_as_text(path) for path in paths)


def absolute_input(place: str | os.PathLike[str]) -> str:
    """What an input is called where it doesn't matter what folder one is in."""
    text = _as_text(place)
    return display_name(without_password(_absolute(text)) if is_url(text) else _absolute(text))


def disk_of(place: str) -> str:
    """The mount point above a path, or itself; of a URL nothing."""
    if is_url(place):
        return ""
    path = os.path.realpath(place)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _as_text(place: str | os.PathLike[str]) -> str:
    """A path, or the URL of what is elsewhere."""
    text = os.fspath(place) if isinstance(place, os.PathLike) else str(place)
    return text.partition("://")[2] if scheme_of(text) in LOCAL_SCHEMES else text


def _absolute(path: str) -> str:
    """What tells whether two inputs are the same."""
    if is_url(path):
        return without_slash(path)
    return os.path.abspath(path)


def _all_absolute(folders: Iterable[AnyPath]) -> set[str]:
    return {_absolute(_as_text(str(folder))) for folder in folders}


def _identities(folders: Iterable[str]) -> set[tuple[int, int] | None]:
    """Those of folders that are there, under whatever name they are met."""
    return {_identity_of(folder) for folder in folders} - {None}


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        return _identity(os.stat(path))
    except (OSError, ValueError):
        return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def read_list(stream: BinaryIO) -> Iterator[str]:
    """Reads a list of paths or URLs, one a line, or separated by NUL where the list has any.

    Blank lines, a byte order mark and the carriage returns of Windows are dropped.

    Args:
        stream: The list, opened as bytes.

    Yields:
        The paths; bytes that are not valid in the file system's encoding survive.
    """
    chunk = stream.read(_CHUNK_BYTES)
    separator = b"\0" if b"\0" in chunk else b"\n"
    rest = b""
    chunk = chunk.removeprefix(b"\xef\xbb\xbf")
    while chunk:
        *lines, rest = (rest + chunk).split(separator)
        yield from _listed_paths(lines, separator)
        chunk = stream.read(_CHUNK_BYTES)
    yield from _listed_paths([rest], separator)


def _listed_paths(lines: list[bytes], separator: bytes) -> Iterator[str]:
    for line in lines:
        entry = line.removesuffix(b"\r") if separator == b"\n" else line
        if entry.strip():
            yield os.fsdecode(entry)


@dataclass(slots=True)
class _Folder:
    """A folder that is being walked: `relative` is empty for an input itself."""

    path: str
    relative: str
    identity: tuple[int, int]
    names: Iterator[str] = field(default_factory=lambda: iter(()))
    folders: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Walk:
    """One scan.

    Of absolute paths, those in `once` are to be looked at a single time, and those in `left_out`
    never.
    """

    filter: ScanFilter
    once: set[str]
    left_out: set[str]
    _done: set[str] = field(default_factory=set)

    def inputs(self, paths: Iterable[str]) -> Iterator[ImageRef]:
        # Here, as it stands on this module.
        from batchage.remote_walk import RemoteWalk

        with closing(RemoteWalk(self.filter, self._is_passed_over)) as remote:
            for path, asked in remote.examined(paths):
                yield from remote.images(path, asked) if asked else self._input(path)

    def _input(self, path: str) -> Iterator[ImageRef]:
        absolute = os.path.abspath(path)
        if self._is_passed_over(absolute):
            return
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            yield _input_ref(absolute, error=_reason(error))
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._folder(absolute, status)
        else:
            yield _input_ref(absolute, status, _known_error(absolute, status))

    def _is_passed_over(self, absolute: str) -> bool:
        if absolute not in self.once:
            return absolute in self.left_out
        repeated = absolute in self._done
        self._done.add(absolute)
        return repeated

    def _folder(self, root: str, status: os.stat_result) -> Iterator[ImageRef]:
        make_ref = _ref_maker(root)
        left_out = _identities(self.left_out)
        stack: list[_Folder] = []
        entered: _Folder | None = _Folder(root, "", _identity(status))
        while entered or stack:
            if entered:
                problem = _list_names(entered)
                if problem:
                    yield make_ref(entered.path, entered.relative or ".", None, problem)
                stack.append(entered)
                entered = None
            folder = stack[-1]
            name = next(folder.names, None)
            if name is None:
                stack.pop()
                continue
            path = os.path.join(folder.path, name)
            relative = f"{folder.relative}/{name}" if folder.relative else name
            try:
                entry = os.stat(path)
            except OSError as error:
                if name in folder.folders:
                    if self.filter.keeps_folder(display_name(relative)):
                        problem = f"{_reason(error)}: {UNREAD_FOLDER}"
                        yield make_ref(path, relative, None, problem)
                elif self._is_wanted(path, relative, None):
                    yield make_ref(path, relative, None, _reason(error))
                continue
            if stat.S_ISDIR(entry.st_mode):
                identity = _identity(entry)
                is_loop = any(parent.identity == identity for parent in stack)
                keeps = self.filter.keeps_folder(display_name(relative)) and not is_loop
                if keeps and identity not in left_out and not self._is_passed_over(path):
                    entered = _Folder(path, relative, identity)
            elif self._is_wanted(path, relative, entry):
                yield make_ref(path, relative, entry, _known_error(path, entry))

    def _is_wanted(self, path: str, relative: str, status: os.stat_result | None) -> bool:
        if not self.filter.keeps_file(display_name(relative)):
            return False
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in IMAGE_SUFFIXES | RAW_SUFFIXES and not _starts_like_image(path, status):
            return False
        return not self._is_passed_over(path)


def _list_names(folder: _Folder) -> str | None:
    """Fills in a folder's sorted names; tells why some or all of them couldn't be read."""
    names: list[str] = []
    folders: set[str] = set()
    problem = None
    try:
        with os.scandir(folder.path) as entries:
            for entry in entries:
                names.append(entry.name)
                # By the listing, so that it is known of a disk that doesn't answer, too.
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.add(entry.name)
    except OSError as error:
        problem = f"{_reason(error)}: {UNREAD_FOLDER}"
    folder.names, folder.folders = iter(sorted(names, key=os.fsencode)), frozenset(folders)
    return problem


def _starts_like_image(path: str, status: os.stat_result | None) -> bool:
    """Looks at a regular file's first bytes; one that can't be opened is taken for no image."""
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    try:
        with open(path, "rb", buffering=0) as file:
            return _MAGIC.match(file.read(_MAGIC_BYTES)) is not None
    except OSError:
        return False


def _known_error(path: str, status: os.stat_result) -> str | None:
    """Why a file that exists is not going to be opened."""
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    return missing_reader() if is_raw(path) else None


def _input_ref(
    absolute: str, status: os.stat_result | None = None, error: str | None = None
) -> ImageRef:
    root, name = os.path.split(absolute)
    return _ref_maker(root)(absolute, name or ".", status, error)


def _ref_maker(
    root: str,
) -> Callable[[str, str, os.stat_result | None, str | None], ImageRef]:
    """Builds the refs of one root; its text is made once and shared by all of them."""
    shown_root = display_name(Path(root).as_posix())

    def make(
        path: str, relative: str, status: os.stat_result | None, error: str | None
    ) -> ImageRef:
        return ImageRef(
            path=Path(path),
            root=shown_root,
            relative=display_name(relative),
            size=status.st_size if status else None,
            mtime=status.st_mtime if status else None,
            error=error,
        )

    return make


def _problem(path: str) -> str | None:
    """Why an input can't be examined."""
    if is_url(path):
        from batchage.remote_walk import examine

        try:
            examine(path)
        except OSError as error:
            return reason_of(error)
        return None
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        return _reason(error)
    return None


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.ENOENT and error.filename and os.path.islink(error.filename):
            return "the link's target doesn't exist"
        return (error.strerror or type(error).__name__).lower()
    return "not a valid path"


def display_name(name: str) -> str:
    r"""Valid Unicode of a file name, bytes that are not UTF-8 as `\xNN`.

    A backslash that would look like that is written as `\x5c`: no two names are shown alike.
    """
    name = _LIKE_ESCAPED.sub(r"\\x5c", name)
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def _matches(patterns: tuple[str, ...], *candidates: str) -> bool:
    return any(_compiled(pattern).match(text) for pattern in patterns for text in candidates)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # NUL occurs in no path and passes fnmatch.translate unchanged.
    marked = re.sub(r"(?:(?<=/)|^)\*\*/", "\0", pattern.removeprefix("./"))
    return re.compile(fnmatch.translate(marked).replace("\0", "(?:.*/)?"))
