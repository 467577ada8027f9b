"""Samples of any type → 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchage.types import ImageArray

_WHITES = ((0, 1.0), (8, 255.0), (16, 65535.0))
"""Powers of two, and what is white below them."""
_FEW, _HARDLY_ANY = 0.05, 0.01
_N_POWERS = 128


def to_bytes(values: NDArray[Any], bits: int) -> ImageArray:
    """Whole numbers of up to 16 bits, of which the largest is white; negative ones are black."""
    if values.dtype.kind == "i":
        values, bits = np.maximum(values, 0), bits - 1
    if bits == 8:
        return values.astype(np.uint8, copy=False)
    if bits == 16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    largest = (1 << bits) - 1
    return ((values.astype(np.uint32) * 255 + largest // 2) // largest).astype(np.uint8)


class Brightness:
    """What is white among numbers whose type doesn't say it, by all of them.

    It is the first of 1, 255 and 65535 (of whole numbers 65535) that few exceed and that doesn't
    make nearly all of them black; or else what few exceed. Negative and undefined values are black.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._counts = np.zeros(_N_POWERS, np.int64)
        self._largest, self._is_float = 0.0, False
        self._white: float | None = None

    def add(self, values: NDArray[Any]) -> None:
        """Look at some of the numbers."""
        self._is_float = values.dtype.kind == "f"
        floats = np.where(np.isfinite(values), values, 0).astype(np.float64)
        self._largest = max(self._largest, float(floats.max(initial=0)))
        # What is white itself is not above it.
        powers = np.frexp(np.maximum(floats, 0) * (1 - 1e-6))[1]
        self._counts += np.bincount(np.clip(powers, 0, _N_POWERS - 1).ravel(), minlength=_N_POWERS)
        self._white = None

    @property
    def white(self) -> float:
        """The number that is white."""
        if self._white is None:
            self._white = self._found_white()
        return self._white

    def _found_white(self) -> float:
        above = 1 - np.cumsum(self._counts) / max(1, self._counts.sum())
        for power, white in _WHITES if self._is_float else _WHITES[-1:]:
            if above[power] <= (_FEW if self._is_float else 0):
                if not power or above[power - 4] > _HARDLY_ANY:
                    return white
                break
        if self._is_float and above[0] < 0.5:
            # Light of a scene: highlights are brighter than white.
            return 1.0
        power = int(np.argmax(above <= _HARDLY_ANY))
        return min(2.0**power, self._largest) or 1.0

    def to_bytes(self, values: NDArray[Any]) -> ImageArray:
        """8 bits of some of the numbers."""
        limited = np.clip(np.nan_to_num(values, nan=0.0), 0, self.white)
        pixels: ImageArray = np.rint(limited * (255.0 / self.white)).astype(np.uint8)
        return pixels


def all_to_bytes(values: NDArray[Any]) -> ImageArray:
    """8 bits of all numbers of a picture, of any type and shape."""
    if values.dtype in (np.uint8, np.uint16):
        return to_bytes(values, 8 * values.dtype.itemsize)
    brightness = Brightness()
    brightness.add(values)
    return brightness.to_bytes(values)
