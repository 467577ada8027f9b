"""Turn labelled pictures into old prints: photos that the shipped model was not trained for.

    python examples/old_prints.py runs/utkface.parquet -o prints --count 1000

takes pictures of the manifest's test split, which no training saw, and writes them faded, brown,
soft and grainy, with `prints/labels.csv` beside them. `train/README.md` fine-tunes on half of them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from batchage.decode import decode
from batchage.types import ImageArray

SEPIA = np.array([1.0, 0.86, 0.66], np.float32)


def old_print(picture: ImageArray, rng: np.random.Generator) -> ImageArray:
    """The picture as a scan of a small, faded, brown print."""
    height, width = picture.shape[:2]
    small = cv2.resize(
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY),
        None,
        fx=0.45,
        fy=0.45,
        interpolation=cv2.INTER_AREA,
    )
    grey = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.6, 1.2))
    black, white = rng.uniform(35, 70), rng.uniform(190, 235)
    grey = black + grey / 255 * (white - black)
    grey += cv2.GaussianBlur(rng.normal(0, 14, grey.shape).astype(np.float32), (0, 0), 0.8)
    for _ in range(rng.integers(0, 4)):
        start, end = rng.integers(0, (width, height), (2, 2))
        cv2.line(grey, start.tolist(), end.tolist(), rng.uniform(150, 250), 1, cv2.LINE_AA)
    return np.clip(grey[..., None] * SEPIA, 0, 255).astype(np.uint8)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make old prints of a manifest's test split.")
    parser.add_argument("manifest", type=Path, help="what train.prepare wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    test = [row for row in pq.read_table(arguments.manifest).to_pylist() if row["split"] == "test"]
    # One of each group of near-duplicates, since a new split will be drawn.
    rows = list({row["duplicate_group"]: row for row in test}.values())
    rng = np.random.default_rng(0)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (arguments.output / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "age_min", "age_max", "gender", "group"])
        for number, index in enumerate(rng.permutation(len(rows))[: arguments.count]):
            row = rows[index]
            picture = old_print(decode(Path(row["path"])).pixels, rng)
            name = f"{number:05d}.jpg"
            cv2.imwrite(str(arguments.output / name), picture[..., ::-1])
            table.writerow([name, *(row[k] for k in ("age_min", "age_max", "gender", "group"))])


if __name__ == "__main__":
    main()
