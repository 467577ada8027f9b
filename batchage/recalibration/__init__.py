"""Bundles fitted to a user's own labelled photos, without training."""

from batchage.recalibration.crossvalidation import Figures, Gain
from batchage.recalibration.run import Recalibration, calibrate

__all__ = ["Figures", "Gain", "Recalibration", "calibrate"]
