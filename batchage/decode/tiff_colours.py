"""Samples of a TIFF page → pictures of 8 bits: what numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, TiffPage

from batchage.decode.numbers import Brightness, to_bytes
from batchage.types import ImageArray

_COLOURS: dict[int, int] = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.CIELAB: 3,
    PHOTOMETRIC.ICCLAB: 3,
    PHOTOMETRIC.SEPARATED: 4,
}
"""Samples of what can be shown, without opacity."""
LABS = (PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB)
_GREYS = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK)
# Their decoders give RGB, unless the planes are apart.
_DECODED_TO_RGB = (
    COMPRESSION.JPEG,
    COMPRESSION.OJPEG,
    COMPRESSION.WEBP,
    COMPRESSION.JPEGXL,
    COMPRESSION.JPEGXL_DNG,
)
_ALPHAS = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
_INK_SET, _NUMBER_OF_INKS, _COEFFICIENTS, _BLACK_AND_WHITE = 332, 334, 529, 532
Samples = NDArray[Any]


def n_colours_of(page: TiffPage) -> int:
    """Samples of a pixel that are colours; 0 where they can't be shown."""
    return _COLOURS.get(page.photometric, 0)


def is_ycbcr(page: TiffPage) -> bool:
    """Whether decoded samples are of YCbCr still."""
    is_apart = page.planarconfig == PLANARCONFIG.SEPARATE
    return page.photometric == PHOTOMETRIC.YCBCR and (
        is_apart or page.compression not in _DECODED_TO_RGB
    )


def shared_colours(page: TiffPage) -> tuple[int, int]:
    """Columns and rows of pixels that have one colour."""
    return page.subsampling or (2, 2) if is_ycbcr(page) else (1, 1)


def has_usual_inks(page: TiffPage) -> bool:
    """Whether the inks are cyan, magenta, yellow and black."""
    return (_number(page, _INK_SET, 1), _number(page, _NUMBER_OF_INKS, 4)) == (1, 4)


def needs_brightness(page: TiffPage) -> bool:
    """Whether what is white has to be found out from the samples themselves."""
    dtype = page.dtype
    is_plain = dtype is not None and dtype.kind != "f" and dtype.itemsize <= 2
    return not is_plain and page.photometric not in (PHOTOMETRIC.PALETTE, *LABS)


class Shown:
    """What the samples of one page look like."""

    def __init__(self, page: TiffPage, brightness: Brightness | None) -> None:
        """Look at the tags.

        Args:
            page: One whose layout was checked.
            brightness: Of all samples, for a page that needs it.
        """
        self._page, self._brightness = page, brightness
        self._n_colours = n_colours_of(page)
        self._alpha = _alpha(page, self._n_colours)
        self.mode = self._mode()
        """Of Pillow, of the page's picture."""
        if page.photometric == PHOTOMETRIC.PALETTE:
            colours = np.asarray(page.colormap).T
            # Some writers leave the palette at 8 bits.
            self._palette = (colours if colours.max() < 256 else to_bytes(colours, 16)).astype(
                np.uint8
            )

    def _mode(self) -> str:
        photometric = self._page.photometric
        if photometric in LABS:
            return "LAB"
        if photometric == PHOTOMETRIC.SEPARATED:
            return "CMYK"
        if photometric == PHOTOMETRIC.PALETTE or self._alpha is None:
            return "L" if photometric in _GREYS else "RGB"
        is_multiplied = self._page.extrasamples[self._alpha - self._n_colours] == _ALPHAS[0]
        return (
            ("La" if is_multiplied else "LA")
            if photometric in _GREYS
            else ("RGBa" if is_multiplied else "RGBA")
        )

    def picture(self, samples: Samples) -> Image.Image:
        """Rows `(h, w, n)` of the mode."""
        pixels = np.ascontiguousarray(self._pixels(samples))
        return Image.frombytes(self.mode, pixels.shape[1::-1], pixels.tobytes())

    def _pixels(self, samples: Samples) -> ImageArray:
        page, n_colours = self._page, self._n_colours
        if page.photometric == PHOTOMETRIC.PALETTE:
            return self._palette[np.minimum(samples[..., 0], len(self._palette) - 1)]
        if page.photometric in LABS:
            return _lab(samples[..., :3], is_signed=page.photometric == PHOTOMETRIC.CIELAB)
        rows = self._scaled(samples)
        colours = rows[..., :n_colours]
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            colours = 255 - colours
        elif is_ycbcr(page):
            colours = self._of_ycbcr(colours)
        if self._alpha is None:
            return colours
        opacity = rows[..., self._alpha, None]
        if self.mode == "CMYK":
            # There is no ink where nothing is seen.
            return (colours.astype(np.uint16) * opacity // 255).astype(np.uint8)
        return np.concatenate([colours, opacity], axis=2)

    def _scaled(self, samples: Samples) -> ImageArray:
        if self._brightness is not None:
            return self._brightness.to_bytes(samples)
        return to_bytes(samples, self._page.bitspersample)

    def _of_ycbcr(self, rows: ImageArray) -> ImageArray:
        red, green, blue = _numbers(self._page, _COEFFICIENTS, (0.299, 0.587, 0.114))
        usual = (0, 255, 128, 255, 128, 255)
        limits = np.reshape(_numbers(self._page, _BLACK_AND_WHITE, usual), (3, 2))
        spans = np.array([255, 127, 127]) / np.maximum(limits[:, 1] - limits[:, 0], 1e-9)
        y, cb, cr = np.moveaxis((rows - limits[:, 0]) * spans, -1, 0)
        r, b = y + cr * (2 - 2 * red), y + cb * (2 - 2 * blue)
        g = (y - blue * b - red * r) / max(green, 1e-9)
        pixels: ImageArray = np.clip(np.rint(np.stack([r, g, b], axis=-1)), 0, 255).astype(np.uint8)
        return pixels


def _lab(rows: Samples, is_signed: bool) -> ImageArray:
    """CIELab as Pillow has it, in 8 bits and a and b with signs."""
    if rows.dtype.itemsize == 2:
        # L has 65535 for 100; a and b are 256 times what they are in 8 bits.
        chroma = np.rint(rows[..., 1:].view(np.int16 if is_signed else np.uint16) / 256)
        light = to_bytes(rows[..., :1].view(np.uint16), 16)
        rows = np.concatenate([light, chroma.astype(np.int16).astype(np.uint8)], axis=2)
    pixels: ImageArray = rows.view(np.uint8)
    return pixels if is_signed else pixels ^ np.array([0, 128, 128], np.uint8)


def _alpha(page: TiffPage, n_colours: int) -> int | None:
    """Which sample is opacity."""
    for index, kind in enumerate(page.extrasamples):
        if kind in _ALPHAS and n_colours + index < page.samplesperpixel:
            return n_colours + index
    return None


def _number(page: TiffPage, tag: int, default: int) -> int:
    value = page.tags.valueof(tag, default)
    return int(value) if isinstance(value, int) else default


def _numbers(page: TiffPage, tag: int, default: Sequence[float]) -> NDArray[np.float64]:
    """Those of a tag, of which rational ones come as pairs."""
    value = page.tags.valueof(tag, None)
    if not isinstance(value, tuple):
        return np.array(default, np.float64)
    numbers = np.array(value, np.float64)
    if len(numbers) == 2 * len(default):
        numbers = numbers[::2] / np.maximum(numbers[1::2], 1e-9)
    return numbers if len(numbers) == len(default) else np.array(default, np.float64)
