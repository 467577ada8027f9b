"""Which pictures are looked at in overlapping tiles, and in which.

Seen as a whole, a picture that is far longer than high is so small that no face is left of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LONG = 3
"""How many times as long as it is high, or as high as it is long, a picture is for that."""
LARGE_PIXELS = 50_000_000
"""Pixels from which on any picture may be looked at so, if the user wants it."""
LARGE_TILE = 2560
"""Longest side of its tiles, in pixels of the full-size picture."""


def reduced_side(detect_size: int) -> int:
    """What the longest side of a photo that is decoded at a reduced scale is at least."""
    return detect_size * 4 // 3


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture, in its pixels.

    Attributes:
        x: Left edge.
        y: Upper edge.
        width: From there to the right.
        height: From there down.
    """

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a picture is cut up, in pixels of the full-size picture.

    Attributes:
        width: Of a tile.
        height: Of a tile.
        overlap: What neighbours share, at least: what is no larger lies inside of one whole.
        is_seen_whole: Whether faces may be larger, so that the whole picture is looked at too.
    """

    width: int
    height: int
    overlap: int
    is_seen_whole: bool

    def reduced(self, divisor: int) -> Tiling:
        """The same for a picture whose sides were divided."""
        width, height = max(1, self.width // divisor), max(1, self.height // divisor)
        return Tiling(width, height, self.overlap // divisor, self.is_seen_whole)

    def tiles(self, width: int, height: int) -> Iterator[Tile]:
        """Those of a picture of this size, row by row."""
        for y in self._starts(height, self.height):
            for x in self._starts(width, self.width):
                yield Tile(x, y, min(self.width, width), min(self.height, height))

    def _starts(self, length: int, side: int) -> list[int]:
        if length <= side:
            return [0]
        steps = -(-(length - side) // max(1, side - self.overlap))
        return [round(step * (length - side) / steps) for step in range(steps + 1)]


def tiling(width: int, height: int, enough: int, tiles: bool = False) -> Tiling | None:
    """How a picture is cut up; None where it is looked at as a whole only.

    Args:
        width: Of the full-size picture, in pixels.
        height: Of the full-size picture, in pixels.
        enough: The longest side that a picture which is looked at should have.
        tiles: Whether large ones of any shape are cut up.
    """
    if tiles and width * height > LARGE_PIXELS:
        return Tiling(LARGE_TILE, LARGE_TILE * 3 // 4, LARGE_TILE // 4, True)
    short, long = sorted((width, height))
    length = max(enough, short * 3 // 2)
    if long < LONG * short or long < 2 * length:
        return None
    # A face is no wider than three quarters of its height, nor higher than the picture.
    overlap = min(short * 3 // 4, length // 2) if width > height else min(short, length // 2)
    across, down = (length, short) if width > height else (short, length)
    return Tiling(across, down, overlap, False)


def longest_look(width: int, height: int, enough: int, tiles: bool = False) -> int:
    """Longest side of what is looked at at once, in pixels; arguments as of `tiling`."""
    cut = tiling(width, height, enough, tiles)
    return max(cut.width, cut.height) if cut else max(width, height)
