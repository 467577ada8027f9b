"""Averaged weights of a run and of the bundle that it started from."""

import numpy as np
import pytest

from batchage.errors import UsageError
from batchage.networks import read_weights, write_weights
from tests.builders import TINY, make_bundle
from train.average import average
from train.recipe import Phase, Recipe
from train.run import Run


@pytest.fixture
def trained(tmp_path):
    """A bundle, and a run whose weights are all a half more."""
    bundle = make_bundle(tmp_path / "start")
    run = Run(tmp_path / "run")
    recipe = Recipe("r", [Phase("p", 1, 32, 5, 1e-3)], architecture=TINY)
    weights = {name: array + 0.5 for name, array in read_weights(bundle.weights).items()}
    write_weights(run.best, weights)
    best = {"phase": 0, "epoch": 0, "val_age_error": 5.0}
    run.move_to(recipe=recipe.to_dict(), best=best, seconds=1.0)
    return bundle, run


def test_weights_are_as_far_between_as_asked(tmp_path, trained):
    bundle, run = trained
    mixed = average(run.folder, str(bundle.path), 0.6, tmp_path / "mixed")
    before, after = read_weights(bundle.weights), read_weights(mixed.best)
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert np.allclose(after[name], array + 0.3, atol=1e-6)
    assert mixed.recipe.name == "r, averaged"
    assert mixed.recipe.architecture == TINY
    with pytest.raises(UsageError, match="mixed: holds a run; choose another folder"):
        average(run.folder, str(bundle.path), 0.6, tmp_path / "mixed")


def test_what_cannot_be_averaged_is_explained(tmp_path, trained):
    bundle, run = trained
    with pytest.raises(UsageError, match="--share 2: give 0 to 1"):
        average(run.folder, str(bundle.path), 2.0, tmp_path / "mixed")
    with pytest.raises(UsageError, match=r"run train\.fit first"):
        average(tmp_path / "none", str(bundle.path), 0.5, tmp_path / "mixed")
    with pytest.raises(UsageError, match="is of another network than"):
        average(run.folder, "vgg16-utkface", 0.5, tmp_path / "mixed")
