"""Calibrations out of labelled faces: intervals that hold their level, honest probabilities.

Intervals are split-conformal (Romano, Patterson, Candès, 2019), by the labelled age (Vovk, 2012)
and local in it (Guan, 2023): the scale at an age comes from faces near it, weighted by a Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchage.errors import UsageError
from batchage.predict.calibration import (
    CANDIDATE_YEARS,
    COVERAGE,
    Calibration,
    RawOutputs,
    calibrated_interval,
    interval_reach,
    scale_probability,
    stated_gender,
)
from batchage.predict.under_ages import UNDER_KNOTS, fit_under
from batchage.types import FloatArray

Vector = NDArray[np.float64]
AGE_KNOTS = tuple(float(age) for age in range(0, 101, 5))
AGE_WIDTH = 6.0
"""Years: standard deviation of the weights about an age; 4 and 9 gave intervals as wide."""
GENDER_KNOTS = (0.0, 2.0, 4.0, 7.0, 10.0, 14.0, 18.0, 25.0, 40.0, 60.0, 80.0)
GENDER_WIDTH = 0.25
"""Share of an age, plus a year: standard deviation of the weights about a predicted age."""
FLOOR = 0.01
"""Weight of all faces alike, so that a knot with few faces near it leans on the others."""
TEMPERATURES = np.exp(np.linspace(-1.5, 2.0, 141))
HALVINGS = 24
LEAST_FACES = 50
"""Of a source that has a say of its own in the scales."""
RANGES_MET = 0.95
"""Share of a source's ranges that intervals have a year in common with."""
SMALLEST = 1e-3
REWEIGHTINGS = 30
TINY = 1e-12


def conformal_rank(n: int, coverage: float = COVERAGE) -> int:
    """How many of n faces an interval must cover, so that a new one is with chance `coverage`.

    Raises:
        UsageError: There are too few for that.
    """
    rank = math.ceil((n + 1) * coverage)
    if rank > n:
        raise UsageError(
            f"{n} faces with an exact age are too few to state an interval of {coverage:.0%}; "
            "label more, or give the validation split a larger share"
        )
    return rank


def fit_age_scales(
    raw: RawOutputs, age_min: NDArray[Any], age_max: NDArray[Any], sources: NDArray[Any]
) -> tuple[float, ...]:
    """The scales at `AGE_KNOTS` with which the interval holds `COVERAGE` of each source.

    At each age the largest scale that a source asks for is taken; then all are made smaller by one
    factor, as far as every source is still covered. Of ranges it is known only which years may be
    the age: their intervals have a year in common with `RANGES_MET` of them.

    Args:
        raw: Outputs for n labelled faces.
        age_min: `(n,)` age in years, or the lower end of its range.
        age_max: `(n,)` the same, or the last year of the range.
        sources: `(n,)`, where each face comes from.

    Raises:
        UsageError: There are too few faces with an exact age.
    """
    exact = age_min == age_max
    low, high = _whole_years(age_min), _whole_years(age_max)
    ages, dated = low[exact], raw.select(exact)
    reach = interval_reach(dated, COVERAGE)
    score = np.maximum((dated.age - ages) / reach[:, 0], (ages - dated.age) / reach[:, 1])
    wanted = np.stack([_local_quantiles(score[own], ages[own]) for own in _groups(sources[exact])])
    highest = np.where(np.isfinite(wanted), wanted, -np.inf).max(axis=0)
    known = np.isfinite(highest)
    if known.any():
        scales = np.interp(AGE_KNOTS, np.array(AGE_KNOTS)[known], highest[known])
    else:
        scales = np.full(len(AGE_KNOTS), np.sort(score)[conformal_rank(len(score)) - 1])
    # Where every age is told exactly, scales are 0.
    local = Calibration(age_knots=AGE_KNOTS, age_scales=tuple(np.maximum(scales, SMALLEST)))
    demands = [
        _Demand.of(dated.select(own), ages[own], ages[own], COVERAGE, COVERAGE)
        for own in _groups(sources[exact])
    ]
    for source in np.unique(sources[~exact]):
        own = ~exact & (sources == source)
        if own.sum() >= LEAST_FACES:
            demands.append(_Demand.of(raw.select(own), low[own], high[own], COVERAGE, RANGES_MET))
    return _scaled(local, _smallest_factor(local, demands)).age_scales


