"""Fitting the probability of being younger than an age.

Platt scaling (1999) of the distribution's mass below that age, at some ages; between them slopes
and offsets are in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchage.predict.calibration import RawOutputs, logit, mass_under, sigmoid

Vector = NDArray[np.float64]
UNDER_KNOTS = (3, 6, 10, 14, 18, 21, 25, 30, 40, 50, 60, 70)
"""Ages in years; where sets with ranges have edges, among them."""
FEWEST = 20
"""Faces on either side of an age for a fit there."""
PULL = 1.0
"""Weight, in faces, of leaving the network's own probability as it is."""
STEPS = 50
LEAST_SLOPE, MOST_SLOPE = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class UnderCurve:
    """Slopes and offsets at `UNDER_KNOTS`, as `Calibration` has them."""

    slopes: tuple[float, ...]
    offsets: tuple[float, ...]


def fit_under(
    raw: RawOutputs, age_min: NDArray[Any], age_max: NDArray[Any], sources: NDArray[Any]
) -> UnderCurve:
    """The curve with the smallest log loss, each source counting as much as another.

    A source has no say at an age that lies inside one of its ranges: leaving out only the faces
    that may be on either side would leave the easy ones.

    Args:
        raw: Outputs for n labelled faces.
        age_min: `(n,)` age in years, or the lower end of its range.
        age_max: `(n,)` the same, or the last year of the range.
        sources: `(n,)`, where each face comes from.
    """
    lines = [_fit_at(knot, raw, age_min, age_max, sources) for knot in UNDER_KNOTS]
    slopes, offsets = np.array(lines).T.round(4).tolist()
    return UnderCurve(tuple(slopes), tuple(offsets))


def _fit_at(
    knot: int,
    raw: RawOutputs,
    age_min: NDArray[Any],
    age_max: NDArray[Any],
    sources: NDArray[Any],
) -> Vector:
    """Slope and offset at one age; 1 and 0 where there are too few faces on a side of it."""
    is_under = np.floor(age_max) < knot
    straddling = set(sources[~is_under & (age_min < knot)])
    weights = np.zeros(len(sources))
    for source in set(sources) - straddling:
        own = sources == source
        weights[own] = 1 / own.sum()
    has_say = weights > 0
    n, under = int(has_say.sum()), is_under[has_say]
    if min(under.sum(), n - under.sum()) < FEWEST:
        return np.array([1.0, 0.0])
    value = logit(mass_under(raw.distribution[has_say], knot))
    return _platt(value, under, weights[has_say] * n / weights.sum())


def _platt(value: Vector, truth: NDArray[np.bool_], weights: Vector) -> Vector:
    """Slope and offset with the smallest weighted log loss, by Newton's method."""
    start = np.array([1.0, 0.0])
    line = start
    columns = np.stack([value, np.ones_like(value)], axis=1)
    for _ in range(STEPS):
        p = sigmoid(columns @ line)
        slope = columns.T @ (weights * (p - truth)) + PULL * (line - start)
        curvature = (columns * (weights * p * (1 - p))[:, None]).T @ columns + PULL * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        # Short steps, since the first from far away may lead too far.
        line = line - step / max(1.0, float(np.abs(step).max()))
        line[0] = np.clip(line[0], LEAST_SLOPE, MOST_SLOPE)
        if np.abs(step).max() < 1e-8:
            break
    return line
