"""Raw outputs of the network → stated ages, intervals and probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from batchage.types import FloatArray, Prediction

CANDIDATE_YEARS = 117
"""Ages 0 to 116 may lie in an interval: the oldest that any label of UTKFace states."""
COVERAGE = 0.9
"""Share of ages that the stated intervals are fitted to hold."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How raw outputs become stated probabilities; fitted on validation splits.

    Between two knots a value is in proportion, and beyond the last one that one's.

    Attributes:
        coverage: Share of faces whose age lies in the interval, as fitted.
        age_slope: Factor of the network's age.
        age_offset: Years that are added after it.
        age_knots: Ages in years, rising, at which `age_scales` are given.
        age_scales: How many times the reach of the distribution's own interval a year may be away
            and still lie in the stated one, by that year.
        gender_knots: Predicted ages in years, rising, at which `gender_temperatures` are given.
        gender_temperatures: Divide the gender's logit, by the predicted age: gender is hard to see
            in small children, whatever the network says.
        under_knots: Ages in years, rising, at which the next two are given.
        under_slopes: Factor of the logit of the distribution's mass below that age (Platt, 1999).
        under_offsets: Added to that logit.
    """

    coverage: float = COVERAGE
    age_slope: float = 1.0
    age_offset: float = 0.0
    age_knots: tuple[float, ...] = (0.0,)
    age_scales: tuple[float, ...] = (1.0,)
    gender_knots: tuple[float, ...] = (0.0,)
    gender_temperatures: tuple[float, ...] = (1.0,)
    under_knots: tuple[float, ...] = (0.0,)
    under_slopes: tuple[float, ...] = (1.0,)
    under_offsets: tuple[float, ...] = (0.0,)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The calibration in a bundle's `model.json`.

        Raises:
            TypeError: A field is missing or unknown.
            ValueError: A value is no number, or knots and values don't fit together.
        """
        values: dict[str, Any] = {
            name: tuple(map(float, value)) if name in _CURVES else float(value)
            for name, value in spec.items()
        }
        found = cls(**values)
        if not 0 < found.coverage < 1:
            raise ValueError("coverage must lie between 0 and 1")
        if not (0 < found.age_slope < math.inf and math.isfinite(found.age_offset)):
            raise ValueError("age_slope must be above 0, and age_offset a number")
        for knots, heights in (
            (found.age_knots, found.age_scales),
            (found.gender_knots, found.gender_temperatures),
            (found.under_knots, found.under_slopes),
            (found.under_knots, found.under_offsets),
        ):
            if not knots or len(knots) != len(heights) or list(knots) != sorted({*knots}):
                raise ValueError("knots must rise, and have a value each")
            if not all(map(math.isfinite, (*knots, *heights))):
                raise ValueError("knots and values must be numbers")
        if min(*found.age_scales, *found.gender_temperatures, *found.under_slopes) <= 0:
            raise ValueError("scales, temperatures and slopes must be above 0")
        return found

    def age_of(self, age: FloatArray) -> FloatArray:
        """The stated age for each of the network's `(n,)`, in years, 0 at least."""
        stated = np.float32(self.age_slope) * age + np.float32(self.age_offset)
        return np.asarray(np.maximum(stated, 0), np.float32)

    def scale_at(self, age: FloatArray) -> FloatArray:
        """The scale of each age `(n,)` that may be inside the interval."""
        return np.interp(age, self.age_knots, self.age_scales).astype(np.float32)

    def temperature_at(self, age: FloatArray) -> FloatArray:
        """The temperature for each predicted age `(n,)`."""
        return np.interp(age, self.gender_knots, self.gender_temperatures).astype(np.float32)


_CURVES = {field.name for field in fields(Calibration) if isinstance(field.default, tuple)}


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

    def select(self, faces: NDArray[np.bool_]) -> Self:
        """Those of some of the faces `(n,)`."""
        return type(self)(self.age[faces], self.distribution[faces], self.gender[faces])


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


