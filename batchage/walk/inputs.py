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
    is_url,
    reason_of,
    scheme_of,
    without_password,
    without_slash,
)
from batchage.types import ImageRef
from batchage.walk.base import DEFAULT_FILTER, Met, display_name
from batchage.walk.local import LocalWalk, identities, identity_of, reason
from batchage.walk.remote import RemoteWalk, examine


def iter_images(
    inputs: Iterable[str | os.PathLike[str]],
    filter: ScanFilter = DEFAULT_FILTER,
    leave_out: Iterable[AnyPath] = (),
) -> Iterator[ImageRef]:
    """Finds the images among files and folders, of this machine and elsewhere.

    A file given directly is always looked at, whatever its name; `filter` is for what folders hold.
    In a folder an image is known by its suffix or, failing that, by its first bytes. Entries
    that are no regular files and folders that can't be read come with an `error`.
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
    return _images(paths, filter, Met({_absolute(path) for path in paths}, left_out))


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
    return _images(map(_as_text, paths), filter, Met(set(), _all_absolute(leave_out)))


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


def _images(paths: Iterable[str], filter: ScanFilter, met: Met) -> Iterator[ImageRef]:
    here = LocalWalk(filter, met)
    with closing(RemoteWalk(filter, met)) as elsewhere:
        for path, asked in elsewhere.examined(paths):
            yield from elsewhere.images(path, asked) if asked else here.images(path)


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
