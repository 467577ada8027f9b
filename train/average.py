"""A run whose weights are the average of another run's and of what that started from.

    python -m train.average runs/mine models/vgg16-utkface --share 0.6 -o runs/averaged

Weights between those before and after fine-tuning often do better on both the old and the new
pictures than either (Wortsman et al., Robust fine-tuning of zero-shot models, 2022). Choose the
share on the validation split; `train.export` makes a bundle of the result.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from batchage.errors import UsageError
from batchage.networks import load_bundle, read_weights, write_weights
from batchage.predict import KIND
from train.command import explain_errors
from train.run import Run


def average(run_folder: Path, start: str, share: float, output: Path) -> Run:
    """Write the run of averaged weights.

    Args:
        run_folder: The run that was trained.
        start: The bundle that it started from: its folder, or a shipped one's name.
        share: Of the run's weights; the rest is the bundle's.
        output: The new run's folder.

    Raises:
        UsageError: The share can't be, the run has no weights, or the folder holds a run.
        BundleError: The bundle is damaged, or its weights are of another network.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"--share {share:g}: give 0 to 1")
    run = Run(run_folder)
    best = run.at.get("best")
    if best is None:
        raise UsageError(f"{run.best}: no trained weights; run train.fit first")
    new = Run(output)
    if new.at.get("best") is not None:
        raise UsageError(f"{output}: holds a run; choose another folder")
    trained, before = read_weights(run.best), read_weights(load_bundle(start, KIND).weights)
    if {k: v.shape for k, v in trained.items()} != {k: v.shape for k, v in before.items()}:
        raise UsageError(f"{start}: is of another network than {run_folder}")
    mixed = {name: share * trained[name] + (1 - share) * before[name] for name in trained}
    write_weights(new.best, mixed)
    recipe = {**run.recipe.to_dict(), "name": f"{run.recipe.name}, averaged"}
    seconds = run.at["seconds"]
    new.move_to(recipe=recipe, phase=len(recipe["phases"]), seconds=seconds, best=best)
    return new


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Average a run's weights with its start's.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("start", help="the bundle it started from: a folder, or a shipped name")
    parser.add_argument("--share", type=float, default=0.5, help="of the run (default: 0.5)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the new run's folder")
    arguments = parser.parse_args()
    with explain_errors("average"):
        run = average(arguments.run, arguments.start, arguments.share, arguments.output)
        print(f"averaged weights in {run.best}")


if __name__ == "__main__":
    main()
