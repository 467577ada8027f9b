"""Face detectors behind one Protocol."""

from batchage.detect.base import (
    DEFAULT_DETECTOR,
    DETECTORS,
    Detector,
    DetectorSettings,
    create_detector,
)

__all__ = ["DEFAULT_DETECTOR", "DETECTORS", "Detector", "DetectorSettings", "create_detector"]
