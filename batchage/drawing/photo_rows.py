"""What a scan's tables say of photos with faces, and where these photos are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchage.places import AnyPath
from batchage.types import FaceRecord, Pose, Prediction
from batchage.write import output_paths, read_columns

BOX = ("x1", "y1", "x2", "y2")
NUMBERS = (*BOX, "age_years", "gender_prob_female", "image_width", "image_height")
FACE_COLUMNS = ("root", "image_path", "page", "face_index", "gender", *NUMBERS)
IMAGE_COLUMNS = ("root", "image_path", "page", "content_hash")


@dataclass(frozen=True, slots=True, eq=False)
class PhotoRows:
    """What the tables say of one photo with faces.

    Attributes:
        root: The folder that was scanned.
        relative: Path inside it, POSIX form.
        page: Its number in the file, if that has several.
        content_hash: As of `DecodedImage`, or None where it is unknown.
        numbers: float64 `(n, 8)`, a row a face, columns as in `NUMBERS`.
        genders: Each face's.
    """

    root: str
    relative: str
    page: int | None
    content_hash: str | None
    numbers: NDArray[np.float64]
    genders: Sequence[str | None]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the upright photo in pixels."""
        width, height = self.numbers[0, len(NUMBERS) - 2 :]
        return float(width), float(height)

    def faces(self) -> list[FaceRecord]:
        """Its faces, as far as they are drawn: without landmarks, sharpness and pose.

        Raises:
            ValueError: A number is missing, or a box is none.
        """
        boxes = self.numbers[:, : len(BOX)]
        if not np.isfinite(self.numbers).all() or (boxes[:, :2] > boxes[:, 2:]).any():
            raise ValueError
        boxes = np.clip(boxes, 0, np.tile(self.size, 2))
        faces = []
        for index, (box, gender) in enumerate(zip(boxes, self.genders, strict=True)):
            age, female = map(float, self.numbers[index, len(BOX) :][:2])
            if gender == "male":
                # The table's float32 may round what is just below a half.
                female = min(female, float(np.nextafter(0.5, 0)))
            prediction = Prediction(age, age, age, female, 0.0 if gender else math.inf)
            faces.append(
                FaceRecord(
                    face_index=index,
                    box=box.astype(np.float32),
                    landmarks=np.zeros((5, 2), np.float32),
                    score=1.0,
                    sharpness=0.0,
                    pose=Pose(0.0, 0.0, 0.0),
                    prediction=prediction,
                )
            )
        return faces


def read_photos(table: AnyPath) -> list[PhotoRows]:
    """The photos with faces of a scan's tables, in the order of the faces table.

    Args:
        table: The faces table, or the folder of a dataset.

    Raises:
        UsageError: The tables can't be read.
    """
    paths = output_paths(table)
    faces = read_columns(paths.faces, FACE_COLUMNS)
    images = read_columns(paths.images, IMAGE_COLUMNS).to_pydict()
    names = zip(images["root"], images["image_path"], images["page"], strict=True)
    hashes = dict(zip(names, images["content_hash"], strict=True))
    return list(_grouped(faces, hashes))


def _grouped(
    faces: pa.Table, hashes: Mapping[tuple[str, str, int | None], str | None]
) -> Iterator[PhotoRows]:
    numbers = np.column_stack([_as_floats(faces[name]) for name in NUMBERS])
    indices = _as_floats(faces["face_index"])
    keys = [faces[name].to_pylist() for name in ("root", "image_path", "page")]
    genders = faces["gender"].to_pylist()
    rows_of: dict[tuple[str, str, int | None], list[int]] = {}
    for row, photo in enumerate(zip(*keys, strict=True)):
        rows_of.setdefault(photo, []).append(row)
    for (root, relative, page), rows in rows_of.items():
        # Ties of drawing go by the order, which a table sorted otherwise has lost.
        ordered = sorted(rows, key=lambda row: float(indices[row]))
        yield PhotoRows(
            root=root or "",
            relative=relative or "",
            page=page,
            content_hash=hashes.get((root, relative, page)),
            numbers=numbers[ordered],
            genders=[genders[row] for row in ordered],
        )


def _as_floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of numbers, NaN where one is missing."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
