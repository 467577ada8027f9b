"""Any detector, on pictures of any shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batchage.config import DetectorSettings
from batchage.detect.base import Detector
from batchage.detect.merging import merge, merge_tiles
from batchage.tiles import Tile, Tiling, reduced_side, tiling
from batchage.types import DecodedImage, Detections

AT_EDGE = 2.0
"""Pixels from a tile's edge within which a face may go on behind it."""


def find_faces(
    detector: Detector, images: Sequence[DecodedImage], settings: DetectorSettings
) -> list[Detections]:
    """Faces of each picture, in pixels of its `pixels`, best score first.

    Long pictures are looked at in tiles, and large ones where the settings say so.
    """
    enough = reduced_side(settings.detect_size)
    cuts = [tiling(image.width, image.height, enough, settings.tiles) for image in images]
    whole = [index for index, cut in enumerate(cuts) if cut is None]
    found = [Detections.empty()] * len(images)
    if whole:
        seen = detector.detect([images[index].pixels for index in whole])
        for index, faces in zip(whole, seen, strict=True):
            found[index] = faces
    for index, cut in enumerate(cuts):
        if cut is not None:
            found[index] = _in_tiles(detector, images[index], cut)
    return found


def _in_tiles(detector: Detector, image: DecodedImage, cut: Tiling) -> Detections:
    height, width = image.pixels.shape[:2]
    reduced = cut.reduced(image.divisor)
    parts, are_cut = [], []
    for tile in reduced.tiles(width, height):
        rows, columns = slice(tile.y, tile.y + tile.height), slice(tile.x, tile.x + tile.width)
        (faces,) = detector.detect([np.ascontiguousarray(image.pixels[rows, columns])])
        faces = faces.transformed(1.0, -tile.x, -tile.y)
        parts.append(faces)
        are_cut.append(_is_at_inner_edge(faces, tile, width, height))
    found = merge_tiles(parts, are_cut)
    if cut.is_seen_whole:
        (large,) = detector.detect([image.pixels])
        found = merge(found, large, reduced.overlap)
    return found


def _is_at_inner_edge(faces: Detections, tile: Tile, width: int, height: int) -> NDArray[np.bool_]:
    x1, y1, x2, y2 = faces.boxes.T
    right, bottom = tile.x + tile.width, tile.y + tile.height
    return np.asarray(
        ((x1 < tile.x + AT_EDGE) & (tile.x > 0))
        | ((y1 < tile.y + AT_EDGE) & (tile.y > 0))
        | ((x2 > right - AT_EDGE) & (right < width))
        | ((y2 > bottom - AT_EDGE) & (bottom < height))
    )
