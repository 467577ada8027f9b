"""Where a scan's records go, in general: nowhere, or to a stream."""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import pyarrow as pa

from batchage.places import as_output_error
from batchage.results.tally import Tally
from batchage.types import ImageRecord, ImageRef
from batchage.write import (
    CSV,
    OutputPaths,
    TableWriter,
    age_thresholds_of,
    faces_batch,
    images_batch,
    modified_at,
    tables_with,
)

STREAM_NAME = "standard output"
STREAM_REMEDY = "keep the reading end open, or write to a file"
PATH_BYTES = 16
SIGNATURE = struct.Struct("<qq")
MISSING = -1
KEY_COLUMNS = ("root", "image_path", "file_size", "modified_at")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _path_key(root: str, relative: str) -> bytes:
    name = f"{root}\0{relative}".encode(errors="surrogatepass")
    return hashlib.blake2b(name, digest_size=PATH_BYTES).digest()


def _signature(size: int | None, microseconds: int | None) -> bytes:
    return SIGNATURE.pack(
        MISSING if size is None else size, MISSING if microseconds is None else microseconds
    )


def ref_key(ref: ImageRef) -> bytes:
    """Path, size and modification time of a file, in few bytes."""
    moment = modified_at(ref.mtime)
    microseconds = None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)
    return _path_key(ref.root, ref.relative) + _signature(ref.size, microseconds)


def row_keys(images: pa.Table) -> list[bytes]:
    """The same of rows with `KEY_COLUMNS`."""
    roots, names, sizes, times = (images[name] for name in KEY_COLUMNS)
    columns = (roots, names, sizes, times.cast(pa.int64()))
    return [
        _path_key(root, name) + _signature(size, moment)
        for root, name, size, moment in zip(*(c.to_pylist() for c in columns), strict=True)
    ]


class Sink:
    """Takes a scan's records; this one keeps none.

    The order of calls is `open`, `begin`, `pending`, any number of `write`, `finish`; at the end
    `close`, whatever happened.

    Attributes:
        paths: Where the tables go; None where no files are written.
        tally: Counts of all that the tables hold.
        scanned: Pictures whose records it took.
        taken_over: Files that need no scan, so far.
        moved: Of them, files that had another name in the earlier output.
        gone: Files of the earlier output that the walk has not met; right at its end.
        is_continued: Whether an interrupted scan goes on.
    """

    def __init__(self) -> None:
        """Nothing is opened yet."""
        self.paths: OutputPaths | None = None
        self.tally = Tally()
        self.scanned = self.taken_over = self.moved = self.gone = 0
        self.is_continued = False
        self._seen: set[bytes] = set()

    def open(self) -> None:
        """Reserve the output, before networks are loaded."""

    def look(self, about: dict[str, Any]) -> None:
        """Instead of `open` and `begin`, where nothing is to be written: learn what is done."""

    def begin(self, about: dict[str, Any]) -> None:
        """Start, with what the scan is made with."""

    def pending(self, refs: Iterable[ImageRef]) -> Iterator[ImageRef]:
        """The files that are to be scanned; each once."""
        for ref in refs:
            key = ref_key(ref)
            path = key[:PATH_BYTES]
            if path not in self._seen:
                self._seen.add(path)
                if not self._takes_over(ref, key):
                    yield ref

    def _takes_over(self, ref: ImageRef, key: bytes) -> bool:
        return False

    def write(self, record: ImageRecord) -> None:
        """Take a picture's record."""
        self.scanned += 1

    def finish(self) -> None:
        """All has been written: put the tables into place."""

    def close(self) -> None:
        """Keep what there is and let go of the output."""

    def to_dict(self) -> dict[str, Any]:
        """The counts, JSON-ready."""
        about = {"taken_over": self.taken_over, "moved": self.moved, "gone": self.gone}
        return {**self.tally.to_dict(), **about}

    def can_go_on(self) -> bool:
        """Whether the same scan would go on from what was saved."""
        return False


class StreamSink(Sink):
    """Writes the faces table as CSV to a stream, in small batches."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        """Write to `stream`, which stays open; standard output where it is missing."""
        super().__init__()
        self._stream = stream or sys.stdout.buffer
        self._writer: TableWriter | None = None
        self._model_id = ""
        self._ages: list[int] = []

    def begin(self, about: dict[str, Any]) -> None:
        """Write the header."""
        self._model_id, self._ages = about["model_id"], age_thresholds_of(about)
        with as_output_error(STREAM_NAME, STREAM_REMEDY):
            self._writer = CSV.open_writer(self._stream, tables_with(self._ages)["faces"], {})

    def write(self, record: ImageRecord) -> None:
        """Write the faces of a picture."""
        super().write(record)
        assert self._writer
        faces = faces_batch([record], self._model_id, self._ages)
        self.tally.add(images_batch([record], self._ages), faces)
        with as_output_error(STREAM_NAME, STREAM_REMEDY):
            self._writer.write(faces)
            self._stream.flush()
