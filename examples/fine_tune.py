"""Fine-tune the shipped model on labelled photos by the steps of `train/README.md`.

    python examples/fine_tune.py                               # made-up data, half a minute
    python examples/fine_tune.py --labels labels.csv --recipe train/recipes/finetune.toml -o mine

Needs `pip install -e '.[train]'`. Without `--labels` it takes those of `examples/trial_labels.py`,
which teach the model nothing, but show every step.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from trial_labels import make_labels

ROOT = Path(__file__).resolve().parent.parent


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
    output, recipe = arguments.output.absolute(), arguments.recipe.absolute()
    labels = (arguments.labels or make_labels(output / "prints")).absolute()
    manifest, bundle = output / "manifest.parquet", output / "bundle"
    given = ("--manifest", manifest)
    run("train.prepare", "--csv", labels, "--shares", "0.5", "0.5", "0", "-o", manifest)
    run("train.fit", recipe, *given, "--weights", "vgg16-utkface", "-o", output / "run")
    run("train.export", output / "run", *given, "-o", bundle)
    print(f"now: batchage scan photos --model {bundle}")


if __name__ == "__main__":
    main()
