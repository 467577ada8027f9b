"""Lists of paths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

# Longer than any path, so that a NUL-separated list shows a NUL in its first chunk.
_CHUNK_BYTES = 1 << 16


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
