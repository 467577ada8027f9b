r"""Train the two-head VGG16 by a recipe.

    python -m train.fit train/recipes/utkface.toml --manifest runs/utkface.parquet \
        --weights imagenet -o runs/utkface

The run's folder holds `best.h5` (averaged weights of the best validation), `log.csv`,
TensorBoard logs and, while the run isn't finished, its whole state. The same command goes on with
a run that was stopped, at the batch where its state was last saved.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from tqdm import tqdm

from batchage.bundle import SPEC_FILE, assign_weights, load_bundle, network_weights, write_weights
from batchage.errors import BatchageError, UsageError
from batchage.predict.hardware import choose_compute
from batchage.predict.network import KIND, Architecture, build_network, load_imagenet
from train.data import Augmentation, Faces, read_manifests
from train.losses import age_distance, distribution_loss, gender_accuracy, gender_loss

SAVE_EVERY = 200
WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training with an optimizer and a schedule of its own."""

    name: str
    epochs: int
    size: int
    frozen_blocks: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run depends on but for the data."""

    phases: list[Phase]
    seed: int = 0
    batch_size: int = 32
    age_sigma: float = 2.0
    ema: float = 0.998
    weight_decay: float = 1e-4
    patience: int = 3
    loss_weights: dict[str, float] = field(default_factory=dict)
    architecture: Architecture = field(default_factory=Architecture)
    augmentation: Augmentation = field(default_factory=Augmentation)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        UsageError: It can't be read, or a key is unknown.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe(
            **{
                **raw,
                "phases": [Phase(**phase) for phase in raw["phases"]],
                "architecture": Architecture(**raw.get("architecture", {})),
                "augmentation": Augmentation(**raw.get("augmentation", {})),
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a usable recipe: {error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write and rename, so that a kill leaves the old file or the new one."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


class Run:
    """A run's folder: where it is in its recipe, and its weights."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.best = folder / "best.h5"
        self._progress = folder / "progress.json"
        self.at: dict[str, Any] = {"phase": 0, "epoch": 0, "step": 0, "state": None, "seconds": 0.0}
        if self._progress.exists():
            self.at = json.loads(self._progress.read_text(encoding="utf-8"))

    def state(self) -> Path | None:
        """Weights and optimizer of an unfinished phase."""
        return self.folder / self.at["state"] if self.at["state"] else None

    def move_to(self, **changes: Any) -> None:
        """Record where the run is."""
        self.at = {**self.at, **changes}
        write_json(self._progress, self.at)

    def save_state(self, network: Any, **changes: Any) -> None:
        """Save weights and optimizer beside the last state, then make it the one that counts."""
        old = self.state()
        name = f"state-{'b' if old and '-a.' in old.name else 'a'}.weights.h5"
        network.save_weights(self.folder / name)
        self.move_to(state=name, **changes)


