"""Folders elsewhere → `ImageRef`, in the order that the same folders have on a disk.

A listing says what there is to know of a folder's files: names, sizes and times. No file is opened,
so that an image is known by its suffix alone. The listings of the next few folders are asked for
ahead, and none is kept.
"""

from __future__ import annotations

import html
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from batchage.errors import MissingExtraError, UsageError
from batchage.places import (
    MARKER,
    N_REQUESTS,
    DaemonThreads,
    connected,
    each_ahead,
    is_url,
    listed_in,
    locate,
    patiently,
    read_bytes,
    reason_of,
    result_of,
    scheme_of,
    without_password,
    without_slash,
)
from batchage.types import UNREAD_FOLDER, ImageRef
from batchage.walk.base import Met, display_name, joined
from batchage.walk.choice import Choice, Holder, Look
from batchage.walk.roots import below

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

FOLDERS_AHEAD = 4
"""Listings that are asked for ahead, in each folder on the way down."""
DEEPEST = 100
"""Folders inside each other: a server may make up ever more of them."""
_WEB = ("http", "https")
_TIMES = (
    "mtime",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "updated",
    "modified",
    "created",
)
"""What file systems call the time of the last change."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder, as a listing or a look at it shows it.

    Attributes:
        name: The last part of its path.
        url: Where it is.
        is_folder: Whether it is one.
        size: Bytes, or None where they are not said.
        mtime: Seconds since the epoch, or None.
        error: Why it can't be read, if that is known.
        is_link: Whether it is another name for something that is elsewhere.
    """

    name: str
    url: str
    is_folder: bool
    size: int | None = None
    mtime: float | None = None
    error: str | None = None
    is_link: bool = False

    def is_like(self, other: Entry) -> bool:
        """Whether it may be the same one by another way."""
        own = (self.name, self.is_folder, self.size, self.mtime)
        return own == (other.name, other.is_folder, other.size, other.mtime)


def examine(url: str) -> Entry:
    """A look at a file or folder.

    Raises:
        MissingExtraError: An optional package is needed for it.
        UsageError: There is no such kind of URL.
        OSError: It can't be examined.
    """
    return patiently(_examine, url)


def _examine(url: str) -> Entry:
    with connected(url) as (files, path):
        info = files.info(path)
    is_page = scheme_of(url) in _WEB and (url.endswith("/") or info.get("mimetype") == "text/html")
    bare = without_slash(url)
    return _entry(bare.rpartition("/")[2], bare, {**info, "type": "directory"} if is_page else info)


def list_folder(url: str) -> list[Entry]:
    """What is in a folder, sorted by the bytes of the names.

    Args:
        url: The folder, without a slash at its end.

    Raises:
        OSError: It can't be listed.
    """
    return patiently(_list, url)


def _list(url: str) -> list[Entry]:
    is_web = scheme_of(url) in _WEB
    with connected(url) as (files, path):
        found = files.ls(f"{path}/" if is_web else path, detail=True)
        entries = _links(url, found) if is_web else _entries(files, url, path.rstrip("/"), found)
        # In some kinds of storage a folder is both an object and a prefix of others.
        unique = {(os.fsencode(entry.name), entry.is_folder): entry for entry in entries}
    return [unique[key] for key in sorted(unique)]


def _entries(
    files: AbstractFileSystem, url: str, path: str, found: Iterable[dict[str, Any]]
) -> Iterator[Entry]:
    for info in found:
        if info["name"].rstrip("/") == path:
            # An object that stands for the folder itself; or keys with two slashes in a row.
            if info["name"].endswith("/") and info.get("StorageClass") == "DIRECTORY":
                error = f"its name is empty: {UNREAD_FOLDER}"
                yield Entry("", f"{url}/", is_folder=True, error=error)
            continue
        if info["type"] == "link":
            info = _followed(files, info)
        name = info["name"].rstrip("/").rpartition("/")[2]
        yield _entry(name, f"{url}/{name}", info)


