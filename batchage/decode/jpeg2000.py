"""JPEG 2000 files that Pillow reads wrongly without a word."""

from __future__ import annotations

import io

from PIL import Jpeg2KImagePlugin

from batchage.errors import DecodeError

_START = b"\xff\x4f\xff\x51"
_N_COMPONENTS, _FIRST_COMPONENT = 40, 42
"""Where they are from there on."""
_PRECISION = 0x7F


def open_jpeg_2000(data: bytes) -> Jpeg2KImagePlugin.Jpeg2KImageFile:
    """The picture, whose header was read.

    Raises:
        DecodeError: It has several samples of more than 8 bits: Pillow rounds white up to black.
    """
    image = Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(data), "")
    start = data.find(_START)
    n_samples = int.from_bytes(data[start + _N_COMPONENTS :][:2])
    bits = 1 + (data[start + _FIRST_COMPONENT] & _PRECISION)
    if n_samples > 1 and bits > 8:
        raise DecodeError(f"JPEG 2000 files of {n_samples} samples of {bits} bits can't be read")
    return image
