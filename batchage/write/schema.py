"""The one schema of each table, the same in every format."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from batchage.types import LANDMARK_NAMES, CaptureTime, FaceRecord, ImageRecord, box_sizes

TEXT = pa.string()
WORD = pa.dictionary(pa.int32(), pa.string())


def _field(name: str, kind: pa.DataType, description: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable, {"description": description})


_PAGE = _field("page", pa.int32(), "number of the picture in a file with several, from 1", True)

FACES = pa.schema(
    [
        _field("image_path", WORD, "path relative to root, POSIX form"),
        _field("root", WORD, "folder that was scanned, absolute"),
        _PAGE,
        _field("image_width", pa.int32(), "width of the upright photo in pixels"),
        _field("image_height", pa.int32(), "height of the upright photo in pixels"),
        _field("face_index", pa.int32(), "number of the face in its photo, best score first"),
        _field("x1", pa.float32(), "left edge of the box in pixels of the upright photo"),
        _field("y1", pa.float32(), "upper edge of the box in pixels of the upright photo"),
        _field("x2", pa.float32(), "right edge of the box in pixels of the upright photo"),
        _field("y2", pa.float32(), "lower edge of the box in pixels of the upright photo"),
        _field("detection_score", pa.float32(), "detector's score, 0 to 1"),
        *(
            _field(f"{name}_{axis}", pa.float32(), f"{name.replace('_', ' ')}, {axis} in pixels")
            for name in LANDMARK_NAMES
            for axis in "xy"
        ),
        _field("age_years", pa.float32(), "estimated age in years"),
        _field("age_low", pa.float32(), "lower end of the age interval in years", True),
        _field("age_high", pa.float32(), "upper end of the age interval in years", True),
        _field("gender", WORD, "male or female, as the training labels call it", True),
        _field("gender_prob_female", pa.float32(), "probability of female, 0 to 1"),
        _field("face_size_px", pa.float32(), "square root of the box's area in pixels"),
        _field("sharpness", pa.float32(), "variance of the crop's Laplacian; small is blurred"),
        _field("yaw", pa.float32(), "left-right turn: 0 frontal, about -1 or 1 in profile"),
        _field("pitch", pa.float32(), "up-down turn: 0 level, towards -1 up, towards 1 down"),
        _field("roll", pa.float32(), "tilt in degrees, clockwise"),
        _field("thumbnail", TEXT, "file name in the thumbnails folder", True),
        _field("crop", TEXT, "file name in the crops folder", True),
        _field("model_id", WORD, "name and hash of the bundle that predicted"),
    ]
)

IMAGES = pa.schema(
    [
        _field("image_path", TEXT, "path relative to root, POSIX form"),
        _field("root", WORD, "folder that was scanned, absolute"),
        _PAGE,
        _field("file_size", pa.int64(), "bytes", True),
        _field("modified_at", pa.timestamp("us", "UTC"), "modification time of the file", True),
        _field("content_hash", TEXT, "BLAKE2b-128 of the file's bytes", True),
        _field("width", pa.int32(), "width of the upright photo in pixels", True),
        _field("height", pa.int32(), "height of the upright photo in pixels", True),
        _field("captured_at", pa.timestamp("us"), "when it was taken, by the clock there", True),
        _field(
            "captured_at_offset_minutes", pa.int16(), "how far that clock was ahead of UTC", True
        ),
        _field("captured_at_precision", WORD, "second, minute or day: what is known of it", True),
        _field("captured_at_source", WORD, "which note in the file says when it was taken", True),
        _field("status", WORD, "ok, no_face, truncated, unreadable, too_large, timeout or failed"),
        _field(
            "error",
            TEXT,
            "why the status is not ok, or what went less well or was left out",
            True,
        ),
        _field("n_faces", pa.int32(), "faces found"),
        _field("seconds", pa.float32(), "time spent on this file"),
        _field("thumbnail", TEXT, "file name in the thumbnails folder", True),
    ]
)

TABLES = {"faces": FACES, "images": IMAGES}
_PROB_UNDER = re.compile(r"(?:max_)?prob_under_(\d+)")


def tables_with(age_thresholds: Sequence[int]) -> dict[str, pa.Schema]:
    """The schemas of a scan's tables, by their names in `TABLES`.

    Args:
        age_thresholds: Ages in years that the probability of being younger is given for.
    """
    return {
        "faces": _extended(
            FACES,
            "gender_prob_female",
            [
                _field(f"prob_under_{age}", pa.float32(), f"probability of being under {age}")
                for age in age_thresholds
            ],
        ),
        "images": _extended(
            IMAGES,
            "n_faces",
            [
                _field(
                    f"max_prob_under_{age}",
                    pa.float32(),
                    f"the largest of its faces' probabilities of being under {age}",
                    True,
                )
                for age in age_thresholds
            ],
        ),
    }


def _extended(schema: pa.Schema, after: str, columns: Sequence[pa.Field]) -> pa.Schema:
    """The schema with more columns; itself where there are none."""
    for place, column in enumerate(columns, schema.get_field_index(after) + 1):
        schema = schema.insert(place, column)
    return schema


def as_found(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """`FACES` or `IMAGES`, with those optional columns that a table with `names` has."""
    part = next((part for part, known in TABLES.items() if known is schema), None)
    return tables_with(age_thresholds_in(names))[part] if part else schema


def age_thresholds_in(names: Iterable[str]) -> list[int]:
    """The ages of a table's optional columns."""
    return [int(match[1]) for match in map(_PROB_UNDER.fullmatch, names) if match]


