"""Writing both tables in bounded memory, whole or not at all."""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchage.places import AnyPath, Folder, as_output_error, folder_at, put_into_place, write_json
from batchage.write.base import BothFormat, TableFormat, table_format
from batchage.write.parquet import FORMAT as PARQUET
from batchage.write.paths import ABOUT, OutputPaths, part_name, part_names
from batchage.write.schema import age_thresholds_of, tables_with, without_dictionaries

ROWS_PER_BATCH = 4096
PHOTOS_PER_FILE = 1_000_000
"""In a dataset."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some pictures and their faces.

    Attributes:
        images: Rows of `IMAGES`.
        faces: Rows of `FACES`, in the order of `images`.
    """

    images: pa.Table
    faces: pa.Table

    def __len__(self) -> int:
        return int(self.images.num_rows)

    def slice(self, start: int, stop: int) -> Rows:
        """Rows `start` up to `stop` and their faces."""
        if (start, stop) == (0, len(self)):
            return self
        counts = self.images["n_faces"].to_numpy()
        first, last = int(counts[:start].sum()), int(counts[:stop].sum())
        images = self.images.slice(start, stop - start)
        return Rows(images, self.faces.slice(first, last - first))

    def file_starts(self) -> NDArray[np.intp]:
        """Numbers of the rows that begin a file, whose pages are rows one after the other."""
        if not len(self):
            return np.zeros(0, np.intp)
        is_start = np.zeros(len(self), bool)
        is_start[0] = True
        for column in ("root", "image_path"):
            names = self.images[column].to_numpy(zero_copy_only=False)
            is_start[1:] |= names[1:] != names[:-1]
        return np.flatnonzero(is_start)

    def require_order(self) -> None:
        """See that the faces are those of the images.

        Raises:
            ValueError: They aren't.
        """
        counts = self.images["n_faces"].to_numpy()
        for column in ("root", "image_path", "page"):
            values = np.array(self.images[column].to_pylist(), object)
            if np.repeat(values, counts).tolist() != self.faces[column].to_pylist():
                raise ValueError("the rows of faces and images are not in the same order any more")


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """What all tables of an output have in common."""

    schemas: Mapping[str, pa.Schema]
    metadata: Mapping[str, str]


class _OneTable:
    """A file with one table; small pieces are gathered into larger ones."""

    def __init__(
        self, path: AnyPath, partials: Folder, form: TableFormat, kind: _Kind, part: str
    ) -> None:
        self.path = path
        self._part, self._schema = part, kind.schemas[part]
        self._plain = without_dictionaries(self._schema)
        self._waiting: list[pa.Table] = []
        self._is_closed = False
        with as_output_error(path):
            folder = folder_at(path.parent)
            # The files of a dataset's two tables have the same names.
            self._pending = folder.begin(path.name, partials, f"{part}-{path.name}.partial")
        self.can_wait = self._pending.can_wait
        self._writer = form.open_writer(self._pending.stream, self._schema, kind.metadata)

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
        with as_output_error(self.path):
            self._is_closed = True
            self._writer.close()
            self._pending.finish()

    def put_into_place(self) -> None:
        with as_output_error(self.path):
            self._pending.put_into_place()

    def discard(self) -> None:
        if not self._is_closed:
            with contextlib.suppress(OSError, pa.ArrowException):
                self._writer.close()
        self._pending.discard()


class _Output(ABC):
    """Files of an output on their way to their places."""

    @abstractmethod
    def write(self, rows: Rows) -> None:
        """Take some files' rows."""

    @abstractmethod
    def finish(self) -> None:
        """Finish the files' content."""

    @abstractmethod
    def put_into_place(self, about: Mapping[str, Any]) -> None:
        """Put them and what the scan was made with into place."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what is not in its place."""


class _TwoFiles(_Output):
    """A file for each table."""

    def __init__(
        self, paths: OutputPaths, partials: Folder, form: TableFormat, kind: _Kind
    ) -> None:
        self._about = paths.about
        self._files: list[_OneTable] = []
        try:
            for path, part in ((paths.faces, "faces"), (paths.images, "images")):
                self._files.append(_OneTable(path, partials, form, kind, part))
        except BaseException:
            self.discard()
            raise

    def write(self, rows: Rows) -> None:
        for file in self._files:
            file.write(rows)

    def finish(self) -> None:
        for file in self._files:
            file.finish()

    def put_into_place(self, about: Mapping[str, Any]) -> None:
        faces, images = self._files
        faces.put_into_place()
        with as_output_error(self._about):
            write_json(self._about, about)
        images.put_into_place()

    def discard(self) -> None:
        for file in self._files:
            file.discard()


