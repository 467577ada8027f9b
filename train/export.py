"""A finished run → a bundle: float16 weights, calibration fitted on the validation split.

python -m train.export runs/utkface --manifest runs/utkface.parquet -o models/vgg16-utkface
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from bisect import bisect_left
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from batchage.align import CHIP_SIDE, TEMPLATE
from batchage.config import DEFAULT_BATCH_SIZE
from batchage.errors import UsageError
from batchage.networks import (
    RANGES,
    Bundle,
    assign_weights,
    choose_compute,
    network_weights,
    save_bundle,
)
from batchage.predict import (
    COVERAGE,
    KIND,
    Calibration,
    Predictor,
    RawOutputs,
    build_graph,
    build_network,
    calibrated_interval,
    interval_reach,
    scale_probability,
)
from train.command import explain_errors
from train.data import Faces, some_crops
from train.manifest import read_manifests
from train.quantize import NOT_IN_8_BITS, measure_ranges
from train.run import Run

FACES_PER_SCALE = 60
SCALE_STEPS = 128
"""Steps in which a scale gets smaller, down from what each year by itself would need."""
TINY = 1e-12


def fit_age_scales(
    raw: RawOutputs, ages: NDArray[np.float32]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Edges in age, and the scales of the interval's reach that give `COVERAGE`.

    Split-conformal prediction (Romano, Patterson, Candès, 2019) with normalised scores, apart for
    each stretch of the labelled age (Vovk, 2012), so that no age pays for another's errors. The
    stretches are cut from the oldest down: old faces are rare, and shall not share one with many
    younger ones.

    Args:
        raw: Outputs for the n validation faces.
        ages: `(n,)` true ages in years.
    """
    reach = interval_reach(raw, COVERAGE)
    score = np.maximum((raw.age - ages) / reach[:, 0], (ages - raw.age) / reach[:, 1])
    edges: list[float] = []
    count = 0
    for age, faces in reversed(list(zip(*np.unique(ages, return_counts=True), strict=True))):
        count += int(faces)
        if count >= FACES_PER_SCALE:
            edges.insert(0, float(age))
            count = 0
    # Those below the lowest edge, where they are too few, join the ones above it.
    if edges and count < FACES_PER_SCALE:
        edges.pop(0)
    stretches = np.searchsorted(edges, ages, side="right")
    scales = [conformal_quantile(score[stretches == b]) for b in range(len(edges) + 1)]
    tightened = _tighten(raw, ages, tuple(edges), scales)
    # Rounded up, since the face that decides lies on the edge.
    return tuple(edges), tuple(math.ceil(s * 1e4) / 1e4 for s in tightened)


def _tighten(
    raw: RawOutputs, ages: NDArray[np.float32], edges: tuple[float, ...], scales: list[float]
) -> tuple[float, ...]:
    """Scales that are as small as `COVERAGE` of each stretch of ages allows.

    An interval goes from the first year that is let in to the last, so that years between them get
    in that their own scale leaves out. Taking the stretches in turn, each scale is made as small as
    still covers as many of its faces as conformal prediction asks for, until none gets smaller.
    """
    stretches = np.searchsorted(edges, ages, side="right")
    steps, before = [SCALE_STEPS] * len(scales), [0]

    def scales_with(stretch: int, step: int) -> tuple[float, ...]:
        chosen = [*steps[:stretch], step, *steps[stretch + 1 :]]
        return tuple(s * k / SCALE_STEPS for s, k in zip(scales, chosen, strict=True))

    def covers(stretch: int, step: int) -> bool:
        own = stretches == stretch
        faces = RawOutputs(raw.age[own], raw.distribution[own], raw.gender[own])
        calibration = Calibration(COVERAGE, edges, scales_with(stretch, step))
        low, high = calibrated_interval(faces, calibration).T
        inside = (low <= ages[own]) & (ages[own] <= high)
        return int(inside.sum()) >= conformal_rank(len(inside))

    while before != steps:
        before = list(steps)
        for stretch, largest in enumerate(before):
            fewer = range(1, largest)
            steps[stretch] = 1 + bisect_left(fewer, True, key=partial(covers, stretch))
    return scales_with(0, steps[0])


