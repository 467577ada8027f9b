"""Labelled pictures → manifest: landmarks, duplicate groups and a seeded split, in Parquet.

    python -m train.prepare --utkface DIR -o runs/utkface.parquet
    python -m train.prepare --csv labels.csv -o runs/mine.parquet

A picture with several faces is represented by the one nearest its middle. A picture in which no
face is found stays in its split, framed as if it were itself a chip (`framing` = `whole_picture`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from batchage.align import whole_picture
from batchage.config import DEFAULT_DETECTOR, DetectorSettings
from batchage.decode import decode
from batchage.detect import Detector, create_detector
from batchage.errors import BatchageError, DecodeError, UsageError
from batchage.evaluation.join import central_face
from batchage.evaluation.labels import Label, read_csv, read_utkface
from batchage.hardware import choose_compute
from batchage.types import ImageArray
from train.command import explain_errors

BATCH = 32
DUPLICATE_BITS = 12
SPLITS = ("train", "validation", "test")
SHARES = (0.84, 0.06, 0.10)


def difference_hash(image: ImageArray) -> NDArray[np.uint64]:
    """256-bit difference hash of a picture: four uint64; near-duplicates differ in few bits."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)


def duplicate_groups(hashes: NDArray[np.uint64], bits: int = DUPLICATE_BITS) -> NDArray[np.int32]:
    """Group numbers `(n,)` of hashes `(n, 4)`; chains of hashes within `bits` bits share one."""
    left, right = [], []
    for start in range(0, len(hashes), 256):
        block = hashes[start : start + 256, None]
        distance = np.bitwise_count(block ^ hashes[None, start:]).sum(axis=2, dtype=np.int16)
        i, j = np.nonzero(distance <= bits)
        left.append(i + start)
        right.append(j + start)
    rows, columns = np.concatenate(left), np.concatenate(right)
    n = len(hashes)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int32)


def split_groups(
    groups: NDArray[np.int32], seed: int, shares: Sequence[float] = SHARES
) -> list[str]:
    """A split for each picture, by the splits' shares of all; a group is never divided."""
    shuffled = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    position = (shuffled[groups] + 0.5) / len(shuffled)
    edges = np.cumsum(shares)[:-1] / sum(shares)
    return [SPLITS[i] for i in np.searchsorted(edges, position, side="right")]


def describe(labels: list[Label], detector: Detector) -> pa.Table:
    """Decode and detect every picture; the manifest's columns but for group and split."""
    rows: list[dict[str, object]] = []
    unreadable = 0
    with tqdm(total=len(labels), unit=" pictures", file=sys.stderr) as bar:
        for batch in (labels[i : i + BATCH] for i in range(0, len(labels), BATCH)):
            readable, images = [], []
            for label in batch:
                try:
                    images.append(decode(label.path).pixels)
                    readable.append(label)
                except DecodeError as error:
                    unreadable += 1
                    bar.write(f"{label.path}: left out: {error}", file=sys.stderr)
            for label, image, found in zip(readable, images, detector.detect(images), strict=True):
                height, width = image.shape[:2]
                index = central_face(found.boxes, width, height) if len(found) else None
                points = whole_picture(width, height) if index is None else found.landmarks[index]
                rows.append(
                    {
                        "path": str(label.path.absolute()),
                        "age_min": label.age_min,
                        "age_max": label.age_max,
                        "gender": label.gender,
                        "group": label.group,
                        "landmarks": points.ravel().tolist(),
                        "detection_score": None if index is None else float(found.scores[index]),
                        "n_faces": len(found),
                        "framing": "whole_picture" if index is None else "face",
                        "hash": difference_hash(image).tobytes(),
                    }
                )
            bar.update(len(batch))
    if not rows:
        raise BatchageError("none of the labelled pictures could be read")
    if unreadable:
        print(f"{unreadable} unreadable pictures were left out", file=sys.stderr)
    return pa.Table.from_pylist(rows)


def prepare(
    labels: list[Label], detector: Detector, seed: int, shares: Sequence[float] = SHARES
) -> pa.Table:
    """The manifest of labelled pictures."""
    table = describe(labels, detector)
    hashes = np.frombuffer(b"".join(table["hash"].to_pylist()), np.uint64).reshape(-1, 4)
    groups = duplicate_groups(hashes)
    table = table.append_column("duplicate_group", pa.array(groups))
    table = table.append_column("split", pa.array(split_groups(groups, seed, shares)))
    return table.replace_schema_metadata({"batchage.split_seed": str(seed)})


def summarise(table: pa.Table) -> None:
    """Print counts by split, by framing, and of duplicates."""
    splits, framings = table["split"].to_pylist(), table["framing"].to_pylist()
    print(f"{'split':<12}{'pictures':>10}{'no face found':>15}")
    for split in SPLITS:
        inside = [f for s, f in zip(splits, framings, strict=True) if s == split]
        print(f"{split:<12}{len(inside):>10}{inside.count('whole_picture'):>15}")
    sizes = np.bincount(np.asarray(table["duplicate_group"]))
    repeated = sizes[sizes > 1]
    print(f"{len(repeated)} groups of near-duplicates with {int(repeated.sum())} pictures")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make a manifest of labelled pictures.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--utkface", type=Path, metavar="DIR", help="labels from UTKFace names")
    source.add_argument("--csv", type=Path, help="columns path, age (or age_min, age_max), gender")
    parser.add_argument("-o", "--output", type=Path, required=True, help="manifest, .parquet")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        default=SHARES,
        metavar=tuple(split.upper() for split in SPLITS),
        help="of the splits (default: %(default)s)",
    )
    parser.add_argument("--detect-size", type=int, default=DetectorSettings().detect_size)
    arguments = parser.parse_args()
    with explain_errors("prepare"):
        if min(arguments.shares) < 0 or not arguments.shares[0] > 0:
            raise UsageError("--shares: give three shares such as 0.84 0.06 0.1, none negative")
        labels = read_utkface(arguments.utkface) if arguments.utkface else read_csv(arguments.csv)
        settings = DetectorSettings(detect_size=arguments.detect_size)
        detector = create_detector(DEFAULT_DETECTOR, settings, choose_compute())
        # Detection takes long: whether its result can be written is found out first.
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        partial = arguments.output.with_suffix(".partial")
        partial.touch()
        try:
            table = prepare(labels, detector, arguments.seed, arguments.shares)
            pq.write_table(table, partial)
            partial.replace(arguments.output)
        finally:
            partial.unlink(missing_ok=True)
        summarise(table)


if __name__ == "__main__":
    main()
