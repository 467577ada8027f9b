"""A calibration fitted to labelled faces, and judged on those that it wasn't fitted on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batchage.evaluation import Outcome, calibration_error, group_metrics, margin
from batchage.predict import (
    Calibration,
    RawOutputs,
    calibrated_interval,
    fit_age_line,
    refit_scales,
    refit_temperatures,
    stated_gender,
)

LEAST_FACES = 50
FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFaces:
    """The faces that labels speak of.

    Attributes:
        raw: What the network says of n faces.
        ages: `(n,)` in years; NaN where no exact age is known.
        genders: `(n,)`: `male`, `female` or None.
    """

    raw: RawOutputs
    ages: NDArray[np.float64]
    genders: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.ages)

    @property
    def is_exact(self) -> NDArray[np.bool_]:
        """Whether the age is known, `(n,)`."""
        return np.isfinite(self.ages)

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether the gender is known, `(n,)`."""
        return np.array([gender is not None for gender in self.genders], bool)

    def select(self, mask: NDArray[np.bool_]) -> LabelledFaces:
        """Some of them, `(n,)`."""
        return LabelledFaces(self.raw.select(mask), self.ages[mask], self.genders[mask])


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a calibration does; None where no label tells.

    Attributes:
        age_mae: Mean absolute error of ages, in years.
        age_bias: Mean error, in years.
        interval_coverage: Share of ages inside their interval.
        interval_width: In years.
        gender_calibration_error: Expected calibration error of the gender's probability.
    """

    age_mae: float | None
    age_bias: float | None
    interval_coverage: float | None
    interval_width: float | None
    gender_calibration_error: float | None


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the age error falls.

    Attributes:
        years: On average, cross-validated.
        margin: Half of the 95 % interval around it.
    """

    years: float
    margin: float


@dataclass(frozen=True, slots=True, eq=False)
class Statements:
    """What a calibration states of n faces: ages, intervals `(n, 2)`, probabilities of female."""

    ages: NDArray[np.float64]
    intervals: NDArray[np.float64]
    female: NDArray[np.float64]

    @classmethod
    def of(cls, faces: LabelledFaces, calibration: Calibration) -> Statements:
        """What a calibration makes of the network's outputs."""
        return cls(
            calibration.age_of(faces.raw.age).astype(float),
            calibrated_interval(faces.raw, calibration).astype(float),
            stated_gender(faces.raw, calibration),
        )

    def figures(self, faces: LabelledFaces) -> Figures:
        """How well that fits the faces' labels."""
        n, known = len(faces), faces.is_known
        low, high = self.intervals.T
        none = np.full(n, None, object)
        outcome = Outcome(
            faces.ages, faces.ages, self.ages, low, high, faces.genders, self.female,
            np.ones(n, bool), none,
        )  # fmt: skip
        ages = group_metrics(outcome.select(faces.is_exact))
        female = faces.genders[known] == "female"
        error = calibration_error(self.female[known], female) if known.any() else None
        return Figures(
            ages["age_mae"],
            ages["age_bias"],
            ages["interval_coverage"],
            ages["interval_width"],
            error,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What there are labels enough for: ages with their intervals, the gender's probability."""

    ages: bool
    genders: bool

    @classmethod
    def of(cls, faces: LabelledFaces) -> Plan:
        """What these faces are enough for."""
        return cls(
            bool(faces.is_exact.sum() >= LEAST_FACES), bool(faces.is_known.sum() >= LEAST_FACES)
        )

    def fit(self, faces: LabelledFaces, old: Calibration) -> tuple[Calibration, bool]:
        """The old calibration moved to fit the faces, and whether its ages are, too."""
        fitted, fits_ages = old, False
        if self.ages:
            dated = faces.select(faces.is_exact)
            fits_ages = _line_helps(dated, old)
            if fits_ages:
                fitted = _with_line(dated, old)
            fitted = refit_scales(dated.raw, dated.ages, fitted)
        if self.genders:
            known = faces.select(faces.is_known)
            fitted = refit_temperatures(known.raw, known.genders == "female", fitted)
        return fitted, fits_ages


def _with_line(faces: LabelledFaces, old: Calibration) -> Calibration:
    slope, offset = fit_age_line(faces.raw, faces.ages)
    return replace(old, age_slope=slope, age_offset=offset)


def _line_helps(faces: LabelledFaces, old: Calibration) -> bool:
    """Whether correcting ages makes the cross-validated error smaller by more than chance may."""
    folds = _folds(len(faces))
    corrected = np.empty(len(faces))
    for fold in range(FOLDS):
        own = folds == fold
        line = _with_line(faces.select(~own), old)
        corrected[own] = line.age_of(faces.raw.age[own])
    stated = old.age_of(faces.raw.age)
    gained = np.abs(stated - faces.ages) - np.abs(corrected - faces.ages)
    return bool(gained.mean() > (margin(gained) or 0))


def crossvalidated(faces: LabelledFaces, old: Calibration, plan: Plan) -> Statements:
    """What is stated of each face by a calibration that was fitted, and chosen, without it."""
    folds = _folds(len(faces))
    found = Statements.of(faces, old)
    for fold in range(FOLDS):
        own = folds == fold
        fitted, _ = plan.fit(faces.select(~own), old)
        stated = Statements.of(faces.select(own), fitted)
        for name in Statements.__slots__:
            getattr(found, name)[own] = getattr(stated, name)
    return found


def _folds(n: int) -> NDArray[np.int_]:
    return np.random.default_rng(0).permutation(n) % FOLDS


def gain(faces: LabelledFaces, before: Statements, after: Statements) -> Gain:
    """By how much the error of exact ages falls from one to the other."""
    exact = faces.is_exact
    errors = (np.abs(s.ages - faces.ages)[exact] for s in (before, after))
    old, new = errors
    return Gain(round(float((old - new).mean()), 4), round(margin(old - new) or 0.0, 4))
