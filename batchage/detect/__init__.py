"""Face detectors behind one Protocol."""

from batchage.detect.base import (
    DETECTORS,
    Detector,
    DetectorFactory,
    create_detector,
    register_detector,
)
from batchage.detect.finding import find_faces

__all__ = [
    "DETECTORS",
    "Detector",
    "DetectorFactory",
    "create_detector",
    "find_faces",
    "register_detector",
]
