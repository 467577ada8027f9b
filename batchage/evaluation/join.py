"""A scan's table and labels, joined: which face a label speaks of, and what was left over."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from batchage.errors import UsageError
from batchage.evaluation.labels import Label
from batchage.evaluation.metrics import QUALITIES
from batchage.evaluation.outcome import Outcome
from batchage.types import FloatArray
from batchage.write import age_thresholds_in

PREDICTED_COLUMNS = ("age_years", "age_low", "age_high", "gender_prob_female")
POSITION_COLUMNS = (
    "image_path",
    "root",
    "page",
    "image_width",
    "image_height",
    "x1",
    "y1",
    "x2",
    "y2",
)
COLUMNS = [*POSITION_COLUMNS, *PREDICTED_COLUMNS, "gender", *QUALITIES]


def central_face(boxes: FloatArray, width: float, height: float) -> int:
    """Index of the box `(n, 4)` that is nearest the middle of a picture."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return int(np.argmin(np.hypot(*(centres - [width / 2, height / 2]).T)))


@dataclass(frozen=True, slots=True)
class _Photo:
    """A picture of the table: a file's place, and the page, 1 where the file has no other."""

    place: str
    page: int


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Labels that met a face, and counts of the rest.

    Attributes:
        outcome: Labels and predictions.
        without_face: Labels whose photo has no row: no face was found, or it wasn't scanned.
        of_several: Labels of photos with several faces, of which the central one was taken.
        unlabelled_photos: Photos with faces that no label names.
    """

    outcome: Outcome
    without_face: list[Label]
    of_several: int
    unlabelled_photos: int


def outcome_of(labels: Sequence[Label], faces: Sequence[dict[str, Any]]) -> Outcome:
    """The outcome of labels and their faces, which are rows of the faces table."""

    def column(name: str) -> Any:
        return np.array([face[name] for face in faces], np.float64)

    age, low, high, prob_female = (column(name) for name in PREDICTED_COLUMNS)
    thresholds = age_thresholds_in(faces[0]) if faces else []
    return Outcome(
        np.array([label.age_min for label in labels], np.float64),
        np.array([label.age_max for label in labels], np.float64),
        age,
        low,
        high,
        np.array([label.gender for label in labels], object),
        prob_female,
        np.array([face["gender"] is not None for face in faces], bool),
        np.array([label.group for label in labels], object),
        {name: column(name) for name in QUALITIES},
        {age: column(f"prob_under_{age}") for age in thresholds},
    )


def _choose(faces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    boxes = np.array([[face[k] for k in ("x1", "y1", "x2", "y2")] for face in faces], np.float32)
    return faces[central_face(boxes, faces[0]["image_width"], faces[0]["image_height"])]


def join(faces: Iterable[dict[str, Any]], labels: Sequence[Label]) -> Joined:
    """Find each label's face.

    A label meets the photo at its path, of a file with several the page that it names, or else the
    first. Only if none of them does, since the scanned folder has
    been moved, a label meets the photo whose `image_path` is the label's own path as written.
    Names are the same however Unicode spells them.

    Raises:
        UsageError: No label meets any face, or two labels name one photo.
    """
    photos: dict[_Photo, list[dict[str, Any]]] = defaultdict(list)
    relatives: dict[str, str] = {}
    for face in faces:
        place = f"{face['root'].rstrip('/')}/{face['image_path']}"
        relatives[place] = face["image_path"]
        photos[_Photo(place, face["page"] or 1)].append(face)
    places = _by_path(relatives, labels) or _by_relative_path(relatives, labels)
    if not places:
        raise UsageError(
            "no label names a photo of the table; paths are relative to the labels' file, or to "
            "the scanned folder"
        )
    met: dict[_Photo, Label] = {}
    without_face = []
    for label in labels:
        photo = _Photo(places.get(label, ""), label.page)
        if photo not in photos:
            without_face.append(label)
            continue
        if photo in met:
            raise UsageError(f"{label.written}: two labels for one photo; keep one of them")
        met[photo] = label
    return Joined(
        outcome_of(list(met.values()), [_choose(photos[photo]) for photo in met]),
        without_face,
        sum(len(photos[photo]) > 1 for photo in met),
        len(photos) - len(met),
    )


def _by_path(relatives: Mapping[str, str], labels: Sequence[Label]) -> dict[Label, str]:
    """The place of each label's file that has one, symbolic links followed."""
    found = _Names((os.path.realpath(place), place) for place in relatives)
    return _met(labels, lambda label: found.one(os.path.realpath(label.path)))


def _by_relative_path(relatives: Mapping[str, str], labels: Sequence[Label]) -> dict[Label, str]:
    """The same by the path below the scanned folder, where only one folder has it."""
    found = _Names((relative, place) for place, relative in relatives.items())
    return _met(labels, lambda label: found.one(Path(label.written).as_posix()))


def _met(labels: Sequence[Label], place_of: Callable[[Label], str | None]) -> dict[Label, str]:
    found = {label: place_of(label) for label in labels}
    return {label: place for label, place in found.items() if place is not None}


class _Names:
    """Files by a name, which labels may spell in another of Unicode's equivalent forms.

    Macs take names apart (NFD), most others keep letters whole (NFC).
    """

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        self._exact: dict[str, list[str]] = defaultdict(list)
        self._alike: dict[str, list[str]] = defaultdict(list)
        for name, place in named:
            self._exact[name].append(place)
            self._alike[normalize("NFC", name)].append(place)

    def one(self, name: str) -> str | None:
        """The only file of that name, or else of one that is equivalent."""
        places = self._exact.get(name) or self._alike.get(normalize("NFC", name), [])
        return places[0] if len(places) == 1 else None
