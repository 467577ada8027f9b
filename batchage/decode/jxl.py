"""How large a JPEG XL picture is, before it is decoded, which Pillow's plugin does at once."""

from __future__ import annotations

from batchage.errors import DecodeError

_CODESTREAM = b"\xff\x0a"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZE_BITS = (9, 13, 18, 30)
_HEADER_BYTES = 16
_INDEX_BYTES = 4
"""Of a box with a part of the codestream, before that."""


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, as they are stored.

    Source: ISO/IEC 18181-1, SizeHeader; 18181-2, boxes.

    Raises:
        DecodeError: The header is damaged.
    """
    bits = _Bits(_codestream(data)[len(_CODESTREAM) :][:_HEADER_BYTES])
    is_of_eights = bool(bits.take(1))
    height = _side(bits, is_of_eights)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height * across // down, height
    return _side(bits, is_of_eights), height


def _side(bits: _Bits, is_of_eights: bool) -> int:
    if is_of_eights:
        return 8 * (1 + bits.take(5))
    return 1 + bits.take(_SIZE_BITS[bits.take(2)])


class _Bits:
    """Bits from the least significant one of the first byte on."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")

    def take(self, n: int) -> int:
        taken = self._value & ((1 << n) - 1)
        self._value >>= n
        return taken


def _codestream(data: bytes) -> bytes:
    """The start of the codestream, which may be in a container."""
    if data.startswith(_CODESTREAM):
        return data[:_HEADER_BYTES]
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        header = 8
        if size == 1:
            size, header = int.from_bytes(data[position + 8 : position + 16]), 16
        start = position + header + (_INDEX_BYTES if kind == b"jxlp" else 0)
        if kind in (b"jxlc", b"jxlp") and data.startswith(_CODESTREAM, start):
            return data[start : start + _HEADER_BYTES]
        if not size:
            break
        position += max(size, header)
    raise DecodeError("the JPEG XL file's header is damaged")
