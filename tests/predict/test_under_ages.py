"""The probability of being younger than an age."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.predict import Calibration, RawOutputs
from batchage.predict.calibration import mass_under, prob_under
from batchage.predict.under_ages import UNDER_KNOTS, fit_under


def outputs(centre, sigma):
    mass = np.exp(-((np.arange(101) + 0.5 - centre[:, None]) ** 2) / (2 * sigma**2))
    mass = (mass / mass.sum(axis=1, keepdims=True)).astype(np.float32)
    return RawOutputs(centre.astype(np.float32), mass, np.full(len(centre), 0.5, np.float32))


def calibrated(curve):
    return Calibration(
        under_knots=UNDER_KNOTS, under_slopes=curve.slopes, under_offsets=curve.offsets
    )


def draw(rng, n, bias=0.0):
    """Outputs that are surer than they may be, of people younger than they look by `bias`."""
    looks = rng.uniform(0, 90, n)
    ages = np.clip(np.floor(looks - bias + rng.normal(0, 6, n)), 0, 100)
    return outputs(looks, 4.0), ages


@pytest.mark.parametrize("age", [10, 18, 27, 50])
def test_what_is_stated_is_what_happens(age):
    rng = np.random.default_rng(0)
    raw, ages = draw(rng, 6000, bias=3)
    calibration = calibrated(fit_under(raw, ages, ages, np.array(["a"] * 6000, object)))
    raw, ages = draw(rng, 6000, bias=3)
    stated, plain = prob_under(raw, calibration, age), prob_under(raw, Calibration(), age)
    for low, high in ((0.05, 0.35), (0.35, 0.65), (0.65, 0.95)):
        own = (stated > low) & (stated < high)
        assert own.sum() > 50
        assert abs(stated[own].mean() - (ages[own] < age).mean()) < 0.1
    true = ages < age
    assert ((stated - true) ** 2).mean() < ((plain - true) ** 2).mean()


def test_a_source_has_no_say_where_its_ranges_straddle_the_age():
    rng = np.random.default_rng(0)
    raw, ages = draw(rng, 2000)
    alone = fit_under(raw, ages, ages, np.array(["exact"] * 2000, object))
    ranged, years = draw(rng, 2000, bias=15)
    edges = np.array([0, 3, 10, 20, 30, 40, 50, 60, 70, 131])
    place = np.searchsorted(edges, years, side="right")
    both = RawOutputs(
        *(np.concatenate([getattr(raw, n), getattr(ranged, n)]) for n in RawOutputs.__slots__)
    )
    joint = fit_under(
        both,
        np.concatenate([ages, edges[place - 1]]),
        np.concatenate([ages, edges[place] - 1]),
        np.array(["exact"] * 2000 + ["ranged"] * 2000, object),
    )
    for knot, before, after in zip(UNDER_KNOTS, alone.offsets, joint.offsets, strict=True):
        assert (before == after) is (knot not in edges)


def test_nothing_is_fitted_where_too_few_are_on_a_side():
    raw, ages = draw(np.random.default_rng(0), 300)
    raw, ages = raw.select(ages < 35), ages[ages < 35]
    curve = fit_under(raw, ages, ages, np.array(["a"] * len(ages), object))
    assert (curve.slopes[-1], curve.offsets[-1]) == (1.0, 0.0)
    assert curve.slopes[UNDER_KNOTS.index(18)] != 1.0


@given(st.integers(0, 2**32 - 1), st.floats(0, 101), st.floats(0, 101))
def test_the_mass_under_an_age_grows_with_it(seed, age, other):
    rng = np.random.default_rng(seed)
    mass = rng.random((3, 101)).astype(np.float32)
    low, high = sorted([age, other])
    below, above = mass_under(mass, low), mass_under(mass, high)
    assert ((below >= 0) & (below <= above + 1e-6) & (above <= 1 + 1e-6)).all()
    assert np.allclose(mass_under(mass, 101), 1, atol=1e-5)
    assert np.allclose(mass_under(mass, 18), (mass[:, :18].sum(1) / mass.sum(1)), atol=1e-5)


def test_corrected_ages_move_the_probability_too():
    raw = outputs(np.array([20.0]), 3.0)
    older = Calibration(age_offset=5.0)
    assert prob_under(raw, older, 25) == pytest.approx(prob_under(raw, Calibration(), 20))
