"""Records → two tables, streamed in bounded memory, put into place when they are whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import pyarrow as pa

from batchage.errors import OutputError
from batchage.types import ImageRecord
from batchage.write.base import TableWriter, check_suffix, table_format
from batchage.write.csv import unescape_cell
from batchage.write.schema import FACES, IMAGES, faces_batch, images_batch

__all__ = ["OutputPaths", "ResultWriter", "output_paths", "read_table", "unescape_cell"]

ROWS_PER_BATCH = 4096
REMEDY = "free space and run the scan again"
STREAM_NAME = "standard output"
STREAM_REMEDY = "keep the reading end open, or write to a file"


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where the two tables of one scan are."""

    faces: Path
    images: Path


def output_paths(output: Path) -> OutputPaths:
    """`results.parquet` → itself and `results.images.parquet`.

    Raises:
        UsageError: The suffix is unknown.
    """
    check_suffix(output)
    return OutputPaths(output, output.with_name(f"{output.stem}.images{output.suffix}"))


def read_table(path: Path) -> pa.Table:
    """A table that a scan wrote, in any of the formats, in the schema's types."""
    schema = IMAGES if path.stem.endswith(".images") else FACES
    return table_format(path).read(path, schema)


@contextlib.contextmanager
def _as_output_error(place: Path | str, remedy: str = REMEDY) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{place}: could not be written ({reason}); {remedy}") from None


def _sync_folder(folder: Path) -> None:
    # Windows and some network file systems can't; the tables are whole all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _File:
    """One table on its way to its place."""

    def __init__(self, path: Path, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with _as_output_error(path, "choose another place for the output"):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            self._stream: BinaryIO = self.partial.open("wb")
        self.writer: TableWriter = table_format(path).open_writer(self._stream, schema, metadata)

    def write(self, batch: pa.RecordBatch) -> None:
        with _as_output_error(self.path):
            self.writer.write(batch)

    def finish(self) -> None:
        with _as_output_error(self.path):
            self.writer.close()
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()

    def put_into_place(self) -> None:
        with _as_output_error(self.path):
            self.partial.replace(self.path)
        _sync_folder(self.path.parent)

    def discard(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):
            self.writer.close()
        with contextlib.suppress(OSError):
            self._stream.close()
        with contextlib.suppress(OSError):
            self.partial.unlink(missing_ok=True)


class ResultWriter:
    """A context manager that takes records and leaves two whole tables, or none.

    Left by an error, it removes what it wrote and leaves an earlier output as it was. The images
    table is put into place last: where it is, the scan was finished.
    """

    def __init__(
        self,
        output: Path | None,
        metadata: Mapping[str, str],
        model_id: str,
        rows_per_batch: int = ROWS_PER_BATCH,
        stream: BinaryIO | None = None,
    ) -> None:
        """Open the tables.

        Args:
            output: The faces table; the images table goes beside it. None writes the faces table
                alone, as CSV, to `stream`.
            metadata: About the run; goes into the footer of Parquet files.
            model_id: The bundle that predicts.
            rows_per_batch: Rows of either table that are held before they are written.
            stream: Where to write if `output` is None; it stays open.

        Raises:
            UsageError: The suffix is unknown.
            OutputError: A file can't be written.
        """
        self._model_id = model_id
        self._rows_per_batch = rows_per_batch
        self._waiting: list[ImageRecord] = []
        self._waiting_faces = 0
        self._files: list[_File] = []
        self._stream = stream
        self._streamed: TableWriter | None = None
        if output is None:
            if stream is None:
                raise ValueError("give an output or a stream")
            with _as_output_error(STREAM_NAME, STREAM_REMEDY):
                csv_format = table_format(Path("faces.csv"))
                self._streamed = csv_format.open_writer(stream, FACES, metadata)
            return
        paths = output_paths(output)
        try:
            self._files.append(_File(paths.faces, FACES, metadata))
            self._files.append(_File(paths.images, IMAGES, metadata))
        except OutputError:
            self._discard()
            raise

    def __enter__(self) -> Self:
        return self

    def write(self, record: ImageRecord) -> None:
        """Take one file's record."""
        self._waiting.append(record)
        self._waiting_faces += len(record.faces)
        if max(len(self._waiting), self._waiting_faces) >= self._rows_per_batch:
            self._flush()

    def _flush(self) -> None:
        faces = faces_batch(self._waiting, self._model_id)
        if self._streamed:
            with _as_output_error(STREAM_NAME, STREAM_REMEDY):
                self._streamed.write(faces)
        else:
            self._files[0].write(faces)
            self._files[1].write(images_batch(self._waiting))
        self._waiting = []
        self._waiting_faces = 0

    def _discard(self) -> None:
        for file in self._files:
            file.discard()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._flush()
            if self._streamed and self._stream:
                with _as_output_error(STREAM_NAME, STREAM_REMEDY):
                    self._streamed.close()
                    self._stream.flush()
            for file in self._files:
                file.finish()
            for file in self._files:
                file.put_into_place()
        except BaseException:
            self._discard()
            raise
