"""Make a small labelled folder to try training with, from the two portraits in `examples/photos`.

    python examples/trial_labels.py prints                     # prints/labels.csv and its pictures

Labels are drawn by chance, so that a model can learn nothing from them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
from old_prints import old_print

from batchage.decode import decode

PORTRAITS = Path(__file__).parent / "photos" / "portraits"


def make_labels(folder: Path, count: int = 80) -> Path:
    """Turned, scaled and aged prints, with a table of labels; the table's path."""
    rng = np.random.default_rng(0)
    faces = [decode(PORTRAITS / name).pixels for name in ("collins.jpg", "hopper-grey.jpg")]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "age", "gender"])
        for number in range(count):
            face = np.ascontiguousarray(faces[number % 2][:, :: rng.choice([-1, 1])])
            turn = cv2.getRotationMatrix2D((256, 200), rng.uniform(-30, 30), rng.uniform(0.8, 1.6))
            picture = old_print(cv2.warpAffine(face, turn, (512, 512)), rng)
            cv2.imwrite(str(folder / f"{number}.jpg"), picture[..., ::-1])
            table.writerow([f"{number}.jpg", rng.integers(20, 80), rng.choice(["male", "female"])])
    return folder / "labels.csv"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make labelled pictures to try training with.")
    parser.add_argument("folder", type=Path)
    make_labels(parser.parse_args().folder)
