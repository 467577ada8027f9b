"""Pictures that are nearly the same: found by hashes, confirmed by comparing their crops.

The test pictures of every set stay, and what resembles them leaves training and validation. Labels
of near-copies that training keeps are brought to agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from batchage.align import estimate_similarity, warp
from batchage.evaluation import OLDEST
from batchage.types import FloatArray, ImageArray
from train.manifest import LEFT_OUT, read_pixels

WHOLE_BITS = 12
"""Bits in which the hashes of whole pictures differ that the draw of a split keeps together."""
CROP_BITS = 28
"""Bits in which the hashes of aligned crops differ that are worth comparing."""
CROP_SIDE = 96
"""Side of the aligned crop that is hashed, in pixels."""
COMPARED_SIDE = 32
"""Side to which both crops are shrunk before they are compared."""
ALIKE = 0.9
"""Correlation from which two crops show the same picture."""
CONTRADICTION = 15.0
"""Years between labels of one picture from which none of them is believed."""


def difference_hash(image: ImageArray) -> NDArray[np.uint64]:
    """256-bit difference hash of a picture: four uint64; near-copies differ in few bits."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)


def aligned_crop(image: ImageArray, landmarks: FloatArray) -> ImageArray:
    """The crop RGB uint8 `(CROP_SIDE, CROP_SIDE, 3)` by which faces are told to be the same."""
    return warp(image, estimate_similarity(landmarks, CROP_SIDE), CROP_SIDE)


def near_pairs(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.intp]:
    """Pairs `(m, 2)`, the smaller index first, of hashes `(n, 4)` that differ in `bits` at most."""
    found = [np.empty((0, 2), np.intp)]
    for start in range(0, len(hashes), 256):
        distance = np.zeros((min(256, len(hashes) - start), len(hashes) - start), np.uint16)
        for word in hashes.T:
            distance += np.bitwise_count(word[start : start + 256, None] ^ word[None, start:])
        pairs = np.argwhere(distance <= bits) + start
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.concatenate(found)


def groups_of(pairs: NDArray[np.intp], n: int) -> NDArray[np.int32]:
    """Group numbers `(n,)`: whatever is linked by a chain of pairs `(m, 2)` shares one."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int32)


def resemblance(table: pa.Table, pairs: NDArray[np.intp]) -> FloatArray:
    """How far the crops of each pair of a manifest's rows correlate, `(m,)`, -1 to 1."""
    rows, places = np.unique(pairs, return_inverse=True)
    some = table.select(["path", "landmarks"]).take(rows).to_pylist()
    vectors = np.stack([_compared(row) for row in some]) if some else np.empty((0, 1))
    left, right = vectors[places.reshape(pairs.shape)].transpose(1, 0, 2)
    return np.asarray(np.einsum("ij,ij->i", left, right), np.float32)


def _compared(row: dict[str, Any]) -> FloatArray:
    points = np.array(row["landmarks"], np.float32).reshape(5, 2)
    crop = aligned_crop(read_pixels(Path(row["path"])), points)
    size = (COMPARED_SIDE, COMPARED_SIDE)
    grey = cv2.cvtColor(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    vector = grey.ravel().astype(np.float32) - grey.mean()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), np.float32)


FloatVector = NDArray[np.float64]


@dataclass(slots=True)
class Changes:
    """What `separate` changed, as counts of pictures.

    Attributes:
        pairs: Pairs of near-copies.
        by_test: Left out, by source: near-copies of a test picture of any source.
        to_training: Moved from validation to the training picture that they resemble.
        contradicting: Training pictures left out since their labels contradict each other.
        agreed: Training pictures that were given their near-copies' mean age.
    """

    pairs: int = 0
    by_test: Counter[str] = field(default_factory=Counter)
    to_training: int = 0
    contradicting: int = 0
    agreed: int = 0


def separate(table: pa.Table, agree: bool = True) -> tuple[pa.Table, Changes]:
    """Keep near-copies of test pictures out of training and validation.

    Args:
        table: The rows of one or more manifests.
        agree: Whether near-copies in training get one label, and those leave whose labels
            contradict each other.

    Returns:
        The rows, `split` changed to `left_out` or `train` and ages changed where need be; and what
        was changed.
    """
    hashes = np.frombuffer(b"".join(table["crop_hash"].to_pylist()), np.uint64).reshape(-1, 4)
    pairs = near_pairs(hashes, CROP_BITS)
    pairs = pairs[resemblance(table, pairs) >= ALIKE]
    changes = Changes(len(pairs))
    columns = ("split", "source", "age_min", "age_max", "gender")
    rows = {name: table[name].to_pylist() for name in columns}
    for members in _several(groups_of(pairs, table.num_rows)):
        _separate_group(members, rows, changes)
        if agree:
            _agree(members, rows, changes)
    for name in ("split", "age_min", "age_max"):
        index = table.column_names.index(name)
        column = pa.array(rows[name], table.schema.field(name).type)
        table = table.set_column(index, name, column)
    return table, changes


def _several(groups: NDArray[np.int32]) -> Iterator[list[int]]:
    """The members of each group that has more than one."""
    order = np.argsort(groups, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(members) > 1:
            yield members.tolist()


def _separate_group(members: list[int], rows: dict[str, list[Any]], changes: Changes) -> None:
    split = rows["split"]
    kinds = {split[i] for i in members}
    for i in members:
        if "test" in kinds and split[i] in ("train", "validation"):
            split[i] = LEFT_OUT
            changes.by_test[rows["source"][i]] += 1
        elif "train" in kinds and split[i] == "validation":
            split[i] = "train"
            changes.to_training += 1


def _agree(members: list[int], rows: dict[str, list[Any]], changes: Changes) -> None:
    trained = [i for i in members if rows["split"][i] == "train"]
    if len(trained) < 2:
        return
    low, high = (np.array([rows[k][i] for i in trained], float) for k in ("age_min", "age_max"))
    middle = np.where(high == OLDEST, low, (low + high) / 2)
    genders = {rows["gender"][i] for i in trained} - {None}
    if len(genders) > 1 or np.ptp(middle) > CONTRADICTION:
        for i in trained:
            rows["split"][i] = LEFT_OUT
        changes.contradicting += len(trained)
    elif np.ptp(low) or np.ptp(high):
        for i in trained:
            rows["age_min"][i], rows["age_max"][i] = _agreed(low, high)
        changes.agreed += len(trained)


def _agreed(low: FloatVector, high: FloatVector) -> tuple[float, float]:
    """The age or range that labels of one picture agree on.

    It is the mean of exact ages; else the years that all ranges have in common; or, where there are
    none, the mean of both ends.
    """
    exact = low == high
    if exact.any():
        mean = float(low[exact].mean())
        return mean, mean
    if low.max() <= high.min():
        return float(low.max()), float(high.min())
    return float(low.mean()), float(high.mean())
