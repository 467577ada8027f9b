"""Rows as JSON and SQLite know them: numbers, text, and times in ISO 8601.

Neither knows NaN and infinity: they become missing values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchage.write.base import require_columns
from batchage.write.schema import as_found


def plain_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column's values."""
    # Through text, float32 keeps its few digits instead of growing float64's.
    if pa.types.is_floating(column.type):
        texts = pc.cast(column, pa.string()).to_pylist()
        return [None if v is None or v in ("nan", "inf", "-inf") else float(v) for v in texts]
    if pa.types.is_timestamp(column.type):
        return [None if v is None else v.isoformat() for v in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def plain_rows(table: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows by column name."""
    names = table.schema.names
    for row in zip(*(plain_values(table[name]) for name in names), strict=True):
        yield dict(zip(names, row, strict=True))


def table_of(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """The table that `plain_rows` were made of, in `schema`'s types; `rows` are changed.

    Raises:
        ValueError: A row is none, has no value for a column, or one of another kind.
    """
    if rows and isinstance(rows[0], dict):
        schema = as_found(schema, rows[0])
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
