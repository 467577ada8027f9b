"""Labels and predictions of some faces, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FloatVector = NDArray[np.float64]
Mask = NDArray[np.bool_]

Z95 = 1.96
"""Standard errors to either side of an estimate that its 95 % interval reaches."""


def distance_to_range(age: FloatVector, low: FloatVector, high: FloatVector) -> FloatVector:
    """How far ages are from labels, in years.

    Args:
        age: Predicted ages `(n,)`.
        low: Labelled ages `(n,)`, or the lower ends of their ranges.
        high: The same, or the upper ends, whose last year counts to its end.
    """
    upper = np.where(low == high, high, high + 1)
    return np.asarray(np.maximum(np.maximum(low - age, age - upper), 0))


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Labels and predictions of n faces.

    Attributes:
        age_min: Labelled age in years `(n,)`, or the lower end of its range.
        age_max: The same, or the upper end of the range, whose last year counts to its end.
        age: Predicted age in years `(n,)`.
        low: Lower end of the predicted interval `(n,)`; NaN where there is none.
        high: Upper end `(n,)`.
        gender: Labels `(n,)`: `male`, `female`, or None where unknown.
        prob_female: Predicted probability of female `(n,)`.
        is_sure: Whether a gender was stated `(n,)`.
        group: The data set's own label of a group `(n,)`, or None.
        quality: Columns `(n,)` by the names in `QUALITIES`; NaN where no face was detected.
        prob_under: Stated probabilities `(n,)` of being younger than an age, by that age.
    """

    age_min: FloatVector
    age_max: FloatVector
    age: FloatVector
    low: FloatVector
    high: FloatVector
    gender: NDArray[np.object_]
    prob_female: FloatVector
    is_sure: Mask
    group: NDArray[np.object_]
    quality: dict[str, FloatVector] = field(default_factory=dict)
    prob_under: dict[int, FloatVector] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.age)

    def select(self, mask: Mask) -> Self:
        """The faces in `mask`."""
        values: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            values[each.name] = (
                {key: column[mask] for key, column in value.items()}
                if isinstance(value, dict)
                else value[mask]
            )
        return type(self)(**values)

    @property
    def exact(self) -> Mask:
        """Whether the label is one age, not a range."""
        return np.asarray(self.age_min == self.age_max)

    @property
    def age_error(self) -> FloatVector:
        """Absolute error in years; for a range, the distance to it."""
        return distance_to_range(self.age, self.age_min, self.age_max)

    @property
    def age_in_range(self) -> Mask:
        """Whether the predicted age, in completed years, lies in the label's range."""
        return np.asarray((self.age >= self.age_min) & (self.age < self.age_max + 1))

    @property
    def covered(self) -> Mask:
        """Whether the labelled age, in completed years, lies in the interval.

        Of a range it says whether any of its years does.
        """
        return np.asarray((self.low <= self.age_max) & (np.floor(self.age_min) <= self.high))

    @property
    def female(self) -> Mask:
        """Whether the label is female."""
        return np.asarray(self.gender == "female")

    @property
    def gender_known(self) -> Mask:
        """Whether there is a gender label."""
        return np.asarray((self.gender == "male") | (self.gender == "female"))

    @property
    def gender_right(self) -> Mask:
        """Whether the more probable gender is the label."""
        return np.asarray((self.prob_female >= 0.5) == self.female)
