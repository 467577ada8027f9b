"""Calibration, export's statistics, evaluation and card."""

import json
from functools import partial

import numpy as np
import pytest

from batchage.errors import UsageError
from batchage.evaluation import Outcome
from batchage.networks import (
    RANGES,
    Compute,
    GraphBuilder,
    assign_weights,
    load_bundle,
    run_on_processor,
    save_bundle,
    write_weights,
)
from batchage.networks.bundle import read_weights
from batchage.predict import KIND, Predictor, build_graph, build_network
from batchage.predict.network import IMAGENET_MEAN_RGB
from tests.builders import TINY, make_bundle, manifest_row, write_manifest
from tests.command import PHOTOS
from train.card import gaps
from train.compare import differences
from train.evaluate import Evaluator, evaluate
from train.manifest import read_manifests, read_pixels
from train.quantize import RoundedConv2D, in_8_bits, measure_ranges


def test_evaluation_writes_card_results_and_plots(tmp_path):
    names = ["portraits/collins.jpg", "portraits/hopper-grey.jpg", "no-people/coffee.jpg"]
    rows = [
        manifest_row(
            PHOTOS / name, 40.0, gender="female", group="a", split="test", source="examples"
        )
        for name in names
    ]
    manifest = write_manifest(tmp_path / "examples.parquet", rows)
    bundle = make_bundle(tmp_path / "tiny")
    compute = Compute("cpu", "float32", "test")
    results = evaluate(bundle, [manifest], tmp_path / "out", compute)
    assert (results["precision"], results["detect_precision"]) == ("float32", "float32")
    metrics = results["sets"]["examples"]
    assert metrics["all"]["faces"] == 3
    assert metrics["no_face_detected"] == 1
    sharpness = metrics["quality"]["sharpness"]
    assert sum(row["faces"] for row in sharpness.values()) == 2
    assert set(results["sweep"]) >= {"as they are", "shrunk to 25 px", "blurred by 4 px", "faded"}
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == results
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert bundle.sha256 in card
    for plot in (tmp_path / "out" / "plots").iterdir():
        assert f"(plots/{plot.name})" in card
    (tmp_path / "bad.jpg").write_text("no picture")
    bad = [{**rows[0], "path": str(tmp_path / "bad.jpg")}]
    write_manifest(tmp_path / "bad.parquet", bad)
    with pytest.raises(UsageError, match=r"bad\.jpg: .*run train\.prepare again"):
        evaluate(bundle, [tmp_path / "bad.parquet"], tmp_path / "out", compute)


def test_bundles_set_side_by_side_share_what_does_not_depend_on_them(tmp_path, monkeypatch):
    names = ["portraits/collins.jpg", "portraits/hopper-grey.jpg", "no-people/coffee.jpg"]
    rows = [manifest_row(PHOTOS / name, 40.0, split="test") for name in names]
    rows = read_manifests([write_manifest(tmp_path / "m.parquet", rows)], "test")
    bundles = [make_bundle(tmp_path / f"{size}", input_size=size) for size in (32, 48)]
    compute = Compute("cpu", "float32", "test")
    alone = [Evaluator([bundle], compute).run(rows)[0] for bundle in bundles]
    read = []
    monkeypatch.setattr(
        "train.evaluate.read_pixels", lambda path: read.append(path) or read_pixels(path)
    )
    together = Evaluator(bundles, compute)
    detect, searched = together.detector.detect, []
    monkeypatch.setattr(
        together.detector, "detect", lambda images: searched.extend(images) or detect(images)
    )
    found = together.run(rows)
    assert len(read) == len(searched) == 3
    for one, other in zip(found, alone, strict=True):
        assert one.undetected == other.undetected == 1
        assert np.array_equal(one.outcome.age, other.outcome.age)
    assert not np.array_equal(found[0].outcome.age, found[1].outcome.age)


