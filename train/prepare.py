r"""Labelled pictures → manifest: landmarks, near-copies and splits, in Parquet.

    python -m train.prepare --utkface DIR -o runs/utkface.parquet
    python -m train.prepare --csv labels.csv -o runs/mine.parquet
    python -m train.prepare --manifest runs/utkface.parquet --manifest runs/mine.parquet \
        -o runs/both.parquet

Sources may be given together; those that were prepared before are taken over as they are, but for
near-copies: a training or validation picture that resembles a test picture of any source is left
out. A picture with several faces is represented by the one nearest its middle. A picture in which
no face is found stays in its split, framed as if it were itself a chip (`framing` =
`whole_picture`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from batchage.align import whole_picture
from batchage.config import DEFAULT_DETECTOR, DetectorSettings
from batchage.decode import decode
from batchage.detect import Detector, create_detector
from batchage.errors import BatchageError, DecodeError, UsageError
from batchage.evaluation import Label, central_face, read_csv, read_utkface
from batchage.networks import choose_compute
from train.command import explain_errors
from train.manifest import LEFT_OUT, SCHEMA, SPLITS, read_manifest
from train.near_copies import (
    WHOLE_BITS,
    Changes,
    aligned_crop,
    difference_hash,
    groups_of,
    near_pairs,
    separate,
)

BATCH = 32
SHARES = (0.84, 0.06, 0.10)


def split_groups(
    groups: NDArray[np.int32], seed: int, shares: Sequence[float] = SHARES
) -> list[str]:
    """A split for each picture, by the splits' shares of all; a group is never divided."""
    shuffled = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    position = (shuffled[groups] + 0.5) / len(shuffled)
    edges = np.cumsum(shares)[:-1] / sum(shares)
    return [SPLITS[i] for i in np.searchsorted(edges, position, side="right")]


def describe(labels: list[Label], source: str, detector: Detector) -> list[dict[str, object]]:
    """Decode and detect every picture; a manifest's rows, `split` only where the label has one.

    Args:
        labels: The pictures.
        source: What pictures are from whose label names no source.
        detector: Finds the faces.
    """
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
                        "source": label.source or source,
                        "age_min": label.age_min,
                        "age_max": label.age_max,
                        "gender": label.gender,
                        "group": label.group,
                        "landmarks": points.ravel().tolist(),
                        "detection_score": None if index is None else float(found.scores[index]),
                        "n_faces": len(found),
                        "framing": "whole_picture" if index is None else "face",
                        "hash": difference_hash(image).tobytes(),
                        "crop_hash": difference_hash(aligned_crop(image, points)).tobytes(),
                        "split": label.split,
                    }
                )
            bar.update(len(batch))
    if not rows:
        raise BatchageError("none of the labelled pictures could be read")
    if unreadable:
        print(f"{unreadable} unreadable pictures were left out", file=sys.stderr)
    return rows


def check_splits(labels: list[Label]) -> None:
    """See that all labels state one of the splits, or none does.

    Raises:
        UsageError: Some do and some don't, or a split has another name.
    """
    for label in labels:
        if label.split is not None and label.split not in SPLITS:
            raise UsageError(
                f"{label.written}: split {label.split!r}, give {', '.join(SPLITS)}, or leave the "
                "column out and splits are drawn"
            )
    without = next((label for label in labels if label.split is None), None)
    if without and any(label.split for label in labels):
        raise UsageError(f"{without.written}: has no split, while others do; give one to each")


def prepare(
    labels: list[Label],
    detector: Detector,
    seed: int,
    shares: Sequence[float] = SHARES,
    source: str = "",
) -> pa.Table:
    """The manifest of labelled pictures, with their own splits, or drawn ones.

    Args:
        labels: The pictures.
        detector: Finds the faces.
        seed: Of the draw.
        shares: Of the splits that are drawn.
        source: What pictures are from whose label names no source.

    Raises:
        UsageError: The stated splits can't be used.
    """
    check_splits(labels)
    rows = describe(labels, source, detector)
    hashes = np.frombuffer(b"".join(row["hash"] for row in rows), np.uint64).reshape(-1, 4)  # type: ignore[misc]
    groups = groups_of(near_pairs(hashes, WHOLE_BITS), len(rows))
    drawn = split_groups(groups, seed, shares)
    for row, group, split in zip(rows, groups.tolist(), drawn, strict=True):
        row["duplicate_group"] = group
        row["split"] = row["split"] or split
    table = pa.Table.from_pylist(rows, SCHEMA)
    return table.replace_schema_metadata({"batchage.split_seed": str(seed)})


