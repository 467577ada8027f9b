"""COCO JSON: images, and an annotation of category `face` for each face, with five keypoints.

All columns of both tables are under `attributes`. A picture that could not be read has no size:
its width and height are 0.

A `file_name` is below the folder `root` of `info`, which all scanned folders have in common; where
they have none in common, it is the whole path. Of a file's second page and on it ends with
`#page=2` and so on, so that no two pictures share one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import pyarrow as pa

from batchage.places import AnyPath, common_parts, read_bytes
from batchage.types import LANDMARK_NAMES
from batchage.write.plain import plain_rows, table_of
from batchage.write.schema import FACES

CATEGORY = {
    "id": 1,
    "name": "face",
    "supercategory": "person",
    "keypoints": list(LANDMARK_NAMES),
    "skeleton": [],
}
VISIBLE = 2


def _date(row: Mapping[str, Any]) -> str:
    """The capture time in ISO 8601, no more of it than is known."""
    if row["captured_at"] is None:
        return ""
    taken, offset = datetime.fromisoformat(row["captured_at"]), row["captured_at_offset_minutes"]
    if row["captured_at_precision"] == "day":
        return taken.date().isoformat()
    zone = None if offset is None else timezone(timedelta(minutes=offset))
    return taken.replace(tzinfo=zone).isoformat()


def common_root(roots: Iterable[str]) -> str:
    """The folder that roots, paths or URLs, have in common; empty where there is none."""
    parts = common_parts(roots)
    if parts == [""]:
        return "/"
    # The first two of a URL only say how it is reached.
    return "" if parts[1:] == [""] and parts[0] else "/".join(parts)


def _image(row: Mapping[str, Any], number: int, root: str) -> dict[str, Any]:
    page = row["page"] or 1
    # Whoever opens the file by its name alone gets its first page.
    mark = f"#page={page}" if page > 1 else ""
    place = f"{row['root'].rstrip('/')}/{row['image_path']}{mark}"
    return {
        "id": number,
        "file_name": place.removeprefix(f"{root.rstrip('/')}/") if root else place,
        "width": row["width"] or 0,
        "height": row["height"] or 0,
        "date_captured": _date(row),
        "attributes": row,
    }


def _annotation(row: Mapping[str, Any], number: int, image: int) -> dict[str, Any]:
    x1, y1, x2, y2 = (row[name] or 0.0 for name in ("x1", "y1", "x2", "y2"))
    width, height = round(x2 - x1, 4), round(y2 - y1, 4)
    points = [(row[f"{name}_x"], row[f"{name}_y"], VISIBLE) for name in LANDMARK_NAMES]
    return {
        "id": number,
        "image_id": image,
        "category_id": CATEGORY["id"],
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 4),
        "iscrowd": 0,
        "keypoints": [value for point in points for value in point],
        "num_keypoints": len(points),
        "score": row["detection_score"],
        "attributes": row,
    }


class _Array:
    """Streams the items of a JSON array."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.length = stream, 0

    def append(self, item: Mapping[str, Any]) -> None:
        self.stream.write((b",\n" if self.length else b"\n") + _line(item))
        self.length += 1


def _line(item: Mapping[str, Any]) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode()


class CocoWriter:
    """Keeps rows in files of their own until all are there, since a head has to say their root."""

    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Begin the file."""
        self._stream: BinaryIO = path.open("wb")
        self._metadata = metadata
        self._rows: BinaryIO = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        self._annotations = _Array(tempfile.TemporaryFile(dir=path.parent))  # noqa: SIM115
        self._n_images = 0
        self._roots: set[str] = set()

    def write(self, images: pa.Table, faces: pa.Table) -> None:
        """Take rows."""
        annotated = plain_rows(faces)
        for image in plain_rows(images):
            self._n_images += 1
            self._roots.add(image["root"])
            self._rows.write(_line(image) + b"\n")
            for _ in range(image["n_faces"]):
                number = self._annotations.length + 1
                self._annotations.append(_annotation(next(annotated), number, self._n_images))

    def close(self) -> None:
        """Write the head, the images and the annotations."""
        with self._stream, self._rows, self._annotations.stream as annotations:
            root = common_root(sorted(self._roots))
            head = {"description": "Faces found by batchage", "root": root, **self._metadata}
            parts = {"info": head, "licenses": [], "categories": [CATEGORY]}
            text = json.dumps(parts, indent=1, ensure_ascii=False).removesuffix("\n}")
            self._stream.write(f'{text},\n "images": ['.encode())
            images = _Array(self._stream)
            self._rows.seek(0)
            for number, line in enumerate(self._rows, start=1):
                images.append(_image(json.loads(line), number, root))
            self._stream.write(b'],\n "annotations": [')
            annotations.seek(0)
            shutil.copyfileobj(annotations, self._stream)
            self._stream.write(b"]\n}\n")


class CocoFormat:
    """See the module."""

    holds_both: ClassVar[Literal[True]] = True

    def open_writer(
        self, path: Path, schemas: Mapping[str, pa.Schema], metadata: Mapping[str, str]
    ) -> CocoWriter:
        """A writer of a new file."""
        return CocoWriter(path, metadata)

    def read(self, path: AnyPath, schema: pa.Schema) -> pa.Table:
        """One of the tables, out of the `attributes`."""
        content = json.loads(read_bytes(path))
        part = "annotations" if schema is FACES else "images"
        items = content.get(part) if isinstance(content, dict) else None
        if not isinstance(items, list):
            raise ValueError(f"it has no {part}")
        rows = [item.get("attributes") if isinstance(item, dict) else None for item in items]
        return table_of(rows, schema)


FORMAT = CocoFormat()
