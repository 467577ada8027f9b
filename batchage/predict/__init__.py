"""Crops → ages and genders."""

from batchage.predict.calibration import (
    COVERAGE,
    Calibration,
    RawOutputs,
    calibrated_interval,
    stated_gender,
)
from batchage.predict.fitting import (
    fit_age_line,
    fit_calibration,
    refit_scales,
    refit_temperatures,
)
from batchage.predict.network import KIND, Architecture, build_graph, build_network, load_imagenet
from batchage.predict.predictor import Predictor, age_interval_of

__all__ = [
    "COVERAGE",
    "KIND",
    "Architecture",
    "Calibration",
    "Predictor",
    "RawOutputs",
    "age_interval_of",
    "build_graph",
    "build_network",
    "calibrated_interval",
    "fit_age_line",
    "fit_calibration",
    "load_imagenet",
    "refit_scales",
    "refit_temperatures",
    "stated_gender",
]
