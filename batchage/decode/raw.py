"""Camera raw files, by the preview inside them where it is large enough; needs the extra `raw`."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from batchage.errors import DecodeError
from batchage.types import ImageArray

if TYPE_CHECKING:
    import rawpy

PREVIEW_SIDE = 1024
"""Longest side in pixels that a preview must have to stand for its photo."""
RAW_SUFFIXES = frozenset(
    [
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".crw",
        ".dcr",
        ".dng",
        ".erf",
        ".iiq",
        ".kdc",
        ".mef",
        ".mos",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".rw2",
        ".rwl",
        ".sr2",
        ".srf",
        ".srw",
    ]
)
_MARKS = re.compile(
    rb"II\*\0.{4}CR|.{4}ftypcrx |.{6}HEAPCCDR|FUJIFILMCCD-RAW|II(?:RO|RS|U\0)|MMOR|\0MRM|FOVb",
    re.DOTALL,
)


def has_raw_mark(start: bytes) -> bool:
    """Whether a file's first 16 bytes are those of a camera raw file and nothing else."""
    return _MARKS.match(start) is not None


def is_raw(path: str | os.PathLike[str]) -> bool:
    """Whether a file is called like a camera raw file: many look like a TIFF from inside."""
    # Not by a Path, which would have to be made for each file of a walk.
    return os.path.splitext(path)[1].lower() in RAW_SUFFIXES  # noqa: PTH122


@lru_cache(maxsize=1)
def missing_reader() -> str | None:
    """Why no camera raw file can be read, if that is so."""
    if find_spec("rawpy"):
        return None
    return "camera raw needs the extra raw: pip install 'batchage[raw]'"


def opens_as_raw(data: bytes) -> bool:
    """Whether LibRaw takes a file for a camera raw; never without it."""
    if missing_reader():
        return False
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)):
            return True
    except rawpy.LibRawError:
        return False


def read_raw(
    data: bytes, check_size: Callable[[int, int], None], reserve: Callable[[int], None]
) -> bytes | ImageArray:
    """What there is to see in a camera raw file.

    Args:
        data: The file.
        check_size: Called with width and height before the raw data are developed.
        reserve: Called with the bytes of developed pixels before there are any.

    Returns:
        The preview, a JPEG file with EXIF orientation, or developed pixels, RGB uint8 `(h, w, 3)`,
        upright, where the preview is missing or too small.

    Raises:
        DecodeError: It can't be read.
    """
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            preview = _preview(raw)
            if preview is not None:
                return preview
            check_size(raw.sizes.width, raw.sizes.height)
            reserve(raw.sizes.width * raw.sizes.height * 3)
            return np.asarray(raw.postprocess(use_camera_wb=True), np.uint8)
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args else type(error).__name__
        raise DecodeError(f"the camera raw can't be read: {reason.lower()}") from None


def _preview(raw: rawpy.RawPy) -> bytes | None:
    """The JPEG inside, if it is one and not much smaller than the photo."""
    import rawpy
    from PIL import JpegImagePlugin

    try:
        found = raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None
    if found.format != rawpy.ThumbFormat.JPEG:
        return None
    data = bytes(found.data)
    wanted = min(PREVIEW_SIDE, max(raw.sizes.width, raw.sizes.height))
    try:
        # Not by Image.open, which has a pixel limit of its own.
        size = JpegImagePlugin.JpegImageFile(io.BytesIO(data)).size
    except (OSError, SyntaxError, ValueError):
        return None
    return data if max(size) >= wanted else None
