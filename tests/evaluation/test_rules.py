"""Who is told to be younger than an age, against labels."""

import json

import numpy as np
import pytest

from batchage.evaluation import all_metrics, markdown_table, sections
from batchage.evaluation.under_ages import Share
from tests.evaluation.test_evaluation import make_outcome


def outcome_at_18(ages, predicted, stated, **changes):
    spread = np.array(predicted, float)
    return make_outcome(
        ages, predicted, low=spread - 4, high=spread + 4,
        prob_under={18: np.array(stated, float)}, **changes,
    )  # fmt: skip


def test_both_kinds_of_error_are_counted_by_each_rule():
    ages = [5, 10, 16, 17, 17.9, 18, 19, 30, 40, 50]
    predicted = [6, 12, 19, 23, 17, 16, 22, 31, 43, 49]
    stated = [0.99, 0.98, 0.55, 0.3, 0.6, 0.7, 0.2, 0.05, 0.01, 0.0]
    row = all_metrics(outcome_at_18(ages, predicted, stated))["under_ages"]["18"]
    assert (row["faces"], row["faces_under"], row["share_under"]) == (10, 5, 0.5)
    assert row["stated_share_under"] == pytest.approx(np.mean(stated))
    rules = {
        name: (sides["under_called_older"]["value"], sides["older_called_under"]["value"])
        for name, sides in row["rules"].items()
    }
    assert rules == {
        "estimate": (0.4, 0.2),
        "interval's lower end": (0.2, 0.2),
        "probability 50 %": (0.2, 0.2),
        "probability 30.0%, for at most 5%": (0.0, 0.2),
    }


def test_ranges_that_straddle_the_age_leave_only_exact_ages():
    low, high = [10, 0, 20, 12, 40], [19, 9, 29, 12, 40]
    outcome = outcome_at_18(low, [14, 5, 25, 14, 40], [0.5] * 5)
    outcome = make_outcome(low, outcome.age, age_max=np.array(high, float),
                           prob_under=outcome.prob_under)  # fmt: skip
    assert all_metrics(outcome)["under_ages"]["18"]["faces"] == 2
    at_20 = make_outcome(low, outcome.age, age_max=np.array(high, float),
                         prob_under={20: np.full(5, 0.5)})  # fmt: skip
    assert all_metrics(at_20)["under_ages"]["20"]["faces"] == 5
    assert "rules" not in all_metrics(at_20, rules_at=(18,))["under_ages"]["20"]
    ranges = make_outcome([10, 10], [14, 15], age_max=np.array([19.0, 19.0]),
                          prob_under={18: np.full(2, 0.5)})  # fmt: skip
    assert all_metrics(ranges)["under_ages"] == {}


def test_the_tables_state_counts_and_intervals_and_what_they_are_not_for():
    outcome = outcome_at_18([5, 10, 30, 40], [6, 20, 31, 43], [0.9, 0.4, 0.1, 0.2])
    metrics = all_metrics(outcome)
    assert json.loads(json.dumps(metrics)) == metrics
    text = "\n".join(markdown_table(section) for section in sections(metrics))
    assert "| under 18 | 4 | 50.0% | 40.0% |" in text
    assert "no rule makes this an age check" in text
    assert "| estimate | 50.0% (9.4% to 90.5%) | 0.0% (0.0% to 65.8%) |" in text


def test_intervals_of_shares_are_wilsons():
    # Brown, Cai, DasGupta (2001) give 0.0 to 0.278 for none of ten.
    share = Share.of(np.zeros(10, bool))
    assert (share.value, share.low) == (0.0, 0.0)
    assert share.high == pytest.approx(0.2775, abs=1e-3)
