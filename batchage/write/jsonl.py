"""JSON Lines: one object a row, UTF-8. The run's metadata have no place here."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import BinaryIO, ClassVar, Literal

import pyarrow as pa

from batchage.write.plain import plain_rows, table_of

ROWS_PER_PIECE = 4096


class JsonLinesWriter:
    """Streams one table."""

    def __init__(self, stream: BinaryIO) -> None:
        """Nothing is written before the first row."""
        self._stream = stream

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        for row in plain_rows(batch):
            self._stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Nothing is left to write."""


class JsonLinesFormat:
    """See the module."""

    holds_both: ClassVar[Literal[False]] = False

    def open_writer(
        self, stream: BinaryIO, schema: pa.Schema, metadata: Mapping[str, str]
    ) -> JsonLinesWriter:
        """A writer of a table with `schema` to `stream`."""
        return JsonLinesWriter(stream)

    def read(self, stream: BinaryIO, schema: pa.Schema) -> pa.Table:
        """The table in a file, in `schema`'s types."""
        return pa.concat_tables([*self.read_pieces(stream, schema)] or [table_of([], schema)])

    def read_pieces(self, stream: BinaryIO, schema: pa.Schema) -> Iterator[pa.Table]:
        """The same, some lines at a time."""
        rows = (json.loads(line) for line in stream if line.strip(b"\n"))
        while piece := list(itertools.islice(rows, ROWS_PER_PIECE)):
            yield table_of(piece, schema)


FORMAT = JsonLinesFormat()
