"""Manifests, which `train.prepare` writes: one row a labelled picture, in Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchage.decode import decode
from batchage.errors import DecodeError, UsageError
from batchage.types import ImageArray

SPLITS = ("train", "validation", "test")
LEFT_OUT = "left_out"
"""What stands instead of a split where a picture is not used."""
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("source", pa.string()),
        ("age_min", pa.float64()),
        ("age_max", pa.float64()),
        ("gender", pa.string()),
        ("group", pa.string()),
        ("landmarks", pa.list_(pa.float32())),
        ("detection_score", pa.float32()),
        ("n_faces", pa.int32()),
        ("framing", pa.string()),
        ("hash", pa.binary()),
        ("crop_hash", pa.binary()),
        ("split", pa.string()),
        ("duplicate_group", pa.int32()),
    ]
)
"""Of a manifest; `hash` is the whole picture's, `crop_hash` the aligned crop's."""
TRAINED_COLUMNS = [
    "path", "source", "age_min", "age_max", "gender", "group", "landmarks", "split"
]  # fmt: skip


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


def read_manifest(path: Path) -> pa.Table:
    """A manifest's rows.

    Raises:
        UsageError: It can't be read.
    """
    try:
        table = pq.read_table(path).select(SCHEMA.names).cast(SCHEMA)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise UsageError(f"{path}: not a manifest that train.prepare wrote ({error})") from None
    return table.replace_schema_metadata(None)


def rows_of(paths: list[Path], split: str) -> pa.Table:
    """The rows of one split, of several manifests one after the other; there may be none.

    Raises:
        UsageError: A manifest can't be read, or one of its pictures is gone.
    """
    rows = pa.concat_tables([read_manifest(path).select(TRAINED_COLUMNS) for path in paths])
    rows = rows.filter(pc.equal(rows["split"], split))
    gone = next((path for path in rows["path"].to_pylist() if not Path(path).is_file()), None)
    if gone:
        names = ", ".join(map(str, paths))
        raise UsageError(f"{gone}: the picture is gone; run train.prepare again for {names}")
    return rows


def read_manifests(paths: list[Path], split: str) -> pa.Table:
    """The rows of one split, of several manifests one after the other.

    Raises:
        UsageError: As of `rows_of`, or there are none.
    """
    rows = rows_of(paths, split)
    if not rows.num_rows:
        names = ", ".join(map(str, paths))
        raise UsageError(f"{names}: no pictures in the {split} split; run train.prepare with more")
    return rows


def by_source(rows: pa.Table) -> dict[str, pa.Table]:
    """A manifest's rows by where they come from, in the order of their first rows."""
    sources = dict.fromkeys(rows["source"].to_pylist())
    return {source: rows.filter(pc.equal(rows["source"], source)) for source in sources}