def _followed(files: AbstractFileSystem, link: dict[str, Any]) -> dict[str, Any]:
    try:
        return {**files.info(link["name"]), "name": link["name"], "is_link": True}
    except FileNotFoundError:
        return {**link, "error": "the link's target doesn't exist"}
    except PermissionError as error:
        return {**link, "error": reason_of(error)}


def _links(url: str, found: Iterable[dict[str, Any]]) -> Iterator[Entry]:
    """The links of a page that lead to what lies directly below it."""
    seen = set()
    for info in found:
        link = html.unescape(info["name"])
        folder, _, raw = link.rstrip("/").rpartition("/")
        if unquote(folder) != unquote(url) or not raw or "?" in raw or "#" in raw or raw in seen:
            continue
        seen.add(raw)
        name = unquote(raw)
        # Libraries quote names themselves; they can't tell these characters from their own. The
        # last one stands for bytes that are no UTF-8, so that two names could look alike.
        is_plain = not any(char in name for char in "?#%/\ufffd")
        yield _entry(name if is_plain else raw, f"{url}/{raw}", info)


def _entry(name: str, url: str, info: dict[str, Any]) -> Entry:
    is_folder = info["type"] == "directory"
    error = info.get("error")
    if not is_folder and error is None:
        error = "not a regular file" if info["type"] != "file" else None
    size = info.get("size")
    return Entry(
        name=name,
        url=url,
        is_folder=is_folder,
        size=size if isinstance(size, int) else None,
        mtime=_time(info),
        error=error,
        is_link="is_link" in info,
    )


