"""What compressed strips and tiles of a TIFF page hold, by Pillow's libtiff and other decoders.

Of strips a small TIFF file is made, in which a row of pixels is a row of so many bytes: what these
mean is not libtiff's business.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, TiffTags
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, SAMPLEFORMAT, TiffPage

from batchage.decode.formats import JPEG_XL
from batchage.decode.jxl import jxl_size

Samples = NDArray[Any]
_BITWISE = (COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6)
ZLIB = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_OTHERS = (COMPRESSION.LZW, COMPRESSION.LZMA, COMPRESSION.ZSTD)
OF_ROWS = (*_BITWISE, COMPRESSION.PACKBITS, *_OTHERS)
"""Compressions that `rows_by_libtiff` undoes."""
PREDICTED = (*ZLIB, *_OTHERS)
"""Compressions that may be of differences."""
_PICTURES = {
    COMPRESSION.WEBP: "WEBP",
    COMPRESSION.JPEG2000: "JPEG2000",
    COMPRESSION.APERIO_JP2000_YCBC: "JPEG2000",
    COMPRESSION.APERIO_JP2000_RGB: "JPEG2000",
    COMPRESSION.JPEGXL: JPEG_XL,
    COMPRESSION.JPEGXL_DNG: JPEG_XL,
}
OF_PICTURES = (COMPRESSION.JPEG, *_PICTURES)
"""Compressions whose strips and tiles are pictures by themselves."""
_RGB, _YCBCR, _INKS = 2, 6, 5
_T4_OPTIONS, _T6_OPTIONS = 292, 293
_EXTRA_SAMPLES, _TABLES, _SUBSAMPLING = 338, 347, 530
_PIECE_BYTES = 1 << 16


def is_readable(page: TiffPage) -> bool:
    """Whether a page's compression can be undone for samples of its kind."""
    n_samples = 1 if page.planarconfig == PLANARCONFIG.SEPARATE else page.samplesperpixel
    if page.compression in _PICTURES:
        # Of more bits Pillow makes bytes where there are several samples, and black of white.
        is_of_bytes = page.bitspersample == 8 or (page.bitspersample == 16 and n_samples == 1)
        return is_of_bytes and page.sampleformat == SAMPLEFORMAT.UINT and n_samples <= 4
    if page.compression == COMPRESSION.JPEG:
        return page.bitspersample == 8 and n_samples <= 4
    if page.compression in _BITWISE:
        return page.bitspersample == 1 and page.samplesperpixel == 1
    return page.compression in (COMPRESSION.NONE, *ZLIB, *OF_ROWS)


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of bytes in strips.

    Attributes:
        columns: Pixels of a row.
        n_bytes: Bytes of a row.
        n_rows: Rows of all strips.
        rows_of_strip: Rows of each but the last.
    """

    columns: int
    n_bytes: int
    n_rows: int
    rows_of_strip: int


def inflated(data: bytes, n_bytes: int) -> bytes:
    """As many of the bytes as come before damage."""
    inflater, found = zlib.decompressobj(), []
    for start in range(0, len(data), _PIECE_BYTES):
        try:
            found.append(inflater.decompress(data[start : start + _PIECE_BYTES], n_bytes))
        except zlib.error:
            break
        n_bytes -= len(found[-1])
        if n_bytes <= 0:
            break
    return b"".join(found)


def rows_by_libtiff(page: TiffPage, strips: Sequence[bytes], layout: Layout) -> bytes:
    """As many rows as come before damage."""
    try:
        return _rows(page, strips, layout)
    except MemoryError:
        raise
    # Of a damaged strip, which may be any.
    except Exception:
        if len(strips) == 1:
            return _rows_before_damage(page, strips[0], layout)
    found = b""
    for number, strip in enumerate(strips):
        n_rows = min(layout.rows_of_strip, layout.n_rows - number * layout.rows_of_strip)
        alone = Layout(layout.columns, layout.n_bytes, n_rows, n_rows)
        rows = rows_by_libtiff(page, [strip], alone)
        found += rows
        if len(rows) < n_rows * layout.n_bytes:
            break
    return found


def _rows_before_damage(page: TiffPage, strip: bytes, layout: Layout) -> bytes:
    """By halving: a decoder that has given all that is asked for doesn't meet what comes after."""
    found, low, high = b"", 0, layout.n_rows - 1 if strip else 0
    while low < high:
        middle = (low + high + 1) // 2
        try:
            found = _rows(page, [strip], Layout(layout.columns, layout.n_bytes, middle, middle))
            low = middle
        except Exception:
            high = middle - 1
    return found


