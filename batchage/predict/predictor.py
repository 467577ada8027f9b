"""Crops → ages and genders, in batches."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from batchage.bundle import Bundle
from batchage.config import DEFAULT_BATCH_SIZE
from batchage.errors import BundleError
from batchage.hardware import Compute
from batchage.inference import Forward, load_forward
from batchage.predict.network import Architecture, build_graph, build_network
from batchage.types import FloatArray, ImageArray, Prediction

log = logging.getLogger("batchage")

CANDIDATE_YEARS = 117
"""Ages 0 to 116 may lie in an interval: the oldest that any label of UTKFace states."""
LARGEST_INPUT = 1024
LARGEST_BATCH = 256
"""Faces; more seldom wait for a batch at once."""
WORTH_DOUBLING = 0.9
"""Share of the time of a face that it may take in a batch of twice the size."""
COVERAGE = 0.9
"""Share of ages that the stated intervals are fitted to hold."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How raw outputs become stated probabilities; fitted on the validation split.

    Attributes:
        coverage: Share of faces whose age lies in the interval, as fitted.
        age_edges: Ages in years at which the next of `age_scales` begins.
        age_scales: How many times the reach of the distribution's own interval an age may be away
            and still lie in the stated one.
        gender_temperature: Divides the gender's logit.
    """

    coverage: float = COVERAGE
    age_edges: tuple[float, ...] = ()
    age_scales: tuple[float, ...] = (1.0,)
    gender_temperature: float = 1.0

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The calibration in a bundle's `model.json`.

        Raises:
            TypeError: A field is missing or unknown.
            ValueError: A value is no number, or edges and scales don't fit together.
        """
        edges, scales = (tuple(map(float, spec[k])) for k in ("age_edges", "age_scales"))
        if len(scales) != len(edges) + 1 or list(edges) != sorted(edges):
            raise ValueError("age_edges must rise and be one fewer than age_scales")
        numbers = {k: float(v) for k, v in spec.items() if k not in ("age_edges", "age_scales")}
        found = cls(age_edges=edges, age_scales=scales, **numbers)
        if not 0 < found.coverage < 1:
            raise ValueError("coverage must lie between 0 and 1")
        if not all(0 < x < math.inf for x in (*scales, found.gender_temperature)):
            raise ValueError("age_scales and gender_temperature must be above 0")
        return found

    def scale_at(self, age: FloatArray) -> FloatArray:
        """The scale of each age `(n,)` that may be inside the interval."""
        index = np.searchsorted(self.age_edges, age, side="right")
        return np.asarray(self.age_scales, np.float32)[index]


@dataclass(frozen=True, slots=True, eq=False)
class RawOutputs:
    """What the network says of n faces, before calibration.

    Attributes:
        age: float32 `(n,)`, years.
        distribution: float32 `(n, 101)`, mass of each whole year.
        gender: float32 `(n,)`, probability of female.
    """

    age: FloatArray
    distribution: FloatArray
    gender: FloatArray


def quantile_interval(distribution: FloatArray, coverage: float) -> FloatArray:
    """The central interval `(n, 2)` in years that holds `coverage` of each row's mass."""
    cumulative = np.cumsum(distribution, axis=1)
    cumulative /= cumulative[:, -1:]
    years = np.arange(distribution.shape[1]) + 0.5
    tail = (1 - coverage) / 2
    ends = [[np.interp(q, row, years) for q in (tail, 1 - tail)] for row in cumulative]
    return np.array(ends, np.float32).reshape(-1, 2)


def interval_reach(raw: RawOutputs, coverage: float) -> FloatArray:
    """Years `(n, 2)` from the age down and up to the ends of its distribution's interval.

    Half a year is added at both ends, since an age is stated in whole years.
    """
    interval = quantile_interval(raw.distribution, coverage)
    reach = np.stack([raw.age - interval[:, 0], interval[:, 1] - raw.age], axis=1)
    return np.maximum(reach, 0) + np.float32(0.5)


def calibrated_interval(raw: RawOutputs, calibration: Calibration) -> FloatArray:
    """The lowest and highest whole year `(n, 2)` that the calibration lets in; the age always is.

    Whether a year is let in goes by the scale of that year, not of the predicted age: so people of
    each age lie in their intervals as often as stated, also where the age is often mistaken
    (label-conditional conformal prediction: Vovk, 2012).
    """
    reach = interval_reach(raw, calibration.coverage)
    years = np.arange(CANDIDATE_YEARS, dtype=np.float32)
    offset = years - raw.age[:, None]
    score = np.where(offset < 0, -offset / reach[:, :1], offset / reach[:, 1:])
    inside = score <= calibration.scale_at(years)
    low = np.where(inside, years, np.inf).min(axis=1)
    high = np.where(inside, years, -np.inf).max(axis=1)
    ends = np.stack([np.minimum(low, raw.age), np.maximum(high, raw.age)], axis=1)
    return np.asarray(ends, np.float32)


def scale_probability(probability: NDArray[Any], temperature: float) -> NDArray[Any]:
    """Probabilities whose logits are divided by `temperature`."""
    p = np.clip(probability.astype(np.float64), 1e-6, 1 - 1e-6)
    return 1 / (1 + np.exp(-np.log(p / (1 - p)) / temperature))


def calibrate(raw: RawOutputs, calibration: Calibration) -> list[Prediction]:
    """Calibrated predictions; the interval always contains the age, and never starts below 0."""
    interval = calibrated_interval(raw, calibration)
    female = scale_probability(raw.gender, calibration.gender_temperature)
    return [Prediction(*map(float, row)) for row in np.column_stack([raw.age, interval, female])]


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


class Predictor:
    """A loaded bundle.

    Attributes:
        model_id: Name and hash of the bundle.
        input_size: Side in pixels of the crops it takes.
        batch_size: Crops the network takes at once.
    """

    def __init__(
        self,
        bundle: Bundle,
        compute: Compute,
        batch_size: int | None = None,
        tta: bool = False,
    ) -> None:
        """Build the network in `compute`'s precision and load the weights.

        Args:
            bundle: The bundle.
            compute: Device and precision.
            batch_size: Crops the network takes at once, as of `ScanConfig`.
            tta: Test-time augmentation: average the outputs for each crop and its mirror image.

        Raises:
            BundleError: A setting is missing or the weights don't fit.
        """
        self.model_id = bundle.model_id
        self._tta = tta
        try:
            self.input_size = bundle.spec["input_size"]
            if not (type(self.input_size) is int and 32 <= self.input_size <= LARGEST_INPUT):
                raise ValueError(f"input_size must be 32 to {LARGEST_INPUT}")
            architecture = Architecture(**bundle.spec["architecture"])
            self.calibration = Calibration.from_spec(bundle.spec["calibration"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(
                f"{bundle.path}: model.json lacks a usable setting ({error!r}); export it again"
            ) from None
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
        age, mass, gender = (
            np.concatenate([part[name] for part in parts])
            for name in ("age", "age_distribution", "gender")
        )
        return RawOutputs(age[:, 0], mass, gender[:, 0])

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
        if not (np.isfinite(raw.age).all() and np.isfinite(raw.gender).all()):
            raise BundleError(
                f"{self.model_id}: gives no number for a face; use another model or precision"
            )
        return calibrate(raw, self.calibration)