def age_thresholds_of(about: Mapping[str, Any]) -> list[int]:
    """Those of a scan, from what it was made with; none where that doesn't say."""
    settings = about.get("settings")
    found = settings.get("age_threshold") if isinstance(settings, dict) else None
    return [age for age in found if type(age) is int] if isinstance(found, list | tuple) else []


def without_dictionaries(schema: pa.Schema) -> pa.Schema:
    """The schema with plain text in place of `WORD`."""
    fields = [f.with_type(TEXT) if pa.types.is_dictionary(f.type) else f for f in schema]
    return pa.schema(fields)


def modified_at(seconds: float | None) -> datetime | None:
    """A file's modification time as the images table has it; None where it can't hold it."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _valid_unicode(text: str | None) -> str | None:
    # A message may quote a file name that is not UTF-8; no table can hold its lone surrogates.
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def face_values(face: FaceRecord) -> dict[str, Any]:
    """The columns of `FACES` that depend on the face alone."""
    x1, y1, x2, y2 = map(float, face.box)
    points = face.landmarks.ravel().tolist()
    axes = [f"{name}_{axis}" for name in LANDMARK_NAMES for axis in "xy"]
    predicted = face.prediction
    return {
        "face_index": face.face_index,
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "detection_score": face.score,
        **dict(zip(axes, points, strict=True)),
        "age_years": predicted.age_years,
        "age_low": _finite(predicted.age_low),
        "age_high": _finite(predicted.age_high),
        "gender": predicted.gender,
        "gender_prob_female": predicted.prob_female,
        **{f"prob_under_{age}": value for age, value in predicted.prob_under.items()},
        "face_size_px": float(box_sizes(face.box)),
        "sharpness": face.sharpness,
        "yaw": face.pose.yaw,
        "pitch": face.pose.pitch,
        "roll": face.pose.roll,
        "crop": face.crop,
    }


def _face_row(record: ImageRecord, face: FaceRecord, model_id: str) -> dict[str, Any]:
    return {
        "image_path": record.ref.relative,
        "root": record.ref.root,
        "page": record.page,
        "image_width": record.width,
        "image_height": record.height,
        **face_values(face),
        "thumbnail": record.thumbnail,
        "model_id": model_id,
    }


def _largest_prob_under(record: ImageRecord) -> dict[str, float]:
    found = [face.prediction.prob_under for face in record.faces]
    ages = found[0] if found else ()
    return {f"max_prob_under_{age}": max(each[age] for each in found) for age in ages}


def _captured_values(captured: CaptureTime | None) -> dict[str, Any]:
    return {
        "captured_at": captured and captured.at,
        "captured_at_offset_minutes": captured and captured.offset_minutes,
        "captured_at_precision": captured and captured.precision,
        "captured_at_source": captured and captured.source,
    }


def _image_row(record: ImageRecord) -> dict[str, Any]:
    return {
        "image_path": record.ref.relative,
        "root": record.ref.root,
        "page": record.page,
        "file_size": record.ref.size,
        "modified_at": modified_at(record.ref.mtime),
        "content_hash": record.content_hash,
        "width": record.width,
        "height": record.height,
        **_captured_values(record.captured),
        "status": str(record.status),
        "error": _valid_unicode(record.error),
        "n_faces": len(record.faces),
        **_largest_prob_under(record),
        "seconds": record.seconds,
        "thumbnail": record.thumbnail,
    }


def faces_batch(
    records: Sequence[ImageRecord], model_id: str, age_thresholds: Sequence[int]
) -> pa.RecordBatch:
    """The faces of `records` as rows of `FACES`, with the optional columns of these ages."""
    rows = [_face_row(record, face, model_id) for record in records for face in record.faces]
    return pa.RecordBatch.from_pylist(rows, schema=tables_with(age_thresholds)["faces"])


def images_batch(records: Sequence[ImageRecord], age_thresholds: Sequence[int]) -> pa.RecordBatch:
    """`records` as rows of `IMAGES`, with the optional columns of these ages."""
    rows = [_image_row(record) for record in records]
    return pa.RecordBatch.from_pylist(rows, schema=tables_with(age_thresholds)["images"])
