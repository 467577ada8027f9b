"""What a detector is, and which ones there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchage.errors import UsageError
from batchage.types import Detections, ImageArray


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """How faces are looked for.

    Attributes:
        detect_size: Longest side in pixels of the picture that the detector sees; a multiple of 64.
        min_score: Faces with a lower score, 0…1, are left out.
        min_face_size: Faces whose box is smaller than this, in full-size pixels (square root of
            the area), are left out.
    """

    detect_size: int = 640
    min_score: float = 0.5
    min_face_size: float = 0.0

    def __post_init__(self) -> None:
        if self.detect_size < 128 or self.detect_size % 64:
            raise UsageError(
                f"detect size {self.detect_size}: give a multiple of 64, 128 or more, such as 640"
            )
        if not 0 < self.min_score < 1:
            raise UsageError(f"minimal score {self.min_score}: give a number between 0 and 1")


class Detector(Protocol):
    """Finds faces; `detect` takes RGB uint8 `(h, w, 3)` pictures of any sizes.

    Coordinates that come back are in pixels of the pictures given.
    """

    detector_id: str

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """Faces of each picture, best score first."""
        ...


def _mobilenet(settings: DetectorSettings) -> Detector:
    from batchage.detect.retinaface import RetinaFace

    return RetinaFace(settings)


def _resnet50(settings: DetectorSettings) -> Detector:
    from batchage.detect.retinaface_resnet50 import RetinaFaceResNet50

    return RetinaFaceResNet50(settings)


DEFAULT_DETECTOR = "retinaface-mobilenet025"
DETECTORS: dict[str, Callable[[DetectorSettings], Detector]] = {
    DEFAULT_DETECTOR: _mobilenet,
    "retinaface-resnet50": _resnet50,
}


def create_detector(name: str, settings: DetectorSettings) -> Detector:
    """The detector called `name`.

    Raises:
        UsageError: There is no such detector, or it needs an extra that isn't installed.
    """
    if name not in DETECTORS:
        raise UsageError(f"{name}: no such detector; choose one of {', '.join(DETECTORS)}")
    return DETECTORS[name](settings)
