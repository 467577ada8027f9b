"""The two tables of a scan: where they are, reading them, and streaming them in bounded memory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa

from batchage.errors import UsageError
from batchage.write.base import TableWriter, check_suffix, table_format
from batchage.write.csv import unescape_cell
from batchage.write.files import as_output_error, put_into_place, write_json
from batchage.write.schema import FACES, IMAGES, without_dictionaries

__all__ = [
    "OutputPaths",
    "Rows",
    "TablesWriter",
    "output_paths",
    "read_columns",
    "read_table",
    "unescape_cell",
]

ROWS_PER_BATCH = 4096


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where the files of one scan are.

    Attributes:
        faces: The faces table.
        images: The images table; it is put into place last.
        about: JSON of what the scan was made with.
    """

    faces: Path
    images: Path
    about: Path

    def __iter__(self) -> Iterator[Path]:
        return iter((self.faces, self.about, self.images))


def output_paths(output: Path) -> OutputPaths:
    """`results.parquet` → itself, `results.images.parquet` and `results.parquet.scan.json`.

    Raises:
        UsageError: The suffix is unknown, or the name is that of an images table.
    """
    check_suffix(output)
    if output.stem.endswith(".images"):
        raise UsageError(f"{output}: .images is for the second table; choose another name")
    images = output.with_name(f"{output.stem}.images{output.suffix}")
    return OutputPaths(output, images, output.with_name(f"{output.name}.scan.json"))


def read_table(path: Path) -> pa.Table:
    """A table that a scan wrote, in any of the formats, in the schema's types."""
    schema = IMAGES if path.stem.endswith(".images") else FACES
    return table_format(path).read(path, schema)


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Columns of a table that a scan wrote.

    Raises:
        UsageError: It isn't one, or not the one that has them.
    """
    try:
        table = read_table(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(
            f"{path}: can't be read as a scan's table ({reason}); give the one that a scan wrote"
        ) from None
    if missing := [name for name in names if name not in table.column_names]:
        other = "images" if missing[0] in FACES.names else "faces"
        raise UsageError(f"{path}: is the table of {other}, which has no column {missing[0]}")
    return table.select(list(names))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some files and their faces.

    Attributes:
        images: Rows of `IMAGES`.
        faces: Rows of `FACES`, in the order of `images`.
    """

    images: pa.Table
    faces: pa.Table

    def __len__(self) -> int:
        return int(self.images.num_rows)


class _Table:
    """One table on its way to its place; small pieces are gathered into larger ones."""

    def __init__(
        self, path: Path, folder: Path, schema: pa.Schema, metadata: Mapping[str, str]
    ) -> None:
        self.path, self.partial = path, folder / f"{path.name}.partial"
        self._waiting: list[pa.Table] = []
        self._schema = schema
        self._plain = without_dictionaries(schema)
        with as_output_error(path):
            self._stream: BinaryIO = self.partial.open("wb")
        self._writer: TableWriter = table_format(path).open_writer(self._stream, schema, metadata)

    def write(self, rows: pa.Table) -> None:
        # Without its dictionaries: each slice of a table would bring along the whole one.
        self._waiting.append(rows.cast(self._plain))
        if sum(table.num_rows for table in self._waiting) >= ROWS_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting).combine_chunks().cast(self._schema)
        self._waiting = []
        with as_output_error(self.path):
            for batch in table.to_batches():
                self._writer.write(batch)

    def finish(self) -> None:
        self._flush()
        with as_output_error(self.path):
            self._writer.close()
            self._stream.close()

    def put_into_place(self) -> None:
        with as_output_error(self.path):
            put_into_place(self.partial, self.path)

    def discard(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._stream.close()
        with contextlib.suppress(OSError):
            self.partial.unlink(missing_ok=True)


class TablesWriter:
    """A context manager that takes rows and leaves two whole tables, or none.

    Left by an error, it removes what it wrote and leaves an earlier output as it was.
    """

    def __init__(self, paths: OutputPaths, about: Mapping[str, Any], folder: Path) -> None:
        """Open the tables.

        Args:
            paths: Where they belong.
            about: Of the scan, JSON-ready; becomes the third file, and the footer of Parquet files.
            folder: Where unfinished files lie; on the file system of `paths`.

        Raises:
            UsageError: The suffix is unknown.
            OutputError: A file can't be written.
        """
        self._paths, self._about = paths, about
        metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()}
        self._tables: list[_Table] = []
        try:
            for path, schema in ((paths.faces, FACES), (paths.images, IMAGES)):
                self._tables.append(_Table(path, folder, schema, metadata))
        except BaseException:
            self._discard()
            raise

    def __enter__(self) -> Self:
        return self

    def write(self, rows: Rows) -> None:
        """Take some files' rows."""
        faces, images = self._tables
        faces.write(rows.faces)
        images.write(rows.images)

    def _discard(self) -> None:
        for table in self._tables:
            table.discard()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._discard()
            return
        faces, images = self._tables
        try:
            for table in self._tables:
                table.finish()
            faces.put_into_place()
            with as_output_error(self._paths.about):
                write_json(self._paths.about, self._about)
            images.put_into_place()
        except BaseException:
            self._discard()
            raise
