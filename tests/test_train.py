"""Training end to end on drawn pictures: prepare, fit, a stop and its resumption, export."""

import json
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from batchage.align import TEMPLATE, align
from batchage.bundle import load_bundle
from batchage.errors import UsageError
from batchage.predict.hardware import Compute
from batchage.predict.network import KIND, Architecture
from batchage.predict.predictor import Predictor
from train.data import Augmentation, Faces, read_manifests
from train.evaluate import calibration_error
from train.export import conformal_margin, export, fit_temperature
from train.fit import Phase, Recipe, Run, fit, read_recipe
from train.labels import read_csv, read_utkface
from train.losses import age_distance, distribution_loss, gender_loss
from train.prepare import difference_hash, duplicate_groups, split_groups

RECIPE = """
batch_size = 8
ema = 0.5
[architecture]
shared_units = 8
age_units = 8
gender_units = 8
[[phases]]
name = "heads"
epochs = 1
size = 32
frozen_blocks = 5
learning_rate = 1e-3
[[phases]]
name = "all"
epochs = 1
size = 48
frozen_blocks = 4
learning_rate = 1e-3
"""


@pytest.fixture(autouse=True)
def plain_precision(monkeypatch):
    """Keras's policy is global: tests leave it as it was."""
    policy = keras.mixed_precision.dtype_policy()
    monkeypatch.setattr("train.fit.choose_compute", lambda: Compute("cpu", "float32", "test"))
    yield
    keras.mixed_precision.set_dtype_policy(policy)


def make_manifest(folder: Path, n=40):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
        age = float(rng.integers(1, 90))
        rows.append(
            {
                "path": str(path),
                "age_min": age,
                "age_max": age,
                "gender": ["male", "female", None][i % 3] if i > 3 else "male",
                "race": None,
                "landmarks": (TEMPLATE * 64 / 200).ravel().tolist(),
                "split": "validation" if i < 8 else "train",
            }
        )
    manifest = folder / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    return manifest


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16.weights.h5"
    keras.applications.VGG16(include_top=False, weights=None).save_weights(path)
    return path


def test_validation_crops_are_what_a_scan_would_predict_on(tmp_path):
    manifest = make_manifest(tmp_path, 12)
    rows = read_manifests([manifest], "validation")
    pictures, targets = Faces(rows, 48, 4)[0]
    source = np.asarray(Image.open(tmp_path / "0.png"))
    expected = align(source, TEMPLATE * np.float32(64 / 200), 48).pixels
    assert np.array_equal(pictures[0].astype(np.uint8), expected)
    assert targets["age"].shape == (4, 2)


def test_one_seed_gives_one_order_and_a_resumed_epoch_its_rest(tmp_path):
    rows = read_manifests([make_manifest(tmp_path)], "train")
    whole, again, other = (Faces(rows, 32, 8, s, Augmentation()) for s in (1, 1, 2))
    assert np.array_equal(whole[0][0], again[0][0])
    assert not np.array_equal(whole[0][0], other[0][0])
    again.start_epoch(0, skip=2)
    assert len(again) == len(whole) - 2
    assert np.array_equal(again[0][0], whole[2][0])
    again.start_epoch(1)
    assert not np.array_equal(again[0][0], whole[0][0])


def test_stopped_training_goes_on_and_exports_a_bundle(tmp_path, vgg16, monkeypatch):
    manifest = make_manifest(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    recipe = read_recipe(tmp_path / "recipe.toml")
    assert recipe.architecture == Architecture(8, 8, 8)
    monkeypatch.setattr("train.fit.SAVE_EVERY", 1)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.fit.Bar", lambda *_: Stop())
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, [manifest], str(vgg16), tmp_path / "run")
    at = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (at["phase"], at["epoch"], at["step"]) == (0, 0, 2)
    run = fit(recipe, [manifest], str(vgg16), tmp_path / "run")
    assert run.at["phase"] == 2
    assert run.at["best"]["phase"] == 1
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") >= 2
    bundle = export(tmp_path / "run", tmp_path / "recipe.toml", [manifest], tmp_path / "bundle")
    assert bundle.spec["input_size"] == 48
    predictor = Predictor(load_bundle(tmp_path / "bundle", KIND), Compute("cpu", "float32", ""))
    crop = np.zeros((48, 48, 3), np.uint8)
    assert 0 <= predictor.predict([crop])[0].age_years <= 100