def _time(info: dict[str, Any]) -> float | None:
    for key in _TIMES:
        value = info.get(key)
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            value = _moment(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return None


def _moment(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text)
        except ValueError:
            continue
    return None


@dataclass(slots=True)
class _Folder:
    """A folder that is being walked: `relative` is empty for an input itself."""

    url: str
    relative: str
    is_link: bool = False
    is_hidden: bool = False
    holder: Holder = field(default_factory=lambda: Holder("", ""))
    found: list[Entry] = field(default_factory=list)
    entries: Iterator[Entry] = field(default_factory=lambda: iter(()))
    to_list: Iterator[Entry] = field(default_factory=lambda: iter(()))
    listings: deque[Future[list[Entry]]] = field(default_factory=deque)


class RemoteWalk:
    """The remote part of one walk."""

    def __init__(self, choice: Choice, met: Met) -> None:
        """Nothing is asked for before there is a URL.

        Args:
            choice: What to look at inside folders.
            met: What was met before, and what is never looked at.
        """
        self._choice, self._met = choice, met
        self._threads = DaemonThreads(N_REQUESTS)

    def examined(self, inputs: Iterable[str]) -> Iterator[tuple[str, Future[Entry] | None]]:
        """The inputs as they come, with a look at those that are URLs, asked for ahead."""

        def look(place: str) -> Future[Entry] | None:
            return self._threads.submit(examine, place) if is_url(place) else None

        return each_ahead(inputs, look, N_REQUESTS)

    def images(self, url: str, asked: Future[Entry], root: str | None = None) -> Iterator[ImageRef]:
        """The images of an input.

        Args:
            url: A file or folder.
            asked: A look at it.
            root: As of `LocalWalk.images`.
        """
        bare = without_slash(url)
        if self._met.passes_over(bare):
            return
        try:
            entry = result_of(asked)
        except MissingExtraError:
            raise
        except (OSError, UsageError) as error:
            yield unusable(bare, reason_of(error), root)
            return
        if entry.is_folder:
            yield from self._folder(bare, root or bare)
        else:
            parent = root or _parent(bare)
            yield _ref(entry, _shown(parent), below(bare, parent))

    def _folder(self, url: str, root: str) -> Iterator[ImageRef]:
        shown_root, inside = _shown(root), below(url, root)
        stack: list[_Folder] = []
        entered: _Folder | None = _Folder(url, "")
        listing = self._threads.submit(list_folder, url)
        while entered or stack:
            if entered:
                problem = self._open(entered, listing, len(stack))
                if problem and not entered.is_hidden:
                    yield ImageRef(
                        entered.url,
                        shown_root,
                        display_name(joined(inside, entered.relative)) or ".",
                        error=f"{problem}: {UNREAD_FOLDER}",
                    )
                if not any(_is_loop(entered, parent) for parent in stack):
                    stack.append(entered)
                entered = None
                continue
            folder = stack[-1]
            entry = next(folder.entries, None)
            if entry is None:
                stack.pop()
                continue
            # A name may be empty, of what has two slashes in a row.
            relative = f"{folder.relative}/{entry.name}" if folder.relative else entry.name
            shown = joined(inside, relative)
            if not entry.is_folder:
                if self._is_wanted(entry, relative, folder):
                    yield _ref(entry, shown_root, shown)
                continue
            look = self._choice.folder(entry.name, relative, folder.holder)
            if look is Look.DERIVATIVES:
                self._choice.count_derivatives(entry.name, folder.holder)
            elif entry.error:
                if look is Look.WHOLE:
                    yield _ref(entry, shown_root, f"{shown}/" if shown else "/")
            elif look is not Look.NOT:
                listing = folder.listings.popleft()
                self._ask_ahead(folder)
                if not self._met.passes_over(entry.url):
                    entered = _Folder(entry.url, relative, entry.is_link, look is Look.TO_COUNT)

    def _open(self, folder: _Folder, listing: Future[list[Entry]], depth: int) -> str | None:
        """Fill in what a folder has; tells why that couldn't be had."""
        if depth >= DEEPEST:
            return "too many folders inside each other"
        try:
            entries = folder.found = result_of(listing)
        except OSError as error:
            return reason_of(error)
        prefix = f"{folder.relative}/" if folder.relative else ""
        is_marked = any(entry.name == MARKER for entry in entries)
        listed = _read_marker(folder.url) if is_marked else None
        name = folder.url.rpartition("/")[2]
        folder.holder = Holder(name, _shown(folder.url), folder.is_hidden, listed)
        folder.entries = iter(entries)
        folder.to_list = (
            entry
            for entry in entries
            if entry.is_folder and self._enters(entry, f"{prefix}{entry.name}", folder)
        )
        for _ in range(FOLDERS_AHEAD):
            self._ask_ahead(folder)
        return None

    def _ask_ahead(self, folder: _Folder) -> None:
        for entry in folder.to_list:
            folder.listings.append(self._threads.submit(list_folder, entry.url))
            return

    def _enters(self, entry: Entry, relative: str, folder: _Folder) -> bool:
        look = self._choice.folder(entry.name, relative, folder.holder)
        return entry.error is None and look in (Look.WHOLE, Look.TO_COUNT)

    def _is_wanted(self, file: Entry, relative: str, folder: _Folder) -> bool:
        is_wanted = self._choice.file(file.name, relative, folder.holder)
        return is_wanted and not self._met.passes_over(file.url)

    def close(self) -> None:
        """Ask for no more."""
        self._threads.close()


def _read_marker(folder: str) -> set[str]:
    try:
        return listed_in(read_bytes(locate(f"{folder}/{MARKER}")))
    except OSError:
        return set()


def _is_loop(folder: _Folder, parent: _Folder) -> bool:
    """Whether a link seems to lead back to a folder on the way: the same things are in it."""
    if not folder.is_link or not folder.found or len(folder.found) != len(parent.found):
        return False
    return all(map(Entry.is_like, folder.found, parent.found))


def unusable(place: str, error: str, root: str | None = None) -> ImageRef:
    """An input or an entry of a list, as a URL, that can't be looked at."""
    parent = root or _parent(place)
    return ImageRef(place, _shown(parent), display_name(below(place, parent)) or ".", error=error)


def _parent(url: str) -> str:
    root = url.rpartition("/")[0]
    return f"{root}/" if root.endswith(":/") else root


def _shown(root: str) -> str:
    return display_name(without_password(root))


def _ref(entry: Entry, root: str, relative: str) -> ImageRef:
    return ImageRef(
        entry.url, root, display_name(relative), entry.size, entry.mtime, error=entry.error
    )
