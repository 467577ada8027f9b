"""Training end to end on drawn pictures: prepare, fit, a stop and its resumption, export."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from batchage.align import TEMPLATE, align
from batchage.errors import UsageError
from batchage.networks import Compute, load_bundle
from batchage.predict import KIND, Architecture, Predictor, build_network
from tests.builders import TINY, make_bundle, manifest_row, write_manifest
from tests.command import ROOT
from train.augment import Augmentation
from train.data import Faces, draw, sampling_chances
from train.export import export
from train.fit import block_of, compile_phase, conclusion, fit, load_start
from train.losses import age_distance, distribution_loss, gender_loss
from train.manifest import read_manifests
from train.recipe import Phase, Recipe, read_recipe
from train.run import Run

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
name = "rounded"
epochs = 1
size = 48
frozen_blocks = 4
learning_rate = 1e-4
in_8_bits = true
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
        gender = ["male", "female", None][i % 3] if i > 3 else "male"
        split = "validation" if i < 12 else "train"
        source = "ab"[i % 2]
        rows.append(manifest_row(path, age, gender=gender, split=split, source=source))
    return write_manifest(folder / "manifest.parquet", rows)


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
    monkeypatch.setattr("train.callbacks.SAVE_EVERY", 1)

    with monkeypatch.context() as patch:
        patch.setattr("train.fit.Bar", lambda _, data, __: Recorder(data, [], 1))
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, [manifest], str(vgg16), tmp_path / "run")
    at = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (at["phase"], at["epoch"], at["step"]) == (0, 0, 2)
    run = fit(recipe, [manifest], str(vgg16), tmp_path / "run")
    assert run.at["phase"] == 2
    assert run.at["best"]["phase"] == 1
    start, best = run.at["start"], run.at["best"]["val_age_error"]
    assert f"is {best:.3f} years, after epoch 1 of phase rounded; before training it was" in (
        conclusion(run)
    )
    assert ("no better" in conclusion(run)) == (best >= start)
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") >= 2
    bundle = export(tmp_path / "run", [manifest], tmp_path / "bundle")
    assert bundle.spec["input_size"] == 48
    crop = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    exact, rounded = (
        Predictor(load_bundle(tmp_path / "bundle", KIND), Compute("cpu", kind, "")).predict([crop])
        for kind in ("float32", "int8")
    )
    assert 0 <= exact[0].age_years <= 100
    assert rounded[0].age_years == pytest.approx(exact[0].age_years, abs=2)


class Recorder(keras.callbacks.Callback):
    """Takes the place of the progress bar: notes every step, and may stand for a kill."""

    def __init__(self, data, steps, stop_at=None):
        super().__init__()
        self.data, self.steps, self.stop_at = data, steps, stop_at

    def on_train_batch_end(self, batch, logs=None):
        optimizer = self.model.optimizer
        place = self.data.epoch, self.data.skip + batch
        self.steps.append((*place, int(optimizer.iterations), float(optimizer.learning_rate)))
        if batch == self.stop_at:
            raise KeyboardInterrupt


def test_resumed_training_follows_the_undisturbed_schedule(tmp_path, vgg16, monkeypatch):
    manifest = make_manifest(tmp_path, 36)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    recipe = read_recipe(tmp_path / "recipe.toml")
    recipe = replace(recipe, phases=[replace(recipe.phases[0], epochs=2)])
    monkeypatch.setattr("train.callbacks.SAVE_EVERY", 1)

    def steps_of(folder, stop_at):
        steps = []
        monkeypatch.setattr("train.fit.Bar", lambda _, data, __: Recorder(data, steps, stop_at))
        if stop_at is None:
            fit(recipe, [manifest], str(vgg16), folder)
        else:
            with pytest.raises(KeyboardInterrupt):
                fit(recipe, [manifest], str(vgg16), folder)
        return steps

    whole = steps_of(tmp_path / "whole", None)
    pieces = [steps_of(tmp_path / "stopped", stop) for stop in (0, 0, None)]
    assert [step[:3] for step in whole] == [(e, b, 3 * e + b + 1) for e in (0, 1) for b in range(3)]
    assert len({step[3] for step in whole}) > 3
    assert [len(piece) for piece in pieces] == [1, 1, 4]
    assert [step for piece in pieces for step in piece] == whole
    with (
        h5py.File(tmp_path / "whole" / "best.h5") as one,
        h5py.File(tmp_path / "stopped" / "best.h5") as other,
    ):
        assert np.allclose(one["shared/kernel"], other["shared/kernel"], atol=1e-6)


MIRRORED = """
import sys
from dataclasses import replace
from pathlib import Path
import keras, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import train.fit as fit
from train.recipe import read_recipe
fit.choose_compute = lambda: fit_compute
from batchage.networks.hardware import Compute
fit_compute = Compute("cpu", "float32", "test")
manifest, recipe, vgg16, folder = map(Path, sys.argv[1:])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
run = fit.fit(read_recipe(recipe), [manifest], str(vgg16), folder, strategy)
print(run.at["best"]["val_age_error"])
"""


def test_training_spreads_over_two_devices(tmp_path, vgg16):
    manifest = make_manifest(tmp_path, 32)
    (tmp_path / "recipe.toml").write_text(
        RECIPE[: RECIPE.rindex("[[phases]]")].replace("frozen_blocks = 5", "frozen_blocks = 4")
    )
    result = subprocess.run(
        [sys.executable, "-c", MIRRORED, manifest, tmp_path / "recipe.toml", vgg16,
         tmp_path / "mirrored"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert Run(tmp_path / "mirrored").at["phase"] == 1
    alone = fit(read_recipe(tmp_path / "recipe.toml"), [manifest], str(vgg16), tmp_path / "alone")
    # Batch norm sees half a batch on each device, so the two differ a little.
    assert float(result.stdout.split()[-1]) == pytest.approx(
        alone.at["best"]["val_age_error"], rel=0.2
    )


def test_recipe_and_manifest_mistakes_are_explained(tmp_path):
    (tmp_path / "bad.toml").write_text("learning = 3\nphases = []")
    with pytest.raises(UsageError, match=r"bad\.toml: not a usable recipe"):
        read_recipe(tmp_path / "bad.toml")
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(UsageError, match=r"bad\.parquet"):
        read_manifests([tmp_path / "bad.parquet"], "train")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match=r"other\.parquet: not a manifest"):
        read_manifests([tmp_path / "other.parquet"], "train")
    manifest = make_manifest(tmp_path, 12)
    with pytest.raises(UsageError, match=r"manifest\.parquet: no pictures in the test split"):
        read_manifests([manifest], "test")
    (tmp_path / "3.png").unlink()
    with pytest.raises(UsageError, match=r"3\.png: the picture is gone"):
        read_manifests([manifest], "validation")
    with pytest.raises(UsageError, match=r"run train\.fit first"):
        export(tmp_path / "run", [manifest], tmp_path / "bundle")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs = 1", "epochs = 0"),
        ("epochs = 1", 'epochs = "3"'),
        ("size = 32", "size = 16"),
        ("frozen_blocks = 5", "frozen_blocks = 6"),
        ("learning_rate = 1e-3", "learning_rate = 0.0"),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nshare = 0"),
        ("batch_size = 8", "batch_size = 0"),
        ("batch_size = 8", "phases = 3"),
        ("[[phases]]", "[[phase]]"),
    ],
)
def test_recipes_that_cannot_be_are_refused(tmp_path, old, new):
    text = RECIPE.replace(old, new)
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError, match=r"bad\.toml: not a usable recipe"):
        read_recipe(tmp_path / "bad.toml")


def test_a_run_goes_on_only_with_what_it_was_begun_with(tmp_path):
    manifest = make_manifest(tmp_path, 16)
    recipe = Recipe("r", [Phase("p", 1, 32, 5, 1e-3)])
    Run(tmp_path / "run").begin(recipe, [manifest])
    Run(tmp_path / "run").begin(recipe, [manifest])
    assert Run(tmp_path / "run").recipe == recipe
    with pytest.raises(UsageError, match="other recipe; choose another folder"):
        Run(tmp_path / "run").begin(replace(recipe, seed=3), [manifest])
    make_manifest(tmp_path, 17)
    with pytest.raises(UsageError, match="other manifests"):
        Run(tmp_path / "run").begin(recipe, [manifest])


@pytest.mark.parametrize("number", [5, 20])
def test_damaged_picture_is_named(tmp_path, vgg16, number):
    manifest = make_manifest(tmp_path)
    (tmp_path / f"{number}.png").write_bytes(b"damaged")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    recipe = read_recipe(tmp_path / "recipe.toml")
    with pytest.raises(UsageError, match=rf"/{number}\.png: not a picture.*train\.prepare"):
        fit(recipe, [manifest], str(vgg16), tmp_path / "run")


@pytest.mark.parametrize("weights", ["typo.h5", "no-such-bundle", "text.h5"])
def test_weights_that_cannot_be_loaded_are_explained(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.h5").write_text("no weights")
    manifest = make_manifest(tmp_path, 16)
    with pytest.raises(UsageError, match=weights):
        fit(Recipe("r", [Phase("p", 1, 32, 5, 1e-3)]), [manifest], weights, tmp_path / "run")


def test_training_starts_from_a_bundle(tmp_path):
    bundle = make_bundle(tmp_path / "start")
    network = build_network(TINY)
    load_start(network, str(bundle.path))
    with h5py.File(bundle.path / "weights.h5") as file:
        assert np.allclose(network.get_layer("shared").kernel, file["shared/kernel"][()])


def test_rare_ages_are_drawn_more_often(tmp_path):
    ages = np.array([[30, 30]] * 90 + [[70, 79]] * 10, np.float32)
    one = np.array(["a"] * 100, object)
    assert np.allclose(sampling_chances(ages, one, 0.0), 0.01)
    assert sampling_chances(ages, one, 1.0)[90:].sum() == pytest.approx(0.5)
    assert 0.1 < sampling_chances(ages, one, 0.5)[90:].sum() < 0.5
    two = np.array(["a"] * 80 + ["b"] * 20, object)
    assert sampling_chances(ages, two, 1.0)[80:90].sum() == pytest.approx(1 / 3)
    rows = read_manifests([make_manifest(tmp_path)], "train")
    first, again = (Faces(rows, 32, 8, 1, Augmentation(), 1.0) for _ in range(2))
    assert np.array_equal(first[1][0], again[1][0])


def test_equal_chances_take_every_face_once_and_others_as_often_as_they_say():
    rng = np.random.default_rng(0)
    assert np.array_equal(draw(np.full(7, 1 / 7), 7, rng), np.arange(7))
    chances = np.array([0.5, 0.3, 0.15, 0.05])
    for count in (1, 10, 33):
        drawn = draw(chances, count, rng)
        assert len(drawn) == count
        assert (np.abs(np.bincount(drawn, minlength=4) - chances * count) < 1).all()


def test_an_epoch_may_take_a_share(tmp_path):
    rows = read_manifests([make_manifest(tmp_path)], "train")
    assert Faces(rows, 32, 7, 1, Augmentation(), share=0.5).batches_per_epoch == 2
    assert Faces(rows, 32, 7).batches_per_epoch == 4


def test_learning_rate_falls_towards_the_input(vgg16):
    network = build_network(TINY)
    load_start(network, str(vgg16))
    recipe = Recipe("r", [Phase("p", 1, 32, 2, 1e-3)], layer_decay=0.5, weight_decay=0.0)
    compile_phase(network, recipe.phases[0], recipe, 10)
    before = {v.path: np.array(v) for v in network.trainable_variables}
    gradients = [np.ones(v.shape, np.float32) for v in network.trainable_variables]
    # The first step of Adam moves each weight by the learning rate, whatever the gradient is.
    network.optimizer.global_clipnorm = None
    network.optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
    moved = {
        v.path: np.abs(np.array(v) - before[v.path]).max() for v in network.trainable_variables
    }
    whole = max(moved.values())
    shares = {block: set() for block in (3, 4, 5, 6)}
    for path, distance in moved.items():
        shares[block_of(path)].add(round(float(distance / whole), 2))
    assert shares == {6: {1.0}, 5: {0.5}, 4: {0.25}, 3: {0.12}}


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


def test_recipe_defaults_have_one_place():
    recipe = Recipe("r", [Phase("p", 1, 32, 5, 1e-3)])
    assert recipe.augmentation == Augmentation()
