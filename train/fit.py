r"""Train the two-head VGG16 by a recipe.

    python -m train.fit train/recipes/utkface.toml --manifest runs/utkface.parquet \
        --weights imagenet -o runs/utkface

The run's folder holds `best.h5` (averaged weights of the best validation), `log.csv`,
TensorBoard logs and, while the run isn't finished, its whole state. The same command goes on with
a run that was stopped, at the batch where its state was last saved.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchage.errors import UsageError
from batchage.networks import (
    SPEC_FILE,
    assign_weights,
    choose_compute,
    load_bundle,
    models_folder,
    network_weights,
    write_weights,
)
from batchage.predict import KIND, build_graph, build_network, load_imagenet
from train.backend import keras
from train.callbacks import Bar, KeepBest, SaveState, seed_dropout
from train.command import explain_errors
from train.data import Faces, some_crops
from train.losses import age_distance, distribution_loss, gender_loss
from train.manifest import read_manifests
from train.quantize import NOT_IN_8_BITS, in_8_bits, measure_ranges
from train.recipe import Phase, Recipe, read_recipe
from train.run import BEST, Run
from train.validate import Figures, describe, validate

WARM_UP = 0.1
TRUNK_BLOCKS = 5
BLOCK = re.compile(r"\bblock([1-5])_")


class LayerwiseAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW whose learning rate falls from block to block of the trunk, towards the input.

    Howard, Ruder, Universal Language Model Fine-tuning for Text Classification, 2018. Weight decay
    goes by the undivided rate.
    """

    def __init__(self, *arguments: Any, layer_decay: float = 1.0, **settings: Any) -> None:
        """Take AdamW's arguments, and the factor from each block to the one before it."""
        super().__init__(*arguments, **settings)
        self._layer_decay = layer_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        # TensorFlow's own variable, which has no path.
        factor = self._layer_decay ** (TRUNK_BLOCKS + 1 - block_of(variable.name))
        super().update_step(gradient, variable, learning_rate * factor)


def block_of(name: str) -> int:
    """The number of the trunk's block that a variable or layer of this name is in, 1 to 5.

    It is 6 for what comes after the trunk.
    """
    found = BLOCK.search(name)
    return int(found[1]) if found else TRUNK_BLOCKS + 1


def compile_phase(network: Any, phase: Phase, recipe: Recipe, steps: int) -> None:
    """Freeze what the phase freezes and give the network a fresh optimizer and schedule."""
    for layer in network.get_layer("vgg16").layers:
        layer.trainable = block_of(layer.name) > phase.frozen_blocks
    warm_up = max(1, int(steps * WARM_UP))
    schedule = keras.optimizers.schedules.CosineDecay(
        phase.learning_rate / 50,
        max(1, steps - warm_up),
        alpha=0.02,
        warmup_target=phase.learning_rate,
        warmup_steps=warm_up,
    )
    optimizer = LayerwiseAdamW(
        schedule,
        layer_decay=recipe.layer_decay,
        weight_decay=recipe.weight_decay,
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=recipe.ema,
    )
    network.compile(
        optimizer=optimizer,
        loss={
            "age_distribution": distribution_loss(recipe.age_sigma, recipe.age_sigma_slope),
            "age": age_distance,
            "gender": gender_loss,
        },
        loss_weights=recipe.loss_weights or None,
        jit_compile=False,
    )
    # The network's own, which with float16 is the one that scales the loss.
    network.optimizer.build(network.trainable_variables)


