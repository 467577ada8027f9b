"""Calibrations: intervals hold their level on each source, and probabilities are honest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.errors import UsageError
from batchage.evaluation.metrics import calibration_error
from batchage.predict import COVERAGE, Calibration, RawOutputs
from batchage.predict.calibration import calibrated_interval, scale_probability
from batchage.predict.fitting import (
    AGE_KNOTS,
    GENDER_KNOTS,
    conformal_rank,
    fit_age_scales,
    fit_calibration,
    fit_temperatures,
)


def gaussian_outputs(centre, sigma=1.0):
    mass = np.exp(-((np.arange(101) - centre[:, None]) ** 2) / (2 * sigma**2))
    mass = (mass / mass.sum(axis=1, keepdims=True)).astype(np.float32)
    return RawOutputs(centre.astype(np.float32), mass, np.full(len(centre), 0.5, np.float32))


def one_source(n):
    return np.array(["a"] * n, object)


def with_scales(scales):
    return Calibration(age_knots=AGE_KNOTS, age_scales=scales)


def held(raw, ages, calibration):
    low, high = calibrated_interval(raw, calibration).T
    return (low <= ages) & (ages <= high)


def test_intervals_reach_their_coverage_at_every_age():
    rng = np.random.default_rng(0)

    def draw(n):
        centre = rng.uniform(20, 80, n)
        # The old are harder: one scale for all would cover them too rarely.
        return gaussian_outputs(centre), (centre + rng.normal(0, centre / 10)).astype(np.float32)

    raw, ages = draw(3000)
    calibration = with_scales(fit_age_scales(raw, ages, ages, one_source(3000)))
    young, old = calibration.scale_at(np.array([25.0, 75.0], np.float32))
    assert young < old
    fresh, truth = draw(3000)
    inside = held(fresh, truth, calibration)
    assert 0.88 < inside.mean() < 0.92
    for decade in range(20, 80, 10):
        member = (truth >= decade) & (truth < decade + 10)
        assert 0.85 < inside[member].mean() < 0.95


def test_the_level_holds_on_each_source_and_not_only_on_their_mix():
    rng = np.random.default_rng(0)

    def draw(n, spread):
        centre = rng.uniform(20, 80, n)
        return centre, centre + rng.normal(0, spread, n)

    parts = [draw(1500, 2), draw(300, 5)]
    centre, ages = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    sources = np.array(["easy"] * 1500 + ["hard"] * 300, object)
    calibration = with_scales(fit_age_scales(gaussian_outputs(centre), ages, ages, sources))
    mixed = with_scales(fit_age_scales(gaussian_outputs(centre), ages, ages, one_source(1800)))
    fresh, truth = draw(3000, 5)
    assert held(gaussian_outputs(fresh), truth, calibration).mean() > 0.87
    assert held(gaussian_outputs(fresh), truth, mixed).mean() < 0.8


def test_intervals_meet_nearly_all_ranges_of_a_source_too():
    rng = np.random.default_rng(0)
    looks = rng.uniform(20, 80, 800)
    # Of those with ranges, a fifth looks 15 years older than they are.
    ranged = np.arange(800) >= 400
    years = looks + np.where(ranged, -15 * (rng.random(800) < 0.2), rng.normal(0, 2, 800))
    low = np.where(ranged, years // 10 * 10, years)
    high = np.where(ranged, low + 9, years)
    raw, sources = gaussian_outputs(looks), np.where(ranged, "ranges", "ages").astype(object)
    calibration = with_scales(fit_age_scales(raw, low, high, sources))
    ends = calibrated_interval(raw, calibration).T
    met = (ends[0] <= high) & (np.floor(low) <= ends[1])
    assert met[ranged].mean() >= 0.95
    alone = raw.select(~ranged), low[~ranged], low[~ranged], sources[~ranged]
    narrower = with_scales(fit_age_scales(*alone))
    ends = calibrated_interval(raw, narrower).T
    assert ((ends[0] <= high) & (np.floor(low) <= ends[1]))[ranged].mean() < 0.95


def test_all_scales_could_not_be_smaller_together():
    rng = np.random.default_rng(1)
    centre = rng.uniform(20, 80, 1000)
    ages = (centre + rng.normal(0, 3, 1000)).round()
    raw = gaussian_outputs(centre)
    scales = fit_age_scales(raw, ages, ages, one_source(1000))
    smaller = tuple(scale * 0.97 for scale in scales)
    rank = conformal_rank(1000)
    assert held(raw, ages, with_scales(scales)).sum() >= rank
    assert held(raw, ages, with_scales(smaller)).sum() < rank


@given(st.integers(0, 2**32 - 1))
def test_scales_are_smooth_in_age(seed):
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 90, 400)
    ages = np.clip(centre + rng.normal(0, 1 + centre / 20), 0, 100)
    scales = np.array(fit_age_scales(gaussian_outputs(centre), ages, ages, one_source(400)))
    assert (scales > 0).all()
    # Five years apart, faces that decide are much the same.
    assert (scales[1:] / scales[:-1]).max() < 4
    assert (scales[:-1] / scales[1:]).max() < 4


def test_few_faces_are_enough_for_one_scale_and_fewer_are_refused():
    raw = gaussian_outputs(np.linspace(20, 60, 30))
    scales = fit_age_scales(raw, raw.age + 1, raw.age + 1, one_source(30))
    assert held(raw, np.floor(raw.age + 1), with_scales(scales)).sum() >= conformal_rank(30)
    assert conformal_rank(9) == 9
    few = raw.select(np.arange(30) < 8)
    with pytest.raises(UsageError, match="8 faces with an exact age are too few"):
        fit_age_scales(few, few.age, few.age, one_source(8))


def test_temperatures_undo_overconfidence_where_it_is():
    rng = np.random.default_rng(0)
    ages = rng.uniform(0, 80, 40_000)
    logits = rng.normal(0, 1.5, 40_000)
    truth = rng.random(40_000) < 1 / (1 + np.exp(-logits))
    # The network is three times as sure as it may be of small children, and right of others.
    sure = np.where(ages < 5, 3, 1)
    raw = gaussian_outputs(ages)
    raw = RawOutputs(raw.age, raw.distribution, (1 / (1 + np.exp(-sure * logits))).astype("f4"))
    calibration = Calibration(
        gender_knots=GENDER_KNOTS, gender_temperatures=fit_temperatures(raw, truth)
    )
    fitted = scale_probability(raw.gender, calibration.temperature_at(raw.age))
    for low, high in ((0, 4), (20, 80)):
        own = (ages >= low) & (ages < high)
        assert calibration_error(fitted[own], truth[own]) < 0.04
    assert calibration_error(raw.gender[ages < 4], truth[ages < 4]) > 0.1


@pytest.mark.parametrize("labels", [[True] * 4, [True, True, False, False]])
def test_temperatures_stay_one_where_nothing_can_be_fitted(labels):
    raw = gaussian_outputs(np.array([20.0, 30, 40, 50]))
    raw = RawOutputs(raw.age, raw.distribution, np.array([0.9, 0.8, 0.1, 0.3], np.float32))
    assert set(fit_temperatures(raw, np.array(labels))) == {1.0}


def test_faces_without_exact_age_or_gender_are_passed_over():
    centre = np.linspace(20, 60, 40)
    raw = gaussian_outputs(centre)
    ages = np.where(np.arange(40) < 30, centre.round() + 2, 0.0)
    is_exact = np.arange(40) < 30
    genders = np.array(["female", "male", None, None] * 10, object)
    highest = np.where(is_exact, ages, 9.0)
    calibration = fit_calibration(raw, ages, highest, genders, one_source(40))
    assert calibration.coverage == COVERAGE
    assert held(raw.select(is_exact), ages[is_exact], calibration).sum() >= conformal_rank(30)
    with pytest.raises(UsageError, match="faces with an exact age and faces with a gender"):
        fit_calibration(raw, ages, ages + 9, genders, one_source(40))
