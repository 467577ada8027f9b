"""A bundle's calibration fitted to a user's own labelled photos, without training."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from batchage.align import align
from batchage.config import ScanConfig
from batchage.decode import N_DECODERS, DecodePool
from batchage.detect import create_detector
from batchage.errors import DecodeError, OutputError, UsageError
from batchage.evaluation import Z95, Label, calibration_error, central_face, read_csv
from batchage.networks import Bundle, choose_compute, derive_bundle, load_bundle
from batchage.places import on_this_machine
from batchage.predict import (
    KIND,
    Calibration,
    Predictor,
    RawOutputs,
    calibrated_interval,
    fit_age_line,
    fit_scale_factor,
    fit_temperature_factor,
    stated_gender,
)
from batchage.types import ImageArray

LEAST_FACES = 50
FOLDS = 5
REPORT_FILE = "calibration.json"
BATCH = 4 * N_DECODERS
"""Photos that are decoded before their faces are looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFaces:
    """The faces that labels speak of.

    Attributes:
        raw: What the network says of n faces.
        ages: `(n,)` in years; NaN where no exact age is known.
        genders: `(n,)`: `male`, `female` or None.
    """

    raw: RawOutputs
    ages: NDArray[np.float64]
    genders: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.ages)

    def select(self, mask: NDArray[np.bool_]) -> LabelledFaces:
        """Some of them, `(n,)`."""
        return LabelledFaces(self.raw.select(mask), self.ages[mask], self.genders[mask])


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a calibration does; None where no label tells.

    Attributes:
        age_mae: Mean absolute error of ages, in years.
        age_bias: Mean error, in years.
        interval_coverage: Share of ages inside their interval.
        interval_width: In years.
        gender_calibration_error: Expected calibration error of the gender's probability.
    """

    age_mae: float | None
    age_bias: float | None
    interval_coverage: float | None
    interval_width: float | None
    gender_calibration_error: float | None


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What fitting a bundle to labelled photos gave.

    Attributes:
        bundle: The new bundle.
        n_faces: Labelled faces that it was fitted on.
        n_exact: Of them, faces with an exact age.
        n_genders: Of them, faces with a gender.
        without_face: Labels whose photo can't be read or shows no face.
        fits_ages: Whether ages are moved too, since that helps.
        before: Of the bundle that it came from.
        after: Of the new one, each face judged by a calibration that was fitted without it.
        mae_gain: Years by which the age error falls, and half its 95 % interval.
    """

    bundle: Bundle
    n_faces: int
    n_exact: int
    n_genders: int
    without_face: list[str]
    fits_ages: bool
    before: Figures
    after: Figures
    mae_gain: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "bundle"}
        nested = {name: asdict(values[name]) for name in ("before", "after")}
        return {"model_id": self.bundle.model_id, **values, **nested}