def choose_strategy() -> Any:
    """How training is spread: over all GPUs where there are several."""
    import tensorflow as tf

    several = len(tf.config.list_physical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


def load_start(network: Any, weights: str) -> None:
    """Fill a fresh network with the weights that training starts from.

    Args:
        network: What `build_network` returns.
        weights: `imagenet`, a VGG16 weights file, a run's folder, a bundle's folder or a shipped
            bundle's name.

    Raises:
        UsageError: There are no such weights.
        BundleError: The bundle or run is damaged or doesn't fit.
    """
    if (Path(weights) / BEST).is_file():
        assign_weights(network, Path(weights) / BEST)
        return
    is_name = (models_folder() / weights / SPEC_FILE).is_file()
    if is_name or Path(weights).is_dir():
        assign_weights(network, load_bundle(weights, KIND).weights)
        return
    if weights != "imagenet" and not Path(weights).is_file():
        raise UsageError(f"{weights}: no such weights file, run, bundle or shipped bundle")
    try:
        load_imagenet(network, weights)
    except (OSError, ValueError) as error:
        remedy = "give a weights file" if weights == "imagenet" else "give one of Keras's VGG16"
        reason = str(error).splitlines()[0]
        raise UsageError(f"{weights}: the weights can't be loaded ({reason}); {remedy}") from None


def fit(
    recipe: Recipe, manifests: list[Path], weights: str, folder: Path, strategy: Any = None
) -> Run:
    """Train, or go on training, in `folder`.

    Args:
        recipe: What to do.
        manifests: Files that `train.prepare` wrote.
        weights: Where to start, as `load_start` takes it.
        folder: The run's folder.
        strategy: A `tf.distribute.Strategy`; None lets `choose_strategy` look at the hardware.

    Raises:
        UsageError: Manifests or weights can't be used, or the folder holds another run.
    """
    run = Run(folder)
    training, validation = (read_manifests(manifests, s) for s in ("train", "validation"))
    run.begin(recipe, manifests)
    strategy = strategy or choose_strategy()
    keras.utils.set_random_seed(recipe.seed)
    keras.mixed_precision.set_global_policy(choose_compute().keras_policy)
    if run.at["phase"] == len(recipe.phases):
        print(f"{folder}: this run is finished", flush=True)
    elif run.at["phase"] or run.state():
        print(f"{folder}: going on with a run that was stopped", flush=True)
    for number, phase in enumerate(recipe.phases):
        if number < run.at["phase"]:
            continue
        augmented = Faces(
            training,
            phase.size,
            recipe.batch_size,
            recipe.seed,
            recipe.augmentation,
            recipe.balance,
            phase.share,
        )
        plain = Faces(validation, phase.size, recipe.batch_size)
        with strategy.scope():
            network = build_network(recipe.architecture)
            if number:
                assign_weights(network, run.best)
            elif not run.state():
                load_start(network, weights)
            if phase.in_8_bits:
                network = _rounding(network, run, training, phase.size)
            compile_phase(network, phase, recipe, phase.epochs * augmented.batches_per_epoch)
        if "start" not in run.at:
            figures = validate(network, plain)
            print(f"before training: validation {describe(figures)}", flush=True)
            run.move_to(start=Figures.mean(figures).age_error)
        while run.at["epoch"] < phase.epochs and not run.is_stale():
            train_epoch(network, run, augmented, plain)
        run.move_to(phase=number + 1, epoch=0, step=0, state=None)
    return run


def _rounding(network: Any, run: Run, training: pa.Table, size: int) -> Any:
    """The network with its weights, rounding as in 8 bits by ranges that are measured once."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.h5"
        write_weights(weights, network_weights(network))
        if not run.ranges:
            graph = partial(build_graph, architecture=run.recipe.architecture, size=size)
            crops = some_crops(training, size)
            run.move_to(ranges=measure_ranges(weights, graph, crops, NOT_IN_8_BITS))
        rounding = in_8_bits(network, run.ranges)
        assign_weights(rounding, weights)
    return rounding


def train_epoch(network: Any, run: Run, training: Faces, validation: Faces) -> None:
    """The rest of the epoch that `run` is in, from its saved state if there is one.

    One call of Keras's `fit` an epoch, each with callbacks of its own and from the saved state: so
    a resumed run takes the very way of an undisturbed one. (A longer `fit` would count the batches
    of a resumed first epoch for all later ones, and leaves averaged weights in the network.)
    """
    epoch, step = run.at["epoch"], run.at["step"]
    phase = run.recipe.phases[run.at["phase"]]
    if state := run.state():
        network.load_weights(state)
    seed_dropout(network, run)
    training.start_epoch(epoch, step)
    save = SaveState(run, training)
    log = keras.callbacks.CSVLogger(run.folder / "log.csv", append=True)
    try:
        network.fit(
            training,
            initial_epoch=epoch,
            epochs=epoch + 1,
            # The order is `training`'s own: Keras would shuffle the batches once more.
            shuffle=False,
            verbose=0,
            callbacks=[
                save,
                keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
                Bar(phase.name, training, phase.epochs),
                KeepBest(run, save, validation),
                keras.callbacks.TensorBoard(
                    run.folder / "tensorboard" / phase.name, write_graph=False
                ),
                log,
            ],
        )
    except Exception:
        if failure := training.failure or validation.failure:
            raise failure from None
        raise
    finally:
        # An interrupt skips this callback, which closes the file.
        log.on_train_end()


def conclusion(run: Run) -> str:
    """What came of a finished run, in sentences."""
    best, start = run.at["best"], run.at["start"]
    phase = run.recipe.phases[best["phase"]].name
    said = (
        f"{run.best}: the best validation error is {best['val_age_error']:.3f} years, after epoch "
        f"{best['epoch'] + 1} of phase {phase}; before training it was {start:.3f}. "
        f"The run took {run.at['seconds'] / 3600:.2f} hours."
    )
    if best["val_age_error"] >= start:
        said += " Training made it no better: keep the weights that it started from."
    return said


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the two-head VGG16 by a recipe.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--manifest", type=Path, action="append", required=True)
    parser.add_argument(
        "--weights",
        default="imagenet",
        help="'imagenet' (downloads), a VGG16 weights file, a run's or bundle's folder, or a name",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the run's folder")
    arguments = parser.parse_args()
    with explain_errors("fit", "the same command goes on from the last saved batch"):
        recipe = read_recipe(arguments.recipe)
        run = fit(recipe, arguments.manifest, arguments.weights, arguments.output)
        print(conclusion(run))


if __name__ == "__main__":
    main()
