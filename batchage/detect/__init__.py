"""Face detectors behind one Protocol."""

from batchage.detect.base import (
    DETECTORS,
    Detector,
    DetectorFactory,
    create_detector,
    register_detector,
)

__all__ = [
    "DETECTORS",
    "Detector",
    "DetectorFactory",
    "create_detector",
    "register_detector",
]