def calibrated_interval(
    raw: RawOutputs, calibration: Calibration, reach: FloatArray | None = None
) -> FloatArray:
    """The lowest and highest whole year `(n, 2)` that the calibration lets in; the age always is.

    Whether a year is let in goes by the scale of that year, not of the predicted age: so people of
    each age lie in their intervals as often as stated, also where the age is often mistaken
    (label-conditional conformal prediction: Vovk, 2012).

    Args:
        raw: Of n faces.
        calibration: Has the scales.
        reach: What `interval_reach` gives for both, if it is known.
    """
    if reach is None:
        reach = interval_reach(raw, calibration.coverage)
    age = calibration.age_of(raw.age)
    years = np.arange(CANDIDATE_YEARS, dtype=np.float32)
    offset = years - age[:, None]
    score = np.where(offset < 0, -offset / reach[:, :1], offset / reach[:, 1:])
    inside = score <= calibration.scale_at(years)
    low = np.where(inside, years, np.inf).min(axis=1)
    high = np.where(inside, years, -np.inf).max(axis=1)
    ends = np.stack([np.minimum(low, age), np.maximum(high, age)], axis=1)
    return np.asarray(ends, np.float32)


def logit(probability: NDArray[Any]) -> NDArray[np.float64]:
    """The logits of probabilities, which are kept off 0 and 1."""
    p = np.clip(probability.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p / (1 - p)))


def sigmoid(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `logit`."""
    return np.asarray(1 / (1 + np.exp(-value)))


def scale_probability(
    probability: NDArray[Any], temperature: float | NDArray[Any]
) -> NDArray[np.float64]:
    """Probabilities `(n,)` whose logits are divided by `temperature`, one or `(n,)`."""
    return sigmoid(logit(probability) / temperature)


def mass_under(distribution: FloatArray, age: float) -> NDArray[np.float64]:
    """The share `(n,)` of each distribution `(n, 101)` that lies below an age in years.

    A year's mass is spread over it.
    """
    edges = np.arange(distribution.shape[1] + 1)
    below = np.concatenate([np.zeros((len(distribution), 1)), distribution.cumsum(axis=1)], axis=1)
    at = float(np.clip(age, 0, edges[-1]))
    first = min(int(at), len(edges) - 2)
    part = below[:, first] + (at - first) * (below[:, first + 1] - below[:, first])
    return np.asarray(part / below[:, -1])


def prob_under(raw: RawOutputs, calibration: Calibration, age: int) -> NDArray[np.float64]:
    """The probability `(n,)` of being younger than `age`, as it is stated."""
    network_age = (age - calibration.age_offset) / calibration.age_slope
    slope = np.interp(age, calibration.under_knots, calibration.under_slopes)
    offset = np.interp(age, calibration.under_knots, calibration.under_offsets)
    return sigmoid(slope * logit(mass_under(raw.distribution, network_age)) + offset)


def stated_gender(raw: RawOutputs, calibration: Calibration) -> NDArray[np.float64]:
    """The probability of female `(n,)`, as it is stated."""
    return scale_probability(raw.gender, calibration.temperature_at(raw.age))


def to_predictions(
    raw: RawOutputs,
    calibration: Calibration,
    min_confidence: float = 0.0,
    age_thresholds: Sequence[int] = (),
) -> list[Prediction]:
    """Calibrated predictions; the interval always contains the age, and never starts below 0.

    Args:
        raw: Of n faces.
        calibration: Makes statements of them.
        min_confidence: Probability below which no gender is stated.
        age_thresholds: Ages in years to state the probability of being younger than.
    """
    columns: list[NDArray[Any]] = [
        calibration.age_of(raw.age),
        calibrated_interval(raw, calibration),
        stated_gender(raw, calibration),
    ]
    columns += [prob_under(raw, calibration, age) for age in age_thresholds]
    return [
        Prediction(
            age, low, high, female, min_confidence, dict(zip(age_thresholds, under, strict=True))
        )
        for age, low, high, female, *under in np.column_stack(columns).tolist()
    ]
