"""Pictures that batchage makes: their names, and the marker of the folders that hold them.

A thumbnail or crop among photos is known by its name, but only beside a marker: somebody else's
picture may be called alike. Pictures whose names others choose are listed in the marker.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import unicodedata
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from batchage.places.files import folder_at
from batchage.places.names import AnyPath

MARKER = ".batchage.json"
MAX_NAME_BYTES = 120
_LISTED = "pictures"
_TAIL = re.compile(r"(?<=.)-[0-9a-f]{16}(?:\.jpg|-face\d{3,}\.png)\Z", re.ASCII)


def thumbnail_name(root: str, relative: str, page: int | None = None, suffix: str = ".jpg") -> str:
    """A file name for a picture of `relative` that no other one gets.

    The name is the readable part of the original name and a hash of the whole path, so it stays
    unique across folders, roots and file systems that ignore case.

    Args:
        root: The scanned folder.
        relative: The file's path inside it, POSIX form.
        page: The picture's number in the file, if that has several.
        suffix: End of the name, with its dot.

    Returns:
        A plain file name of letters, digits, `-`, `_` and the suffix, at most 120 bytes of UTF-8.
    """
    number = "" if page is None else str(page)
    key = "\0".join([root, relative, *filter(None, [number])]).encode(errors="surrogatepass")
    tail = (
        f"{number and f'-page{number}'}-{hashlib.blake2b(key, digest_size=8).hexdigest()}{suffix}"
    )
    room = MAX_NAME_BYTES - len(tail.encode())
    stem = unicodedata.normalize("NFC", PurePosixPath(relative).stem)
    safe = "".join(char if _is_safe(char) else "_" for char in stem).strip("-_")
    return (safe.encode()[:room].decode(errors="ignore") or "image") + tail


def crop_name(root: str, relative: str, face_index: int, page: int | None = None) -> str:
    """The same for the crop of a face."""
    return thumbnail_name(root, relative, page, f"-face{face_index:03d}.png")


def _is_safe(char: str) -> bool:
    return char in "-_" or unicodedata.category(char)[0] in "LNM"


def is_made_name(name: str) -> bool:
    """Whether a thumbnail or crop may be called so."""
    tail = _TAIL.search(name)
    return tail is not None and all(map(_is_safe, name[: tail.start()]))


def mark_folder(folder: AnyPath, pictures: Iterable[str] = ()) -> None:
    """Put the marker into a folder that is there, so that no scan takes what is made for photos.

    Args:
        folder: Where pictures are about to be made.
        pictures: Names of those that are called otherwise than thumbnails and crops.

    Raises:
        OSError: It can't be written.
    """
    place = folder_at(folder)
    known = None
    with contextlib.suppress(FileNotFoundError):
        known = listed_in(place.read(MARKER))
    wanted = {*pictures, *(known or ())}
    if known is not None and wanted == known:
        return
    about = {
        "made_by": "batchage",
        "about": "scans leave out the pictures of this folder that batchage made",
        _LISTED: sorted(wanted),
    }
    data = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    if not isinstance(folder, Path):
        place.write(MARKER, data)
        return
    # Several processes may do this at once.
    partial = folder / f"{MARKER}.{uuid.uuid4().hex}.partial"
    try:
        partial.write_bytes(data)
        partial.replace(folder / MARKER)
    finally:
        partial.unlink(missing_ok=True)


def listed_in(marker: bytes) -> set[str]:
    """The pictures that a marker lists; none where it is damaged."""
    try:
        listed = json.loads(marker)[_LISTED]
        return {name for name in listed if isinstance(name, str)}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