class _OneFile(_Output):
    """A file with both tables."""

    def __init__(self, paths: OutputPaths, partials: Folder, form: BothFormat, kind: _Kind) -> None:
        assert isinstance(paths.faces, Path)
        assert isinstance(partials.path, Path)
        self._path, self._about = paths.faces, paths.about
        self._partial = partials.path / f"{self._path.name}.partial"
        self._is_closed = False
        with as_output_error(self._path):
            self._writer = form.open_writer(self._partial, kind.schemas, kind.metadata)

    def write(self, rows: Rows) -> None:
        with as_output_error(self._path):
            self._writer.write(rows.images, rows.faces)

    def finish(self) -> None:
        with as_output_error(self._path):
            self._is_closed = True
            self._writer.close()

    def put_into_place(self, about: Mapping[str, Any]) -> None:
        with as_output_error(self._about):
            write_json(self._about, about)
        with as_output_error(self._path):
            put_into_place(self._partial, self._path)

    def discard(self) -> None:
        if not self._is_closed:
            with contextlib.suppress(OSError):
                self._writer.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)


class _Dataset(_Output):
    """Files of bounded size for each table, those of one number with the rows of the same photos.

    `_scan.json` is removed before the first of them is in its place, and written after the last.
    """

    def __init__(self, paths: OutputPaths, partials: Folder, kind: _Kind) -> None:
        self._paths, self._partials, self._kind = paths, partials, kind
        self._folder = folder_at(paths.output)
        self._finished: list[_OneTable] = []
        self._open: list[_OneTable] = []
        self._n_files = self._n_photos = 0
        self._has_begun = False
        self._begin()

    def _begin(self) -> None:
        name = part_name(self._n_files)
        self._n_files, self._n_photos = self._n_files + 1, 0
        try:
            for table, part in ((self._paths.faces, "faces"), (self._paths.images, "images")):
                file = _OneTable(table / name, self._partials, PARQUET, self._kind, part)
                self._open.append(file)
        except BaseException:
            self.discard()
            raise

    def write(self, rows: Rows) -> None:
        while len(rows):
            if self._n_photos == PHOTOS_PER_FILE:
                self._end()
                self._begin()
            head = rows.slice(0, min(len(rows), PHOTOS_PER_FILE - self._n_photos))
            for file in self._open:
                file.write(head)
            self._n_photos += len(head)
            rows = rows.slice(len(head), len(rows))

    def _end(self) -> None:
        """Finish the open files; those that can't wait are put into their places."""
        for file in self._open:
            file.finish()
        self._finished.extend(self._open)
        self._open = []
        if not all(file.can_wait for file in self._finished):
            self._place()

    def _place(self) -> None:
        with as_output_error(self._paths.output):
            if not self._has_begun:
                self._has_begun = True
                for place in (self._paths.output, self._paths.faces, self._paths.images):
                    folder_at(place).make()
                self._folder.remove([ABOUT])
        while self._finished:
            self._finished[0].put_into_place()
            del self._finished[0]

    def finish(self) -> None:
        self._end()

    def put_into_place(self, about: Mapping[str, Any]) -> None:
        self._place()
        ours = {part_name(number) for number in range(self._n_files)}
        with as_output_error(self._paths.output):
            for table in (self._paths.faces, self._paths.images):
                folder_at(table).remove(name for name in part_names(table) if name not in ours)
            self._folder.write_json(ABOUT, about)

    def discard(self) -> None:
        for file in [*self._finished, *self._open]:
            file.discard()


class TablesWriter:
    """A context manager that takes rows and leaves two whole tables, or none.

    Left by an error, it removes what it wrote and leaves an earlier output as it was; but a store
    takes the files of a dataset one after the other.
    """

    def __init__(self, paths: OutputPaths, about: Mapping[str, Any], folder: AnyPath) -> None:
        """Open the tables.

        Args:
            paths: Where they belong.
            about: Of the scan, JSON-ready; becomes the third file, and the footer of Parquet files.
            folder: Where unfinished files lie; on the file system of `paths`.

        Raises:
            UsageError: The suffix is unknown.
            OutputError: A file can't be written.
        """
        self._about = about
        metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()}
        kind = _Kind(tables_with(age_thresholds_of(about)), metadata)
        partials = folder_at(folder)
        self._output: _Output
        if paths.is_dataset:
            self._output = _Dataset(paths, partials, kind)
            return
        form = table_format(paths.faces)
        if form.holds_both:
            self._output = _OneFile(paths, partials, form, kind)
        else:
            self._output = _TwoFiles(paths, partials, form, kind)

    def __enter__(self) -> Self:
        return self

    def write(self, rows: Rows) -> None:
        """Take some files' rows."""
        self._output.write(rows)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._output.discard()
            return
        try:
            self._output.finish()
            self._output.put_into_place(self._about)
        except BaseException:
            self._output.discard()
            raise
