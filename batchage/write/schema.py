"""The one schema of each table, the same in every format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from batchage.types import LANDMARK_NAMES, CaptureTime, FaceRecord, ImageRecord, box_sizes

TEXT = pa.string()
WORD = pa.dictionary(pa.int32(), pa.string())


def _field(name: str, kind: pa.DataType, description: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable, {"description": description})


FACES = pa.schema(
    [
        _field("image_path", WORD, "path relative to root, POSIX form"),
        _field("root", WORD, "folder that was scanned, absolute"),
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
        _field("error", TEXT, "why the status is not ok, or what went less well", True),
        _field("n_faces", pa.int32(), "faces found"),
        _field("seconds", pa.float32(), "time spent on this file"),
        _field("thumbnail", TEXT, "file name in the thumbnails folder", True),
    ]
)

TABLES = {"faces": FACES, "images": IMAGES}


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
        "image_width": record.width,
        "image_height": record.height,
        **face_values(face),
        "thumbnail": record.thumbnail,
        "model_id": model_id,
    }


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
        "file_size": record.ref.size,
        "modified_at": modified_at(record.ref.mtime),
        "content_hash": record.content_hash,
        "width": record.width,
        "height": record.height,
        **_captured_values(record.captured),
        "status": str(record.status),
        "error": _valid_unicode(record.error),
        "n_faces": len(record.faces),
        "seconds": record.seconds,
        "thumbnail": record.thumbnail,
    }


def faces_batch(records: Sequence[ImageRecord], model_id: str) -> pa.RecordBatch:
    """The faces of `records` as rows of `FACES`."""
    rows = [_face_row(record, face, model_id) for record in records for face in record.faces]
    return pa.RecordBatch.from_pylist(rows, schema=FACES)


def images_batch(records: Sequence[ImageRecord]) -> pa.RecordBatch:
    """`records` as rows of `IMAGES`."""
    return pa.RecordBatch.from_pylist([_image_row(record) for record in records], schema=IMAGES)
