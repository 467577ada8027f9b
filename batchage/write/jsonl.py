"""JSON Lines: one object a row, UTF-8. The run's metadata have no place here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal

import pyarrow as pa

from batchage.write.plain import plain_rows, table_of


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

    def read(self, path: Path, schema: pa.Schema) -> pa.Table:
        """The table in a file, in `schema`'s types."""
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
        return table_of(rows, schema)


FORMAT = JsonLinesFormat()