def test_recipe_and_manifest_mistakes_are_explained(tmp_path):
    (tmp_path / "bad.toml").write_text("learning = 3\nphases = []")
    with pytest.raises(UsageError, match=r"bad\.toml: not a usable recipe"):
        read_recipe(tmp_path / "bad.toml")
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(UsageError, match=r"bad\.parquet"):
        read_manifests([tmp_path / "bad.parquet"], "train")
    with pytest.raises(UsageError, match=r"run train\.fit first"):
        (tmp_path / "good.toml").write_text(RECIPE)
        export(tmp_path / "run", tmp_path / "good.toml", [], tmp_path / "bundle")


def test_run_survives_a_kill_between_saves(tmp_path):
    run = Run(tmp_path / "run")
    run.move_to(epoch=3)
    assert Run(tmp_path / "run").at["epoch"] == 3
    assert not list((tmp_path / "run").glob("*.partial"))


def test_losses_of_exact_ages_and_ranges():
    truth = np.array([[30, 30], [20, 29], [20, 29]], np.float32)
    ages = np.array([[33], [25], [31]], np.float32)
    assert np.allclose(age_distance(truth, ages), [3, 0, 2])
    mass = np.full((3, 101), 1e-6, np.float32)
    mass[0, 30] = mass[1, 25] = mass[2, 50] = 1
    exact, inside, outside = np.array(distribution_loss(2.0)(truth, mass))
    assert inside < 0.01 < outside
    assert exact > 0
    unknown = gender_loss(np.array([[-1.0], [1.0]]), np.array([[0.2], [0.9]], np.float32))
    assert np.allclose(unknown, [0, -np.log(0.9)], atol=1e-5)


def test_near_duplicates_share_a_group_and_a_split():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
    brighter = np.clip(picture.astype(int) + 5, 0, 255).astype(np.uint8)
    others = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(300)]
    hashes = np.stack([difference_hash(p) for p in [picture, *others, brighter]])
    groups = duplicate_groups(hashes)
    assert groups[0] == groups[-1]
    assert len(set(groups)) == 301
    splits = split_groups(groups, seed=0)
    assert splits[0] == splits[-1]
    assert splits == split_groups(groups, seed=0)
    assert splits != split_groups(groups, seed=1)
    assert 0.8 < splits.count("train") / len(splits) < 0.88


def test_conformal_margin_reaches_its_coverage():
    rng = np.random.default_rng(0)
    centre = rng.uniform(20, 80, 2000)
    years = np.arange(101)
    mass = np.exp(-((years - centre[:, None]) ** 2) / 2)
    mass = (mass / mass.sum(axis=1, keepdims=True)).astype(np.float32)
    ages = (centre + rng.normal(0, 6, 2000)).astype(np.float32)
    margin = conformal_margin(mass, ages)
    inside = np.abs(ages - centre) <= 1.645 + margin
    assert 0.88 < inside.mean() < 0.93


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, 20_000)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    overconfident = (1 / (1 + np.exp(-3 * logits))).astype(np.float32)
    assert fit_temperature(overconfident, truth) == pytest.approx(3, rel=0.1)
    assert calibration_error(overconfident, truth) > 0.1


def test_utkface_names_and_csv_are_read(tmp_path):
    for name in ("25_1_3_2017.jpg.chip.jpg", "no-label.jpg"):
        (tmp_path / name).write_bytes(b"")
    (label,) = read_utkface(tmp_path)
    assert (label.age_min, label.gender, label.race) == (25, "female", "Indian")
    file = tmp_path / "labels.csv"
    file.write_text(
        "path,age,age_min,age_max,gender\na.jpg,30,,,male\nb.jpg,,20,29,1\nc.jpg,,70,,\n"
    )
    exact, ranged, open_ended = read_csv(file)
    assert (exact.age_min, exact.age_max, exact.gender) == (30, 30, "male")
    assert (ranged.age_min, ranged.age_max, ranged.gender) == (20, 29, "female")
    assert (open_ended.age_min, open_ended.gender) == (70, None)
    assert open_ended.age_max > 100


@pytest.mark.parametrize(
    "text",
    ["name,age\nx,3\n", "path,age\nx,old\n", "path,age\nx,nan\n", "path,age\nx,200\n",
     "path,age,gender\nx,3,unsure\n", "path,age_min,age_max\nx,30,20\n", "path,age\n,3\n"],
)  # fmt: skip
def test_bad_csv_is_explained(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=r"labels\.csv: (line 2|needs the columns)"):
        read_csv(tmp_path / "labels.csv")


def test_recipe_defaults_have_one_place():
    recipe = Recipe([Phase("p", 1, 32, 5, 1e-3)])
    assert recipe.augmentation == Augmentation()