def _rows(page: TiffPage, strips: Sequence[bytes], layout: Layout) -> bytes:
    is_bitwise = page.compression in _BITWISE
    tags: dict[int, Any] = {258: 1 if is_bitwise else 8, 262: 1, 266: page.fillorder}
    for tag in (_T4_OPTIONS, _T6_OPTIONS):
        if tag in page.tags:
            tags[tag] = page.tags[tag].value
    size = (layout.columns if is_bitwise else layout.n_bytes, layout.n_rows)
    return _by_libtiff(
        page.compression, strips, size, {**tags, 278: layout.rows_of_strip}
    ).tobytes()


def samples_of_picture(page: TiffPage, data: bytes, shape: tuple[int, int, int]) -> Samples:
    """Samples `(rows, columns, n)` of a strip or tile that is a picture.

    Raises:
        Exception: Of any type: the data are damaged.
    """
    n_rows, columns, n_samples = shape
    if page.compression == COMPRESSION.JPEG:
        return _of_jpeg(page, data, shape)
    kind = _PICTURES[COMPRESSION(page.compression)]
    # Its plugin decodes before it tells the size.
    if kind == JPEG_XL and jxl_size(data) != (columns, n_rows):
        raise ValueError("the picture inside has another size")
    # Not by Image.open, which has a pixel limit of its own.
    with Image.OPEN[kind][0](io.BytesIO(data), "") as image:
        if image.size != (columns, n_rows):
            raise ValueError("the picture inside has another size")
        pixels = np.asarray(image).reshape(n_rows, columns, -1)
    if pixels.shape[2] < n_samples:
        # WebP leaves out opacity that hides nothing.
        opaque = np.full((*pixels.shape[:2], n_samples - pixels.shape[2]), 255, np.uint8)
        pixels = np.concatenate([pixels, opaque], axis=2)
    return pixels[..., :n_samples]


def _of_jpeg(page: TiffPage, data: bytes, shape: tuple[int, int, int]) -> Samples:
    n_rows, columns, n_samples = shape
    tags: dict[int, Any] = {258: (8,) * n_samples, 262: _RGB if n_samples > 2 else 1, 278: n_rows}
    if page.photometric == PHOTOMETRIC.YCBCR and n_samples == 3:
        tags[262] = _YCBCR
        tags[_SUBSAMPLING] = page.subsampling or (2, 2)
    elif n_samples == 4 and not page.extrasamples:
        tags[262] = _INKS
    elif n_samples in (2, 4):
        tags[_EXTRA_SAMPLES] = (2,)
    if page.jpegtables:
        tags[_TABLES] = page.jpegtables
    image = _by_libtiff(page.compression, [data], (columns, n_rows), tags)
    return np.asarray(image).reshape(shape)


def _by_libtiff(
    compression: int, strips: Sequence[bytes], size: tuple[int, int], tags: dict[int, Any]
) -> Image.Image:
    """A picture `(width, height)` of strips."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory.tagtype[_TABLES] = TiffTags.UNDEFINED
    bits = tags[258]
    tags = {
        256: size[0],
        257: size[1],
        259: int(compression),
        277: len(bits) if isinstance(bits, tuple) else 1,
        279: tuple(map(len, strips)),
        **tags,
        # Pillow adds where the directory ends.
        273: tuple([0, *accumulate(map(len, strips))][:-1]),
    }
    for tag, value in tags.items():
        directory[tag] = value
    head = struct.pack("<2sHL", b"II", 42, 8) + directory.tobytes(8)
    with TiffImagePlugin.TiffImageFile(io.BytesIO(head + b"".join(strips))) as image:
        image.load()
        return image.copy()