def join_manifests(tables: Sequence[pa.Table]) -> pa.Table:
    """Several manifests as one; groups of near-duplicates stay apart."""
    joined, offset = [], 0
    for table in tables:
        groups = np.asarray(table["duplicate_group"]) + offset
        offset = int(groups.max(initial=offset - 1)) + 1
        index = table.column_names.index("duplicate_group")
        column = pa.array(groups, pa.int32())
        joined.append(table.set_column(index, "duplicate_group", column).cast(SCHEMA))
    return pa.concat_tables(joined)


def summarise(table: pa.Table, changes: Changes) -> None:
    """Print counts by source and split, by framing, and of near-copies."""
    columns = (table[name].to_pylist() for name in ("source", "split", "framing"))
    rows = list(zip(*columns, strict=True))
    print(f"{'source':<22}{'split':<12}{'pictures':>10}{'no face found':>15}")
    for source in sorted({source for source, _, _ in rows}):
        for split in (*SPLITS, LEFT_OUT):
            inside = [framing for *place, framing in rows if place == [source, split]]
            if inside:
                no_face = inside.count("whole_picture")
                print(f"{source:<22}{split:<12}{len(inside):>10}{no_face:>15}")
    print(f"{changes.pairs} pairs of near-copies")
    for source, count in sorted(changes.by_test.items()):
        print(f"{count} pictures of {source} left out: near-copies of test pictures")
    print(f"{changes.to_training} pictures moved from validation to their near-copies in training")
    print(f"{changes.contradicting} training pictures left out: near-copies' labels contradict")
    print(f"{changes.agreed} training pictures given their near-copies' mean age")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make a manifest of labelled pictures.")
    parser.add_argument("--utkface", type=Path, metavar="DIR", help="labels from UTKFace names")
    parser.add_argument(
        "--csv",
        type=Path,
        action="append",
        default=[],
        help="columns path, age (or age_min, age_max), gender, group, source, split; may be "
        "given several times",
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        action="append",
        default=[],
        help="pictures that were prepared before; may be given several times",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="manifest, .parquet")
    parser.add_argument("--seed", type=int, default=0, help="of splits that are drawn")
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        default=SHARES,
        metavar=tuple(split.upper() for split in SPLITS),
        help="of splits that are drawn (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-labels",
        action="store_true",
        help="leave labels of near-copies in training as they are",
    )
    parser.add_argument("--detect-size", type=int, default=DetectorSettings().detect_size)
    arguments = parser.parse_args()
    with explain_errors("prepare"):
        if min(arguments.shares) < 0 or not arguments.shares[0] > 0:
            raise UsageError("--shares: give three shares such as 0.84 0.06 0.1, none negative")
        sources = [(path.stem, read_csv(path)) for path in arguments.csv]
        if arguments.utkface:
            sources.insert(0, (arguments.utkface.name, read_utkface(arguments.utkface)))
        names = [name for name, _ in sources]
        if len({*names}) < len(names):
            raise UsageError(f"{', '.join(names)}: sources are named after their files; rename one")
        tables = [read_manifest(path) for path in arguments.manifest]
        if not sources and not tables:
            raise UsageError("no pictures: give --utkface, --csv or --manifest")
        # Detection takes long: whether its result can be written is found out first.
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        partial = arguments.output.with_suffix(".partial")
        partial.touch()
        try:
            if sources:
                settings = DetectorSettings(detect_size=arguments.detect_size)
                detector = create_detector(DEFAULT_DETECTOR, settings, choose_compute())
            for name, labels in sources:
                tables.append(prepare(labels, detector, arguments.seed, arguments.shares, name))
            table, changes = separate(join_manifests(tables), agree=not arguments.keep_labels)
            pq.write_table(table, partial)
            partial.replace(arguments.output)
        finally:
            partial.unlink(missing_ok=True)
        summarise(table, changes)


if __name__ == "__main__":
    main()
