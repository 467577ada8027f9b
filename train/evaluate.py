"""The exported bundle on the test splits of manifests, by the way of a scan.

    python -m train.evaluate models/vgg16-utkface \
        --manifest runs/utkface.parquet --manifest runs/fairface.parquet

Writes `evaluation.json`, `MODEL_CARD.md` and plots into the bundle, or into another folder; each
source of the manifests is a set of its own. A picture in which the detector finds no face is framed
as a whole, so that none is left out; of several faces the one nearest the middle counts. Pictures
of the first set are also shrunk, blurred and aged, to show what that costs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from rich.console import Console
from tqdm import tqdm

from batchage.align import align, whole_picture
from batchage.config import DEFAULT_DETECTOR, DetectorSettings
from batchage.detect import Detector, create_detector
from batchage.evaluation import (
    QUALITIES,
    Label,
    Metrics,
    Outcome,
    all_metrics,
    central_face,
    group_metrics,
    outcome_of,
    save_plots,
    show,
)
from batchage.networks import Bundle, Compute, choose_compute, load_bundle
from batchage.predict import KIND, Predictor
from batchage.types import Detections, FaceCrop, FaceRecord, ImageArray, Prediction
from batchage.write import face_values
from train import augment
from train.augment import Change as Aging
from train.card import file_name_of, model_card
from train.command import explain_errors
from train.manifest import by_source, read_manifests, read_pixels

BATCH = 32
PLOTS = "plots"
SWEEP_PICTURES = 1000
AGE_EDGES = (3, 10, 18, 20, 30, 40, 50, 60, 70)
"""Ages at which the stated probability of being younger is compared with what is so."""
RULES_AT = (18, 20)
SHRUNK_TO = (100, 60, 40, 25)
BLURRED_BY = (1.0, 2.0, 4.0)

AGED = {
    "in shades of one colour": augment.tone,
    "faded": augment.fade,
    "underexposed": augment.darken,
    "with grain": augment.grain,
    "scratched": augment.scratch,
    "printed in dots": augment.halftone,
    "as a JPEG of low quality": augment.compress,
}

NO_FACE = Detections(
    np.zeros((1, 4), np.float32), np.zeros((1, 5, 2), np.float32), np.zeros(1, np.float32)
)

Change = Callable[[ImageArray], ImageArray]


@dataclass(frozen=True, slots=True, eq=False)
class TestRun:
    """What the bundle said of some pictures.

    Attributes:
        outcome: Labels and predictions.
        undetected: Pictures without a detected face, framed as a whole.
    """

    outcome: Outcome
    undetected: int

    def metrics(self, table: Callable[[Outcome], dict[str, Any]]) -> dict[str, Any]:
        """Metrics, with the pictures without a detected face counted."""
        return {**table(self.outcome), "no_face_detected": self.undetected}


def labels_of(rows: pa.Table) -> list[Label]:
    """The labels of a manifest's rows."""
    names = ("path", "age_min", "age_max", "gender", "group")
    return [Label(Path(row["path"]), *(row[k] for k in names[1:])) for row in rows.to_pylist()]


class Evaluator:
    """Bundles and the default detector, ready for pictures."""

    def __init__(self, bundles: Sequence[Bundle], compute: Compute, tta: bool = False) -> None:
        """Load all networks."""
        self.detector: Detector = create_detector(DEFAULT_DETECTOR, DetectorSettings(), compute)
        self.predictors = [
            Predictor(bundle, compute, BATCH, tta, age_thresholds=AGE_EDGES) for bundle in bundles
        ]

    def run(self, rows: pa.Table, change: Change = lambda image: image) -> list[TestRun]:
        """What each bundle says of the pictures of `rows`, each read and searched once.

        Args:
            rows: Of a manifest.
            change: What is done to each picture first.
        """
        labels = labels_of(rows)
        faces: list[list[dict[str, Any]]] = [[] for _ in self.predictors]
        for start in tqdm(range(0, len(labels), BATCH), unit=" batches", file=sys.stderr):
            images = [change(read_pixels(label.path)) for label in labels[start : start + BATCH]]
            central = self._central_faces(images)
            for own, predictor in zip(faces, self.predictors, strict=True):
                own += self._rows(predictor, images, central)
        return [TestRun(outcome_of(labels, own), _undetected(own)) for own in faces]

    def _central_faces(self, images: list[ImageArray]) -> list[Detections]:
        """The one nearest the middle of each picture, or none."""
        found = self.detector.detect(images)
        return [
            faces.select(np.array([central_face(faces.boxes, *image.shape[1::-1])]))
            if len(faces)
            else faces
            for image, faces in zip(images, found, strict=True)
        ]

    def _rows(
        self, predictor: Predictor, images: list[ImageArray], faces: list[Detections]
    ) -> list[dict[str, Any]]:
        """Rows as of the faces table; without a detected face, the quality columns are missing."""
        crops = [
            align(
                image,
                face.landmarks[0] if len(face) else whole_picture(*image.shape[1::-1]),
                predictor.input_size,
            )
            for image, face in zip(images, faces, strict=True)
        ]
        predictions = predictor.predict([crop.pixels for crop in crops])
        return [self._row(*parts) for parts in zip(faces, crops, predictions, strict=True)]

    @staticmethod
    def _row(face: Detections, crop: FaceCrop, prediction: Prediction) -> dict[str, Any]:
        detected = face if len(face) else NO_FACE
        record = FaceRecord.of(detected, 0, crop, prediction)
        row = face_values(record)
        return row if len(face) else {**row, **dict.fromkeys(QUALITIES)}


