"""A scan's tables as compact columns for the page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchage.types import ERROR_STATUSES, NOT_SURE, page_name

FACE_COLUMNS = [
    "image_path", "root", "page", "image_width", "image_height", "x1", "y1", "x2", "y2",
    "detection_score", "age_years", "age_low", "age_high", "gender", "gender_prob_female",
]  # fmt: skip
IMAGE_COLUMNS = [
    "image_path", "root", "page", "captured_at", "captured_at_precision", "status", "error",
]  # fmt: skip
KEY = ["root", "image_path", "page"]
"""What a photo is known by in both tables."""
SIDES = {"x1": "image_width", "x2": "image_width", "y1": "image_height", "y2": "image_height"}
BEFORE_DATA, AFTER_DATA = "const DATA = ", ";\n"
BOX_UNITS = 10_000
"""Boxes are in ten-thousandths of the photo's width and height."""


def _numbers(column: Any, digits: int) -> list[float | int | None]:
    """Rounded numbers, None for missing ones; without digits, whole numbers."""
    rounded = pc.round(column.cast(pa.float64()), digits).to_pylist()
    known = [x if x is not None and math.isfinite(x) else None for x in rounded]
    return [int(x) if digits == 0 and x is not None else x for x in known]


def _shares(faces: pa.Table, edge: str, side: str) -> list[int]:
    """Where a box's edge is along its photo's side, in `BOX_UNITS`."""
    shares = np.nan_to_num(faces[edge].to_numpy() / np.maximum(faces[side].to_numpy(), 1))
    return list(np.rint(shares * BOX_UNITS).astype(int).tolist())


def _photo_index(faces: pa.Table, images: pa.Table) -> NDArray[np.int64]:
    """The row in `images` of each face's photo; -1 where it has none."""
    places = {key: row for row, key in enumerate(_keys(images))}
    return np.array([places.get(key, -1) for key in _keys(faces)], np.int64)


def _keys(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in KEY), strict=True)


def page_data(faces: pa.Table, images: pa.Table) -> dict[str, Any]:
    """What the page's script works with, JSON-ready.

    Args:
        faces: Rows with `FACE_COLUMNS`.
        images: Rows with `IMAGE_COLUMNS`.

    Returns:
        `photos` with faces and `faces`, each a dict of columns of one length; `unread`, the files
        that could not be read, row by row.
    """
    rows = _photo_index(faces, images)
    faces, rows = faces.filter(pa.array(rows >= 0)), rows[rows >= 0]
    used, photo = np.unique(rows, return_inverse=True)
    shown = images.take(pa.array(used))
    sizes = np.zeros((2, len(used)), int)
    for row, name in zip(sizes, ("image_width", "image_height"), strict=True):
        row[photo] = faces[name].to_numpy()
    boxes = {name: _shares(faces, name, side) for name, side in SIDES.items()}
    bad = images.filter(pc.is_in(images["status"].cast("string"), pa.array(sorted(ERROR_STATUSES))))
    days = pc.strftime(shown["captured_at"], "%Y-%m-%d")
    minutes = pc.strftime(shown["captured_at"], "%Y-%m-%d %H:%M")
    is_day = pc.equal(shown["captured_at_precision"].cast("string"), "day")
    return {
        "photos": {
            "path": shown["image_path"].to_pylist(),
            "root": shown["root"].to_pylist(),
            "page": shown["page"].to_pylist(),
            "taken": pc.if_else(is_day, days, minutes).to_pylist(),
            "width": sizes[0].tolist(),
            "height": sizes[1].tolist(),
        },
        "faces": {
            "photo": photo.tolist(),
            **boxes,
            "age": _numbers(faces["age_years"], 4),
            "low": _numbers(faces["age_low"], 0),
            "high": _numbers(faces["age_high"], 0),
            "gender": [gender or NOT_SURE for gender in faces["gender"].to_pylist()],
            "female": _numbers(faces["gender_prob_female"], 3),
            "score": _numbers(faces["detection_score"], 3),
        },
        "unread": [
            {
                "path": page_name(row["image_path"], row["page"]),
                "status": row["status"],
                "error": row["error"],
            }
            for row in bad.to_pylist()
        ],
    }


def as_script(data: dict[str, Any]) -> str:
    """A script that holds the data: a page that is opened from disk may load nothing else."""
    return f"{BEFORE_DATA}{json.dumps(data, separators=(',', ':'))}{AFTER_DATA}"


def read_script(text: str) -> Any:
    """The data in a script of `as_script`.

    Raises:
        ValueError: It is something else.
    """
    return json.loads(text.removeprefix(BEFORE_DATA).removesuffix(AFTER_DATA))
