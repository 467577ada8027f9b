"""Manifest → batches for Keras, by the same crop function that scans use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchage.align import Similarity, estimate_similarity, warp
from batchage.decode import decode
from batchage.errors import DecodeError, UsageError
from batchage.types import FloatArray, ImageArray

UNKNOWN_GENDER = -1.0
AGE_STRETCH = 5
"""Years that count as one age where rare ages are drawn more often."""
BLUR = (0.004, 0.02)
"""Standard deviations of the blur, as shares of the crop's side."""
JPEG_QUALITY = (20, 70)
MANIFEST_COLUMNS = ["path", "age_min", "age_max", "gender", "group", "landmarks", "split"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of a training crop; shares are probabilities.

    Attributes:
        rotation: Largest turn in degrees.
        zoom: Largest change of scale, 0.1 for ±10 %.
        shift: Largest shift, as a share of the crop's side.
        flip: Share mirrored.
        brightness: Largest change, as a share of 255.
        contrast: Largest relative change.
        grey: Share without colour.
        low_resolution: Share shrunk and enlarged again.
        smallest: Least share of the crop's side that it is shrunk to.
        blur: Share blurred, as by a lens out of focus.
        jpeg: Share compressed once more, at a low quality.
        erase: Share with a rectangle of noise.
    """

    rotation: float = 12.0
    zoom: float = 0.12
    shift: float = 0.05
    flip: float = 0.5
    brightness: float = 0.15
    contrast: float = 0.25
    grey: float = 0.1
    low_resolution: float = 0.15
    smallest: float = 0.33
    blur: float = 0.0
    jpeg: float = 0.0
    erase: float = 0.2


def jitter(
    similarity: Similarity, size: int, how: Augmentation, rng: np.random.Generator
) -> Similarity:
    """The similarity with a random turn, zoom, shift and flip about the crop's middle."""
    angle = math.radians(rng.uniform(-how.rotation, how.rotation))
    scale = math.exp(rng.uniform(-how.zoom, how.zoom))
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    if rng.random() < how.flip:
        linear = linear @ np.diag([-1.0, 1.0])
    middle = np.array([(size - 1) / 2] * 2)
    shift = rng.uniform(-how.shift, how.shift, 2) * size
    matrix = linear @ similarity.matrix
    matrix[:, 2] += middle - linear @ middle + shift
    return Similarity(matrix)


def degrade(crop: ImageArray, how: Augmentation, rng: np.random.Generator) -> ImageArray:
    """The crop, RGB uint8 `(S, S, 3)`, with those random changes that leave its outline alone."""
    size = crop.shape[0]
    if rng.random() < how.blur:
        sigma = size * rng.uniform(*BLUR)
        crop = cv2.GaussianBlur(crop, (0, 0), sigma)
    if rng.random() < how.low_resolution:
        small = max(1, int(size * rng.uniform(how.smallest, 0.9)))
        crop = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < how.grey:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    gain = 1 + rng.uniform(-how.contrast, how.contrast)
    offset = 128 * (1 - gain) + 255 * rng.uniform(-how.brightness, how.brightness)
    crop = np.clip(crop * np.float32(gain) + np.float32(offset), 0, 255).astype(np.uint8)
    if rng.random() < how.jpeg:
        quality = int(rng.integers(*JPEG_QUALITY))
        file = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        crop = cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)
    if rng.random() < how.erase:
        height, width = (rng.uniform(0.1, 0.4, 2) * size).astype(int)
        y, x = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
        crop[y : y + height, x : x + width] = rng.integers(0, 256, (height, width, 3), np.uint8)
    return crop


def read_pixels(path: Path) -> ImageArray:
    """A labelled picture, RGB uint8 `(h, w, 3)`.

    Raises:
        UsageError: It can't be decoded.
    """
    try:
        return decode(path).pixels
    except DecodeError as error:
        message = f"{path}: {error}; mend or remove it and run train.prepare again"
        raise UsageError(message) from None


def read_manifests(paths: list[Path], split: str) -> pa.Table:
    """The rows of one split, of several manifests one after the other.

    Raises:
        UsageError: A manifest can't be read, the split is empty, or one of its pictures is gone.
    """
    tables = []
    for path in paths:
        try:
            table = pq.read_table(path).select(MANIFEST_COLUMNS)
        except (OSError, pa.ArrowException, KeyError) as error:
            raise UsageError(f"{path}: not a manifest that train.prepare wrote ({error})") from None
        tables.append(table.replace_schema_metadata(None).filter(pc.equal(table["split"], split)))
    rows = pa.concat_tables(tables, promote_options="permissive")
    names = ", ".join(map(str, paths))
    if not rows.num_rows:
        raise UsageError(f"{names}: no pictures in the {split} split; run train.prepare with more")
    gone = next((path for path in rows["path"].to_pylist() if not Path(path).is_file()), None)
    if gone:
        raise UsageError(f"{gone}: the picture is gone; run train.prepare again for {names}")
    return rows


def sampling_chances(ages: FloatArray, balance: float) -> NDArray[np.float64]:
    """The chance `(n,)` of each face to be drawn, so that rare ages come more often.

    Args:
        ages: `(n, 2)`, the range in years that each age lies in.
        balance: 0 draws all faces alike, 1 all stretches of `AGE_STRETCH` years.
    """
    stretch = (ages.mean(axis=1) // AGE_STRETCH).astype(int)
    weight = np.bincount(stretch)[stretch] ** -float(balance)
    return np.asarray(weight / weight.sum(), np.float64)


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
    ) -> None:
        """Hold the rows' paths and labels; pictures are read batch by batch.

        Args:
            rows: A manifest's rows.
            size: Side of the crops in pixels.
            batch_size: Pictures at once.
            seed: Of order and changes.
            augmentation: Random changes; None keeps order and pictures as they are.
            balance: How far rare ages are drawn more often, 0 to 1; needs `augmentation`.
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
        self._chances = sampling_chances(self.ages, balance) if balance else None
        self._order = np.arange(len(self.paths))
        self.start_epoch(0)

    def start_epoch(self, epoch: int, skip: int = 0) -> None:
        """Set order and changes to those of `epoch`, less its first `skip` batches."""
        self.epoch, self.skip = epoch, skip
        if self.augmentation:
            rng, n = np.random.default_rng((self.seed, epoch)), len(self.paths)
            self._order = (
                rng.permutation(n) if self._chances is None else rng.choice(n, n, p=self._chances)
            )

    @property
    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch; training drops the last one if it isn't full."""
        n = len(self.paths) / self.batch_size
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
