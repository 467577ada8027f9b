"""The default detector: what goes into RetinaFace, and faces out of what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from batchage.bundle import load_bundle
from batchage.config import DEFAULT_DETECTOR, DetectorSettings
from batchage.detect.retinaface_network import KIND, build_graph, build_network
from batchage.hardware import Compute
from batchage.inference import load_forward
from batchage.types import Detections, FloatArray, ImageArray, box_sizes

STRIDES = (8, 16, 32)
ANCHOR_SIZES = ((16, 32), (64, 128), (256, 512))
VARIANCES = (0.1, 0.2)
NMS_IOU = 0.4
CLOSE_UP_SHARE = 0.7


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


def suppress(found: Detections, iou: float = NMS_IOU) -> Detections:
    """Greedy non-maximum suppression: of faces that overlap more than `iou`, the best stays."""
    order = np.argsort(-found.scores, kind="stable")
    found = found.select(order)
    x1, y1, x2, y2 = found.boxes.T
    area = (x2 - x1) * (y2 - y1)
    alive = np.ones(len(found), bool)
    for i in range(len(found)):
        if alive[i]:
            width = np.minimum(x2[i], x2) - np.maximum(x1[i], x1)
            height = np.minimum(y2[i], y2) - np.maximum(y1[i], y1)
            overlap = np.maximum(width, 0) * np.maximum(height, 0)
            rivals = overlap > iou * (area[i] + area - overlap)
            rivals[: i + 1] = False
            alive &= ~rivals
    return found.select(alive)


@dataclass(frozen=True, slots=True, eq=False)
class Letterbox:
    """A picture centred on a canvas of one of few shapes.

    Attributes:
        canvas: RGB uint8 `(H, W, 3)`.
        scale: Canvas pixels per picture pixel.
        dx: Left border in canvas pixels.
        dy: Upper border in canvas pixels.
    """

    canvas: ImageArray
    scale: float
    dx: int
    dy: int


def canvas_shapes(detect_size: int) -> list[tuple[int, int]]:
    """The canvases `(H, W)`, smallest first: half-size square, 3:4, 4:3, square."""
    short = -(-detect_size * 3 // 4 // 32) * 32
    half = detect_size // 2
    return [(half, half), (short, detect_size), (detect_size, short), (detect_size, detect_size)]


def letterbox(image: ImageArray, detect_size: int, longest: int) -> Letterbox:
    """Shrink `image` to at most `longest` pixels and centre it on the smallest fitting canvas."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    new_w, new_h = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shrunk = cv2.resize(image, (new_w, new_h), interpolation=method) if scale != 1 else image
    canvas_h, canvas_w = next(
        (h, w) for h, w in canvas_shapes(detect_size) if new_h <= h and new_w <= w
    )
    canvas = np.zeros((canvas_h, canvas_w, 3), np.uint8)
    dy, dx = (canvas_h - new_h) // 2, (canvas_w - new_w) // 2
    canvas[dy : dy + new_h, dx : dx + new_w] = shrunk
    return Letterbox(canvas, scale, dx, dy)


class RetinaFace:
    """The default detector.

    A picture is never enlarged, so that a tight crop of a face keeps a border on its canvas; a
    picture in which nothing is found is looked at again, small and with a border, which finds
    faces that fill the frame.
    """

    def __init__(self, settings: DetectorSettings, compute: Compute) -> None:
        """Load the network.

        Args:
            settings: How faces are looked for.
            compute: Where it runs; always in float32, since in less, boxes move by pixels.

        Raises:
            BundleError: The bundle is missing or damaged.
        """
        self.settings = settings
        bundle = load_bundle(DEFAULT_DETECTOR, KIND)
        self.detector_id = bundle.model_id
        in_float32 = replace(compute, precision="float32")
        self._forward = load_forward(
            in_float32, bundle.weights, build_network, build_graph, few_shapes=True
        )

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """Faces of each RGB uint8 picture, in that picture's pixels, best score first."""
        size = self.settings.detect_size
        first = self._look(images, [min(size, max(image.shape[:2])) for image in images])
        missed = [i for i, faces in enumerate(first) if not len(faces)]
        close_up = int(size / 2 * CLOSE_UP_SHARE)
        second = self._look([images[i] for i in missed], [close_up] * len(missed))
        for index, faces in zip(missed, second, strict=True):
            first[index] = faces
        return first

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
                results[index] = self._inside(
                    found.transformed(1 / box.scale, box.dx, box.dy), images[index]
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
