"""Inputs → `ImageRef`, sorted and one at a time.

The order is that of the inputs, and in a folder that of the names' bytes, depth first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing

from batchage.config import ScanFilter
from batchage.errors import UsageError
from batchage.places import (
    LOCAL_SCHEMES,
    AnyPath,
    as_spelled,
    is_url,
    local_path,
    reason_of,
    scheme_of,
    without_password,
    without_slash,
)
from batchage.types import ImageRef
from batchage.walk.base import DEFAULT_FILTER, Met, display_name
from batchage.walk.choice import Choice, Skipped
from batchage.walk.local import LocalWalk, identities, identity_of, reason
from batchage.walk.remote import RemoteWalk, examine, unusable
from batchage.walk.roots import ListRoots


def iter_images(
    inputs: Iterable[str | os.PathLike[str]],
    filter: ScanFilter = DEFAULT_FILTER,
    leave_out: Iterable[AnyPath] = (),
    skipped: Skipped | None = None,
) -> Iterator[ImageRef]:
    """Finds the images among files and folders, of this machine and elsewhere.

    A file given directly is always looked at, whatever its name; `filter` is for what folders hold.
    In a folder an image is known by its suffix or, failing that, by its first bytes. Entries
    that are no regular files and folders that can't be read come with an `error`.
    In a remote folder it is known by its suffix only, which needs no request for each file.
    Folders of derivatives, and pictures that batchage made, are left out of a folder's own.

    An input given twice, or that lies in a folder given too, is looked at once. This compares
    absolute paths and remembers the inputs only: a file that is reached by two names through
    links is two files.

    Args:
        inputs: Files and folders, or URLs of them, in the order to be scanned.
        filter: What to look at inside folders.
        leave_out: Folders that are not entered, such as those for thumbnails and crops.
        skipped: Counts what looks like a picture or video and isn't looked at.

    Returns:
        The images, found while they are consumed.

    Raises:
        UsageError: An input doesn't exist, can't be examined or is to be left out; raised by the
            call itself.
    """
    paths = [_as_text(path) for path in ([inputs] if isinstance(inputs, str) else inputs)]
    left_out = _all_absolute(leave_out)
    folders = identities(left_out)
    for path in paths:
        if _absolute(path) in left_out or (folders and identity_of(path) in folders):
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
    met = Met({_absolute(path) for path in paths}, left_out)
    return _images(paths, Choice(filter, skipped), met)


def iter_listed(
    paths: Iterable[str | os.PathLike[str]],
    filter: ScanFilter = DEFAULT_FILTER,
    leave_out: Iterable[AnyPath] = (),
    skipped: Skipped | None = None,
) -> Iterator[ImageRef]:
    """Finds the images among the entries of a list, which may be very long.

    Like `iter_images`, but a missing entry comes with an `error` instead of raising, and an entry
    listed twice is looked at twice. The root of all is the folder that they have in common, at
    least the working folder if some are relative; so no two files have one relative path. Entries
    of each host or bucket elsewhere have one in common, too.

    Args:
        paths: Files and folders, or URLs of them.
        filter: What to look at inside folders.
        leave_out: Folders that are not entered.
        skipped: Counts what looks like a picture or video and isn't looked at.

    Yields:
        The images.
    """
    entries = [_entry_text(path) for path in paths]
    met = Met(set(), _all_absolute(leave_out))
    return _images(entries, Choice(filter, skipped), met, ListRoots.of(entries))


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
    """A path as it is spelled where it is, or the URL of what is elsewhere.

    Raises:
        UsageError: It is the URL of a file of another machine.
    """
    text = os.fspath(place) if isinstance(place, os.PathLike) else str(place)
    if is_url(text):
        return text
    return as_spelled(local_path(text) if scheme_of(text) in LOCAL_SCHEMES else text)


def _entry_text(place: str | os.PathLike[str]) -> str:
    """The same of an entry of a list, whose URL stays where it can't be used."""
    try:
        return _as_text(place)
    except UsageError:
        return str(place)


def _absolute(path: str) -> str:
    """What tells whether two inputs are the same."""
    if is_url(path):
        return without_slash(path)
    return os.path.abspath(path)


def _all_absolute(folders: Iterable[AnyPath]) -> set[str]:
    return {_absolute(_as_text(str(folder))) for folder in folders}


def _images(
    paths: Iterable[str], choice: Choice, met: Met, roots: ListRoots | None = None
) -> Iterator[ImageRef]:
    here = LocalWalk(choice, met)
    with closing(RemoteWalk(choice, met)) as elsewhere:
        for path, asked in elsewhere.examined(paths):
            root = roots.root_of(path) if roots else None
            if asked:
                yield from elsewhere.images(path, asked, root)
            elif scheme_of(path) in LOCAL_SCHEMES:
                yield unusable(path, "names no file of this machine")
            else:
                yield from here.images(path, root)


def _problem(path: str) -> str | None:
    """Why an input can't be examined."""
    if is_url(path):
        try:
            examine(path)
        except OSError as error:
            return reason_of(error)
        return None
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        return reason(error)
    return None
