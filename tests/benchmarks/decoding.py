"""What decoding at a reduced scale costs: labelled faces in photos of 12 megapixels, scanned twice.

    python -m tests.benchmarks.decoding --manifest runs/utkface.parquet -o decoding.json

Pictures of the manifest's test split are spread over photos, twelve in each, 170 to 700 pixels
wide, so that a third of them are smaller than a crop once the photo is halved. One scan decodes at
a reduced scale, as all scans do, the other at full size; both give the faces that they find in the
same cell.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from PIL import Image

import batchage
from batchage.evaluation import Metrics, group_metrics, outcome_of
from tests.benchmarks.machine import save
from tests.benchmarks.photos import SIZE
from train.data import read_manifests
from train.evaluate import labels_of

COLUMNS, ROWS = 4, 3
CELL = 1000
WIDTHS = (170, 700)
"""Of the pictures, in pixels; UTKFace's are 200 pixels, so that most are enlarged."""
GREY = 128


def make_photos(folder: Path, rows: pa.Table) -> int:
    """Write the photos; picture `i` is in cell `i % 12` of photo `i // 12`."""
    rng = np.random.default_rng(0)
    paths = rows["path"].to_pylist()
    for number, start in enumerate(range(0, len(paths), COLUMNS * ROWS)):
        photo = Image.new("RGB", SIZE, (GREY,) * 3)
        for cell, path in enumerate(paths[start : start + COLUMNS * ROWS]):
            side = round(float(np.exp(rng.uniform(*np.log(WIDTHS)))))
            with Image.open(path) as picture:
                face = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            x, y = (
                rng.integers(0, CELL - side, 2) + np.array([cell % COLUMNS, cell // COLUMNS]) * CELL
            )
            photo.paste(face, (int(x), int(y)))
        photo.save(folder / f"{number:06}.jpg", quality=92)
    return len(paths)


def scan(folder: Path, n_faces: int) -> tuple[dict[int, dict[str, Any]], float]:
    """The best face of each cell by the picture's number, and the seconds that it took."""
    started = time.perf_counter()
    faces = batchage.scan(folder).faces_table.to_pylist()
    seconds = time.perf_counter() - started
    found: dict[int, dict[str, Any]] = {}
    for face in faces:
        middle = (face["x1"] + face["x2"]) / 2, (face["y1"] + face["y2"]) / 2
        cell = int(middle[1] // CELL) * COLUMNS + int(middle[0] // CELL)
        number = int(Path(face["image_path"]).stem) * COLUMNS * ROWS + cell
        if number < n_faces and number not in found:
            found[number] = face
    return found, seconds


def compare(rows: pa.Table, folder: Path) -> dict[str, Any]:
    """Both scans, and the errors on the faces that both find."""
    n_faces = make_photos(folder, rows)
    reduced, reduced_s = scan(folder, n_faces)
    with patch("batchage.pipeline.reduced_side", lambda detect_size: max(SIZE)):
        full, full_s = scan(folder, n_faces)
    both = sorted(reduced.keys() & full.keys())
    labels = labels_of(rows)

    def metrics(found: dict[int, dict[str, Any]]) -> Metrics:
        return group_metrics(outcome_of([labels[i] for i in both], [found[i] for i in both]))

    return {
        "pictures": n_faces,
        "reduced": {"found": len(reduced), **metrics(reduced), "seconds": reduced_s},
        "full": {"found": len(full), **metrics(full), "seconds": full_s},
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--manifest", type=Path, required=True, help="what train.prepare wrote")
    parser.add_argument("--faces", type=int, help="only so many of the split's pictures")
    arguments = parser.parse_args()
    rows = read_manifests([arguments.manifest], "test").slice(0, arguments.faces)
    with tempfile.TemporaryDirectory() as folder:
        save(arguments.output, {"decoding": compare(rows, Path(folder))})


if __name__ == "__main__":
    main()
