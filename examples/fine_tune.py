"""Fine-tune the shipped model on labelled photos by the steps of `train/README.md`.

    python examples/fine_tune.py                               # made-up data, half a minute
    python examples/fine_tune.py --labels labels.csv --recipe train/recipes/finetune.toml

Needs `pip install -e '.[train]'`. Without `--labels` it makes old prints of the example portraits
and labels them by chance: that teaches the model nothing, but shows every step.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from old_prints import old_print

from batchage.decode import decode

ROOT = Path(__file__).resolve().parent.parent
PORTRAITS = ("collins.jpg", "hopper-grey.jpg")


def made_up_labels(folder: Path, count: int = 30) -> Path:
    """Turned and scaled prints of two portraits, with labels drawn by chance."""
    rng = np.random.default_rng(0)
    faces = [decode(ROOT / "examples" / "photos" / "portraits" / name).pixels for name in PORTRAITS]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "age", "gender"])
        for number in range(count):
            picture = np.ascontiguousarray(faces[number % 2][:, :: rng.choice([-1, 1])])
            turn = cv2.getRotationMatrix2D((256, 200), rng.uniform(-30, 30), rng.uniform(0.8, 1.6))
            print_ = old_print(cv2.warpAffine(picture, turn, (512, 512)), rng)
            cv2.imwrite(str(folder / f"{number}.jpg"), print_[..., ::-1])
            table.writerow([f"{number}.jpg", rng.integers(20, 80), rng.choice(["male", "female"])])
    return folder / "labels.csv"


def run(module: str, *arguments: str | Path) -> None:
    """Run one of the training commands."""
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=ROOT, check=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Fine-tune the shipped model.")
    parser.add_argument("--labels", type=Path, help="CSV file with path, age and gender")
    parser.add_argument("--recipe", type=Path, default=ROOT / "examples" / "fine_tune.toml")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/trial"), help="folder")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    labels = arguments.labels or made_up_labels(output / "prints")
    manifest, bundle = output / "manifest.parquet", output / "bundle"
    run("train.prepare", "--csv", labels.absolute(), "--shares", "0.6", "0.4", "0", "-o", manifest)
    start = ("--manifest", manifest, "--weights", "vgg16-utkface")
    run("train.fit", arguments.recipe.absolute(), *start, "-o", output / "run")
    run("train.export", output / "run", "--manifest", manifest, "-o", bundle)
    print(f"now: batchage scan photos --model {bundle}")


if __name__ == "__main__":
    main()