class SaveState(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves the run's state every so many batches and after each epoch.

    It comes before `SwapEMAWeights` in the list, so that it sees the weights that are trained.
    """

    def __init__(self, run: Run, data: Faces) -> None:
        """Save `run`; `data` tells epoch and skipped batches."""
        super().__init__()
        self.run, self.data = run, data
        self._epoch = self._skipped = 0
        self._since = time.monotonic()

    def _save(self, epoch: int, step: int) -> None:
        now = time.monotonic()
        seconds = self.run.at["seconds"] + now - self._since
        self._since = now
        self.run.save_state(self.model, epoch=epoch, step=step, seconds=seconds)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remember where the epoch starts."""
        self._epoch, self._skipped = epoch, self.data.skip

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save now and then."""
        step = self._skipped + batch + 1
        if step % SAVE_EVERY == 0 and step < self.data.batches_per_epoch:
            self._save(self._epoch, step)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save."""
        self._save(epoch + 1, 0)


class KeepBest(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the averaged weights with the smallest validation age error; ends a phase early.

    It comes after `SwapEMAWeights` in the list, so that it sees the averaged weights.
    """

    def __init__(self, run: Run, patience: int) -> None:
        """Compare with the best of the run so far."""
        super().__init__()
        self.run, self.patience = run, patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save if better, stop if it hasn't been for a while."""
        phase, error = self.run.at["phase"], float(logs["val_age_loss"])
        best = self.run.at.get("best")
        # A finer phase starts anew: its pictures are larger, and the export takes its size.
        if best is None or best["phase"] != phase or error < best["val_age_mae"]:
            # Without the optimizer: the next phase has another, and a schedule from its start.
            partial = self.run.folder / "best.partial"
            write_weights(partial, network_weights(self.model))
            partial.replace(self.run.best)
            best = {"phase": phase, "epoch": epoch, "val_age_mae": error}
            self.run.move_to(best=best)
        if epoch - best["epoch"] >= self.patience:
            self.model.stop_training = True


class Bar(keras.callbacks.Callback):  # type: ignore[misc]
    """A progress bar for each epoch, on standard error."""

    def __init__(self, name: str, data: Faces, epochs: int) -> None:
        """Name the bar after the phase."""
        super().__init__()
        self.name, self.data, self.epochs = name, data, epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Open the bar."""
        self._bar = tqdm(
            total=self.data.batches_per_epoch * self.data.batch_size,
            initial=self.data.skip * self.data.batch_size,
            desc=f"{self.name} {epoch + 1}/{self.epochs}",
            unit=" pictures",
            file=sys.stderr,
            mininterval=5,
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move it on."""
        self._bar.set_postfix_str(f"age error {logs['age_loss']:.2f}", refresh=False)
        self._bar.update(self.data.batch_size)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Close it and print the validation."""
        self._bar.close()
        print(
            f"{self.name} {epoch + 1}/{self.epochs}: validation age error "
            f"{logs['val_age_loss']:.3f} years, gender {logs['val_gender_accuracy']:.4f}",
            flush=True,
        )


def compile_phase(network: Any, phase: Phase, recipe: Recipe, steps: int) -> None:
    """Freeze what the phase freezes and give the network a fresh optimizer and schedule."""
    for layer in network.get_layer("vgg16").layers:
        block = layer.name.removeprefix("block")[:1]
        layer.trainable = not (block.isdigit() and int(block) <= phase.frozen_blocks)
    warm_up = max(1, int(steps * WARM_UP))
    schedule = keras.optimizers.schedules.CosineDecay(
        phase.learning_rate / 50,
        max(1, steps - warm_up),
        alpha=0.02,
        warmup_target=phase.learning_rate,
        warmup_steps=warm_up,
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=recipe.weight_decay,
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=recipe.ema,
    )
    network.compile(
        optimizer=optimizer,
        loss={
            "age_distribution": distribution_loss(recipe.age_sigma),
            "age": age_distance,
            "gender": gender_loss,
        },
        loss_weights=recipe.loss_weights or None,
        metrics={"gender": keras.metrics.MeanMetricWrapper(gender_accuracy, name="accuracy")},
        jit_compile=False,
    )
    optimizer.build(network.trainable_variables)


def choose_strategy() -> Any:
    """How training is spread: over all GPUs where there are several."""
    import tensorflow as tf

    several = len(tf.config.list_physical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


def fit(
    recipe: Recipe, manifests: list[Path], weights: str, folder: Path, strategy: Any = None
) -> Run:
    """Train, or go on training, in `folder`.

    Args:
        recipe: What to do.
        manifests: Files that `train.prepare` wrote.
        weights: `imagenet`, or the path of a VGG16 weights file or of a bundle's folder.
        folder: The run's folder.
        strategy: A `tf.distribute.Strategy`; None lets `choose_strategy` look at the hardware.
    """
    run = Run(folder)
    strategy = strategy or choose_strategy()
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_global_policy(choose_compute().keras_policy)
    with strategy.scope():
        network = build_network(recipe.architecture)
    if run.at["phase"] or run.state():
        print(f"{folder}: going on with a run that was stopped", flush=True)
    elif (Path(weights) / SPEC_FILE).is_file():
        assign_weights(network, load_bundle(weights, KIND).weights)
    else:
        load_imagenet(network, weights)
    training, validation = (read_manifests(manifests, s) for s in ("train", "validation"))
    for number, phase in enumerate(recipe.phases):
        if number < run.at["phase"]:
            continue
        augmented = Faces(training, phase.size, recipe.batch_size, recipe.seed, recipe.augmentation)
        plain = Faces(validation, phase.size, recipe.batch_size)
        with strategy.scope():
            compile_phase(network, phase, recipe, phase.epochs * augmented.batches_per_epoch)
        if number and not run.state():
            assign_weights(network, run.best)
        callbacks = [
            SaveState(run, augmented),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            KeepBest(run, recipe.patience),
            Bar(phase.name, augmented, phase.epochs),
            keras.callbacks.TensorBoard(folder / "tensorboard" / phase.name, write_graph=False),
        ]
        while run.at["epoch"] < phase.epochs:
            train_epoch(network, run, augmented, plain, callbacks)
            if network.stop_training:
                break
        run.move_to(phase=number + 1, epoch=0, step=0, state=None)
    return run


def train_epoch(
    network: Any, run: Run, training: Faces, validation: Faces, callbacks: list[Any]
) -> None:
    """The rest of the epoch that `run` is in, from its saved state if there is one.

    One call of Keras's `fit` an epoch, each from the saved state: so a resumed run takes the very
    way of an undisturbed one. (A longer `fit` would count the batches of a resumed first epoch
    for all later ones, and leaves averaged weights in the network at its end.)
    """
    if state := run.state():
        network.load_weights(state)
    epoch = run.at["epoch"]
    training.start_epoch(epoch, run.at["step"])
    log = keras.callbacks.CSVLogger(run.folder / "log.csv", append=True)
    try:
        network.fit(
            training,
            validation_data=validation,
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            callbacks=[*callbacks, log],
        )
    finally:
        # An interrupt skips this callback, which closes the file.
        log.on_train_end()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the two-head VGG16 by a recipe.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--manifest", type=Path, action="append", required=True)
    parser.add_argument(
        "--weights",
        default="imagenet",
        help="'imagenet' (downloads), a VGG16 weights file, or a bundle's folder",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the run's folder")
    arguments = parser.parse_args()
    try:
        run = fit(
            read_recipe(arguments.recipe), arguments.manifest, arguments.weights, arguments.output
        )
    except BatchageError as error:
        sys.exit(f"fit: {error}")
    except KeyboardInterrupt:
        sys.exit("fit: stopped; the same command goes on from the last saved batch")
    print(f"best weights in {run.best}: {run.at['best']}, {run.at['seconds'] / 3600:.2f} hours")


if __name__ == "__main__":
    main()
