"""A training run's folder: what it was made for, where it is, and its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from batchage.errors import UsageError
from batchage.networks import Range
from batchage.places import write_json
from train.recipe import Recipe

BEST = "best.h5"
"""In a run's folder."""


class Run:
    """A run's folder.

    Attributes:
        folder: Its path.
        best: The averaged weights of the best validation.
        at: Phase, epoch and step that come next; file name of the saved state; seconds spent;
            `best`: phase, epoch and validation age error of the best weights; `start`: the
            validation age error before training; `ranges` for 8 bits; `recipe` and `manifests`
            that the run was begun with.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder; made where it is missing.

        Raises:
            UsageError: It can't be made, or holds something else.
        """
        self.folder = folder
        self.best = folder / BEST
        self._progress = folder / "progress.json"
        self.at: dict[str, Any] = {"phase": 0, "epoch": 0, "step": 0, "state": None, "seconds": 0.0}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self._progress.exists():
                self.at = json.loads(self._progress.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{folder}: not a run's folder ({error}); choose another") from None

    def begin(self, recipe: Recipe, manifests: list[Path]) -> None:
        """Note what the run is for, or check that it is the same as before.

        Raises:
            UsageError: The run was begun with another recipe or other manifests.
        """
        try:
            digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in manifests]
        except OSError as error:
            raise UsageError(
                f"{error.filename}: the manifest can't be read ({error.strerror}); make it with "
                "train.prepare"
            ) from None
        # As recipes, so that a field that is new since does not make it another one.
        same = {
            "recipe": "recipe" not in self.at or self.recipe == recipe,
            "manifests": self.at.get("manifests", digests) == digests,
        }
        for name, is_same in same.items():
            if not is_same:
                raise UsageError(
                    f"{self.folder}: this run was begun with other {name}; choose another folder"
                )
        self.move_to(recipe=recipe.to_dict(), manifests=digests)

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was begun with.

        Raises:
            UsageError: There is no run in the folder.
        """
        try:
            return Recipe.from_dict(self.at["recipe"])
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{self.folder}: no run in it; run train.fit first") from None

    @property
    def ranges(self) -> dict[str, Range]:
        """What convolutions round by in the phases in 8 bits; empty before the first of them."""
        return {name: (low, high) for name, (low, high) in self.at.get("ranges", {}).items()}

    def state(self) -> Path | None:
        """Weights and optimizer of an unfinished phase."""
        return self.folder / self.at["state"] if self.at["state"] else None

    def move_to(self, **changes: Any) -> None:
        """Record where the run is."""
        self.at = {**self.at, **changes}
        write_json(self._progress, self.at)

    def write_state(self, network: Any) -> str:
        """Save weights and optimizer beside the state that counts; the file's name."""
        old = self.state()
        name = f"state-{'b' if old and '-a.' in old.name else 'a'}.weights.h5"
        network.save_weights(self.folder / name)
        return name

    def is_stale(self) -> bool:
        """Whether the phase's validation has not got better for the recipe's patience."""
        best = self.at.get("best")
        if best is None or best["phase"] != self.at["phase"]:
            return False
        return bool(self.at["epoch"] - 1 - best["epoch"] >= self.at["recipe"]["patience"])
