"""Face detectors behind one Protocol."""

from batchage.detect.base import DETECTORS, Detector, create_detector

__all__ = ["DETECTORS", "Detector", "create_detector"]
