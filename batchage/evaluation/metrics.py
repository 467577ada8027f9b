"""Predictions against labels, as numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchage.evaluation.outcome import Z95, FloatVector, Mask, Outcome
from batchage.evaluation.under_ages import under_age_metrics
from batchage.types import NOT_SURE

Metrics = dict[str, float | int | None]

OLDEST = 130
"""The highest age in years that a label may state, and the end of a range without one."""
AGE_EDGES = (0, 3, 6, 10, 15, *range(20, OLDEST + 20, 10))
"""Where the stretches of age begin that tables have a row for."""
MOST_RANGES = 12
"""Ranges of age that have a row each."""
CALIBRATION_BINS = 10
QUALITY_BINS = 5
QUALITIES = {
    "face_size_px": "face size, px",
    "sharpness": "sharpness",
    "detection_score": "detection score",
    "yaw": "yaw, either side",
    "pitch": "pitch, either way",
    "roll": "roll, either way, degrees",
}
"""Columns of the faces table that may tell a bad face, and what reports call them."""
SIGNED = {"yaw", "pitch", "roll"}


LABELS_BEHIND = {
    "age_mae": "exact_ages",
    "age_bias": "exact_ages",
    "age_in_range": "age_ranges",
    "gender_accuracy": "genders",
    "gender_stated": "genders",
    "gender_not_sure": "genders",
    "interval_coverage": "exact_ages",
    "interval_width": "exact_ages",
}
"""The count of labels that each metric of a group is a mean over."""


def _mean(values: NDArray[Any], digits: int = 4) -> float | None:
    return round(float(values.mean()), digits) if len(values) else None


def group_metrics(outcome: Outcome) -> Metrics:
    """The metrics that every table has; None where no label allows one.

    `exact_ages`, `age_ranges` and `genders` are the numbers of labels behind them.
    """
    exact, ranged, known = outcome.exact, ~outcome.exact, outcome.gender_known
    stated = known & outcome.is_sure
    with_interval = exact & np.isfinite(outcome.low)
    female = outcome.prob_female
    return {
        "faces": len(outcome),
        "exact_ages": int(exact.sum()),
        "age_ranges": int(ranged.sum()),
        "genders": int(known.sum()),
        "age_mae": _mean(outcome.age_error[exact], 3),
        "age_bias": _mean((outcome.age - outcome.age_min)[exact], 3),
        "age_in_range": _mean(outcome.age_in_range[ranged]),
        "gender_accuracy": _mean(outcome.gender_right[stated]),
        "gender_stated": _mean(np.maximum(female, 1 - female)[stated]),
        "gender_not_sure": _mean(~outcome.is_sure[known]) if (known & ~stated).any() else None,
        "interval_coverage": _mean(outcome.covered[with_interval]),
        "interval_width": _mean((outcome.high - outcome.low)[with_interval], 2),
    }


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Faces whose more probable gender has about the same stated probability."""

    share: float
    stated: float
    right: float


def reliability(probability: FloatVector, truth: Mask) -> list[ReliabilityBin]:
    """Stated against true frequency of the more probable class, for bins that aren't empty."""
    stated = np.maximum(probability, 1 - probability)
    right = (probability >= 0.5) == truth
    index = ((stated - 0.5) * 2 * CALIBRATION_BINS).astype(int).clip(0, CALIBRATION_BINS - 1)
    members = [index == b for b in range(CALIBRATION_BINS)]
    return [
        ReliabilityBin(float(m.mean()), float(stated[m].mean()), float(right[m].mean()))
        for m in members
        if m.any()
    ]


def calibration_error(probability: FloatVector, truth: Mask) -> float:
    """Expected calibration error (Naeini et al., 2015) of the more probable class."""
    return sum(b.share * abs(b.stated - b.right) for b in reliability(probability, truth))


def quality_bins(outcome: Outcome, name: str) -> Iterator[tuple[str, Outcome]]:
    """Faces in bins of about equal counts of one quality column, worst first, with its bounds."""
    value = np.abs(outcome.quality[name]) if name in SIGNED else outcome.quality[name]
    known = np.isfinite(value)
    quantiles = np.quantile(value[known], np.linspace(0, 1, QUALITY_BINS + 1))
    # Bounds are rounded as they are shown, so that no two bins look the same.
    edges = np.unique([float(f"{round(q, 3):.3g}") for q in quantiles])
    index = np.searchsorted(edges[1:-1], value, side="right")
    bins = list(enumerate(pairwise(edges if len(edges) > 1 else edges.repeat(2))))
    for number, (low, high) in bins if name not in SIGNED else reversed(bins):
        inside = known & (index == number)
        if inside.any():
            yield f"{low:g} to {high:g}", outcome.select(inside)


