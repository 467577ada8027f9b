"""How well a network in training does on the validation split, source by source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from batchage.evaluation import distance_to_range
from train.data import UNKNOWN_GENDER, Faces


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the faces of one source, or the mean over sources.

    Attributes:
        age_error: Mean absolute error in years; for ages known as a range, the distance to it.
        gender_accuracy: Share of the known genders that is right; NaN where none is known.
    """

    age_error: float
    gender_accuracy: float

    @classmethod
    def mean(cls, figures: Mapping[str, Figures]) -> Self:
        """The mean over sources, so that the largest one doesn't decide alone."""
        errors = [f.age_error for f in figures.values()]
        accuracies = [f.gender_accuracy for f in figures.values()]
        known = [a for a in accuracies if not np.isnan(a)]
        return cls(float(np.mean(errors)), float(np.mean(known)) if known else np.nan)

    def __str__(self) -> str:
        """For example `4.710 years, gender 94.0%`."""
        gender = "" if np.isnan(self.gender_accuracy) else f", gender {self.gender_accuracy:.1%}"
        return f"{self.age_error:.3f} years{gender}"


def validate(network: Any, data: Faces) -> dict[str, Figures]:
    """Figures by source of a network, on the pictures of `data`."""
    outputs = network.predict(data, verbose=0)
    age, female = outputs["age"][:, 0], outputs["gender"][:, 0] >= 0.5
    error = distance_to_range(age, *data.ages.T)
    right = female == (data.genders >= 0.5)
    known = data.genders != UNKNOWN_GENDER
    figures = {}
    for source in sorted(set(data.sources)):
        own = data.sources == source
        accuracy = float(right[own & known].mean()) if (own & known).any() else np.nan
        figures[source] = Figures(float(error[own].mean()), accuracy)
    return figures


def describe(figures: Mapping[str, Figures]) -> str:
    """The mean and each source's figures in one line."""
    each = "; ".join(f"{source} {figure}" for source, figure in figures.items())
    return each if len(figures) == 1 else f"mean over sources {Figures.mean(figures)} ({each})"
