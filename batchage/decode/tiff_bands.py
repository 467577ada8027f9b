"""Strips and tiles of a TIFF page → bands of samples, as numbers.

A band is one row of tiles, or as many strips as make a useful size, or a part of either. What the
stored bytes mean (bits, byte order, predictor, planes, subsampling) is told here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, PLANARCONFIG, PREDICTOR, TiffPage

from batchage.decode.tiff_codecs import (
    OF_PICTURES,
    OF_ROWS,
    PREDICTED,
    ZLIB,
    Layout,
    Samples,
    inflated,
    rows_by_libtiff,
    samples_of_picture,
)
from batchage.decode.tiff_colours import shared_colours
from batchage.errors import DecodeError

_BAND_BYTES = 1 << 20
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Rows of a page.

    Attributes:
        top: The first one.
        samples: `(rows, width, samples of a pixel)`; zero where there are none.
        is_whole: Whether all of them are there.
        is_empty: Whether none is.
    """

    top: int
    samples: Samples
    is_whole: bool
    is_empty: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Strips below each other, or a tile, of one plane.

    Attributes:
        n_rows: Rows that are there.
        rows: Called with the first and the end of some rows: `(rows, columns, samples)`.
    """

    n_rows: int
    rows: Callable[[int, int], Samples]


class Bands:
    """The bands of one page, each time that they are iterated over."""

    def __init__(self, page: TiffPage) -> None:
        """Nothing is read yet.

        Args:
            page: One whose layout was checked.

        Raises:
            DecodeError: Its strips or tiles have no size.
        """
        self._page, self._height, self._width = page, page.imagelength, page.imagewidth
        is_apart = page.planarconfig == PLANARCONFIG.SEPARATE
        self._n_planes = page.samplesperpixel if is_apart else 1
        self._n_samples = 1 if is_apart else page.samplesperpixel
        self._rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, self._height)
        self._columns = page.tilewidth if page.is_tiled else self._width
        if self._rows < 1 or self._columns < 1:
            raise DecodeError("the TIFF file's strips or tiles have no size")
        self._shared = shared_colours(page)
        self._n_across = -(-self._width // self._columns)
        self._n_down = -(-self._height // self._rows)
        self._places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        n_together, down = 1, self._shared[1]
        if not page.is_tiled and page.compression in OF_ROWS and down == 1:
            n_together = max(1, _BAND_BYTES // (self._n_bytes() * self._rows))
        self._n_together = min(n_together, self._n_down)
        self._rows_of_band = max(down, _BAND_BYTES // (self._n_bytes() * self._n_across) * down)

    @property
    def end(self) -> int:
        """Bytes that the file must have; infinitely many where strips or tiles are missing."""
        n_wanted = self._n_planes * self._n_across * self._n_down
        if len(self._places) < n_wanted:
            return sys.maxsize
        if self._page.compression != COMPRESSION.NONE:
            return max(offset + count for offset, count in self._places[:n_wanted])
        # Some writers count more, or nothing.
        return max(
            offset + self._n_lines(self._n_stored(index)) * self._n_bytes()
            for index, (offset, _) in enumerate(self._places[:n_wanted])
        )

    @property
    def n_bytes_held(self) -> int:
        """Bytes that are held beside the picture."""
        n_pieces = self._n_across * self._n_planes
        n_bytes = self._n_bytes() * self._rows * self._n_together * n_pieces
        is_plain = self._page.compression == COMPRESSION.NONE
        return min(n_bytes, _BAND_BYTES * self._n_planes) if is_plain else n_bytes

    def _n_stored(self, index: int) -> int:
        """Rows of a strip or tile."""
        if self._page.is_tiled:
            return self._rows
        return min(self._rows, self._height - index % self._n_down * self._rows)

    def _n_lines(self, n_rows: int) -> int:
        """Stored rows of so many rows of pixels."""
        return -(-n_rows // self._shared[1])

    def __iter__(self) -> Iterator[Band]:
        for first in range(0, self._n_down, self._n_together):
            yield from self._bands(first, min(first + self._n_together, self._n_down))

    def _bands(self, first: int, end: int) -> Iterator[Band]:
        """Strips `first` to `end`, or the row of tiles `first`, in all planes."""
        top = first * self._rows
        n_rows = min(end * self._rows, self._height) - top
        n_stored = self._rows if self._page.is_tiled else n_rows
        per_plane = self._n_across * self._n_down
        pieces = [
            [
                self._piece([plane * per_plane + row * self._n_across + column
                             for row in range(first, end)], n_stored)
                for plane in range(self._n_planes)
            ]
            for column in range(self._n_across)
        ]  # fmt: skip
        n_found = [piece.n_rows for planes in pieces for piece in planes]
        for start in range(0, n_rows, self._rows_of_band):
            stop = min(start + self._rows_of_band, n_rows)
            across = [
                _joined([piece.rows(start, stop) for piece in planes], 2) for planes in pieces
            ]
            samples = _joined(across, 1)[:, : self._width]
            yield Band(top + start, samples, min(n_found) >= stop, max(n_found) <= start)

    def _piece(self, indices: Sequence[int], n_rows: int) -> _Piece:
        compression = self._page.compression
        if compression in OF_PICTURES:
            return self._decoded(self._data(indices[0]), n_rows)
        down = self._shared[1]
        n_bytes, n_lines = self._n_bytes(), self._n_lines(n_rows)
        if compression == COMPRESSION.NONE:
            size = self._size_of_plain(indices[0], n_lines * n_bytes)

            def lines(first: int, end: int) -> bytes:
                wanted = slice(first * n_bytes, min(end * n_bytes, size))
                return self._reversed(self._data(indices[0], wanted))
        else:
            if compression in ZLIB:
                found = inflated(self._reversed(self._data(indices[0])), n_lines * n_bytes)
            else:
                each = [self._data(index) for index in indices]
                layout = Layout(self._columns, n_bytes, n_lines, self._n_lines(self._rows))
                found = rows_by_libtiff(self._page, each, layout)
            size = len(found)

            def lines(first: int, end: int) -> bytes:
                return found[first * n_bytes : end * n_bytes]

        def rows(start: int, stop: int) -> Samples:
            first, end = start // down, -(-stop // down)
            data = lines(first, end).ljust((end - first) * n_bytes, b"\0")
            stored = np.frombuffer(data, np.uint8).reshape(end - first, n_bytes)
            if self._shared != (1, 1):
                return self._spread(stored)[: stop - start]
            return self._unpredicted(self._unpacked(stored), stored)

        return _Piece(min(n_rows, size // n_bytes * down), rows)

    def _decoded(self, data: bytes, n_rows: int) -> _Piece:
        """Of a strip or tile that is a picture."""
        shape = (n_rows, self._columns, self._n_samples)
        try:
            samples = samples_of_picture(self._page, data, shape)
        except MemoryError:
            raise
        # Decoders raise any type on damaged data.
        except Exception:
            samples, n_rows = np.zeros(shape, np.uint8), 0
        return _Piece(n_rows, lambda start, stop: samples[start:stop])

    def _data(self, index: int, part: slice = slice(None)) -> bytes:
        """A strip's or tile's bytes, or some of them."""
        if index >= len(self._places):
            return b""
        offset, count = self._places[index]
        first, end = part.start or 0, count if part.stop is None else part.stop
        file = self._page.parent.filehandle
        file.seek(offset + first)
        return bytes(file.read(max(0, end - first)))

    def _size_of_plain(self, index: int, wanted: int) -> int:
        """Bytes of a strip or tile that is not compressed that are there."""
        # What is left out is at 0.
        if index >= len(self._places) or not self._places[index][0]:
            return 0
        there = self._page.parent.filehandle.size - self._places[index][0]
        return max(0, min(wanted, there))

    def _n_bytes(self) -> int:
        """Of a row of a strip or tile; of one with shared colours, of the rows that share them."""
        across, down = self._shared
        if self._shared != (1, 1):
            return -(-self._columns // across) * (across * down + 2)
        return -(-self._columns * self._n_samples * self._page.bitspersample // 8)

    def _reversed(self, data: bytes) -> bytes:
        return data.translate(_REVERSED) if self._page.fillorder == 2 else data

    def _spread(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Units of several pixels with one colour → `(rows, columns, 3)`."""
        across, down = self._shared
        units = stored.reshape(len(stored), -1, across * down + 2)
        light = units[..., :-2].reshape(*units.shape[:2], down, across).swapaxes(1, 2)
        bright = light.reshape(len(stored) * down, -1, 1)
        colours = units[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
        return np.concatenate([bright, colours], axis=2)[:, : self._columns]

    def _unpacked(self, stored: NDArray[np.uint8]) -> Samples:
        bits, dtype = self._page.bitspersample, self._page.dtype
        assert dtype is not None
        shape = (len(stored), self._columns, self._n_samples)
        if bits in (8, 16, 32, 64):
            is_native = self._page.predictor == PREDICTOR.FLOATINGPOINT
            order = dtype.newbyteorder("=" if is_native else self._page.parent.byteorder)
            return stored.view(order).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
        each = np.unpackbits(stored, axis=1)[:, : self._columns * self._n_samples * bits]
        weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
        return each.reshape(*shape, bits) @ weights

    def _unpredicted(self, values: Samples, stored: NDArray[np.uint8]) -> Samples:
        """Of differences, what they add up to."""
        page = self._page
        if page.compression not in PREDICTED or page.predictor == PREDICTOR.NONE:
            return values
        size = values.dtype.itemsize
        if page.predictor == PREDICTOR.HORIZONTAL:
            whole = values.view(f"u{size}")
            return np.cumsum(whole, axis=1, dtype=whole.dtype).view(values.dtype)
        n_rows, columns, n_samples = values.shape
        each = stored.reshape(n_rows, size * columns, n_samples)
        planes = np.cumsum(each, axis=1, dtype=np.uint8).reshape(n_rows, size, -1)
        parts = np.ascontiguousarray(planes.swapaxes(1, 2))
        return parts.view(f">f{size}").reshape(values.shape).astype(values.dtype)


def _joined(parts: list[Samples], axis: int) -> Samples:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)
