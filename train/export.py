r"""A finished run → a bundle: float16 weights, calibration fitted on the validation split.

python -m train.export runs/utkface --recipe train/recipes/utkface.toml \
    --manifest runs/utkface.parquet -o models/vgg16-utkface
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from batchage.align import CHIP_SIDE, TEMPLATE
from batchage.bundle import Bundle, assign_weights, network_weights, save_bundle
from batchage.errors import BatchageError, UsageError
from batchage.predict.hardware import choose_compute
from batchage.predict.network import KIND, build_network
from batchage.predict.predictor import (
    COVERAGE,
    Calibration,
    Predictor,
    RawOutputs,
    interval_reach,
    scale_probability,
)
from train.data import Faces, read_manifests
from train.fit import Run, read_recipe

FACES_PER_SCALE = 120


def fit_age_scales(
    raw: RawOutputs, ages: NDArray[np.float32]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Edges in predicted age, and the scales of the interval's reach that give `COVERAGE`.

    Split-conformal prediction (Romano, Patterson, Candès, 2019) with normalised scores, apart for
    each stretch of the predicted age (Mondrian: Vovk, 2012), so that no age pays for another's.

    Args:
        raw: Outputs for the n validation faces.
        ages: `(n,)` true ages in years.
    """
    reach = interval_reach(raw, COVERAGE)
    score = np.maximum((raw.age - ages) / reach[:, 0], (ages - raw.age) / reach[:, 1])
    bins = max(1, len(ages) // FACES_PER_SCALE)
    edges = np.quantile(raw.age, np.arange(1, bins) / bins)
    index = np.searchsorted(edges, raw.age, side="right")
    scales = [conformal_quantile(score[index == b]) for b in range(bins)]
    return tuple(round(float(e), 3) for e in edges), tuple(round(s, 4) for s in scales)


def conformal_quantile(scores: NDArray[np.float32]) -> float:
    """The score that a new face's exceeds with a chance of 1 - `COVERAGE` at most."""
    level = min(1.0, np.ceil((len(scores) + 1) * COVERAGE) / len(scores))
    return float(np.quantile(scores, level, method="higher"))


def fit_temperature(probability: NDArray[np.float32], female: NDArray[np.bool_]) -> float:
    """The temperature with the smallest log loss (Guo et al., 2017)."""

    def log_loss(log_temperature: float) -> float:
        p = scale_probability(probability, float(np.exp(log_temperature)))
        return float(-np.mean(np.log(np.where(female, p, 1 - p))))

    return float(np.exp(minimize_scalar(log_loss, bounds=(-2, 2), method="bounded").x))


def predict_rows(predictor: Predictor, rows: pa.Table) -> RawOutputs:
    """Raw outputs for a manifest's rows, cropped at the manifest's landmarks."""
    data = Faces(rows, predictor.input_size, predictor.batch_size)
    parts = [
        predictor.predict_raw(data[i][0].astype(np.uint8))
        for i in tqdm(range(len(data)), unit=" batches", file=sys.stderr)
    ]
    return RawOutputs(
        np.concatenate([p.age for p in parts]),
        np.concatenate([p.distribution for p in parts]),
        np.concatenate([p.gender for p in parts]),
    )


def calibration_of(predictor: Predictor, rows: pa.Table) -> Calibration:
    """Calibration fitted on a manifest's rows; those without exact age or gender are left out."""
    raw = predict_rows(predictor, rows)
    low, high = (np.asarray(rows[name], np.float32) for name in ("age_min", "age_max"))
    exact = low == high
    genders = np.array(rows["gender"].to_pylist(), object)
    known = genders != None  # noqa: E711
    if not exact.any() or not known.any():
        raise UsageError("the validation split needs pictures with an exact age and a gender")
    chosen = RawOutputs(raw.age[exact], raw.distribution[exact], raw.gender[exact])
    edges, scales = fit_age_scales(chosen, low[exact])
    temperature = fit_temperature(raw.gender[known], genders[known] == "female")
    return Calibration(COVERAGE, edges, scales, round(temperature, 4))


def export(run_folder: Path, recipe_path: Path, manifests: list[Path], output: Path) -> Bundle:
    """Write the bundle of a run's best weights."""
    recipe, run = read_recipe(recipe_path), Run(run_folder)
    if not run.best.exists():
        raise UsageError(f"{run.best}: no trained weights; run train.fit first")
    network = build_network(recipe.architecture)
    assign_weights(network, run.best)
    best = run.at["best"]
    spec = {
        "description": "Age and gender of an aligned face; VGG16 trunk, two heads",
        "input_size": recipe.phases[best["phase"]].size,
        "input": "RGB uint8, 0 to 255; the network subtracts the ImageNet means",
        "architecture": recipe.architecture.to_dict(),
        "template": {"chip_side": CHIP_SIDE, "landmarks": TEMPLATE.tolist()},
        "outputs": {"age": "years", "gender": "probability of female"},
        "training": {
            "recipe": recipe_path.name,
            "validation_age_mae": round(best["val_age_mae"], 4),
            "hours": round(run.at["seconds"] / 3600, 3),
        },
    }
    weights = network_weights(network, "float16")
    plain = {**spec, "calibration": asdict(Calibration(COVERAGE))}
    bundle = save_bundle(output, KIND, weights, plain)
    rows = read_manifests(manifests, "validation")
    fitted = calibration_of(Predictor(bundle, choose_compute()), rows)
    return save_bundle(output, KIND, weights, {**spec, "calibration": asdict(fitted)})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make a bundle of a finished run.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, action="append", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the bundle's folder")
    arguments = parser.parse_args()
    try:
        bundle = export(arguments.run, arguments.recipe, arguments.manifest, arguments.output)
    except BatchageError as error:
        sys.exit(f"export: {error}")
    megabytes = sum(f.stat().st_size for f in bundle.path.iterdir()) / 1e6
    print(f"{bundle.model_id}: {megabytes:.1f} MB, calibration {bundle.spec['calibration']}")


if __name__ == "__main__":
    main()
