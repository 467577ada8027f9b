"""JSON Lines: one object a row, UTF-8, null for missing values, ISO 8601 times.

JSON has no NaN and no infinity: they are null too. The run's metadata have no place here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from batchage.write.base import require_columns


def _values(column: pa.Array) -> list[Any]:
    # Through text, float32 keeps its few digits instead of growing float64's.
    if pa.types.is_floating(column.type):
        texts = pc.cast(column, pa.string()).to_pylist()
        return [None if v is None or v in ("nan", "inf", "-inf") else float(v) for v in texts]
    if pa.types.is_timestamp(column.type):
        return [None if v is None else v.isoformat() for v in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


class JsonLinesWriter:
    """Streams one table."""

    def __init__(self, stream: BinaryIO) -> None:
        """Nothing is written before the first row."""
        self._stream = stream

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        columns = {name: _values(batch.column(name)) for name in batch.schema.names}
        for row in zip(*columns.values(), strict=True):
            line = json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
            self._stream.write(line.encode() + b"\n")

    def close(self) -> None:
        """Nothing is left to write."""


class JsonLinesFormat:
    """See the module."""

    def open_writer(
        self, stream: BinaryIO, schema: pa.Schema, metadata: Mapping[str, str]
    ) -> JsonLinesWriter:
        """A writer of a table with `schema` to `stream`."""
        return JsonLinesWriter(stream)

    def read(self, path: Path, schema: pa.Schema) -> pa.Table:
        """The table in a file, in `schema`'s types."""
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
        for row in rows:
            require_columns(row if isinstance(row, dict) else (), schema)
        for field in schema:
            for row in rows:
                value = row[field.name]
                if value is None and not field.nullable:
                    row[field.name] = math.nan
                elif value is not None and pa.types.is_timestamp(field.type):
                    if not isinstance(value, str):
                        raise ValueError(f"{field.name} is {value!r}, no time in ISO 8601")
                    row[field.name] = datetime.fromisoformat(value)
        return pa.Table.from_pylist(rows, schema=schema)


FORMAT = JsonLinesFormat()