def _undetected(faces: list[dict[str, Any]]) -> int:
    return sum(face["detection_score"] is None for face in faces)


def shrink(side: int) -> Change:
    """Pictures whose longer side becomes `side` pixels."""

    def change(image: ImageArray) -> ImageArray:
        scale = side / max(image.shape[:2])
        size = [max(1, round(n * scale)) for n in image.shape[1::-1]]
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    return change


def blur(sigma: float) -> Change:
    """Pictures blurred by a Gaussian of `sigma` pixels."""
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def aged(change: Aging) -> Change:
    """Pictures changed as training crops are, each in its own way, the same at every run."""
    rng = np.random.default_rng(0)
    return lambda image: change(image, rng)


def sweep(evaluator: Evaluator, rows: pa.Table) -> dict[str, Metrics]:
    """Metrics of the first bundle on some pictures as they are, shrunk, blurred and aged.

    Args:
        evaluator: The networks.
        rows: The pictures, of which up to `SWEEP_PICTURES` are taken.
    """
    chosen = np.random.default_rng(0).permutation(rows.num_rows)[:SWEEP_PICTURES]
    rows = rows.take(np.sort(chosen))
    changes: dict[str, Change] = {"as they are": lambda image: image}
    changes |= {f"shrunk to {side} px": shrink(side) for side in SHRUNK_TO}
    changes |= {f"blurred by {sigma:g} px": blur(sigma) for sigma in BLURRED_BY}
    changes |= {name: aged(change) for name, change in AGED.items()}
    return {
        name: evaluator.run(rows, change)[0].metrics(group_metrics)
        for name, change in changes.items()
    }


def evaluate(
    bundle: Bundle,
    manifests: list[Path],
    output: Path,
    compute: Compute,
    tta: bool = False,
    with_sweep: bool = True,
) -> dict[str, Any]:
    """Evaluate on the test split of every manifest.

    Args:
        bundle: The bundle.
        manifests: Files that `train.prepare` wrote; each of their sources is a set of its own.
        output: Folder for `evaluation.json`, `MODEL_CARD.md` and `plots/`.
        compute: Where both networks run, and in which arithmetic.
        tta: Whether mirror images are averaged.
        with_sweep: Whether pictures of the first set are degraded as well.

    Returns:
        What `evaluation.json` holds.
    """
    output.mkdir(parents=True, exist_ok=True)
    evaluator = Evaluator([bundle], compute, tta)
    coverage = evaluator.predictors[0].calibration.coverage
    results: dict[str, Any] = {
        "model_id": bundle.model_id,
        "precision": compute.precision,
        "detect_precision": compute.detect_precision,
        "tta": tta,
        "sets": {},
    }
    plots: list[Path] = []
    sets = by_source(read_manifests(manifests, "test"))
    for name, rows in sets.items():
        (run,) = evaluator.run(rows)
        metrics = results["sets"][name] = run.metrics(partial(all_metrics, rules_at=RULES_AT))
        prefix = f"{file_name_of(name)}-"
        plots += save_plots(run.outcome, metrics, output / PLOTS, prefix, coverage)
    if with_sweep:
        results["sweep"] = sweep(evaluator, next(iter(sets.values())))
    text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    (output / "evaluation.json").write_text(text, encoding="utf-8")
    card = model_card(bundle, results, [plot.name for plot in plots])
    (output / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return results


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Evaluate a bundle on test splits.")
    parser.add_argument("bundle", help="a bundle's folder, or the name of a shipped one")
    parser.add_argument("--manifest", type=Path, action="append", required=True)
    parser.add_argument("--tta", action="store_true", help="average with mirror images")
    parser.add_argument("--precision", default="float32", help="as of batchage scan")
    parser.add_argument("--detect-precision", default="auto", help="as of batchage scan")
    parser.add_argument("--no-sweep", action="store_true", help="leave out what harms pictures")
    parser.add_argument("-o", "--output", type=Path, help="folder (default: the bundle's own)")
    arguments = parser.parse_args()
    with explain_errors("evaluate", "its output is incomplete; run it again"):
        bundle = load_bundle(arguments.bundle, KIND)
        results = evaluate(
            bundle,
            arguments.manifest,
            arguments.output or bundle.path,
            choose_compute("auto", arguments.precision, arguments.detect_precision),
            arguments.tta,
            not arguments.no_sweep,
        )
        console = Console()
        for name, metrics in results["sets"].items():
            print(f"\n{name}: {metrics['no_face_detected']} pictures without a detected face")
            show(console, metrics)


if __name__ == "__main__":
    main()
