"""What a table writer is, and which suffix takes which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Literal, Protocol

from batchage.errors import UsageError
from batchage.plugins import Registry
from batchage.write.schema import as_found

if TYPE_CHECKING:
    import pyarrow as pa

    from batchage.places import AnyPath


class TableWriter(Protocol):
    """Streams the batches of one table into an open file."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        ...

    def close(self) -> None:
        """Finish the file's content; the stream stays open."""
        ...


class TableFormat(Protocol):
    """A format with a file for each table: one module."""

    holds_both: ClassVar[Literal[False]]

    def open_writer(
        self, stream: BinaryIO, schema: pa.Schema, metadata: Mapping[str, str]
    ) -> TableWriter:
        """A writer of a table with `schema` to `stream`."""
        ...

    def read(self, stream: BinaryIO, schema: pa.Schema) -> pa.Table:
        """The table in a file that a writer of this format made, in `schema`'s types.

        Columns are found by name; others than `schema`'s and its optional ones are left out.

        Raises:
            ValueError: It isn't such a file, or a column is missing.
        """
        ...

    def read_pieces(self, stream: BinaryIO, schema: pa.Schema) -> Iterator[pa.Table]:
        """The same in pieces of bounded size, or in one where the format can't."""
        ...


class BothWriter(Protocol):
    """Streams both tables into one file."""

    def write(self, images: pa.Table, faces: pa.Table) -> None:
        """Append some files' rows, and their faces' in the same order."""
        ...

    def close(self) -> None:
        """Finish and close the file."""
        ...


class BothFormat(Protocol):
    """A format with both tables in one file: one module."""

    holds_both: ClassVar[Literal[True]]

    def open_writer(
        self, path: Path, schemas: Mapping[str, pa.Schema], metadata: Mapping[str, str]
    ) -> BothWriter:
        """A writer of a new file for tables with `schemas`, by their names in `TABLES`.

        Raises:
            OSError: It can't be made; also later, from the writer, where there is no more room.
        """
        ...

    def read(self, path: AnyPath, schema: pa.Schema) -> pa.Table:
        """The table that has `schema`, as of `TableFormat.read`."""
        ...


METADATA_PREFIX = "batchage."
FORMATS: Registry[TableFormat | BothFormat] = Registry(
    "format",
    {
        name: f"batchage.write.{module}:FORMAT"
        for name, module in {
            "parquet": "parquet",
            "csv": "csv",
            "jsonl": "jsonl",
            "feather": "feather",
            "sqlite": "sqlite",
            "json": "coco",
        }.items()
    },
)
"""By suffix, without its dot."""


def require_columns(names: Iterable[str], schema: pa.Schema) -> None:
    """Check that a table that is read has every column of `schema`.

    Raises:
        ValueError: One is missing.
    """
    if missing := [name for name in schema.names if name not in set(names)]:
        raise ValueError(f"it has no column {missing[0]}")


def with_run(schema: pa.Schema, metadata: Mapping[str, str]) -> pa.Schema:
    """The schema with the run's metadata, under keys of their own."""
    return schema.with_metadata({f"{METADATA_PREFIX}{key}": v for key, v in metadata.items()})


def in_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`, in its types; the table's own metadata are kept.

    Raises:
        ValueError: One is missing, or can't be of that type.
    """
    schema = as_found(schema, table.column_names)
    require_columns(table.column_names, schema)
    return table.select(schema.names).cast(schema.with_metadata(table.schema.metadata))


def suffixes() -> list[str]:
    """Those that there is a format for."""
    return [f".{name}" for name in FORMATS]


def check_suffix(path: AnyPath) -> str:
    """The suffix of `path`, if there is a format for it; none is that of a dataset's folder.

    Raises:
        UsageError: There is no such format.
    """
    suffix = path.suffix.lower()
    if suffix and suffix.removeprefix(".") not in FORMATS:
        *others, last = suffixes()
        raise UsageError(
            f"{path}: unknown suffix; use {', '.join(others)} or {last}, or none for a folder"
        )
    return suffix


def table_format(path: AnyPath) -> TableFormat | BothFormat:
    """The format of `path`, by its suffix.

    Raises:
        UsageError: The suffix is unknown.
    """
    return FORMATS.load(check_suffix(path).removeprefix("."))
