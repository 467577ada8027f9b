"""Where labels lie: beside their faces, off other faces and off each other."""

from __future__ import annotations

import numpy as np

from batchage.types import FloatArray, shared_areas

LABEL_COST, FACE_COST, CORE_COST = 10, 4, 2
"""What hiding a pixel of a label, of a face, and of a face's middle more, counts."""
CORE = 0.7
"""Side of a face's middle, as a part of the face's."""
FAR_COST = 0.02
"""What each step from the most usual place counts, as a part of the label's area."""
MAX_OBSTACLES = 100
"""Faces and labels around a face; where there are more, sliding its label would find no room."""


class LabelPlaces:
    """Finds the labels' places in one picture, one after the other.

    Attributes:
        covers_face: Whether a label had to be laid on another face.
    """

    def __init__(self, boxes: FloatArray, limits: FloatArray) -> None:
        """Nothing is placed yet.

        Args:
            boxes: Faces `(n, 4)`, `xyxy` in whole pixels.
            limits: Width and height of the picture.
        """
        centres = np.tile((boxes[:, :2] + boxes[:, 2:]) / np.float32(2), 2)
        self._boxes, self._limits = boxes, limits
        self._cores = centres + np.float32(CORE) * (boxes - centres)
        self._plates = np.zeros((0, 4), np.float32)
        self.covers_face = False

    def place(self, index: int, frame: FloatArray, extent: FloatArray) -> FloatArray:
        """The place of a face's label, which further ones keep off.

        It is the most usual one of those that hide nothing, not even a part of the own face;
        failing these, one on the own face; and where each place that touches the frame hides
        another face or label, the one that hides the least of them.

        Args:
            index: Which face.
            frame: Outer border `xyxy` of its frame, last pixels included.
            extent: Width and height of the label in whole pixels, at most the picture's.

        Returns:
            `xyxy` in whole pixels.
        """
        border = frame + np.array([0, 0, 1, 1], np.float32)
        around = border + np.concatenate([-extent, extent])
        is_near = _covered(self._boxes, around[None]) > 0
        is_near[index] = False
        others, cores = self._boxes[is_near], self._cores[is_near]
        plates = self._plates[_covered(self._plates, around[None]) > 0]
        places = self._inside(_usual_starts(border, extent), extent)
        steps = np.arange(len(places))
        hidden, own = _hidden(places, plates, others, cores), self._own(places, index)
        obstacles = np.vstack([others, plates])
        if (hidden + own).min() > 0 and len(obstacles) <= MAX_OBSTACLES:
            more = self._inside(_further_starts(border, extent, obstacles), extent)
            steps = np.append(steps, np.full(len(more), len(places)))
            places = np.vstack([places, more])
            hidden, own = _hidden(places, plates, others, cores), self._own(places, index)
        cost = own + FAR_COST * np.prod(extent) * steps
        cost[hidden > hidden.min()] = np.inf
        place = places[[int(np.argmin(cost))]]
        self._plates = np.vstack([self._plates, place])
        self.covers_face |= bool(_covered(place, others)[0] > 0)
        return np.asarray(place[0], np.float32)

    def _inside(self, starts: FloatArray, extent: FloatArray) -> FloatArray:
        """Places `(k, 4)` with these upper left corners, moved into the picture."""
        starts = np.clip(np.round(starts), 0, np.floor(self._limits - extent))
        return np.hstack([starts, starts + extent]).astype(np.float32)

    def _own(self, places: FloatArray, index: int) -> FloatArray:
        """What each place `(k,)` hides of the label's own face, weighed."""
        weighed = _covered(places, self._boxes[[index]]) + CORE_COST * _covered(
            places, self._cores[[index]]
        )
        return np.asarray(weighed, np.float32)


def _hidden(
    places: FloatArray, plates: FloatArray, others: FloatArray, cores: FloatArray
) -> FloatArray:
    """What each place `(k,)` hides of labels, other faces and their middles, weighed."""
    weighed = (
        LABEL_COST * _covered(places, plates)
        + FACE_COST * _covered(places, others)
        + CORE_COST * _covered(places, cores)
    )
    return np.asarray(weighed, np.float32)


def _usual_starts(border: FloatArray, extent: FloatArray) -> FloatArray:
    """Upper left corners `(14, 2)` around and in a frame, the most usual ones first."""
    x1, y1, x2, y2 = border
    width, height = extent
    middle = (x1 + x2 - width) / 2
    corners = [
        *((x, y) for y in (y1 - height, y2) for x in (x1, x2 - width, middle)),
        *((x, y) for x in (x2, x1 - width) for y in (y1, y2 - height)),
        *((x, y) for y in (y1, y2 - height) for x in (x1, x2 - width)),
    ]
    return np.array(corners, np.float32)


def _further_starts(border: FloatArray, extent: FloatArray, obstacles: FloatArray) -> FloatArray:
    """Upper left corners `(k, 2)` along a frame's sides, where a label touches an obstacle.

    If there is a free place along a side at all, one of these is free: a label that is slid along
    the side stops at an obstacle or at the end.
    """
    x1, y1, x2, y2 = border
    width, height = extent
    xs = _stops(obstacles[:, 0], obstacles[:, 2], width, x1, x2)
    ys = _stops(obstacles[:, 1], obstacles[:, 3], height, y1, y2)
    rows = [(x, y) for y in (y1 - height, y2, y1, y2 - height) for x in xs]
    columns = [(x, y) for x in (x1 - width, x2) for y in ys]
    return np.array(rows + columns, np.float32)


def _stops(
    starts: FloatArray, ends: FloatArray, length: float, first: float, last: float
) -> FloatArray:
    """Where something of `length` begins that lies at an end of a side, or at an obstacle."""
    all_stops = np.concatenate([[first - length, last], ends, starts - length])
    return np.unique(np.clip(all_stops, first - length, last)).astype(np.float32)


def _covered(places: FloatArray, others: FloatArray) -> FloatArray:
    """Pixels `(k,)` that each place shares with all of `others`."""
    return np.asarray(shared_areas(places, others).sum(axis=1), np.float32)
