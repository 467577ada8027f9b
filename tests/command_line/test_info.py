"""`batchage info` tries the shipped networks on a picture whose face is known."""

import numpy as np
import pytest

from batchage.command import COMMANDS, known_picture
from batchage.command.info import InfoCall
from batchage.errors import BundleError
from batchage.networks import inference
from tests.command import PHOTOS, run

RUN = COMMANDS["info"].run


def test_networks_that_work():
    result = run("info")
    assert result.returncode == 0, result.stderr
    assert "as it should be" in result.stdout
    assert result.stderr == ""


def replaced(monkeypatch, change):
    """Have networks on processors give something else."""
    original = inference.run_on_processor

    def run_on_processor(*arguments, **how):
        forward = original(*arguments, **how)
        return lambda batch: {name: change(name, x) for name, x in forward(batch).items()}

    monkeypatch.setattr(inference, "run_on_processor", run_on_processor)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda name, x: np.zeros_like(x), "0 faces instead of one"),
        (lambda name, x: np.full_like(x, np.nan), "0 faces instead of one"),
        (lambda name, x: x * 0 if "age" in name else x, "an age of 0 instead of 22 to 45"),
        (
            lambda name, x: x * 0 + 1 / 101 if "age" in name else x,
            "an age of 50 instead of 22 to 45",
        ),
        (lambda name, x: x * 0 if "gender" in name else x, "for female instead of 0.6 or more"),
    ],
)
def test_networks_that_compute_something_else(monkeypatch, capsys, change, found):
    replaced(monkeypatch, change)
    assert RUN(InfoCall()) == 1
    said = capsys.readouterr()
    assert "known picture" in said.out
    assert found in said.err
    assert said.err.startswith("batchage: in a known picture the networks find ")
    assert said.err.count("\n") == 1


def test_a_face_that_is_elsewhere(monkeypatch):
    monkeypatch.setattr(known_picture, "PICTURE", PHOTOS / "portraits" / "collins-face.png")
    assert known_picture.what_is_wrong().startswith("the face at [")


def test_a_bundle_that_cannot_be_loaded(monkeypatch, capsys):
    def load(*_):
        raise BundleError("weights.h5: the file is damaged; restore the bundle")

    monkeypatch.setattr("batchage.analyzer.load_bundle", load)
    assert RUN(InfoCall()) == 1
    assert "nothing (weights.h5: the file is damaged" in capsys.readouterr().err
