"""Manifest → batches for Keras, by the same crop function that scans use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchage.align import estimate_similarity, warp
from batchage.errors import UsageError
from batchage.evaluation import OLDEST
from batchage.types import FloatArray, ImageArray
from train.augment import Augmentation, degrade, jitter
from train.backend import keras
from train.manifest import read_pixels

UNKNOWN_GENDER = -1.0
AGE_STRETCH = 5
"""Years that count as one age where rare ages are drawn more often."""
SOME_FACES = 320
SOME_BATCH = 32


def sampling_chances(
    ages: FloatArray, sources: NDArray[np.object_], balance: float
) -> NDArray[np.float64]:
    """The chance `(n,)` of each face to be drawn, so that rare ages of each source come more often.

    Args:
        ages: `(n, 2)`, the range in years that each age lies in.
        sources: `(n,)`, where each face comes from.
        balance: 0 draws all faces alike, 1 all stretches of `AGE_STRETCH` years of each source.
    """
    low, high = ages.T
    stretch = np.where(high >= OLDEST, low, (low + high) / 2) // AGE_STRETCH
    _, source = np.unique(sources.astype(str), return_inverse=True)
    bins = (source * OLDEST + stretch).astype(int)
    weight = np.bincount(bins)[bins] ** -float(balance)
    return np.asarray(weight / weight.sum(), np.float64)


def draw(chances: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """`count` indices in order, each about `count` × its chance of `chances` `(n,)` times.

    Systematic sampling: how often a face comes is its expected count rounded down or up, so that
    equal chances take every face once where `count` is n.
    """
    steps = np.floor(np.cumsum(chances) * count + rng.uniform(1e-6, 1 - 1e-6))
    steps[-1] = count
    return np.repeat(np.arange(len(chances)), np.diff(steps, prepend=0).astype(int))


class Faces(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches `(pictures, targets)` of a manifest's rows.

    Pictures are float32 `(B, S, S, 3)`, RGB 0…255. Targets: `age` and `age_distribution` are
    `(B, 2)`, the range the age lies in; `gender` is `(B, 1)`, 0 male, 1 female, -1 unknown.
    With `augmentation`, order and changes follow from `(seed, epoch, batch)` alone, so that a
    resumed training sees what an undisturbed one would have seen.

    Attributes:
        failure: What ended the reading of batches, if anything did.
    """

    def __init__(
        self,
        rows: pa.Table,
        size: int,
        batch_size: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        balance: float = 0.0,
        share: float = 1.0,
    ) -> None:
        """Hold the rows' paths and labels; pictures are read batch by batch.

        Args:
            rows: A manifest's rows.
            size: Side of the crops in pixels.
            batch_size: Pictures at once.
            seed: Of order and changes.
            augmentation: Random changes; None keeps order and pictures as they are.
            balance: How far rare ages are drawn more often, 0 to 1; needs `augmentation`.
            share: Of the rows that an epoch takes; needs `augmentation`.
        """
        super().__init__(workers=2, max_queue_size=8)
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.augmentation = augmentation
        self.epoch, self.skip = 0, 0
        self.failure: UsageError | None = None
        self.paths = rows["path"].to_pylist()
        self.landmarks = np.array(rows["landmarks"].to_pylist(), np.float32).reshape(-1, 5, 2)
        self.ages = np.column_stack([rows["age_min"], rows["age_max"]]).astype(np.float32)
        known = {"male": 0.0, "female": 1.0, None: UNKNOWN_GENDER}
        self.genders = np.array([known[g] for g in rows["gender"].to_pylist()], np.float32)
        self.sources = np.array(rows["source"].to_pylist(), object)
        self._chances = sampling_chances(self.ages, self.sources, balance)
        self._order = np.arange(len(self.paths))
        self._drawn = max(1, round(share * len(self.paths)))
        self.start_epoch(0)

    def start_epoch(self, epoch: int, skip: int = 0) -> None:
        """Set order and changes to those of `epoch`, less its first `skip` batches."""
        self.epoch, self.skip = epoch, skip
        if self.augmentation:
            rng = np.random.default_rng((self.seed, epoch))
            self._order = rng.permutation(draw(self._chances, self._drawn, rng))

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch; training drops the last one if it isn't full."""
        n = len(self._order) / self.batch_size
        return max(1, int(n)) if self.augmentation else math.ceil(n)

    def __len__(self) -> int:
        return self.batches_per_epoch - self.skip

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        index += self.skip
        members = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        pictures = np.stack([self._picture(i, rng) for i in members]).astype(np.float32)
        ages = self.ages[members]
        targets = {"age_distribution": ages, "age": ages, "gender": self.genders[members, None]}
        return pictures, targets

    def _picture(self, index: int, rng: np.random.Generator) -> ImageArray:
        try:
            image = read_pixels(Path(self.paths[index]))
        except UsageError as error:
            # TensorFlow turns it into an error of its own that says nothing of the picture.
            self.failure = error
            raise
        similarity = estimate_similarity(self.landmarks[index], self.size)
        if not self.augmentation:
            return warp(image, similarity, self.size)
        moved = jitter(similarity, self.size, self.augmentation, rng)
        return degrade(warp(image, moved, self.size), self.augmentation, rng)


def some_crops(rows: pa.Table, size: int) -> Iterator[ImageArray]:
    """Batches, RGB uint8 `(B, size, size, 3)`, of a manifest's crops, from all over it."""
    n_faces = min(SOME_FACES, rows.num_rows)
    chosen = np.linspace(0, rows.num_rows - 1, n_faces).round().astype(int)
    data = Faces(rows.take(chosen), size, SOME_BATCH)
    for index in range(len(data)):
        yield data[index][0].astype(np.uint8)