def _groups(sources: NDArray[Any]) -> list[NDArray[np.bool_]]:
    """Faces `(n,)` by source; and all together, if a source has too few for a say of its own."""
    found = [sources == source for source in np.unique(sources)]
    large = [own for own in found if own.sum() >= LEAST_FACES]
    return large if len(large) == len(found) else [*large, np.ones(len(sources), bool)]


def _whole_years(ages: NDArray[Any]) -> Vector:
    """Completed years, as far as an interval may reach: intervals are of whole years."""
    return np.asarray(np.clip(np.floor(ages), 0, CANDIDATE_YEARS - 1), np.float64)


def _scaled(calibration: Calibration, factor: float) -> Calibration:
    # Rounded up, since the face that decides lies on the edge.
    scales = (math.ceil(scale * factor * 1e4) / 1e4 for scale in calibration.age_scales)
    return replace(calibration, age_scales=tuple(max(scale, SMALLEST) for scale in scales))


@dataclass(frozen=True, slots=True, eq=False)
class _Demand:
    """Faces of which so many must have an interval that meets their label."""

    raw: RawOutputs
    reach: FloatArray
    low: Vector
    high: Vector
    rank: int

    @classmethod
    def of(
        cls, raw: RawOutputs, low: Vector, high: Vector, coverage: float, share: float
    ) -> _Demand:
        """Of intervals that state `coverage`, a `share` must meet the labels `low` to `high`."""
        reach = interval_reach(raw, coverage)
        return cls(raw, reach, low, high, conformal_rank(len(low), share))

    def is_met(self, calibration: Calibration) -> bool:
        low, high = calibrated_interval(self.raw, calibration, self.reach).T
        return bool(((low <= self.high) & (self.low <= high)).sum() >= self.rank)


def _smallest_factor(calibration: Calibration, demands: Sequence[_Demand]) -> float:
    """The smallest factor of all scales with which every demand is met."""

    def suffices(factor: float) -> bool:
        scales = tuple(scale * factor for scale in calibration.age_scales)
        tried = replace(calibration, age_scales=scales)
        return all(demand.is_met(tried) for demand in demands)

    least, most = 0.0, 1.0
    while not suffices(most):
        most *= 2
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        least, most = (least, middle) if suffices(middle) else (middle, most)
    return most


def _local_quantiles(score: Vector, ages: NDArray[Any]) -> Vector:
    """The score at each knot that a new face of that age exceeds with a chance of 1 - `COVERAGE`.

    It is infinite where too few faces are near: the new face, of full weight, may have any score.
    """
    order = np.argsort(score, kind="stable")
    apart = np.array(AGE_KNOTS)[:, None] - ages[order]
    weights = np.exp(-(apart**2) / (2 * AGE_WIDTH**2))
    shares = weights.cumsum(axis=1) / (weights.sum(axis=1, keepdims=True) + 1)
    places = (shares < COVERAGE).sum(axis=1)
    return np.asarray(np.append(score[order], np.inf)[places], np.float64)


def fit_temperatures(raw: RawOutputs, female: NDArray[np.bool_]) -> tuple[float, ...]:
    """The temperatures at `GENDER_KNOTS` with the smallest log loss (Guo et al., 2017) near each.

    They are 1 where nothing can be fitted: no face is wrong, or all have one gender.

    Args:
        raw: Outputs for n labelled faces.
        female: `(n,)`, whether the label is female.
    """
    wrong = (raw.gender >= 0.5) != female
    if not wrong.any() or female.all() or not female.any():
        return (1.0,) * len(GENDER_KNOTS)
    losses = np.stack([_log_losses(raw.gender, female, t) for t in TEMPERATURES])
    found = []
    for knot in GENDER_KNOTS:
        width = 1 + GENDER_WIDTH * knot
        weights = np.exp(-((raw.age - knot) ** 2) / (2 * width**2)) + FLOOR
        found.append(round(float(TEMPERATURES[np.argmin(losses @ weights)]), 4))
    return tuple(found)


