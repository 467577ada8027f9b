"""Faces that were found more than once, of one look or of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batchage.types import Detections, box_sizes, shared_areas

NMS_IOU = 0.4
EDGE = 0.8
"""Share of the largest size of a small face from which on the look at large ones may add a face."""
SAME_FACE = 0.5
"""Share of the smaller of two boxes that lies in the other one if they are of one face; the boxes
are of one look each."""


def suppress(found: Detections) -> Detections:
    """Greedy non-maximum suppression: of faces that overlap more than `NMS_IOU`, the best stays."""
    order = np.argsort(-found.scores, kind="stable")
    found = found.select(order)
    x1, y1, x2, y2 = found.boxes.T
    area = (x2 - x1) * (y2 - y1)
    alive = np.ones(len(found), bool)
    for i in range(len(found)):
        if alive[i]:
            overlap = shared_areas(found.boxes[i : i + 1], found.boxes)[0]
            rivals = overlap > NMS_IOU * (area[i] + area - overlap)
            rivals[: i + 1] = False
            alive &= ~rivals
    return found.select(alive)


def overlaps(found: Detections, others: Detections) -> NDArray[np.bool_]:
    """Which faces `(n,)` are the same as one of `others`, going by their boxes."""
    shared = shared_areas(found.boxes, others.boxes)
    smaller = np.minimum(box_sizes(found.boxes)[:, None], box_sizes(others.boxes)[None])
    return np.asarray((shared > SAME_FACE * smaller**2).any(axis=1))


def merge(far: Detections, near: Detections, limit: float) -> Detections:
    """The faces of two looks, best score first.

    Small ones are those of the first look, large ones those of the second: each sees its own
    better, and whatever the first look takes for faces inside a large one are parts of it.

    Args:
        far: What was found by the look at small faces.
        near: What was found by the look at large ones.
        limit: The largest size of a small face, in the same pixels as the boxes.
    """
    sizes = box_sizes(near.boxes)
    large = near.select(sizes > limit)
    small = far.select(box_sizes(far.boxes) <= limit)
    small = small.select(~overlaps(small, large))
    # Of one face, both looks may put the size on the wrong side of the limit.
    edge = near.select((sizes > EDGE * limit) & (sizes <= limit))
    found = large.joined(small)
    found = found.joined(edge.select(~overlaps(edge, found)))
    return found.select(np.argsort(-found.scores, kind="stable"))


def merge_tiles(parts: Sequence[Detections], cut: Sequence[NDArray[np.bool_]]) -> Detections:
    """The faces of overlapping tiles, best score first, each once.

    Args:
        parts: Each tile's faces, in pixels of the picture.
        cut: Which of them lie at an edge inside the picture, where a part of a face may be missing.
    """
    found = Detections.empty()
    for part in parts:
        found = found.joined(part)
    tile = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    is_cut = np.concatenate([np.zeros(0, bool), *cut])
    # A whole face is better than a part of it, whatever their scores.
    order = np.lexsort((-found.scores, is_cut))
    found, tile, is_cut = found.select(order), tile[order], is_cut[order]
    areas = box_sizes(found.boxes) ** 2
    shared = shared_areas(found.boxes, found.boxes)
    union = areas[:, None] + areas[None] - shared
    smaller = np.minimum(areas[:, None], areas[None])
    is_same = shared > NMS_IOU * union
    is_same |= (is_cut[:, None] | is_cut[None]) & (shared > SAME_FACE * smaller)
    # What one tile tells apart are two faces.
    is_same &= tile[:, None] != tile[None]
    kept: list[int] = []
    for index in range(len(found)):
        if not is_same[index, kept].any():
            kept.append(index)
    found = found.select(np.array(kept, np.intp))
    return found.select(np.argsort(-found.scores, kind="stable"))
