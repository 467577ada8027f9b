"""A finished run → a bundle: float16 weights, calibration fitted on the validation split.

python -m train.export runs/utkface --manifest runs/utkface.parquet -o models/vgg16-utkface
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
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
    KIND,
    Calibration,
    Predictor,
    RawOutputs,
    build_graph,
    build_network,
    calibrated_interval,
    fit_calibration,
)
from train.card import held_without
from train.command import explain_errors
from train.data import Faces, some_crops
from train.manifest import read_manifests, rows_of
from train.quantize import NOT_IN_8_BITS, measure_ranges
from train.run import Run


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


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Raw outputs for a manifest's rows, and the rows."""

    rows: pa.Table
    raw: RawOutputs

    def column(self, name: str) -> NDArray[Any]:
        """A column `(n,)` of the rows."""
        return np.array(self.rows[name].to_pylist())

    @property
    def is_exact(self) -> NDArray[np.bool_]:
        """Whether each age is exact, `(n,)`."""
        return np.asarray(self.column("age_min") == self.column("age_max"))

    def calibration(self, without: str | None = None) -> Calibration:
        """Fitted on the rows, but for those of one source.

        Raises:
            UsageError: There are too few.
        """
        kept = self.column("source") != without
        return fit_calibration(
            self.raw.select(kept),
            self.column("age_min")[kept],
            self.column("age_max")[kept],
            np.array(self.rows["gender"].to_pylist(), object)[kept],
            self.column("source")[kept],
        )


def coverage_without(validation: Labelled, test: Labelled) -> dict[str, dict[str, float | int]]:
    """What intervals hold of each source's test faces when it was left out of the calibration.

    It is what to expect of photos from elsewhere, as far as training didn't see that source.
    """
    exact_sources = set(validation.column("source")[validation.is_exact])
    found: dict[str, dict[str, float | int]] = {}
    for source in sorted(exact_sources) if len(exact_sources) > 1 else ():
        own = test.is_exact & (test.column("source") == source)
        if own.any():
            ages = test.column("age_min")[own]
            calibration = validation.calibration(without=source)
            low, high = calibrated_interval(test.raw.select(own), calibration).T
            found[source] = {
                "faces": int(own.sum()),
                "interval_coverage": round(float(((low <= ages) & (ages <= high)).mean()), 4),
                "interval_width": round(float((high - low).mean()), 2),
            }
    return found


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
    spec: dict[str, Any] = {
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
        predictor = Predictor(bundle, compute, DEFAULT_BATCH_SIZE)
        validation = Labelled(rows, predict_rows(predictor, rows))
        fitted = validation.calibration()
        if (tested := rows_of(manifests, "test")).num_rows:
            test = Labelled(tested, predict_rows(predictor, tested))
            spec["training"]["coverage_when_left_out"] = coverage_without(validation, test)
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


def said_of(bundle: Bundle) -> list[str]:
    """What to know of a bundle's calibration, in sentences."""
    calibration = Calibration.from_spec(bundle.spec["calibration"])
    level = f"{calibration.coverage:.0%}"
    scales, temperatures = calibration.age_scales, calibration.gender_temperatures
    said = [
        f"The age interval states {level}; it is {min(scales):.2f} to {max(scales):.2f} times as "
        "wide as the network's own, by age.",
        f"The gender's logit is divided by {min(temperatures):.2f} to {max(temperatures):.2f}, by "
        "age.",
    ]
    said += held_without(bundle.spec["training"].get("coverage_when_left_out", {}))
    return said


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
        print(f"{bundle.model_id}: {megabytes:.1f} MB in {bundle.path}")
        for sentence in said_of(bundle):
            print(sentence)


if __name__ == "__main__":
    main()
