"""A bundle's calibration fitted to a user's own labelled photos, without training."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from batchage.api import Scan
from batchage.config import ScanConfig
from batchage.errors import OutputError, UsageError
from batchage.evaluation import Label, central_face, read_csv
from batchage.networks import Bundle, choose_compute, derive_bundle, load_bundle
from batchage.places import as_spelled, on_this_machine
from batchage.predict import KIND, Calibration, Predictor
from batchage.recalibration.crossvalidation import (
    LEAST_FACES,
    Figures,
    Gain,
    LabelledFaces,
    Plan,
    Statements,
    crossvalidated,
    gain,
)
from batchage.types import ImageArray, ImageRecord
from batchage.walk import iter_listed

REPORT_FILE = "calibration.json"


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What fitting a bundle to labelled photos gave.

    Attributes:
        bundle: The new bundle.
        n_faces: Labelled faces that it was fitted on.
        n_exact: Of them, faces with an exact age; with fewer than 50, ages and intervals are those
            of the bundle that it came from.
        n_genders: Of them, faces with a gender; with fewer than 50, so are the probabilities.
        without_face: Labels whose photo can't be read or shows no face.
        fits_ages: Whether ages are corrected too, since that helps.
        before: Of the bundle that it came from.
        after: Cross-validated: each face judged by what was fitted, and chosen, without it.
        gain: Of the age error; None with fewer than 50 exact ages.
    """

    bundle: Bundle
    n_faces: int
    n_exact: int
    n_genders: int
    without_face: list[str]
    fits_ages: bool
    before: Figures
    after: Figures
    gain: Gain | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "bundle"}
        nested = {name: asdict(values[name]) for name in ("before", "after")}
        gain = asdict(self.gain) if self.gain else None
        return {"model_id": self.bundle.model_id, **values, **nested, "gain": gain}


