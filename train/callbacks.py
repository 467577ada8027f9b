"""Beside training: the run's state is saved, its best weights are kept, a bar moves."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from batchage.networks import network_weights, write_weights
from train.backend import keras
from train.data import Faces
from train.run import Run
from train.validate import Figures, describe, validate

SAVE_EVERY = 200
"""Batches between savings of the state."""


def seed_dropout(network: Any, run: Run) -> None:
    """Let dropout's random numbers follow from where the run is: Keras does not save them."""
    place = (run.recipe.seed, *(run.at[k] for k in ("phase", "epoch", "step")))
    seed = np.random.SeedSequence(place).generate_state(2)
    network.get_layer("dropout").seed_generator.state.assign(seed)


class SaveState(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves the run's state every so many batches and after each epoch.

    It comes before `SwapEMAWeights` in the list, so that it sees the weights that are trained.

    Attributes:
        finished: Where the run will be once the epoch's validation is recorded too.
    """

    def __init__(self, run: Run, data: Faces) -> None:
        """Save `run`; `data` tells epoch and skipped batches."""
        super().__init__()
        self.run, self.data = run, data
        self.finished: dict[str, Any] = {}
        self._since = time.monotonic()

    def _seconds(self) -> float:
        now = time.monotonic()
        seconds = self.run.at["seconds"] + now - self._since
        self._since = now
        return float(seconds)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save now and then."""
        step = self.data.skip + batch + 1
        if step % SAVE_EVERY == 0 and step < self.data.batches_per_epoch:
            name = self.run.write_state(self.model)
            self.run.move_to(state=name, step=step, seconds=self._seconds())
            seed_dropout(self.model, self.run)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save; `KeepBest` records it together with the validation."""
        name = self.run.write_state(self.model)
        self.finished = {"state": name, "epoch": epoch + 1, "step": 0, "seconds": self._seconds()}


class KeepBest(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the averaged weights with the smallest validation age error, the mean over sources.

    It comes after `SwapEMAWeights` in the list, so that it sees the averaged weights, and before
    the loggers, which write what it adds to the logs.
    """

    def __init__(self, run: Run, saved: SaveState, validation: Faces) -> None:
        """Compare with the best of the run so far."""
        super().__init__()
        self.run, self.saved, self.validation = run, saved, validation

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save if better, record that the epoch is done, and print the validation."""
        figures = validate(self.model, self.validation)
        mean = Figures.mean(figures)
        logs |= {"val_age_error": mean.age_error, "val_gender_accuracy": mean.gender_accuracy}
        for source, figure in figures.items():
            logs[f"val_{source}_age_error"] = figure.age_error
            logs[f"val_{source}_gender_accuracy"] = figure.gender_accuracy
        phase, error = self.run.at["phase"], mean.age_error
        best = self.run.at.get("best")
        # A finer phase starts anew: its pictures are larger, and the export takes its size.
        if best is None or best["phase"] != phase or not error >= best["val_age_error"]:
            # Without the optimizer: the next phase has another, and a schedule from its start.
            unfinished = self.run.folder / "best.partial"
            write_weights(unfinished, network_weights(self.model))
            unfinished.replace(self.run.best)
            best = {"phase": phase, "epoch": epoch, "val_age_error": error}
        self.run.move_to(**self.saved.finished, best=best)
        name, epochs = self.run.recipe.phases[phase].name, self.run.recipe.phases[phase].epochs
        print(f"{name} {epoch + 1}/{epochs}: validation {describe(figures)}", flush=True)


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
        """Close it."""
        self._bar.close()
