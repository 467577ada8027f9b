"""TIFF files: every tag that changes what a picture looks like is honoured, or the file refused.

`tifffile` reads the directories. What is stored in the usual way goes through Pillow; anything
else, and what is damaged, is put together of strips and tiles, a band at a time.
"""

from __future__ import annotations

import io
import logging
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tifffile
from PIL import Image, TiffImagePlugin
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, SAMPLEFORMAT, TiffPage

from batchage.decode.formats import load_jpeg_xl
from batchage.decode.numbers import Brightness
from batchage.decode.tiff_bands import Bands
from batchage.decode.tiff_codecs import OF_ROWS, ZLIB, is_readable
from batchage.decode.tiff_colours import (
    LABS,
    Shown,
    has_usual_inks,
    is_ycbcr,
    n_colours_of,
    needs_brightness,
    shared_colours,
)
from batchage.errors import DecodeError, one_line

MAX_PAGES = 10_000
"""Of a file's pages, those that are looked at."""
_MAX_SAMPLES = 16
_REDUCED, _MASK = 1, 4
_ORIENTATION, _SUB_DIRECTORIES, _PROFILE, _DNG_VERSION = 274, 330, 34675, 50706
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OF_SENSORS = (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW)
_WHOLE_BITS = (*range(1, 17), 32, 64)
_FLOAT_BITS = (16, 32, 64)
_BY_PILLOW = (COMPRESSION.NONE, COMPRESSION.JPEG, COMPRESSION.OJPEG, *ZLIB, *OF_ROWS)
_USUAL = {
    PHOTOMETRIC.MINISWHITE: (1,),
    PHOTOMETRIC.MINISBLACK: (1,),
    PHOTOMETRIC.PALETTE: (1,),
    PHOTOMETRIC.RGB: (3,),
    PHOTOMETRIC.SEPARATED: (4,),
    PHOTOMETRIC.YCBCR: (3,),
}
"""Samples of a pixel in what Pillow reads rightly."""
logging.getLogger("tifffile").disabled = True


@dataclass(frozen=True, slots=True, eq=False)
class TiffPicture:
    """A page's picture.

    Attributes:
        image: Of a mode with 8 bits a sample, as it is stored.
        orientation: How it is to be turned, as in EXIF.
        warning: What is wrong with it, if anything is.
        directory: Where its directory is in the file.
    """

    image: Image.Image
    orientation: int = 1
    warning: str | None = None
    directory: int = 0


def is_tiff(data: bytes) -> bool:
    """Whether a file starts like a TIFF or BigTIFF."""
    return data.startswith(_MAGIC)


