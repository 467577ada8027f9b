"""What tells an image among files, what files are called, and which are passed over."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from batchage.config import ScanFilter

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
_LIKE_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2})")
DEFAULT_FILTER = ScanFilter()


def display_name(name: str) -> str:
    r"""Valid Unicode of a file name, bytes that are not UTF-8 as `\xNN`.

    A backslash that would look like that is written as `\x5c`: no two names are shown alike.
    """
    name = _LIKE_ESCAPED.sub(r"\\x5c", name)
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


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
