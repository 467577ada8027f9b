"""Landmarks → canonical crop: the one crop function, used by scan and by training."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from batchage.pixels import in_srgb, shrink
from batchage.types import FaceCrop, FloatArray, ImageArray, Pose

CHIP_SIDE = 200
"""Side in pixels of the UTKFace chip that `TEMPLATE` is given in."""

TEMPLATE: FloatArray = np.array(
    [[59.5, 58.3], [138.0, 57.3], [98.2, 105.4], [66.0, 136.0], [133.0, 135.6]], np.float32
)
"""Median landmarks that the default detector finds on UTKFace chips, in chip pixels `(5, 2)`."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """A map of the plane: scale, turn, shift.

    Attributes:
        matrix: float64 `(2, 3)`, picture pixels → crop pixels.
    """

    matrix: NDArray[np.float64]

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))


def _spans(points: NDArray[np.float64]) -> tuple[float, float]:
    """Width (mean of the eyes' and mouth corners' distance) and eye-to-mouth height of a face."""
    eyes, mouth = points[1] - points[0], points[4] - points[3]
    drop = (points[3] + points[4] - points[0] - points[1]) / 2
    return float(np.hypot(*eyes) + np.hypot(*mouth)) / 2, float(np.hypot(*drop))


def estimate_similarity(
    landmarks: FloatArray, size: int, template: FloatArray = TEMPLATE
) -> Similarity:
    """The similarity that takes landmarks `(5, 2)` to the template in a crop of `size` pixels.

    Turn and centre are the least-squares ones (Umeyama, 1991). The least-squares scale shrinks a
    face seen from the side, whose eyes are close together; so the scale is never smaller than
    that which makes the larger of the face's width and its eye-to-mouth height match.
    """
    source = landmarks.astype(np.float64)
    target = template.astype(np.float64) * (size / CHIP_SIDE)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    # As complex numbers the least-squares factor (scale and turn in one) is <a, b> / <a, a>.
    za, zb = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    product = np.vdot(za, zb)
    width, height = _spans(source)
    target_width, target_height = _spans(target)
    floor = 1 / max(width / target_width, height / target_height, 1e-6)
    scale = max(abs(product) / max(np.vdot(za, za).real, 1e-12), floor)
    turn = product / abs(product) if abs(product) > 1e-12 else 1.0
    factor = scale * turn
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    shift = target_mean - linear @ source_mean
    return Similarity(np.column_stack([linear, shift]))


def whole_picture(width: int, height: int) -> FloatArray:
    """Landmarks `(5, 2)` as if the picture were itself a chip: for crops where no face is found."""
    side = max(width, height)
    offset = np.array([(width - side) / 2, (height - side) / 2], np.float32)
    return TEMPLATE * np.float32(side / CHIP_SIDE) + offset


def warp(image: ImageArray, similarity: Similarity, size: int) -> ImageArray:
    """The crop RGB uint8 `(size, size, 3)` that `similarity` cuts out of `image`.

    Strong shrinking is done by area averaging first, so that large faces don't alias. What lies
    outside the picture is black, as in UTKFace's chips.
    """
    matrix = similarity.matrix.copy()
    factor = int(1 / max(similarity.scale, 1e-6))
    if factor >= 2:
        inverse = cv2.invertAffineTransform(matrix)
        corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], float)
        spots = corners @ inverse[:, :2].T + inverse[:, 2]
        height, width = image.shape[:2]
        x1, y1 = np.clip(np.floor(spots.min(axis=0)).astype(int) - factor, 0, [width, height])
        x2, y2 = np.clip(np.ceil(spots.max(axis=0)).astype(int) + factor, 0, [width, height])
        if min(x2 - x1, y2 - y1) >= factor:
            image = shrink(image[y1:y2, x1:x2], factor)
            # Pixel k of the part covers pixels factor*k … factor*k + factor-1 of the picture.
            shift = np.array([x1, y1]) + (factor - 1) / 2
            matrix[:, 2] += matrix[:, :2] @ shift
            matrix[:, :2] *= factor
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8)


def pose(landmarks: FloatArray) -> Pose:
    """How a face is turned, from its landmarks `(5, 2)`; rough, but enough to filter by.

    With the axis from between the eyes to between the mouth corners: yaw is the nose's offset
    across it, in units of the larger of half the eyes' distance and half the axis; pitch is the
    nose's place along it, compared with the template's; roll is the turn that `align` undoes.
    """
    points = landmarks.astype(np.float64)
    across, along = _nose(points)
    matrix = estimate_similarity(landmarks, CHIP_SIDE).matrix
    return Pose(
        yaw=float(np.clip(across, -1, 1)),
        pitch=float(np.clip(2 * (along - FRONTAL_NOSE), -1, 1)),
        roll=float(-np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))),
    )


def _nose(points: NDArray[np.float64]) -> tuple[float, float]:
    """The nose across the face's axis and along it: 0 between the eyes, 1 between the corners."""
    middle = (points[0] + points[1]) / 2
    drop = (points[3] + points[4]) / 2 - middle
    height = max(float(np.hypot(*drop)), 1e-6)
    sideways = np.array([drop[1], -drop[0]]) / height
    half = max(float(np.hypot(*(points[1] - points[0]))), height) / 2
    offset = points[2] - middle
    return float(offset @ sideways / half), float(offset @ drop / height**2)


FRONTAL_NOSE = _nose(TEMPLATE.astype(np.float64))[1]
"""Where along the face's axis the template's nose is."""


def align(
    image: ImageArray, landmarks: FloatArray, size: int, colours: ImageArray | None = None
) -> FaceCrop:
    """The canonical crop of one face, with its quality.

    Args:
        image: RGB uint8 `(h, w, 3)`: the largest picture at hand.
        landmarks: float32 `(5, 2)` in pixels of `image`.
        size: Side of the crop in pixels.
        colours: As of `DecodedImage`.
    """
    crop = warp(image, estimate_similarity(landmarks, size), size)
    return judge(in_srgb(crop, colours), landmarks)


def judge(crop: ImageArray, landmarks: FloatArray) -> FaceCrop:
    """A crop, RGB uint8 `(S, S, 3)`, with its quality; landmarks `(5, 2)` at any scale."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return FaceCrop(crop, float(cv2.Laplacian(grey, cv2.CV_32F).var()), pose(landmarks))
