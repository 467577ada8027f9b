"""How well is told who is younger than an age: what is stated, and who ends up on which side."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchage.evaluation.outcome import Z95, Mask, Outcome

CALLED_OLDER = 0.05
"""Share of those under an age that may be called older, by the last of the rules."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval (Wilson, 1927)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, mask: Mask) -> Share:
        """The share of true values of one or more."""
        n = len(mask)
        p, z2 = float(mask.mean()), Z95**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        ends = max(middle - half, 0.0), min(middle + half, 1.0)
        return cls(round(p, 4), round(ends[0], 4), round(ends[1], 4))


def under_age_metrics(outcome: Outcome, rules_at: Collection[int] | None) -> dict[str, Any]:
    """For each age of `prob_under`, what is stated and what is so; JSON-ready.

    Where some range straddles an age, exact labels alone count: the faces of the other ranges
    would be the easy ones.

    Args:
        outcome: Labels and predictions.
        rules_at: Ages at which rules are compared that call a face younger or older; None for all.
    """
    return {
        str(age): row
        for age in outcome.prob_under
        if (row := _at(outcome, age, rules_at is None or age in rules_at))
    }


def _at(outcome: Outcome, age: int, with_rules: bool) -> dict[str, Any] | None:
    is_under = np.floor(outcome.age_max) < age
    usable = is_under | (outcome.age_min >= age)
    if not usable.all():
        usable = outcome.exact
    if not usable.any():
        return None
    own, is_under = outcome.select(usable), is_under[usable]
    stated = own.prob_under[age]
    row: dict[str, Any] = {
        "faces": len(own),
        "faces_under": int(is_under.sum()),
        "stated_share_under": round(float(stated.mean()), 4),
        "share_under": round(float(is_under.mean()), 4),
    }
    if with_rules and is_under.any() and not is_under.all():
        row["rules"] = {name: _sides(older, is_under) for name, older in _rules(own, age, is_under)}
    return row


def _rules(outcome: Outcome, age: int, is_under: Mask) -> list[tuple[str, Mask]]:
    """Rules by name, with whom each calls older `(n,)`."""
    stated = outcome.prob_under[age]
    rules = [
        ("estimate", outcome.age >= age),
        ("interval's lower end", outcome.low >= age),
        ("probability 50 %", stated < 0.5),
    ]
    least = _largest_allowed(stated[is_under])
    return [*rules, (f"probability {least:.1%}, for at most {CALLED_OLDER:.0%}", stated < least)]


def _largest_allowed(stated: NDArray[np.float64]) -> float:
    """The probability below which no more than `CALLED_OLDER` of those under the age are."""
    return float(np.sort(stated)[math.floor(CALLED_OLDER * len(stated))])


def _sides(is_called_older: Mask, is_under: Mask) -> dict[str, Any]:
    shares = {
        "under_called_older": Share.of(is_called_older[is_under]),
        "older_called_under": Share.of(~is_called_older[~is_under]),
    }
    return {name: asdict(share) for name, share in shares.items()}