def calibrate(
    photos: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    output: str | os.PathLike[str],
    model: str = ScanConfig().model,
    quiet: bool = True,
) -> Recalibration:
    """Fit a bundle's intervals, probabilities and, where it helps, ages to labelled photos.

        import batchage

        batchage.calibrate("photos", "labels.csv", "models/mine")
        batchage.scan("photos", model="models/mine")

    Weights stay as they are. What it gains is told by cross-validation: in each of five rounds a
    fifth of the faces is judged by what was fitted on the others.

    Args:
        photos: Folder of the photos.
        labels: CSV file with `path`, relative to itself or to `photos`, and `age`, `gender` or
            both; 50 faces at least.
        output: The new bundle's folder.
        model: The bundle that it comes from: a shipped one's name, or a folder.
        quiet: Show no progress on standard error.

    Raises:
        UsageError: There are too few labelled faces, or the folder is taken.
        OutputError: The bundle can't be written.
    """
    folder, place = Path(photos), on_this_machine(output)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of photos")
    if place.exists():
        raise UsageError(f"{place}: is there already; choose another folder for the bundle")
    wanted = _found(read_csv(Path(labels)), folder)
    source = load_bundle(model, KIND)
    faces, without_face = _look_at(wanted, source, quiet)
    if len(faces) < LEAST_FACES:
        raise UsageError(
            f"{labels}: {len(faces)} labelled faces were found, too few to calibrate by; label "
            f"{LEAST_FACES} or more"
        )
    old = Calibration.from_spec(source.spec["calibration"])
    exact = np.isfinite(faces.ages)
    fits_ages = bool(exact.sum() >= LEAST_FACES) and _ages_gain(faces.select(exact), old)
    fitted = _fit(faces, old, fits_ages)
    after = _crossvalidated(faces, old, fits_ages)
    before = _stated(faces, old)
    gain = None
    if exact.any():
        gained = np.abs(before.ages - faces.ages)[exact] - np.abs(after.ages - faces.ages)[exact]
        gain = float(gained.mean()), Z95 * _standard_error(gained)
    spec = {**source.spec, "calibration": asdict(fitted)}
    try:
        bundle = derive_bundle(source, place, spec)
        found = Recalibration(
            bundle,
            len(faces),
            int(exact.sum()),
            int(_known(faces).sum()),
            without_face,
            fits_ages,
            before.figures(faces),
            after.figures(faces),
            gain,
        )
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"
        (place / REPORT_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise OutputError(
            f"{place}: the bundle can't be written ({error.strerror}); choose another place"
        ) from None
    return found


def _found(labels: list[Label], folder: Path) -> list[tuple[Label, Path]]:
    """Each label with its photo's path: beside the labels, or else inside `folder`."""
    return [
        (label, label.path if label.path.is_file() else folder / label.written) for label in labels
    ]


def _look_at(
    labels: Sequence[tuple[Label, Path]], bundle: Bundle, quiet: bool
) -> tuple[LabelledFaces, list[str]]:
    """What the network says of each label's face; and the labels without one."""
    config = ScanConfig()
    compute = choose_compute()
    detector = create_detector(config.detector, config.detection, compute)
    predictor = Predictor(bundle, compute)
    crops: list[ImageArray] = []
    met: list[Label] = []
    without: list[str] = []
    shown = {"total": len(labels), "unit": " photos", "disable": quiet or None}
    with closing(DecodePool(N_DECODERS)) as pool, tqdm(file=sys.stderr, **shown) as bar:
        for label, pixels in _decoded(labels, pool, config):
            bar.update()
            faces = detector.detect([pixels])[0] if pixels is not None else None
            if pixels is None or not faces:
                without.append(label.written)
                continue
            index = central_face(faces.boxes, *pixels.shape[1::-1])
            crops.append(align(pixels, faces.landmarks[index], predictor.input_size).pixels)
            met.append(label)
    ages = [label.age_min if label.age_min == label.age_max else math.nan for label in met]
    genders = np.array([label.gender for label in met], object)
    return LabelledFaces(predictor.predict_raw(crops), np.array(ages), genders), without


def _decoded(
    labels: Sequence[tuple[Label, Path]], pool: DecodePool, config: ScanConfig
) -> Iterator[tuple[Label, ImageArray | None]]:
    def decode(path: Path) -> ImageArray | None:
        try:
            return pool.decode(path, config.max_pixels, config.timeout).pixels
        except DecodeError:
            return None

    with ThreadPoolExecutor(N_DECODERS, "decode") as threads:
        for start in range(0, len(labels), BATCH):
            batch = labels[start : start + BATCH]
            pictures = threads.map(decode, [path for _, path in batch])
            yield from zip([label for label, _ in batch], pictures, strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Statements:
    """What calibrations state of n faces: ages, intervals `(n, 2)`, probabilities of female."""

    ages: NDArray[np.float64]
    intervals: NDArray[np.float64]
    female: NDArray[np.float64]

    def figures(self, faces: LabelledFaces) -> Figures:
        exact, known = np.isfinite(faces.ages), _known(faces)
        ages, (low, high) = faces.ages[exact], self.intervals[exact].T
        error = self.ages[exact] - ages
        inside = (low <= np.floor(ages)) & (np.floor(ages) <= high)

        def mean(values: NDArray[Any]) -> float | None:
            return round(float(values.mean()), 4) if len(values) else None

        return Figures(
            mean(np.abs(error)),
            mean(error),
            mean(inside),
            mean(high - low),
            round(calibration_error(self.female[known], faces.genders[known] == "female"), 4)
            if known.any()
            else None,
        )


def _stated(faces: LabelledFaces, calibration: Calibration) -> _Statements:
    return _Statements(
        calibration.age_of(faces.raw.age).astype(float),
        calibrated_interval(faces.raw, calibration).astype(float),
        stated_gender(faces.raw, calibration),
    )


def _known(faces: LabelledFaces) -> NDArray[np.bool_]:
    return np.array([gender is not None for gender in faces.genders], bool)


def _standard_error(values: NDArray[Any]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _fit(faces: LabelledFaces, old: Calibration, fits_ages: bool) -> Calibration:
    """The old calibration with its ages, scales and temperatures moved to fit the faces."""
    exact, known = np.isfinite(faces.ages), _known(faces)
    fitted = old
    if fits_ages:
        slope, offset = fit_age_line(faces.raw.select(exact), faces.ages[exact])
        fitted = replace(fitted, age_slope=slope, age_offset=offset)
    if exact.sum() >= LEAST_FACES:
        factor = fit_scale_factor(faces.raw.select(exact), faces.ages[exact], fitted)
        scales = tuple(round(scale * factor, 4) for scale in fitted.age_scales)
        fitted = replace(fitted, age_scales=scales)
    if known.sum() >= LEAST_FACES:
        female = faces.genders[known] == "female"
        factor = fit_temperature_factor(faces.raw.select(known), female, fitted)
        temperatures = tuple(round(t * factor, 4) for t in fitted.gender_temperatures)
        fitted = replace(fitted, gender_temperatures=temperatures)
    return fitted


def _folds(n: int) -> NDArray[np.int_]:
    return np.random.default_rng(0).permutation(n) % FOLDS


def _crossvalidated(faces: LabelledFaces, old: Calibration, fits_ages: bool) -> _Statements:
    """What is stated of each face by a calibration that was fitted without it."""
    folds = _folds(len(faces))
    found = _stated(faces, old)
    for fold in range(FOLDS):
        own = folds == fold
        stated = _stated(faces.select(own), _fit(faces.select(~own), old, fits_ages))
        for name in _Statements.__slots__:
            getattr(found, name)[own] = getattr(stated, name)
    return found


def _ages_gain(faces: LabelledFaces, old: Calibration) -> bool:
    """Whether moving ages makes the cross-validated error smaller by more than chance may."""
    moved = np.abs(_crossvalidated(faces, old, True).ages - faces.ages)
    gained = np.abs(_stated(faces, old).ages - faces.ages) - moved
    return bool(gained.mean() > Z95 * _standard_error(gained))
