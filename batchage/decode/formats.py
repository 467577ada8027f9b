"""What a file is: told by its content, and by its suffix only where its format has no mark."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.util import find_spec

import pillow_heif
from PIL import Image, PngImagePlugin, features

from batchage.errors import DecodeError

NOT_A_PICTURE = (
    "not a picture in a known format (JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF, JPEG 2000, "
    "JPEG XL, PSD, TGA, PNM and some others)"
)
PREFIX_BYTES = 16
"""What is needed to tell a format."""
JPEG_XL = "JXL"
# AVIF before HEIF: both claim the container brand mif1, and only AVIF's opener looks at the codec.
_BY_PILLOW = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "HEIF", "JPEG2000")
# Pillow's own checks of these take nearly any text or number for a picture, or there are none.
_BY_MARK = {
    JPEG_XL: rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "PSD": rb"8BPS",
    "PPM": rb"P[1-6f][\s#]|Py(?:P|RGBA|CMYK)\s",
    "QOI": rb"qoif",
    "DDS": rb"DDS \x7c\0\0\0",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]",
    "SUN": rb"\x59\xa6\x6a\x95",
    "PCX": rb"\n[\x00\x02\x03\x05]\x01[\x01\x02\x04\x08]",
    "ICO": rb"\0\0\x01\0.\0",
    "ICNS": rb"icns",
}
_MARKS = {name: re.compile(mark, re.DOTALL) for name, mark in _BY_MARK.items()}
_BY_SUFFIX = {"TGA": (".tga", ".icb", ".vda", ".vst"), "PCD": (".pcd",)}
"""Formats whose files don't start like any other."""

Image.init()
# Profiles and the notes of image generators are larger than Pillow's limit of one megabyte.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
pillow_heif.register_heif_opener()
if not features.check("avif") and hasattr(pillow_heif, "register_avif_opener"):
    pillow_heif.register_avif_opener()


def formats_of(path: str | os.PathLike[str], start: bytes) -> list[str]:
    """The formats, as Pillow calls them, that a file may have; none if it is no picture.

    Args:
        path: What it is called.
        start: At least its first 16 bytes, if it has so many.
    """
    # Some of Pillow's checks fail on fewer bytes than they look at.
    prefix = start[:PREFIX_BYTES].ljust(PREFIX_BYTES, b"\0")
    found = [name for name in _BY_PILLOW if _is_accepted(name, prefix)]
    found = found or [name for name, mark in _MARKS.items() if mark.match(prefix)]
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return found or [name for name, suffixes in _BY_SUFFIX.items() if suffix in suffixes]


def _is_accepted(name: str, prefix: bytes) -> bool:
    _, accept = Image.OPEN.get(name, (None, None))
    return accept is not None and accept(prefix) is True


@cache
def load_jpeg_xl() -> None:
    """Let Pillow read JPEG XL.

    Raises:
        DecodeError: The extra isn't there.
    """
    if not find_spec("pillow_jxl"):
        raise DecodeError("JPEG XL needs the extra jxl: pip install 'batchage[jxl]'")
    from pillow_jxl import JpegXLImagePlugin

    # Each core has a decoder of its own already.
    JpegXLImagePlugin.DECODE_THREADS = 0
