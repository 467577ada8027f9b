"""The default detector: what goes into RetinaFace, and faces out of what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from batchage.config import DEFAULT_DETECTOR, DetectorSettings
from batchage.detect._retinaface_network import KIND, build_graph, build_network
from batchage.detect.merging import merge, suppress
from batchage.networks import Compute, load_bundle, load_forward
from batchage.pixels import shrink
from batchage.types import Detections, FloatArray, ImageArray, box_sizes

STRIDES = (8, 16, 32)
ANCHOR_SIZES = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)
LARGEST_FACE = 256
"""Canvas pixels. Of larger faces the network also takes parts for faces, so that those are looked
for in a close-up."""
CLOSE_UP = 288
"""Longest side of a close-up in pixels, where the detect size is large enough for it."""
CANVASES = (384, 672)
"""Longest sides of canvases that are smaller than the detect size."""
BORDER = 4 / 3
"""Sides of a close-up's canvas, at least, for one of the picture."""


@lru_cache(maxsize=32)
def anchors(height: int, width: int) -> FloatArray:
    """Anchors of a picture: float32 `(N, 4)`, centre x, centre y, width, height in pixels."""
    levels = []
    for stride, sizes in zip(STRIDES, ANCHOR_SIZES, strict=True):
        ys, xs = np.mgrid[0 : height // stride, 0 : width // stride]
        centres = np.stack([xs, ys], axis=-1).reshape(-1, 1, 2) * stride + stride / 2
        level = np.empty((centres.shape[0], len(sizes), 4))
        level[..., :2] = centres
        level[..., 2:] = np.array(sizes)[:, None]
        levels.append(level.reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def decode(
    boxes: FloatArray, landmarks: FloatArray, scores: FloatArray, priors: FloatArray
) -> Detections:
    """Turn the network's offsets `(n, 4)` and `(n, 10)` at `priors` `(n, 4)` into pixels."""
    centre, size = priors[:, :2], priors[:, 2:]
    middle = centre + boxes[:, :2] * VARIANCES[0] * size
    half = size * np.exp(boxes[:, 2:] * VARIANCES[1]) / 2
    points = centre[:, None] + landmarks.reshape(-1, 5, 2) * VARIANCES[0] * size[:, None]
    return Detections(
        np.concatenate([middle - half, middle + half], axis=1).astype(np.float32),
        points.astype(np.float32),
        scores.astype(np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Letterbox:
    """A picture centred on a canvas of one of few shapes.

    Attributes:
        canvas: RGB uint8 `(H, W, 3)`.
        scale_x: Canvas pixels per picture pixel, from left to right.
        scale_y: The same from top to bottom; they differ by rounding.
        dx: Left border in canvas pixels.
        dy: Upper border in canvas pixels.
    """

    canvas: ImageArray
    scale_x: float
    scale_y: float
    dx: int
    dy: int


def close_up_side(detect_size: int) -> int:
    """Longest side in pixels of a picture that is looked at close up."""
    return min(CLOSE_UP, detect_size * 3 // 4)


def canvas_shapes(detect_size: int) -> list[tuple[int, int]]:
    """The canvases `(H, W)`, smallest first: of each size 3:4, 4:3 and square."""
    shapes = []
    for side in (*(side for side in CANVASES if side < detect_size), detect_size):
        long, short = -(-side // 32) * 32, -(-side * 3 // 4 // 32) * 32
        shapes += [(short, long), (long, short), (long, long)]
    return shapes


def letterbox(image: ImageArray, detect_size: int, longest: int) -> Letterbox:
    """Bring `image` to at most `longest` pixels and centre it on the smallest fitting canvas."""
    scale = longest / max(image.shape[:2])
    factor = max(1, min(max(image.shape[:2]) // longest, *image.shape[:2]))
    image = shrink(image, factor)
    height, width = image.shape[:2]
    new_w, new_h = (max(1, round(side * factor * scale)) for side in (width, height))
    resized = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    border = BORDER if longest <= close_up_side(detect_size) else 1
    canvas_h, canvas_w = next(
        (h, w) for h, w in canvas_shapes(detect_size) if new_h * border <= h and new_w * border <= w
    )
    canvas = np.zeros((canvas_h, canvas_w, 3), np.uint8)
    dy, dx = (canvas_h - new_h) // 2, (canvas_w - new_w) // 2
    canvas[dy : dy + new_h, dx : dx + new_w] = resized
    return Letterbox(canvas, new_w / (width * factor), new_h / (height * factor), dx, dy)


class RetinaFace:
    """The default detector.

    A picture is looked at twice: as large as the detect size allows, for all but large faces, and
    as a close-up with a border, for faces up to those that fill the frame. One that is no larger
    than the close-up is looked at once, as it is, and only enlarged if nothing is found.
    """

    def __init__(self, settings: DetectorSettings, compute: Compute) -> None:
        """Load the network.

        Args:
            settings: How faces are looked for.
            compute: Where it runs, and its `detect_precision`.

        Raises:
            BundleError: The bundle is missing or damaged.
        """
        self.settings = settings
        bundle = load_bundle(DEFAULT_DETECTOR, KIND)
        self.detector_id = f"{bundle.model_id} in {compute.detect_precision}"
        self._forward = load_forward(
            replace(compute, precision=compute.detect_precision),
            bundle,
            build_network,
            build_graph,
            few_shapes=True,
        )

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """Faces of each RGB uint8 picture, in that picture's pixels, best score first."""
        size = self.settings.detect_size
        close_up = close_up_side(size)
        longest = [max(image.shape[:2]) for image in images]
        found = self._look(images, [min(size, side) for side in longest])
        again = [i for i, side in enumerate(longest) if side > close_up or not len(found[i])]
        near = self._look([images[i] for i in again], [close_up] * len(again))
        for index, faces in zip(again, near, strict=True):
            limit = LARGEST_FACE * max(1, longest[index] / size)
            found[index] = merge(found[index], faces, limit) if len(found[index]) else faces
        return found

    def _look(self, images: Sequence[ImageArray], longest: Sequence[int]) -> list[Detections]:
        size = self.settings.detect_size
        boxes = [letterbox(image, size, side) for image, side in zip(images, longest, strict=True)]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, box in enumerate(boxes):
            groups.setdefault(box.canvas.shape, []).append(index)
        results = [Detections.empty()] * len(images)
        for shape, members in groups.items():
            batch = np.stack([boxes[i].canvas for i in members])
            raw = self._forward(batch)
            for row, index in enumerate(members):
                found = self._decode(raw, row, anchors(*shape[:2]))
                box = boxes[index]
                scale = 1 / box.scale_x, 1 / box.scale_y
                results[index] = self._inside(
                    found.transformed(scale, box.dx, box.dy), images[index]
                )
        return results

    def _decode(self, raw: Mapping[str, FloatArray], row: int, priors: FloatArray) -> Detections:
        scores = raw["scores"][row]
        keep = scores >= self.settings.min_score
        found = decode(
            raw["boxes"][row][keep], raw["landmarks"][row][keep], scores[keep], priors[keep]
        )
        return suppress(found)

    def _inside(self, found: Detections, image: ImageArray) -> Detections:
        """Boxes cut at the picture's edges; those outside it left out."""
        height, width = image.shape[:2]
        limits = np.array([width, height, width, height], np.float32)
        cut = Detections(np.clip(found.boxes, 0, limits), found.landmarks, found.scores)
        return cut.select(box_sizes(cut.boxes) >= 1)