def calibrate(
    photos: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    output: str | os.PathLike[str],
    config: ScanConfig | None = None,
    quiet: bool = True,
) -> Recalibration:
    """Fit a bundle's intervals, probabilities and, where it helps, ages to labelled photos.

        import batchage

        batchage.calibrate("photos", "labels.csv", "models/mine")
        batchage.scan("photos", model="models/mine")

    Weights stay as they are. The gain is measured by cross-validation: in each of five rounds a
    fifth of the faces is judged by what was fitted on the others.

    Args:
        photos: Folder of the photos.
        labels: CSV file with `path`, relative to itself or to `photos`, and `age`, `gender` or
            both, and `page` where a file has several; 50 faces with an exact age, or with a
            gender, at least.
        output: The new bundle's folder.
        config: Names the bundle to start from, and says how faces are found; the defaults where it
            is missing.
        quiet: Show no progress on standard error.

    Raises:
        UsageError: There are too few labelled faces, or the folder is taken.
        OutputError: The bundle can't be written.
    """
    config = replace(config or ScanConfig(), output=None, thumbnails=None)
    folder, place = on_this_machine(photos), on_this_machine(output)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of photos")
    wanted = _located(read_csv(Path(labels), needs_age=False), folder)
    source = load_bundle(config.model, KIND)
    partial = _begin(place)
    try:
        faces, without_face = _look_at(wanted, source, config, quiet)
        old = Calibration.from_spec(source.spec["calibration"])
        plan = Plan.of(faces)
        if not (plan.ages or plan.genders):
            raise UsageError(
                f"{labels}: {int(faces.is_exact.sum())} faces with an exact age and "
                f"{int(faces.is_known.sum())} with a gender were found, too few to calibrate; "
                f"label {LEAST_FACES} or more"
            )
        fitted, fits_ages = plan.fit(faces, old)
        before, after = Statements.of(faces, old), crossvalidated(faces, old, plan)
        training = {
            key: value
            for key, value in source.spec.get("training", {}).items()
            if key != "coverage_when_left_out"
        }
        spec = {
            **source.spec,
            "calibration": asdict(fitted),
            "training": {**training, "recalibrated_on": len(faces)},
        }
        made = derive_bundle(source, partial / place.name, spec)
        found = Recalibration(
            made,
            len(faces),
            int(faces.is_exact.sum()),
            int(faces.is_known.sum()),
            without_face,
            fits_ages,
            before.figures(faces),
            after.figures(faces),
            gain(faces, before, after) if plan.ages else None,
        )
        text = json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"
        (made.path / REPORT_FILE).write_text(text, encoding="utf-8")
        made.path.rename(place)
        return replace(found, bundle=load_bundle(place, KIND))
    except OSError as error:
        raise _unwritable(place, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _begin(place: Path) -> Path:
    """A folder beside the bundle's for what is unfinished; made first, as the rest takes long."""
    if place.exists():
        raise UsageError(f"{place}: already exists; choose another folder for the bundle")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise _unwritable(place, error) from None


def _unwritable(place: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{place}: the bundle can't be written ({error.strerror}); choose another place"
    )


def _located(labels: Sequence[Label], folder: Path) -> dict[str, dict[int, Label]]:
    """Labels by their files' paths, beside the labels' file or else inside `folder`, and pages.

    Raises:
        UsageError: Two labels name one photo, or one a folder.
    """
    found: dict[str, dict[int, Label]] = {}
    for label in labels:
        # A path may be too long for the system, which `Path.is_file` doesn't take.
        here = as_spelled(str(label.path))
        is_here = os.path.isfile(here)  # noqa: PTH113
        path = os.path.realpath(here if is_here else as_spelled(str(folder / label.written)))
        of_file = found.setdefault(path, {})
        if label.page in of_file:
            raise UsageError(f"{label.written}: two labels for one photo; keep one of them")
        if os.path.isdir(path):  # noqa: PTH112
            raise UsageError(f"{label.written}: is a folder; label photos")
        of_file[label.page] = label
    return found


def _look_at(
    labels: dict[str, dict[int, Label]], bundle: Bundle, config: ScanConfig, quiet: bool
) -> tuple[LabelledFaces, list[str]]:
    """What the network says of each label's face, as a scan crops it; and labels without one."""
    compute = choose_compute(config.device, config.precision, config.detect_precision)
    predictor = Predictor(bundle, compute, config.batch_size, config.tta)
    crops: list[ImageArray] = []
    met: list[Label] = []
    without: list[str] = []
    shown = {"total": len(labels), "unit": " photos", "disable": quiet or None}
    with (
        tempfile.TemporaryDirectory() as kept,
        tqdm(file=sys.stderr, **shown) as bar,
        Scan(iter_listed(labels), replace(config, crops=Path(kept))) as scan,
    ):
        files = iter(labels.values())
        of_file: dict[int, Label] = {}
        for record in scan:
            if (page := record.page or 1) == 1:
                of_file = dict(next(files))
            crop = _central_crop(record, Path(kept))
            if page in of_file and crop is not None:
                crops.append(crop)
                met.append(of_file.pop(page))
            if record.is_last:
                bar.update()
                without += [label.written for label in of_file.values()]
    ages = [label.age_min if label.age_min == label.age_max else np.nan for label in met]
    genders = np.array([label.gender for label in met], object)
    return LabelledFaces(predictor.predict_raw(crops), np.array(ages), genders), without


def _central_crop(record: ImageRecord, folder: Path) -> ImageArray | None:
    """The crop of the face nearest the middle of a photo; those of its others are removed."""
    if not record.faces or record.width is None or record.height is None:
        return None
    boxes = np.stack([face.box for face in record.faces])
    chosen = record.faces[central_face(boxes, record.width, record.height)]
    with closing(Image.open(folder / str(chosen.crop))) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.uint8)
    for face in record.faces:
        (folder / str(face.crop)).unlink()
    return pixels
