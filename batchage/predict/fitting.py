"""Calibrations out of labelled faces: intervals that hold their level, honest probabilities.

Intervals are split-conformal (Romano, Patterson, Candès, 2019), by the labelled age (Vovk, 2012)
and local in it (Guan, 2023): the scale at an age comes from faces near it, weighted by a Gaussian.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchage.errors import UsageError
from batchage.predict.calibration import (
    COVERAGE,
    Calibration,
    RawOutputs,
    calibrated_interval,
    interval_reach,
    scale_probability,
)

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
MOST = 2.0
"""Factor of all scales, at most."""
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


def fit_age_scales(raw: RawOutputs, ages: NDArray[Any], sources: NDArray[Any]) -> tuple[float, ...]:
    """The scales at `AGE_KNOTS` with which the interval holds `COVERAGE` of each source.

    At each age the largest scale that a source asks for is taken; then all are made smaller by one
    factor, as far as every source is still covered.

    Args:
        raw: Outputs for n labelled faces.
        ages: `(n,)` true ages in years.
        sources: `(n,)`, where each face comes from.

    Raises:
        UsageError: A source has too few faces.
    """
    # Intervals are of whole years, and so are ages: completed ones.
    ages = np.floor(ages)
    reach = interval_reach(raw, COVERAGE)
    score = np.maximum((raw.age - ages) / reach[:, 0], (ages - raw.age) / reach[:, 1])
    members = [sources == source for source in np.unique(sources)]
    ranks = [conformal_rank(int(own.sum())) for own in members]
    wanted = np.stack([_local_quantiles(score[own], ages[own]) for own in members])
    highest = np.where(np.isfinite(wanted), wanted, -np.inf).max(axis=0)
    known = np.isfinite(highest)
    if known.any():
        scales = np.interp(AGE_KNOTS, np.array(AGE_KNOTS)[known], highest[known])
    else:
        scales = np.full(len(AGE_KNOTS), np.sort(score)[conformal_rank(len(score)) - 1])
    # A face may be told its age exactly.
    scales = np.maximum(scales, 1e-3)

    def covers(factor: float) -> bool:
        tried = Calibration(COVERAGE, AGE_KNOTS, tuple(scales * factor))
        low, high = calibrated_interval(raw, tried).T
        inside = (low <= ages) & (ages <= high)
        return all(inside[own].sum() >= rank for own, rank in zip(members, ranks, strict=True))

    least, most = 0.0, MOST
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        least, most = (least, middle) if covers(middle) else (middle, most)
    # Rounded up, since the face that decides lies on the edge.
    return tuple(math.ceil(scale * most * 1e4) / 1e4 for scale in scales)


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
    ages: NDArray[Any],
    is_exact: NDArray[np.bool_],
    genders: NDArray[np.object_],
    sources: NDArray[Any],
) -> Calibration:
    """A calibration fitted on labelled faces; those without exact age or gender are passed over.

    Args:
        raw: Outputs for n faces.
        ages: `(n,)` in years.
        is_exact: `(n,)`, whether an age is exact.
        genders: `(n,)`: `male`, `female` or None.
        sources: `(n,)`, where each face comes from.

    Raises:
        UsageError: There are too few labels.
    """
    known = np.array([gender is not None for gender in genders], bool)
    if not is_exact.any() or not known.any():
        raise UsageError("faces with an exact age and faces with a gender are needed")
    scales = fit_age_scales(raw.select(is_exact), ages[is_exact], sources[is_exact])
    temperatures = fit_temperatures(raw.select(known), genders[known] == "female")
    return Calibration(COVERAGE, AGE_KNOTS, scales, GENDER_KNOTS, temperatures)
