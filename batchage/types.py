"""Every type that crosses a stage.

Conventions, for the whole package:

* images are RGB uint8 of shape `(H, W, 3)`, upright;
* boxes are `xyxy` float32 in pixels of the EXIF-upright full-size image;
* landmarks are float32 `(n, 5, 2)` in the order left eye, right eye, nose, left mouth corner,
  right mouth corner, as seen in the image;
* batches are `(B, S, S, 3)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
ImageArray = NDArray[np.uint8]

UNREAD_FOLDER = "the folder can't be read"
"""How the `error` of a folder ends."""
NOT_SURE = "not sure"
"""What stands for a gender that is not stated."""
LANDMARK_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


def box_sizes(boxes: FloatArray) -> NDArray[np.float64]:
    """Square roots of the areas of boxes `(..., 4)`, `xyxy`, in the boxes' unit."""
    corners = boxes.astype(np.float64)
    sides = np.maximum(corners[..., 2:] - corners[..., :2], 0)
    return np.asarray(np.sqrt(sides.prod(axis=-1)), np.float64)


def shared_areas(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Areas `(n, m)` that boxes `(n, 4)`, `xyxy`, share with others `(m, 4)`, in square units."""
    starts = np.maximum(boxes[:, None, :2], others[None, :, :2])
    ends = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.maximum(ends - starts, 0).prod(axis=2), np.float32)


def page_name(relative: str, page: int | None) -> str:
    """What people call a picture: `a.jpg`, or `a.tif, page 2` where the file has several."""
    return relative if page is None else f"{relative}, page {page}"


class Status(StrEnum):
    """What became of one picture; the values of the images table's `status` column."""

    OK = "ok"
    NO_FACE = "no_face"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    FAILED = "failed"

    @property
    def is_error(self) -> bool:
        """True where the file gave no result at all."""
        return self in ERROR_STATUSES


ERROR_STATUSES = frozenset([Status.UNREADABLE, Status.TOO_LARGE, Status.TIMEOUT, Status.FAILED])


@dataclass(frozen=True, slots=True)
class ImageRef:
    r"""A file that a scan looks at.

    Attributes:
        path: Where to open it; a `str` is the URL of a remote file.
        root: The argument it was found under, as an absolute POSIX path, or the URL of a folder
            without a slash at its end and without a password.
        relative: Path relative to `root`, POSIX form, valid Unicode (bytes of a name that are not
            UTF-8 are written as `\xNN`, a backslash before such letters as `\x5c`).
        size: Bytes, or None where the file could not be examined.
        mtime: Modification time in seconds since the epoch, or None.
        error: Why it can't be opened, if that is known already (an unreadable folder, a missing
            line of a list).
    """

    path: Path | str
    root: str
    relative: str
    size: int | None = None
    mtime: float | None = None
    error: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it stands for a folder that can't be read, whose files may still be there."""
        return self.error is not None and self.error.endswith(UNREAD_FOLDER)


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """When a photo was taken, by the clock of the place, and how that is known.

    Attributes:
        at: Date and time of day there, without zone; what `precision` leaves open is 0.
        source: Where the file says so: `EXIF:DateTimeOriginal`, `XMP-photoshop:DateCreated`, …
        precision: `second`, `minute` or `day`.
        offset_minutes: How far that clock was ahead of UTC, if the file says so.
    """

    at: datetime
    source: str
    precision: str = "second"
    offset_minutes: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """Pixels of one file.

    Attributes:
        pixels: RGB uint8 `(h, w, 3)`, upright; may be a reduced decode of the full picture.
        width: Width of the upright full-size picture in pixels.
        height: Height of the upright full-size picture in pixels.
        content_hash: BLAKE2b-128 of the file's bytes, hexadecimal.
        captured: When the photo was taken, if the file says so.
        warning: Set where the picture is damaged yet partly usable (a truncated JPEG).
        note: What else its row should say of the file: that it is an animation, its colours.
        colours: How `pixels` become sRGB, where they aren't yet: for `in_srgb`, the sRGB of colours
            in equal steps, uint8 `(n, n, n, 3)`, by their blue, green and red.
    """

    pixels: ImageArray
    width: int
    height: int
    content_hash: str
    captured: CaptureTime | None = None
    warning: str | None = None
    note: str | None = None
    colours: ImageArray | None = None

    @property
    def scale(self) -> float:
        """Decoded pixels per full-size pixel, along the width (1.0 for a full decode)."""
        return float(self.pixels.shape[1] / self.width)

    @property
    def divisor(self) -> int:
        """What the sides of the full-size picture were divided by (1 for a full decode)."""
        return round(float(max(self.width, self.height) / max(self.pixels.shape[:2])))

    def in_full_size(self, found: Detections) -> Detections:
        """Faces that were found in `pixels` of a reduced decode, in full-size pixels.

        Pixel k of a picture reduced by n covers the pixels n * k to n * k + n - 1.
        """
        n = self.divisor
        shift = (1 / n - 1) / 2
        full = found.transformed(n, shift, shift)
        limits = np.array([self.width, self.height] * 2, np.float32)
        return Detections(np.clip(full.boxes, 0, limits), full.landmarks, full.scores)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Faces found in one image, best score first.

    Attributes:
        boxes: `xyxy` float32 `(n, 4)` in full-size pixels.
        landmarks: float32 `(n, 5, 2)` in full-size pixels.
        scores: float32 `(n,)` in 0…1.
    """

    boxes: FloatArray
    landmarks: FloatArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> Detections:
        """No faces."""
        return cls(
            np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32)
        )

    def select(self, keep: NDArray[np.intp] | NDArray[np.bool_]) -> Detections:
        """The faces at `keep` (indices or a mask)."""
        return Detections(self.boxes[keep], self.landmarks[keep], self.scores[keep])

    def joined(self, more: Detections) -> Detections:
        """These faces, then `more`."""
        return Detections(
            np.concatenate([self.boxes, more.boxes]),
            np.concatenate([self.landmarks, more.landmarks]),
            np.concatenate([self.scores, more.scores]),
        )

    def transformed(
        self, scale: float | tuple[float, float], dx: float = 0.0, dy: float = 0.0
    ) -> Detections:
        """Coordinates mapped by `(xy - (dx, dy)) * scale`, one scale for both or one for each."""
        offset, factor = np.array([dx, dy], np.float32), np.asarray(scale, np.float32)
        boxes = (self.boxes.reshape(-1, 2, 2) - offset) * factor
        return Detections(boxes.reshape(-1, 4), (self.landmarks - offset) * factor, self.scores)


@dataclass(frozen=True, slots=True)
class Pose:
    """How a face is turned, judged by its landmarks.

    Attributes:
        yaw: Left-right: 0 frontal, about -1 or 1 in profile.
        pitch: Up-down: 0 level, towards -1 looking up, towards 1 looking down.
        roll: Tilt in degrees, clockwise.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One aligned face, ready for the predictor.

    Attributes:
        pixels: RGB uint8 `(S, S, 3)`, framed by the bundle's template.
        sharpness: Variance of the Laplacian of the grey crop; small means blurred.
        pose: How the face is turned.
    """

    pixels: ImageArray
    sharpness: float
    pose: Pose


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one face.

    Attributes:
        age_years: Estimated age in years.
        age_low: Lower end of the age interval whose coverage the bundle states.
        age_high: Upper end of that interval.
        prob_female: Probability of the training labels' class `female`, 0…1.
        min_confidence: Probability below which no gender is stated.
        prob_under: Probability of being younger than an age, by that age in years.
    """

    age_years: float
    age_low: float
    age_high: float
    prob_female: float
    min_confidence: float = 0.0
    prob_under: Mapping[int, float] = field(default_factory=dict)

    @property
    def gender(self) -> str | None:
        """`female` or `male`, whichever is more probable; None where that isn't sure enough."""
        if max(self.prob_female, 1 - self.prob_female) < self.min_confidence:
            return None
        return "female" if self.prob_female >= 0.5 else "male"


@dataclass(frozen=True, slots=True, eq=False)
class FaceRecord:
    """One row of the faces table, before it is written."""

    face_index: int
    box: FloatArray
    landmarks: FloatArray
    score: float
    sharpness: float
    pose: Pose
    prediction: Prediction
    crop: str | None = None

    @classmethod
    def of(
        cls,
        found: Detections,
        index: int,
        face: FaceCrop,
        prediction: Prediction,
        crop: str | None = None,
    ) -> FaceRecord:
        """What was found out about face `index` of a photo's detections."""
        return cls(
            index,
            found.boxes[index],
            found.landmarks[index],
            float(found.scores[index]),
            face.sharpness,
            face.pose,
            prediction,
            crop,
        )


@dataclass(slots=True, eq=False)
class ImageRecord:
    """A picture and all that was found in it: a row of the images table and its faces' rows.

    Attributes:
        ref: Its file.
        page: Its number in the file, from 1; None where the file has no other.
        is_last: Whether no further record of the file follows.
    """

    ref: ImageRef
    status: Status
    error: str | None = None
    width: int | None = None
    height: int | None = None
    content_hash: str | None = None
    captured: CaptureTime | None = None
    seconds: float = 0.0
    thumbnail: str | None = None
    faces: list[FaceRecord] = field(default_factory=list)
    page: int | None = None
    is_last: bool = True

    def add_error(self, why: str) -> None:
        """Say one thing more of what went less well."""
        self.error = "; ".join(filter(None, (self.error, why)))

    @property
    def name(self) -> str:
        """What people call it: the path below the scanned folder, and the page."""
        return page_name(self.ref.relative, self.page)


@dataclass(frozen=True, slots=True)
class AgeInterval:
    """How far an age interval can be trusted.

    Attributes:
        states: Share of ages that it is fitted to hold.
        held: Share that it held of each source when it was fitted without that source, by name.
    """

    states: float
    held: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Identity:
    """What the numbers in the rows depend on, besides the settings.

    Attributes:
        model_id: Bundle that predicts.
        detector_id: What finds the faces, and in which arithmetic.
        precision: Arithmetic of the predictor.
        age_interval: What its level is, and what it was measured to hold elsewhere.
    """

    model_id: str
    detector_id: str
    precision: str
    age_interval: AgeInterval
