"""What tells an image among files, what files are called, and which are passed over."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from batchage.config import ScanFilter
from batchage.errors import DecodeError
from batchage.places import is_url

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
        ".avifs",
        ".apng",
        ".mpo",
        ".jp2",
        ".j2k",
        ".j2c",
        ".jpc",
        ".jpf",
        ".jpx",
        ".jxl",
        ".psd",
        ".tga",
        ".icb",
        ".vda",
        ".vst",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
        ".pfm",
        ".qoi",
        ".dds",
        ".sgi",
        ".rgb",
        ".rgba",
        ".bw",
        ".ras",
        ".sun",
        ".pcx",
        ".pcd",
        ".ico",
        ".icns",
    ]
)
# Only a backslash and bytes that are no ASCII are written so: a name can't hide a slash.
_ESCAPED_BYTE = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")
_LIKE_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2})")
DEFAULT_FILTER = ScanFilter()


def display_name(name: str) -> str:
    r"""Valid Unicode of a file name, bytes that are not UTF-8 as `\xNN`.

    A backslash that would look like that is written as `\x5c`: no two names are shown alike.
    """
    name = _LIKE_ESCAPED.sub(r"\\x5c", name)
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def photo_path(root: str, relative: str) -> Path | str:
    r"""Where to open a photo of a table, whose names may be made up.

    Args:
        root: The folder that holds it, or its URL.
        relative: Its path inside that, POSIX form; a byte that is not UTF-8 as `\xNN`.

    Raises:
        DecodeError: It leads out of the folder.
    """
    inside = PurePosixPath(relative)
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise DecodeError("its path in the table leads out of the scanned folder")
    name = as_file_name(relative)
    return f"{root.rstrip('/')}/{name}" if is_url(root) else Path(root) / name


def as_file_name(shown: str) -> str:
    """The name of a file that a table shows: the inverse of `display_name`."""
    name = _ESCAPED_BYTE.sub(lambda byte: bytes.fromhex(byte[1].decode()), os.fsencode(shown))
    return os.fsdecode(name)


def joined(folder: str, name: str) -> str:
    """A relative path in a folder, of which either may be empty."""
    return f"{folder}/{name}" if folder and name else folder or name


@dataclass(slots=True)
class Met:
    """What one walk has met.

    Attributes:
        once: Absolute paths and URLs that are to be looked at a single time.
        left_out: Those that are never looked at.
    """

    once: set[str]
    left_out: set[str]
    _done: set[str] = field(default_factory=set)

    def passes_over(self, absolute: str) -> bool:
        """Whether what is met now is not to be looked at."""
        if absolute not in self.once:
            return absolute in self.left_out
        repeated = absolute in self._done
        self._done.add(absolute)
        return repeated