class TiffDocument:
    """A TIFF file's pages that are pictures: neither reduced copies of another one nor masks."""

    def __init__(self, data: bytes) -> None:
        """Read the directories.

        Raises:
            DecodeError: They are damaged.
        """
        self._data = data
        self._met: set[int] = set()
        self.is_cut = False
        """Whether there were further pages, which can't be found."""
        try:
            self._file = tifffile.TiffFile(io.BytesIO(data))
            every = list(self._directories())
        # tifffile raises any type on a damaged file.
        except Exception as error:
            raise DecodeError(f"the TIFF file is damaged: {one_line(error)}") from error
        pages = [page for page in every if not _kind(page) & (_REDUCED | _MASK)]
        self._pages: list[TiffPage | DecodeError] = pages or every[:1]
        if not self._pages:
            raise DecodeError("the file is truncated or damaged before any of the picture")
        head, first = every[0], self._pages[0]
        is_of_sensor = isinstance(first, TiffPage) and first.photometric in _OF_SENSORS
        self.is_raw = is_of_sensor or (isinstance(head, TiffPage) and _DNG_VERSION in head.tags)
        """Whether it is a camera raw file, whatever it is called."""
        self.is_only_reduced = bool(_kind(first) & _REDUCED)
        """Whether it has none but a smaller copy of its picture."""

    def __len__(self) -> int:
        return len(self._pages)

    def _directories(self) -> Iterator[TiffPage | DecodeError]:
        """Pages, or why they can't be read; a reduced copy before those in its sub-directories."""
        for index in range(MAX_PAGES):
            try:
                page = self._file.pages.get(index, validate=False) if index else self._file.pages[0]
                whole = page if isinstance(page, TiffPage) else page.aspage()
                below = list(whole.pages or ()) if _SUB_DIRECTORIES in whole.tags else []
            except IndexError:
                self.is_cut = self._goes_on()
                return
            except Exception as error:
                if not index:
                    raise
                yield DecodeError(f"the page's directory is damaged: {one_line(error)}")
                continue
            if whole.offset in self._met:
                return
            self._met.add(whole.offset)
            yield whole
            # Elsewhere they are the same picture in smaller sizes, whether they say so or not.
            if _kind(whole) & _REDUCED:
                yield from (page for page in below if isinstance(page, TiffPage))

    def _goes_on(self) -> bool:
        """Whether the last directory that can be read says that there is another one."""
        place = self._file.pages.next_page_offset or 0
        try:
            (following,) = struct.unpack_from(self._file.tiff.offsetformat, self._data, place)
        except struct.error:
            return True
        return following != 0 and following not in self._met

    def read(
        self,
        number: int,
        check_size: Callable[[int, int], None],
        reserve: Callable[[int], None],
    ) -> TiffPicture:
        """A page's picture.

        Args:
            number: Which, from 1.
            check_size: Called with width and height before anything is decoded.
            reserve: Called with the bytes of the result before it is decoded.

        Raises:
            DecodeError: It gives none, or one that can't be told.
        """
        page = self._pages[number - 1]
        if isinstance(page, DecodeError):
            raise page
        check_size(page.imagewidth, page.imagelength)
        _check(page)
        bands = Bands(page)
        lacks_data = bands.end > len(self._data)
        is_usual = _is_usual(page) and not lacks_data and not page.is_subifd
        reserve(page.imagewidth * page.imagelength * 3 + (0 if is_usual else bands.n_bytes_held))
        if is_usual:
            try:
                return self._by_pillow(page)
            except MemoryError:
                raise
            # Bands tell what can be had of a damaged file.
            except Exception:
                if page.compression == COMPRESSION.OJPEG:
                    raise
        return _by_bands(page, bands, lacks_data)

    def _by_pillow(self, page: TiffPage) -> TiffPicture:
        """Of a page by itself, which Pillow turns when it loads it."""
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(self._data))
        image.seek(page.index)
        if sorted(image.size) != sorted((page.imagewidth, page.imagelength)):
            raise ValueError("the directory was read otherwise")
        if _PROFILE not in page.tags:
            # Pillow keeps that of the first page.
            image.info.pop("icc_profile", None)
        image.load()
        return TiffPicture(image, directory=page.offset)


def _kind(page: TiffPage | DecodeError) -> int:
    return int(page.subfiletype) if isinstance(page, TiffPage) else 0


