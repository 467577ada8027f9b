"""CSV: UTF-8, a header, RFC 4180 quoting, ISO 8601 times, empty cells for missing values.

A text cell that a spreadsheet would run as a formula (it starts with =, +, -, @, a tab or a
carriage return) gets an apostrophe in front; so does one that starts with an apostrophe, which
makes `unescape_cell` the exact inverse. The run's metadata have no place in CSV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from batchage.write.base import require_columns
from batchage.write.schema import as_found

PIECE_BYTES = 64 << 20
"""Read at once."""
RISKY = ("=", "+", "-", "@", "\t", "\r", "'")


def escape_cell(text: str) -> str:
    """The text of a cell, harmless to spreadsheets."""
    return f"'{text}" if text.startswith(RISKY) else text


def unescape_cell(text: str) -> str:
    """The inverse of `escape_cell`."""
    return text.removeprefix("'")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))


def _cells(column: pa.Array) -> list[str | None]:
    kind = column.type
    if _is_text(kind):
        return [None if v is None else escape_cell(v) for v in column.to_pylist()]
    if pa.types.is_timestamp(kind):
        return [None if v is None else v.isoformat() for v in column.to_pylist()]
    cells: list[str | None] = pc.cast(column, pa.string()).to_pylist()
    return cells


def _texts(column: pa.ChunkedArray, field: pa.Field) -> pa.Array:
    # An empty cell is a missing value only where the schema knows missing values.
    empty = None if field.nullable else ""
    cells = [empty if v is None else unescape_cell(v) for v in column.to_pylist()]
    return pa.array(cells, pa.string())


class CsvWriter:
    """Streams one table."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        """Write the header."""
        self._stream = stream
        self._write_rows([schema.names])

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._write_rows(zip(*map(_cells, batch.columns), strict=True))

    def _write_rows(self, rows: Iterable[Sequence[str | None]]) -> None:
        # A text wrapper around the stream would close it when it is collected after an error.
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._stream.write(text.getvalue().encode())

    def close(self) -> None:
        """Nothing is left to write."""


class CsvFormat:
    """See the module."""

    holds_both: ClassVar[Literal[False]] = False

    def open_writer(
        self, stream: BinaryIO, schema: pa.Schema, metadata: Mapping[str, str]
    ) -> CsvWriter:
        """A writer of a table with `schema` to `stream`."""
        return CsvWriter(stream, schema)

    def read(self, stream: BinaryIO, schema: pa.Schema) -> pa.Table:
        """The table in a file, unescaped, in `schema`'s types."""
        return pa.concat_tables(self.read_pieces(stream, schema))

    def read_pieces(self, stream: BinaryIO, schema: pa.Schema) -> Iterator[pa.Table]:
        """The same, some rows at a time."""
        names: list[str] | None = None
        for rows in _whole_rows(stream):
            table = _parse(rows, schema, names)
            names = table.column_names
            found = as_found(schema, names)
            require_columns(names, found)
            columns = [
                _texts(table[field.name], field) if _is_text(field.type) else table[field.name]
                for field in found
            ]
            yield pa.table(dict(zip(found.names, columns, strict=True))).cast(found)


def _whole_rows(stream: BinaryIO) -> Iterator[bytes]:
    """The content in pieces that end with a row; at least one, the first with the header."""
    rest, has_any = b"", False
    while data := stream.read(PIECE_BYTES):
        data = rest + data
        end = data.rfind(b"\n") + 1
        n_quotes = data.count(b'"', 0, end)
        # A line break between quotes ends no row.
        while end and n_quotes % 2:
            earlier = data.rfind(b"\n", 0, end - 1) + 1
            n_quotes -= data.count(b'"', earlier, end)
            end = earlier
        if end:
            yield data[:end]
            has_any = True
        rest = data[end:]
    if rest or not has_any:
        yield rest


def _parse(rows: bytes, schema: pa.Schema, names: list[str] | None) -> pa.Table:
    """Cells by column; the first of the rows names these where `names` doesn't."""
    return pa_csv.read_csv(
        pa.BufferReader(rows),
        # One block: Arrow may take a quoted line break at the end of one for a row's.
        read_options=pa_csv.ReadOptions(block_size=max(len(rows), 1), column_names=names),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types={f.name: pa.string() if _is_text(f.type) else f.type for f in schema},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


FORMAT = CsvFormat()
