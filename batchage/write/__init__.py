"""The two tables of a scan: where they are, reading them, and streaming them in bounded memory."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa

from batchage.errors import UsageError
from batchage.write.base import BothFormat, TableFormat, check_suffix, table_format
from batchage.write.csv import unescape_cell
from batchage.write.files import as_output_error, put_into_place, write_json
from batchage.write.schema import FACES, IMAGES, TABLES, without_dictionaries

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
        images: The images table, put into place last; the same file where a format holds both.
        about: JSON of what the scan was made with.
    """

    faces: Path
    images: Path
    about: Path

    def __iter__(self) -> Iterator[Path]:
        return iter(dict.fromkeys((self.faces, self.about, self.images)))


def output_paths(output: Path) -> OutputPaths:
    """`results.parquet` → itself, `results.images.parquet` and `results.parquet.scan.json`.

    `results.sqlite` and `results.json` hold both tables.

    Raises:
        UsageError: The suffix is unknown, or the name is that of an images table.
    """
    check_suffix(output)
    if output.stem.endswith(".images"):
        raise UsageError(f"{output}: .images is for the second table; choose another name")
    second = output.with_name(f"{output.stem}.images{output.suffix}")
    images = output if table_format(output).holds_both else second
    return OutputPaths(output, images, output.with_name(f"{output.name}.scan.json"))


def read_table(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """A table that a scan wrote, in any of the formats, in the schema's types.

    Args:
        path: The file.
        schema: `FACES` or `IMAGES`: which of them, in a file that may hold both; None goes by the
            file's name.
    """
    by_name = IMAGES if path.stem.endswith(".images") else FACES
    return table_format(path).read(path, by_name if schema is None else schema)


def read_columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Columns of a table that a scan wrote.

    Raises:
        UsageError: It isn't one, or not the one that has them.
    """
    wanted = FACES if set(names) <= set(FACES.names) else IMAGES
    try:
        table = read_table(path, wanted if table_format(path).holds_both else None)
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


class _File(ABC):
    """A file on its way to its place."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.partial = path, folder / f"{path.name}.partial"
        self._is_closed = False

    @abstractmethod
    def write(self, rows: Rows) -> None:
        """Take some files' rows."""

    @abstractmethod
    def _close(self) -> None:
        """Finish the file's content and close it."""

    def finish(self) -> None:
        with as_output_error(self.path):
            self._is_closed = True
            self._close()

    def put_into_place(self) -> None:
        with as_output_error(self.path):
            put_into_place(self.partial, self.path)

    def discard(self) -> None:
        if not self._is_closed:
            with contextlib.suppress(OSError, pa.ArrowException):
                self._close()
        with contextlib.suppress(OSError):
            self.partial.unlink(missing_ok=True)


class _OneTable(_File):
    """A file with one table; small pieces are gathered into larger ones."""

    def __init__(
        self, path: Path, folder: Path, form: TableFormat, part: str, metadata: Mapping[str, str]
    ) -> None:
        super().__init__(path, folder)
        self._part, self._schema = part, TABLES[part]
        self._plain = without_dictionaries(self._schema)
        self._waiting: list[pa.Table] = []
        with as_output_error(path):
            self._stream: BinaryIO = self.partial.open("wb")
        self._writer = form.open_writer(self._stream, self._schema, metadata)

    def write(self, rows: Rows) -> None:
        # Without its dictionaries: each slice of a table would bring along the whole one.
        self._waiting.append(getattr(rows, self._part).cast(self._plain))
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
        super().finish()

    def _close(self) -> None:
        with self._stream:
            self._writer.close()


class _BothTables(_File):
    """A file with both tables."""

    def __init__(
        self, path: Path, folder: Path, form: BothFormat, metadata: Mapping[str, str]
    ) -> None:
        super().__init__(path, folder)
        with as_output_error(path):
            self._writer = form.open_writer(self.partial, metadata)

    def write(self, rows: Rows) -> None:
        with as_output_error(self.path):
            self._writer.write(rows.images, rows.faces)

    def _close(self) -> None:
        self._writer.close()


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
        form = table_format(paths.faces)
        self._files: list[_File] = []
        try:
            if form.holds_both:
                self._files.append(_BothTables(paths.faces, folder, form, metadata))
            else:
                for path, part in ((paths.faces, "faces"), (paths.images, "images")):
                    self._files.append(_OneTable(path, folder, form, part, metadata))
        except BaseException:
            self._discard()
            raise

    def __enter__(self) -> Self:
        return self

    def write(self, rows: Rows) -> None:
        """Take some files' rows."""
        for file in self._files:
            file.write(rows)

    def _discard(self) -> None:
        for file in self._files:
            file.discard()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._discard()
            return
        *first, last = self._files
        try:
            for file in self._files:
                file.finish()
            for file in first:
                file.put_into_place()
            with as_output_error(self._paths.about):
                write_json(self._paths.about, self._about)
            last.put_into_place()
        except BaseException:
            self._discard()
            raise
