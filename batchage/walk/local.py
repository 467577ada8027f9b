"""Folders of this machine → `ImageRef`.

Memory holds the names of the folders from an input down to the current one, never a whole tree.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from batchage.places import MARKER, listed_in
from batchage.types import UNREAD_FOLDER, ImageRef
from batchage.walk.base import Met, display_name, joined
from batchage.walk.choice import Choice, Holder, Look
from batchage.walk.roots import below

_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF.{4}WEBP|II[*+]\0|MM\0[*+]"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|.{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1|avi[fs]|crx )"
    rb"|\0\0\0\x0c(?:jP  |JXL )\r\n\x87\n|\xff\x4f\xff\x51|8BPS\0[\1\2]|qoif|DDS \x7c\0\0\0"
    rb"|FUJIFILMCCD-RAW|IIRO|IIU\0\x18",
    re.DOTALL,
)
_MAGIC_BYTES = 32


def identities(folders: Iterable[str]) -> set[tuple[int, int] | None]:
    """Those of folders that are there, under whatever name they are met."""
    return {identity_of(folder) for folder in folders} - {None}


def identity_of(path: str) -> tuple[int, int] | None:
    """What tells whether two paths lead to the same; None where nothing is there."""
    try:
        return _identity(os.stat(path))
    except (OSError, ValueError):
        return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@dataclass(slots=True)
class _Folder:
    """A folder that is being walked: `relative` is empty for an input itself."""

    path: str
    relative: str
    identity: tuple[int, int]
    is_hidden: bool = False
    holder: Holder = field(default_factory=lambda: Holder("", ""))
    names: Iterator[str] = field(default_factory=lambda: iter(()))
    folders: frozenset[str] = frozenset()


class LocalWalk:
    """The part of one walk that is on this machine."""

    def __init__(self, choice: Choice, met: Met) -> None:
        """Nothing is looked at yet.

        Args:
            choice: What to look at inside folders.
            met: What was met before, and what is never looked at.
        """
        self._choice, self._met = choice, met

    def images(self, path: str, root: str | None = None) -> Iterator[ImageRef]:
        """The images of an input.

        Args:
            path: A file or folder.
            root: The folder above it that it is shown below; None is the folder itself, or that of
                the file.
        """
        absolute = os.path.abspath(path)
        if self._met.passes_over(absolute):
            return
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            yield _input_ref(absolute, root, error=reason(error))
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._folder(absolute, root or absolute, status)
        else:
            yield _input_ref(absolute, root, status, _known_error(status))

    def _folder(self, path: str, root: str, status: os.stat_result) -> Iterator[ImageRef]:
        make_ref = _ref_maker(root, below(path, root))
        left_out = identities(self._met.left_out)
        stack: list[_Folder] = []
        entered: _Folder | None = _Folder(path, "", _identity(status))
        while entered or stack:
            if entered:
                problem = _list_names(entered)
                if problem and not entered.is_hidden:
                    yield make_ref(entered.path, entered.relative, None, problem)
                stack.append(entered)
                entered = None
            folder = stack[-1]
            name = next(folder.names, None)
            if name is None:
                stack.pop()
                continue
            path, relative = os.path.join(folder.path, name), joined(folder.relative, name)
            try:
                entry = os.stat(path)
            except OSError as error:
                if name in folder.folders:
                    if self._choice.folder(name, relative, folder.holder) is Look.WHOLE:
                        problem = f"{reason(error)}: {UNREAD_FOLDER}"
                        yield make_ref(path, relative, None, problem)
                elif self._is_wanted(path, relative, folder, None):
                    yield make_ref(path, relative, None, reason(error))
                continue
            if not stat.S_ISDIR(entry.st_mode):
                if self._is_wanted(path, relative, folder, entry):
                    yield make_ref(path, relative, entry, _known_error(entry))
                continue
            identity = _identity(entry)
            look = self._choice.folder(name, relative, folder.holder)
            if look is Look.DERIVATIVES:
                self._choice.count_derivatives(name, folder.holder)
            elif look is not Look.NOT and identity not in left_out:
                is_loop = any(parent.identity == identity for parent in stack)
                if not is_loop and not self._met.passes_over(path):
                    entered = _Folder(path, relative, identity, look is Look.TO_COUNT)

    def _is_wanted(
        self, path: str, relative: str, folder: _Folder, status: os.stat_result | None
    ) -> bool:
        name = os.path.basename(path)

        def peek() -> bool:
            return _starts_like_image(path, status)

        is_wanted = self._choice.file(name, relative, folder.holder, peek)
        return is_wanted and not self._met.passes_over(path)


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
        problem = f"{reason(error)}: {UNREAD_FOLDER}"
    folder.names, folder.folders = iter(sorted(names, key=os.fsencode)), frozenset(folders)
    listed = _read_marker(folder.path) if MARKER in names else None
    name = os.path.basename(folder.path)
    folder.holder = Holder(name, display_name(folder.path), folder.is_hidden, listed)
    return problem


def _read_marker(folder: str) -> set[str]:
    try:
        with open(os.path.join(folder, MARKER), "rb") as file:
            return listed_in(file.read())
    except OSError:
        return set()


def _starts_like_image(path: str, status: os.stat_result | None) -> bool:
    """Looks at a regular file's first bytes; one that can't be opened is taken for no image."""
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    try:
        with open(path, "rb", buffering=0) as file:
            return _MAGIC.match(file.read(_MAGIC_BYTES)) is not None
    except OSError:
        return False


def _known_error(status: os.stat_result) -> str | None:
    """Why a file that exists is not going to be opened."""
    return None if stat.S_ISREG(status.st_mode) else "not a regular file"


def _input_ref(
    absolute: str,
    root: str | None,
    status: os.stat_result | None = None,
    error: str | None = None,
) -> ImageRef:
    root = root or os.path.dirname(absolute)
    return _ref_maker(root)(absolute, below(absolute, root), status, error)


def _ref_maker(
    root: str, inside: str = ""
) -> Callable[[str, str, os.stat_result | None, str | None], ImageRef]:
    """Builds the refs of one root, by their paths below the folder `inside` of it.

    The root's text is made once and shared by all of them.
    """
    shown_root = display_name(Path(root).as_posix())

    def make(
        path: str, relative: str, status: os.stat_result | None, error: str | None
    ) -> ImageRef:
        return ImageRef(
            path=Path(path),
            root=shown_root,
            relative=display_name(joined(inside, relative)) or ".",
            size=status.st_size if status else None,
            mtime=status.st_mtime if status else None,
            error=error,
        )

    return make


def reason(error: OSError | ValueError) -> str:
    """Why a path can't be examined, in a few words."""
    if isinstance(error, OSError):
        if error.errno == errno.ENOENT and error.filename and os.path.islink(error.filename):
            return "the link's target doesn't exist"
        return (error.strerror or type(error).__name__).lower()
    return "not a valid path"
