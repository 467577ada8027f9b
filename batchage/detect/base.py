"""What a detector is, and which ones there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from batchage.config import DEFAULT_DETECTOR, DetectorSettings
from batchage.networks import Compute
from batchage.plugins import Registry
from batchage.types import Detections, ImageArray


class Detector(Protocol):
    """Finds faces; `detect` takes RGB uint8 `(h, w, 3)` pictures of any sizes.

    Coordinates that come back are in pixels of the pictures given. The smallest size that a user
    wants is not its business: it is in pixels of the photo, of which it may see a reduced picture.

    Attributes:
        detector_id: Name and version of what finds the faces: scans with another one aren't
            continued.
    """

    detector_id: str

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """Faces of each picture, best score first."""
        ...


DetectorFactory = Callable[[DetectorSettings, Compute], Detector]
"""Makes a detector, from how faces are looked for and where networks run."""
DETECTORS: Registry[DetectorFactory] = Registry(
    "detector",
    {
        DEFAULT_DETECTOR: "batchage.detect.retinaface:RetinaFace",
        "retinaface-resnet50": "batchage.detect.retinaface_resnet50:RetinaFaceResNet50",
    },
)


def register_detector(name: str, factory: DetectorFactory) -> None:
    """Make a detector of your own known, as `ScanConfig(detector=name)`.

    Args:
        name: What it is called from now on, in this process.
        factory: Makes it.

    Raises:
        UsageError: A detector that comes with batchage is called so.
    """
    DETECTORS.register(name, factory)


def create_detector(name: str, settings: DetectorSettings, compute: Compute) -> Detector:
    """The detector called `name`.

    Args:
        name: One of `DETECTORS`.
        settings: How faces are looked for.
        compute: Where its network runs, and in which arithmetic.

    Raises:
        UsageError: There is no such detector, or it needs an extra that isn't installed.
    """
    return DETECTORS.load(name)(settings, compute)
