"""The exported bundle on a manifest's test split, by the way of a scan: detect, align, predict.

    python -m train.evaluate models/vgg16-utkface --manifest runs/utkface.parquet

Writes `evaluation.json`, `MODEL_CARD.md` and plots into the bundle. A picture in which the
detector finds no face is framed as a whole, so that none is left out; of several faces the one
nearest the middle counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from batchage.align import align, whole_picture
from batchage.bundle import Bundle, load_bundle
from batchage.config import DEFAULT_DETECTOR, DetectorSettings
from batchage.decode import decode
from batchage.detect import Detector, create_detector
from batchage.errors import BatchageError
from batchage.predict.hardware import choose_compute
from batchage.predict.network import KIND
from batchage.predict.predictor import Predictor
from batchage.types import Prediction
from train.data import read_manifests
from train.prepare import central_face

BATCH = 32
FloatVector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Labels and predictions of n faces, `(n,)` each; ages in years."""

    age_min: FloatVector
    age_max: FloatVector
    age: FloatVector
    low: FloatVector
    high: FloatVector
    female: NDArray[np.bool_]
    prob_female: FloatVector
    race: NDArray[np.object_]
    undetected: int

    @property
    def error(self) -> FloatVector:
        """Absolute error in years; for a range, the distance to it."""
        return np.maximum(np.maximum(self.age_min - self.age, self.age - self.age_max), 0)

    @property
    def gender_right(self) -> NDArray[np.bool_]:
        """Whether the more probable gender is the label."""
        return (self.prob_female >= 0.5) == self.female

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Whether the age lies in the stated interval."""
        return (self.low <= self.age_max) & (self.age_min <= self.high)


def run_test_split(bundle: Bundle, rows: pa.Table) -> Outcome:
    """Detect, align and predict the pictures of `rows`."""
    detector = create_detector(DEFAULT_DETECTOR, DetectorSettings())
    predictor = Predictor(bundle, choose_compute(), BATCH)
    paths = [Path(p) for p in rows["path"].to_pylist()]
    predictions: list[Prediction] = []
    undetected = 0
    for start in tqdm(range(0, len(paths), BATCH), unit=" batches", file=sys.stderr):
        crops, missed = _crops(paths[start : start + BATCH], detector, predictor.input_size)
        undetected += missed
        predictions += predictor.predict(crops)
    columns = [[p.age_years, p.age_low, p.age_high, p.prob_female] for p in predictions]
    age, low, high, prob_female = np.array(columns).T
    return Outcome(
        np.asarray(rows["age_min"], float),
        np.asarray(rows["age_max"], float),
        age,
        low,
        high,
        np.array(rows["gender"].to_pylist(), object) == "female",
        prob_female,
        np.array(rows["race"].to_pylist(), object),
        undetected,
    )


def _crops(paths: list[Path], detector: Detector, size: int) -> tuple[list[Any], int]:
    images = [decode(path).pixels for path in paths]
    crops, missed = [], 0
    for image, found in zip(images, detector.detect(images), strict=True):
        if len(found):
            points = found.landmarks[central_face(found, image)]
        else:
            points = whole_picture(image.shape[1], image.shape[0])
            missed += 1
        crops.append(align(image, points, size).pixels)
    return crops, missed


def calibration_error(probability: FloatVector, truth: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error (Naeini et al., 2015) of the more probable class."""
    confidence = np.maximum(probability, 1 - probability)
    right = (probability >= 0.5) == truth
    index = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[index == b].mean() - right[index == b].mean()) * (index == b).mean()
        for b in range(bins)
        if (index == b).any()
    ]
    return float(sum(gaps))


def group_metrics(outcome: Outcome, mask: NDArray[np.bool_]) -> dict[str, float]:
    """Metrics of the faces in `mask`."""
    return {
        "faces": int(mask.sum()),
        "age_mae": round(float(outcome.error[mask].mean()), 3),
        "gender_accuracy": round(float(outcome.gender_right[mask].mean()), 4),
        "interval_coverage": round(float(outcome.covered[mask].mean()), 4),
    }


