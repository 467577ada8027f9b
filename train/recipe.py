"""Recipes: everything that a training run depends on but for the data, in TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from batchage.errors import UsageError
from batchage.predict import Architecture
from train.augment import Augmentation

SMALLEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training with an optimizer and a schedule of its own.

    Attributes:
        name: For the progress bar and the logs.
        epochs: At most so many; fewer where validation no longer gets better.
        size: Side of the crops in pixels.
        frozen_blocks: VGG16 blocks, from the input, that stay as they are: 0 to 5.
        learning_rate: Highest rate of a warm-up followed by a cosine.
        share: Of the training pictures that an epoch takes, above 0 to 1.
        in_8_bits: Whether convolutions round as they will in 8 bits (quantisation-aware training).
    """

    name: str
    epochs: int
    size: int
    frozen_blocks: int
    learning_rate: float
    share: float = 1.0
    in_8_bits: bool = False

    def __post_init__(self) -> None:
        _require(_whole(self.epochs, 1), f"epochs = {self.epochs!r}: give 1 or more")
        _require(_whole(self.size, SMALLEST_SIZE), f"size = {self.size!r}: give 32 or more")
        _require(
            _whole(self.frozen_blocks, 0) and self.frozen_blocks <= 5,
            f"frozen_blocks = {self.frozen_blocks!r}: give 0 to 5",
        )
        _require(
            isinstance(self.learning_rate, float) and self.learning_rate > 0,
            f"learning_rate = {self.learning_rate!r}: give a number such as 3e-5",
        )
        _require(
            isinstance(self.share, (int, float)) and 0 < self.share <= 1,
            f"share = {self.share!r}: give a number above 0, up to 1",
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run depends on but for the data.

    Attributes:
        name: The file's name, without its suffix.
        phases: What is done, one after the other.
        seed: Of order, changes and dropout.
        batch_size: Pictures at once.
        age_sigma: Years, of the Gaussian that an exact age becomes at age 0.
        age_sigma_slope: Years that it grows with each year of age: old faces are harder to date.
        balance: How far rare ages of each source are drawn more often: 0 each picture once an
            epoch, 1 all ages and sources equally often.
        layer_decay: Factor of the learning rate from each block of the trunk to the one before.
        ema: Momentum of the averaged weights, which are validated and exported.
        weight_decay: Of AdamW.
        patience: Epochs without a better validation age error, the mean over sources, before a
            phase ends.
        loss_weights: By output: `age_distribution`, `age`, `gender`.
        architecture: Of the layers after the trunk.
        augmentation: Random changes of training crops.
    """

    name: str
    phases: list[Phase]
    seed: int = 0
    batch_size: int = 32
    age_sigma: float = 2.0
    age_sigma_slope: float = 0.0
    balance: float = 0.0
    layer_decay: float = 1.0
    ema: float = 0.998
    weight_decay: float = 1e-4
    patience: int = 3
    loss_weights: dict[str, float] = field(default_factory=dict)
    architecture: Architecture = field(default_factory=Architecture)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        _require(bool(self.phases), "it has no phases")
        _require(_whole(self.batch_size, 1), f"batch_size = {self.batch_size!r}: give 1 or more")
        _require(_whole(self.patience, 1), f"patience = {self.patience!r}: give 1 or more")
        _require(0 <= self.balance <= 1, f"balance = {self.balance!r}: give 0 to 1")
        _require(0 < self.layer_decay <= 1, f"layer_decay = {self.layer_decay!r}: give 0 to 1")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """The recipe that `to_dict` gave, or a TOML file holds.

        Raises:
            KeyError: There are no phases.
            TypeError: A key is unknown or missing.
            ValueError: A value can't be.
        """
        parts = {
            "phases": [Phase(**phase) for phase in raw["phases"]],
            "architecture": Architecture(**raw.get("architecture", {})),
            "augmentation": Augmentation(**raw.get("augmentation", {})),
        }
        return cls(**{**raw, **parts})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and value >= least


def _require(fits: bool, message: str) -> None:
    if not fits:
        raise ValueError(message)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        UsageError: It can't be read, a key is unknown, or a value can't be.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe.from_dict({"name": path.stem, **raw})
    except KeyError as error:
        raise UsageError(f"{path}: not a usable recipe: it has no {error}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a usable recipe: {error}") from None