def test_ranges_are_those_of_what_goes_into_the_convolutions(tmp_path):
    bundle = make_bundle(tmp_path / "tiny")
    graph = partial(build_graph, architecture=TINY, size=32)
    batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    ranges = measure_ranges(bundle.weights, graph, [batch[:2], batch[2:]], ["block5_conv3"])
    assert len(ranges) == 12
    assert "block5_conv3" not in ranges
    # What goes into the first is the picture less ImageNet's means.
    means = np.array(IMAGENET_MEAN_RGB, np.float32)
    expected = [(batch - means).reshape(3, -1).min(1).mean(), (batch - means).max((1, 2, 3)).mean()]
    assert ranges["block1_conv1"] == pytest.approx(expected, abs=1e-3)
    # What goes into the others is what comes out of a ReLU.
    assert all(low == 0 < high for name, (low, high) in ranges.items() if name != "block1_conv1")
    save_bundle(
        tmp_path / "in8", KIND, read_weights(bundle.weights), {**bundle.spec, RANGES: ranges}
    )
    quick = Predictor(load_bundle(tmp_path / "in8", KIND), Compute("cpu", "int8", "test"))
    exact = Predictor(bundle, Compute("cpu", "float32", "test"))
    found, expected = (p.predict_raw(list(batch)).age for p in (quick, exact))
    assert found == pytest.approx(expected, abs=1)
    assert not np.array_equal(found, expected)


def test_training_in_8_bits_rounds_as_prediction_does(tmp_path):
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, rng.uniform(0.1, 2, 16), (3, 3, 3, 16)).astype(np.float32)
    weights = {"conv/kernel": kernel, "conv/bias": np.zeros(16, np.float32)}
    write_weights(tmp_path / "weights.h5", weights)
    batch = rng.integers(0, 256, (2, 12, 12, 3), np.uint8)

    def run(ranges):
        graph = GraphBuilder(tmp_path / "weights.h5", ranges)
        pixels = graph.images((12, 12), mean=0.0, scale=1 / 255)
        model = graph.build({"conv": graph.conv(pixels, "conv", 3)})
        return run_on_processor(model, "int8")(batch)["conv"].transpose(0, 2, 3, 1)

    inside = (0.0, 0.77)
    layer = RoundedConv2D(16, 3, padding="same", inside=inside)
    layer.build((None, None, None, 3))
    layer.kernel.assign(kernel)
    found, rounded, exact = (
        np.asarray(layer(batch / np.float32(255))),
        run({"conv": inside}),
        run({}),
    )
    assert found == pytest.approx(rounded, abs=1e-3)
    assert np.abs(rounded - exact).max() > 0.1


def test_rounding_network_takes_the_weights_of_the_plain_one(tmp_path):
    bundle = make_bundle(tmp_path / "tiny")
    network = build_network(TINY)
    rounding = in_8_bits(network, {"block5_conv3": (0.0, 2.0)})
    assert [v.path for v in rounding.weights] == [v.path for v in network.weights]
    assign_weights(rounding, bundle.weights)
    kinds = [type(layer) for layer in rounding.get_layer("vgg16").layers]
    assert kinds.count(RoundedConv2D) == 1


def test_gaps_name_groups_of_enough_faces():
    def row(n, right):
        return {"age_mae": None, "age_in_range": None, "gender_accuracy": right,
                "exact_ages": 0, "age_ranges": 0, "genders": n}  # fmt: skip

    (sentence,) = gaps({"a": row(80, 0.9), "b": row(60, 0.7), "c": row(10, 0.1)})
    assert sentence == "Gender accuracy: 70.0% for b, against 90.0% for a."


def test_two_bundles_are_compared_face_by_face():
    def outcome(age, prob_female):
        n = len(age)
        age = np.array(age, float)
        none = np.full(n, np.nan)
        ages = np.array([20.0] * (n - 2) + [30.0, 30.0])
        upper = np.array([20.0] * (n - 2) + [39.0, 39.0])
        genders = np.array(["female"] * n, object)
        return Outcome(
            ages, upper, age, age - 2, age + 2, genders, np.array(prob_female), np.ones(n, bool),
            genders,
            {"face_size_px": none},
        )  # fmt: skip

    before = outcome([20, 22, 24, 31, 50], [0.9, 0.9, 0.1, 0.1, 0.9])
    after = outcome([20, 21, 22, 31, 32], [0.9] * 5)
    found = {d.name: d for d in differences(before, after)}
    age = found["age MAE, years"]
    assert (age.faces, age.before, age.after) == (3, 2.0, 1.0)
    assert age.margin == pytest.approx(1.96 * 1 / np.sqrt(3))
    assert age.cells() == ["age MAE, years", "3", "2.00", "1.00", "-1.00 ± 1.13"]
    assert found["age in range"].after == 1.0
    assert found["gender"].cells()[-1].startswith("+40.00 ± ")
    assert found["interval coverage"].before == pytest.approx(2 / 3)
