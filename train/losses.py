"""Losses over ages known exactly or as a range; `y_true` is `(B, 2)`: lowest and highest age."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from train.backend import keras, ops

TINY = 1e-7


def age_distance(y_true: Any, y_pred: Any) -> Any:
    """Years `(B,)` from the prediction `(B, 1)` to the range: an exact age's absolute error."""
    low, high = y_true[:, 0], y_true[:, 1]
    age = y_pred[:, 0]
    return ops.maximum(low - age, 0.0) + ops.maximum(age - high, 0.0)


def distribution_loss(sigma: float, slope: float = 0.0) -> Callable[[Any, Any], Any]:
    """The loss of a distribution over years.

    Cross-entropy with a Gaussian of `sigma` + `slope` × age years about an exact age (Gao et al.,
    2017); for a range, the negative logarithm of the mass inside it.
    """

    def loss(y_true: Any, y_pred: Any) -> Any:
        years = ops.arange(ops.shape(y_pred)[1], dtype=y_pred.dtype)[None]
        low, high = y_true[:, :1], y_true[:, 1:]
        target = ops.softmax(-ops.square(years - low) / (2 * ops.square(sigma + slope * low)))
        exact = -ops.sum(target * ops.log(y_pred + TINY), axis=1)
        inside = ops.cast((years >= low) & (years <= high), y_pred.dtype)
        ranged = -ops.log(ops.sum(inside * y_pred, axis=1) + TINY)
        return ops.where(low[:, 0] == high[:, 0], exact, ranged)

    return loss


def gender_loss(y_true: Any, y_pred: Any) -> Any:
    """Binary cross-entropy `(B,)`; zero where the gender is unknown (negative)."""
    known = ops.cast(y_true[:, 0] >= 0, y_pred.dtype)
    return known * keras.losses.binary_crossentropy(ops.maximum(y_true, 0.0), y_pred)