def conformal_rank(n: int) -> int:
    """How many of n faces an interval must cover, so that a new one is with chance `COVERAGE`.

    Raises:
        UsageError: There are too few for that.
    """
    rank = math.ceil((n + 1) * COVERAGE)
    if rank > n:
        raise UsageError(
            f"the validation split has {n} pictures with an exact age, too few to state "
            f"an interval of {COVERAGE:.0%}; prepare with a larger share"
        )
    return rank


def conformal_quantile(scores: NDArray[np.float32]) -> float:
    """The score that a new face's exceeds with a chance of 1 - `COVERAGE` at most."""
    return float(np.sort(scores)[conformal_rank(len(scores)) - 1])


def fit_temperature(probability: NDArray[np.float32], female: NDArray[np.bool_]) -> float:
    """The temperature with the smallest log loss (Guo et al., 2017).

    It is 1 where nothing can be fitted: no face is wrong, or all have one gender.
    """
    wrong = (probability >= 0.5) != female
    if not wrong.any() or female.all() or not female.any():
        return 1.0

    def log_loss(log_temperature: float) -> float:
        p = scale_probability(probability, float(np.exp(log_temperature)))
        return float(-np.mean(np.log(np.maximum(np.where(female, p, 1 - p), TINY))))

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
    known = np.array([gender is not None for gender in genders])
    if not exact.any() or not known.any():
        raise UsageError("the validation split needs pictures with an exact age and a gender")
    chosen = RawOutputs(raw.age[exact], raw.distribution[exact], raw.gender[exact])
    edges, scales = fit_age_scales(chosen, low[exact])
    temperature = fit_temperature(raw.gender[known], genders[known] == "female")
    return Calibration(COVERAGE, edges, scales, round(temperature, 4))


def export(run_folder: Path, manifests: list[Path], output: Path) -> Bundle:
    """Write the bundle of a run's best weights.

    Raises:
        UsageError: The run has no weights yet, or the manifests can't be used.
    """
    run = Run(run_folder)
    recipe, best = run.recipe, run.at.get("best")
    if best is None:
        raise UsageError(f"{run.best}: no trained weights; run train.fit first")
    rows = read_manifests(manifests, "validation")
    network = build_network(recipe.architecture)
    assign_weights(network, run.best)
    spec = {
        "description": "Age and gender of an aligned face; VGG16 trunk, two heads",
        "input_size": recipe.phases[best["phase"]].size,
        "input": "RGB uint8, 0 to 255; the network subtracts the ImageNet means",
        "architecture": recipe.architecture.to_dict(),
        "template": {"chip_side": CHIP_SIDE, "landmarks": TEMPLATE.tolist()},
        "outputs": {"age": "years", "gender": "probability of female"},
        "training": {
            "recipe": recipe.name,
            "validation_age_error": round(best["val_age_error"], 4),
            "hours": round(run.at["seconds"] / 3600, 3),
        },
    }
    weights = network_weights(network, "float16")
    with tempfile.TemporaryDirectory() as folder:
        # Calibrated on the bundle as it will be: with float16 weights.
        plain = {**spec, "calibration": asdict(Calibration())}
        bundle = save_bundle(Path(folder) / output.name, KIND, weights, plain)
        compute = choose_compute(precision="float32")
        fitted = calibration_of(Predictor(bundle, compute, DEFAULT_BATCH_SIZE), rows)
        size = spec["input_size"]
        ranges = run.ranges or measure_ranges(
            bundle.weights,
            partial(build_graph, architecture=recipe.architecture, size=size),
            some_crops(rows, size),
            NOT_IN_8_BITS,
        )
    return save_bundle(
        output, KIND, weights, {**spec, "calibration": asdict(fitted), RANGES: ranges}
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make a bundle of a finished run.")
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--manifest", type=Path, action="append", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the bundle's folder")
    arguments = parser.parse_args()
    with explain_errors("export"):
        bundle = export(arguments.run, arguments.manifest, arguments.output)
        megabytes = sum(f.stat().st_size for f in bundle.path.iterdir() if f.is_file()) / 1e6
        print(f"{bundle.model_id}: {megabytes:.1f} MB, calibration {bundle.spec['calibration']}")


if __name__ == "__main__":
    main()