def _confusion(outcome: Outcome) -> dict[str, dict[str, int]]:
    female, sure = outcome.prob_female >= 0.5, outcome.is_sure
    predicted = {"male": ~female & sure, "female": female & sure}
    if (outcome.gender_known & ~sure).any():
        predicted[NOT_SURE] = ~sure
    return {
        label: {
            name: int((own & (outcome.gender == label)).sum()) for name, own in predicted.items()
        }
        for label in ("male", "female")
    }


def _subsets(outcome: Outcome) -> dict[str, Mask]:
    return {
        "ages 5 and over": outcome.age_min >= 5,
        "ages 21 to 60": (outcome.age_min >= 21) & (outcome.age_max <= 60),
    }


def _by_age(outcome: Outcome) -> dict[str, Mask]:
    """Exact ages in stretches, ranges as they are labelled where there are few of them."""
    exact = outcome.exact
    ranges = sorted({*zip(outcome.age_min[~exact], outcome.age_max[~exact], strict=True)})
    if len(ranges) > MOST_RANGES:
        # A range belongs to the stretch of its lower end.
        exact, ranges = np.ones_like(exact), []
    found = {
        _span(low, high): exact & (outcome.age_min >= low) & (outcome.age_min < high)
        for low, high in pairwise(AGE_EDGES)
    }
    for low, high in ranges:
        name = _span(low, high + 1)
        own = ~exact & (outcome.age_min == low) & (outcome.age_max == high)
        found[name] = own | found.get(name, own)
    return found


def _span(low: float, end: float) -> str:
    return f"{low:g} and over" if end > OLDEST else f"{low:g}–{end - 1:g}"


def _groups(outcome: Outcome) -> dict[str, Mask]:
    names = sorted({g for g in outcome.group if g is not None})
    genders = {
        "male": outcome.gender == "male",
        "female": outcome.gender == "female",
        "gender unknown": ~outcome.gender_known,
    }
    return {
        f"{name}, {gender}": (outcome.group == name) & mask
        for name in names
        for gender, mask in genders.items()
    }


def _groups_by_age(outcome: Outcome) -> dict[str, Mask]:
    spans = {"0–19": (0, 20), "20–39": (20, 40), "40–59": (40, 60), "60 and over": (60, OLDEST + 1)}
    return {
        f"{group}, {span}": mask & (outcome.age_min >= low) & (outcome.age_min < high)
        for group, mask in _groups(outcome).items()
        for span, (low, high) in spans.items()
    }


def margin(values: NDArray[Any]) -> float | None:
    """Half the width of the 95 % interval that chance leaves the mean of values `(n,)`.

    None for fewer than two.
    """
    if len(values) < 2:
        return None
    return Z95 * float(values.std(ddof=1)) / math.sqrt(len(values))


def _margins(outcome: Outcome) -> Metrics:
    """Half the width of the 95 % interval that chance leaves each mean of `group_metrics`."""
    exact, known = outcome.exact, outcome.gender_known
    columns = {
        "age_mae": outcome.age_error[exact],
        "age_in_range": outcome.age_in_range[~exact],
        "gender_accuracy": outcome.gender_right[known & outcome.is_sure],
        "interval_coverage": outcome.covered[exact & np.isfinite(outcome.low)],
    }
    found = {name: margin(values) for name, values in columns.items()}
    return {name: None if half is None else round(half, 4) for name, half in found.items()}


def all_metrics(outcome: Outcome, rules_at: Collection[int] | None = None) -> dict[str, Any]:
    """Everything that is reported of a labelled set, JSON-ready; ages in years, shares 0…1.

    Args:
        outcome: Labels and predictions.
        rules_at: Of the ages of `prob_under`, those at which rules are compared; None for all.
    """

    def table(masks: dict[str, Mask]) -> dict[str, Metrics]:
        return {
            name: group_metrics(outcome.select(mask)) for name, mask in masks.items() if mask.any()
        }

    exact, known = outcome.exact, outcome.gender_known
    error = outcome.age_error[exact]
    probability, female = outcome.prob_female[known], outcome.female[known]
    return {
        "all": group_metrics(outcome),
        "margins": _margins(outcome),
        "age_within_5_years": _mean(error <= 5),
        "age_median_error": round(float(np.median(error)), 3) if len(error) else None,
        "age_distance_to_range": _mean(outcome.age_error[~exact], 3),
        "age_ranges_missed": _mean(~outcome.covered[~exact & np.isfinite(outcome.low)]),
        "gender_calibration_error": (
            round(calibration_error(probability, female), 4) if known.any() else None
        ),
        "gender_confusion": _confusion(outcome),
        "under_ages": under_age_metrics(outcome, rules_at),
        "subsets": table(_subsets(outcome)),
        "ages": table(_by_age(outcome)),
        "groups": table(_groups(outcome)),
        "groups_by_age": table(_groups_by_age(outcome)),
        "quality": {
            name: {bounds: group_metrics(part) for bounds, part in quality_bins(outcome, name)}
            for name in outcome.quality
            if np.isfinite(outcome.quality[name]).any()
        },
    }
