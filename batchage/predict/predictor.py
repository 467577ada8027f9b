"""Crops → ages and genders, in batches."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence

import numpy as np

from batchage.config import DEFAULT_BATCH_SIZE
from batchage.errors import BundleError
from batchage.networks import Bundle, Compute, Forward, load_forward
from batchage.predict.calibration import Calibration, RawOutputs, to_predictions
from batchage.predict.network import MAX_AGE, Architecture, build_graph, build_network
from batchage.types import AgeInterval, FloatArray, ImageArray, Prediction

log = logging.getLogger("batchage")

LARGEST_INPUT = 1024
YEARS = np.arange(MAX_AGE + 1, dtype=np.float32)
LARGEST_BATCH = 256
"""Faces; more seldom wait for a batch at once."""
SPEC_ERRORS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
WORTH_DOUBLING = 0.9
"""Share of the time of a face that it may take in a batch of twice the size."""


def fastest_batch(forward: Forward, input_size: int) -> int:
    """How many crops to give a GPU at once: doubled for as long as that is worth it.

    Each size is run once before it counts, since the first run is when algorithms are chosen.

    Args:
        forward: The network.
        input_size: Side of its crops in pixels.
    """
    best, best_seconds = DEFAULT_BATCH_SIZE, math.inf
    size = best
    while size <= LARGEST_BATCH:
        crops = np.zeros((size, input_size, input_size, 3), np.uint8)
        try:
            forward(crops)
            start = time.perf_counter()
            forward(crops)
            seconds = (time.perf_counter() - start) / size
        except MemoryError:
            break
        if seconds > WORTH_DOUBLING * best_seconds:
            break
        best, best_seconds = size, seconds
        size *= 2
    return best


def age_interval_of(bundle: Bundle) -> AgeInterval:
    """What a bundle's `model.json` says of its age interval.

    Raises:
        BundleError: It lacks a usable setting.
    """
    try:
        calibration = Calibration.from_spec(bundle.spec["calibration"])
        measured = bundle.spec.get("training", {}).get("coverage_when_left_out", {})
        held = {str(name): float(row["interval_coverage"]) for name, row in measured.items()}
    except SPEC_ERRORS as error:
        raise _unusable(bundle, error) from None
    return AgeInterval(calibration.coverage, held)


def _unusable(bundle: Bundle, error: Exception) -> BundleError:
    return BundleError(
        f"{bundle.path}: model.json lacks a usable setting ({error!r}); export it again"
    )


class Predictor:
    """A loaded bundle.

    Attributes:
        model_id: Name and hash of the bundle.
        age_interval: How far its age interval can be trusted.
        input_size: Side in pixels of the crops it takes.
        batch_size: Crops the network takes at once.
    """

    def __init__(
        self,
        bundle: Bundle,
        compute: Compute,
        batch_size: int | None = None,
        tta: bool = False,
        min_confidence: float = 0.0,
        age_thresholds: Sequence[int] = (),
    ) -> None:
        """Build the network in `compute`'s precision and load the weights.

        Args:
            bundle: The bundle.
            compute: Device and precision.
            batch_size: Crops the network takes at once, as of `ScanConfig`.
            tta: Test-time augmentation: average the outputs for each crop and its mirror image.
            min_confidence: Probability below which no gender is stated.
            age_thresholds: Ages in years to state the probability of being younger than.

        Raises:
            BundleError: A setting is missing or the weights don't fit.
        """
        self.model_id, self.age_interval = bundle.model_id, age_interval_of(bundle)
        self._tta, self._min_confidence = tta, min_confidence
        self._age_thresholds = age_thresholds
        try:
            self.input_size = bundle.spec["input_size"]
            if not (type(self.input_size) is int and 32 <= self.input_size <= LARGEST_INPUT):
                raise ValueError(f"input_size must be 32 to {LARGEST_INPUT}")
            architecture = Architecture(**bundle.spec["architecture"])
            self.calibration = Calibration.from_spec(bundle.spec["calibration"])
        except SPEC_ERRORS as error:
            raise _unusable(bundle, error) from None
        self._forward = load_forward(
            compute,
            bundle,
            lambda: build_network(architecture),
            lambda graph: build_graph(graph, architecture, self.input_size),
        )
        if batch_size is None:
            on_gpu = compute.device == "gpu"
            batch_size = (
                fastest_batch(self._forward, self.input_size) if on_gpu else DEFAULT_BATCH_SIZE
            )
        self.batch_size = batch_size

    def predict_raw(self, crops: Sequence[ImageArray]) -> RawOutputs:
        """Uncalibrated outputs for RGB uint8 `(S, S, 3)` crops.

        Where memory doesn't suffice for a batch, batches are half as large from then on.

        Raises:
            BundleError: The network gave what is no number.
        """
        parts: list[Mapping[str, FloatArray]] = []
        done = 0
        while done < len(crops):
            batch = crops[done : done + self.batch_size]
            try:
                parts.append(self._batch(batch))
            except MemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
                log.warning("not enough memory: batches of %d faces from here on", self.batch_size)
                continue
            done += len(batch)
        if not parts:
            return RawOutputs(
                np.zeros(0, np.float32), np.zeros((0, 101), np.float32), np.zeros(0, np.float32)
            )
        mass, gender = (
            np.concatenate([part[name] for part in parts])
            for name in ("age_distribution", "gender")
        )
        # Summed up row by row: the network's own product depends on how many rows there are.
        age = (mass * YEARS).sum(axis=1)
        if not (np.isfinite(age).all() and np.isfinite(gender).all()):
            raise BundleError(
                f"{self.model_id}: gives no number for a face; use another model or precision"
            )
        return RawOutputs(age, mass, gender[:, 0])

    def _batch(self, crops: Sequence[ImageArray]) -> Mapping[str, FloatArray]:
        batch = np.stack(crops)
        outputs = self._forward(batch)
        if not self._tta:
            return outputs
        mirrored = self._forward(batch[:, :, ::-1])
        return {name: (found + mirrored[name]) * np.float32(0.5) for name, found in outputs.items()}

    def predict(self, crops: Sequence[ImageArray]) -> list[Prediction]:
        """Ages in years with intervals, and calibrated probabilities of female, one a crop.

        Raises:
            BundleError: The network gave what is no number.
        """
        raw = self.predict_raw(crops)
        return to_predictions(raw, self.calibration, self._min_confidence, self._age_thresholds)