def _log_losses(probability: NDArray[Any], female: NDArray[np.bool_], temperature: float) -> Vector:
    scaled = scale_probability(probability, float(temperature))
    return -np.log(np.maximum(np.where(female, scaled, 1 - scaled), TINY))


def fit_calibration(
    raw: RawOutputs,
    age_min: NDArray[Any],
    age_max: NDArray[Any],
    genders: NDArray[np.object_],
    sources: NDArray[Any],
) -> Calibration:
    """A calibration fitted on labelled faces; what a label doesn't say is passed over.

    Args:
        raw: Outputs for n faces.
        age_min: `(n,)` age in years, or the lower end of its range.
        age_max: `(n,)` the same, or the last year of the range.
        genders: `(n,)`: `male`, `female` or None.
        sources: `(n,)`, where each face comes from.

    Raises:
        UsageError: There are too few labels.
    """
    known = np.array([gender is not None for gender in genders], bool)
    is_exact = age_min == age_max
    if not is_exact.any() or not known.any():
        raise UsageError("faces with an exact age and faces with a gender are needed")
    scales = fit_age_scales(raw, age_min, age_max, sources)
    temperatures = fit_temperatures(raw.select(known), genders[known] == "female")
    under = fit_under(raw, age_min, age_max, sources)
    return Calibration(
        age_knots=AGE_KNOTS,
        age_scales=scales,
        gender_knots=GENDER_KNOTS,
        gender_temperatures=temperatures,
        under_knots=tuple(map(float, UNDER_KNOTS)),
        under_slopes=under.slopes,
        under_offsets=under.offsets,
    )


def fit_age_line(raw: RawOutputs, ages: NDArray[Any]) -> tuple[float, float]:
    """Slope and offset in years that bring the network's ages nearest to the labelled ones.

    Least absolute errors by reweighted least squares, so that few wrong labels decide little; the
    slope is 0.5 to 2.

    Args:
        raw: Outputs for n labelled faces.
        ages: `(n,)` true ages in years.
    """
    slope, offset = 1.0, float(np.median(ages - raw.age))
    for _ in range(REWEIGHTINGS):
        weights = 1 / np.maximum(np.abs(slope * raw.age + offset - ages), 1.0)
        middle, target = np.average(raw.age, weights=weights), np.average(ages, weights=weights)
        apart = raw.age - middle
        spread = float(np.average(apart**2, weights=weights))
        if spread > TINY:
            slope = float(np.average(apart * (ages - target), weights=weights)) / spread
        slope = min(max(slope, 0.5), 2.0)
        offset = float(target - slope * middle)
    return round(slope, 4), round(offset, 4)


def refit_scales(raw: RawOutputs, ages: NDArray[Any], calibration: Calibration) -> Calibration:
    """The calibration with all scales multiplied so that its interval holds its level.

    Args:
        raw: Outputs for n labelled faces.
        ages: `(n,)` true ages in years.
        calibration: Has the scales.

    Raises:
        UsageError: There are too few faces.
    """
    years, level = _whole_years(ages), calibration.coverage
    demand = _Demand.of(raw, years, years, level, level)
    return _scaled(calibration, _smallest_factor(calibration, [demand]))


def refit_temperatures(
    raw: RawOutputs, female: NDArray[np.bool_], calibration: Calibration
) -> Calibration:
    """The calibration with all temperatures multiplied for the smallest log loss.

    It stays as it is where nothing can be fitted: no face is wrong, or all have one gender.

    Args:
        raw: Outputs for n labelled faces.
        female: `(n,)`, whether the label is female.
        calibration: Has the temperatures.
    """
    stated = stated_gender(raw, calibration)
    wrong = (stated >= 0.5) != female
    if not wrong.any() or female.all() or not female.any():
        return calibration
    losses = [float(_log_losses(stated, female, t).sum()) for t in TEMPERATURES]
    factor = float(TEMPERATURES[int(np.argmin(losses))])
    temperatures = tuple(round(t * factor, 4) for t in calibration.gender_temperatures)
    return replace(calibration, gender_temperatures=temperatures)