def _check(page: TiffPage) -> None:
    """Refuse what can't be shown rightly."""
    n_colours = n_colours_of(page)
    kind = getattr(page.photometric, "name", str(page.photometric))
    compression = getattr(page.compression, "name", str(page.compression))
    bits, form = page.bitspersample, page.sampleformat
    if not n_colours:
        raise DecodeError(f"TIFF files with colours of the kind {kind} can't be read")
    if page.compression in (COMPRESSION.JPEGXL, COMPRESSION.JPEGXL_DNG):
        load_jpeg_xl()
    if not is_readable(page) and page.compression != COMPRESSION.OJPEG:
        raise DecodeError(
            f"TIFF files with {page.samplesperpixel} samples of {bits} bits compressed by "
            f"{compression} can't be read"
        )
    if page.compression == COMPRESSION.OJPEG and not _is_usual(page):
        raise DecodeError("TIFF files of this kind of old-style JPEG can't be read")
    # Some writers leave out what the samples beside the colours are, or call grey RGB.
    if not n_colours <= page.samplesperpixel <= _MAX_SAMPLES:
        raise DecodeError(f"a TIFF file of {page.samplesperpixel} samples of {kind} can't be told")
    is_float = form == SAMPLEFORMAT.IEEEFP
    if (
        not isinstance(bits, int)
        or form not in (SAMPLEFORMAT.UINT, SAMPLEFORMAT.INT, SAMPLEFORMAT.IEEEFP)
        or bits not in (_FLOAT_BITS if is_float else _WHOLE_BITS)
        or (form == SAMPLEFORMAT.INT and bits not in (8, 16, 32, 64))
    ):
        raise DecodeError(f"TIFF files of samples of {bits} bits in format {form} can't be read")
    if page.imagedepth != 1:
        raise DecodeError("TIFF files of pictures with depth can't be read")
    n_pixels = page.imagewidth * page.imagelength
    if page.is_tiled and page.tilewidth * page.tilelength > max(4 * n_pixels, 1 << 22):
        raise DecodeError("the TIFF file's tiles are larger than its picture")
    if n_colours == 4 and not has_usual_inks(page):
        raise DecodeError("TIFF files of inks other than CMYK can't be read")
    if page.photometric == PHOTOMETRIC.PALETTE and (
        page.colormap is None or form != SAMPLEFORMAT.UINT or bits > 16
    ):
        raise DecodeError("the TIFF file's palette is missing")
    is_of_bytes = bits in (8, 16) and not is_float
    if (is_ycbcr(page) or page.photometric in LABS) and not is_of_bytes:
        raise DecodeError(f"TIFF files of {kind} with {bits} bits can't be read")
    shared = shared_colours(page)
    if math.prod(shared) > 1:
        is_apart = page.planarconfig == PLANARCONFIG.SEPARATE
        if is_apart or bits != 8 or page.samplesperpixel != 3 or not set(shared) <= {1, 2, 4}:
            raise DecodeError("TIFF files of YCbCr with planes of different sizes can't be read")


def _is_usual(page: TiffPage) -> bool:
    """Whether Pillow reads it rightly."""
    is_bilevel = page.bitspersample == 1 and page.photometric in (
        PHOTOMETRIC.MINISWHITE,
        PHOTOMETRIC.MINISBLACK,
    )
    is_compressed_ycbcr = page.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)
    return (
        page.compression in _BY_PILLOW
        and (page.bitspersample == 8 or is_bilevel)
        and page.sampleformat == SAMPLEFORMAT.UINT
        and page.samplesperpixel in _USUAL.get(PHOTOMETRIC(page.photometric), ())
        and not (page.planarconfig == PLANARCONFIG.SEPARATE and page.samplesperpixel > 1)
        and (page.photometric != PHOTOMETRIC.YCBCR or is_compressed_ycbcr)
    )


def _by_bands(page: TiffPage, bands: Bands, lacks_data: bool) -> TiffPicture:
    """What strips and tiles give, also of a damaged file."""
    brightness = None
    if needs_brightness(page):
        brightness = Brightness()
        for band in bands:
            brightness.add(band.samples[:, :, : n_colours_of(page)])
    shown = Shown(page, brightness)
    image = Image.new(shown.mode, (page.imagewidth, page.imagelength))
    is_whole, is_empty = not lacks_data, True
    for band in bands:
        image.paste(shown.picture(band.samples), (0, band.top))
        is_whole, is_empty = is_whole and band.is_whole, is_empty and band.is_empty
    if is_empty:
        raise DecodeError("the file is truncated or damaged before any of the picture")
    profile = page.tags.valueof(_PROFILE)
    if isinstance(profile, bytes):
        image.info["icc_profile"] = profile
    kind = "truncated" if lacks_data else "damaged"
    warning = None if is_whole else f"the file is {kind}; the visible part was used"
    orientation = page.tags.valueof(_ORIENTATION)
    turned = orientation if isinstance(orientation, int) else 1
    return TiffPicture(image, turned, warning, page.offset)
