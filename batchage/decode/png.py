"""PNG files with damage that leaves the picture intact."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC_BYTES = 8
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_LOOKS = (b"tRNS", b"eXIf")
"""What says how the pixels are shown."""


@dataclass(frozen=True, slots=True)
class EssentialPng:
    """A PNG file of what its picture needs.

    Attributes:
        data: The file.
        lacks_looks: Whether damage took away what says how it is shown.
    """

    data: bytes
    lacks_looks: bool


def essential_png(data: bytes) -> EssentialPng:
    """The file without notes and profiles, and without what is damaged beside the pixels."""
    kept, lacks_looks = [data[:_MAGIC_BYTES]], False
    for kind, piece in _chunks(data):
        if kind in _PIXELS:
            kept.append(piece)
        elif kind in _LOOKS:
            is_intact = zlib.crc32(piece[4:-4]) == int.from_bytes(piece[-4:])
            lacks_looks = lacks_looks or not is_intact
            if is_intact:
                kept.append(piece)
    return EssentialPng(b"".join(kept), lacks_looks)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds of chunks, and the chunks with length and checksum; the last may be cut off."""
    position = _MAGIC_BYTES
    while position + 8 <= len(data):
        size = 12 + int.from_bytes(data[position : position + 4])
        yield data[position + 4 : position + 8], data[position : position + size]
        position += size