def metrics(outcome: Outcome) -> dict[str, Any]:
    """All metrics of a test split, JSON-ready; ages in years, shares 0…1."""
    everyone = np.ones(len(outcome.age), bool)
    masks = {
        "ages 5 and over": outcome.age_min >= 5,
        "ages 21 to 60": (outcome.age_min >= 21) & (outcome.age_max <= 60),
    }
    decades = {
        f"{d}–{d + 9}": (outcome.age_min >= d) & (outcome.age_min < d + 10)
        for d in range(0, 120, 10)
    }
    groups = {
        f"{race}, {'female' if female else 'male'}": (outcome.race == race)
        & (outcome.female == female)
        for race in sorted({r for r in outcome.race if r})
        for female in (False, True)
    }

    def table(named: dict[str, NDArray[np.bool_]]) -> dict[str, dict[str, float]]:
        return {name: group_metrics(outcome, mask) for name, mask in named.items() if mask.any()}

    return {
        **group_metrics(outcome, everyone),
        "age_within_5_years": round(float((outcome.error <= 5).mean()), 4),
        "age_bias": round(float((outcome.age - outcome.age_min).mean()), 3),
        "interval_mean_width": round(float((outcome.high - outcome.low).mean()), 2),
        "gender_calibration_error": round(
            calibration_error(outcome.prob_female, outcome.female), 4
        ),
        "no_face_detected": outcome.undetected,
        "subsets": table(masks),
        "decades": table(decades),
        "groups": table(groups),
    }


def plot(outcome: Outcome, folder: Path) -> None:
    """Predicted against true age, and error by decade, as PNG files in `folder`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 6), layout="constrained")
    axes.scatter(outcome.age_min, outcome.age, s=5, alpha=0.3, color="#0072B2", linewidths=0)
    axes.plot([0, 100], [0, 100], color="#D55E00", linewidth=1)
    axes.set(xlabel="labelled age (years)", ylabel="predicted age (years)", title="Test split")
    figure.savefig(folder / "age_scatter.png", dpi=100)
    plt.close(figure)
    decades = metrics(outcome)["decades"]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.bar(list(decades), [d["age_mae"] for d in decades.values()], color="#0072B2")
    for i, d in enumerate(decades.values()):
        axes.text(i, d["age_mae"], f"{d['faces']}", ha="center", va="bottom", fontsize=8)
    axes.set(
        xlabel="labelled age (years); number of faces on top", ylabel="mean absolute error (years)"
    )
    figure.savefig(folder / "age_error_by_decade.png", dpi=100)
    plt.close(figure)


def _rows(table: dict[str, dict[str, float]]) -> str:
    head = "| | faces | age MAE, years | gender | interval coverage |\n|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {name} | {m['faces']:,} | {m['age_mae']:.2f} | {m['gender_accuracy']:.1%} "
        f"| {m['interval_coverage']:.1%} |"
        for name, m in table.items()
    )


def model_card(bundle: Bundle, result: dict[str, Any]) -> str:
    """The model card in Markdown, generated from the evaluation."""
    spec = bundle.spec
    side, coverage = spec["input_size"], spec["calibration"]["coverage"]
    everyone = {
        "all": {k: result[k] for k in ("faces", "age_mae", "gender_accuracy", "interval_coverage")}
    }
    return f"""# {bundle.name}

{spec["description"]}. Input {side}×{side} px, aligned by five landmarks.
Weights SHA-256 `{bundle.sha256}`. Terms: see NOTICE.

## Test split

Through detection, alignment and this bundle; {result["no_face_detected"]} pictures without a
detected face are framed as a whole and counted. Near-duplicates never cross the split.

{_rows({**everyone, **result["subsets"]})}

Within 5 years: {result["age_within_5_years"]:.1%}. Mean bias {result["age_bias"]:+.2f} years.
Mean width of the {coverage:.0%} interval: {result["interval_mean_width"]:.1f} years.
Expected calibration error of the gender probability: {result["gender_calibration_error"]:.3f}.

![predicted against labelled age](age_scatter.png)
![error by decade](age_error_by_decade.png)

### By labelled age

{_rows(result["decades"])}

### By the data set's race and gender labels

{_rows(result["groups"])}

## What it means, and what it can't mean

`gender` is what UTKFace's labels call it: an annotator's reading of a face as male or female. It
says nothing of a person's identity. Ages are apparent ages: most labels were themselves estimated.
On photos unlike UTKFace (small, blurred, turned away, old prints) errors are larger than above.
Don't use it to decide anything about a person: not for access, age checks, hiring, policing or
identification. It is made for statistics over collections.
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Evaluate a bundle on the test split.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--manifest", type=Path, action="append", required=True)
    arguments = parser.parse_args()
    try:
        bundle = load_bundle(arguments.bundle.resolve(), KIND)
        outcome = run_test_split(bundle, read_manifests(arguments.manifest, "test"))
    except BatchageError as error:
        sys.exit(f"evaluate: {error}")
    result = metrics(outcome)
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    (bundle.path / "evaluation.json").write_text(text, encoding="utf-8")
    plot(outcome, bundle.path)
    (bundle.path / "MODEL_CARD.md").write_text(model_card(bundle, result), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
