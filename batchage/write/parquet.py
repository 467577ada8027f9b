"""Parquet, with the run's metadata in the footer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batchage.write.base import require_columns

METADATA_PREFIX = "batchage."


class ParquetFormat:
    """Zstandard-compressed Parquet; `batchage.*` keys of the schema metadata describe the run."""

    def open_writer(
        self, stream: BinaryIO, schema: pa.Schema, metadata: Mapping[str, str]
    ) -> pq.ParquetWriter:
        """A writer of a table with `schema` to `stream`."""
        footer = {f"{METADATA_PREFIX}{key}": value for key, value in metadata.items()}
        return pq.ParquetWriter(stream, schema.with_metadata(footer), compression="zstd")

    def read(self, path: Path, schema: pa.Schema) -> pa.Table:
        """The table in a file; its own metadata are kept."""
        table = pq.read_table(path)
        require_columns(table.column_names, schema)
        return table.select(schema.names).cast(schema.with_metadata(table.schema.metadata))


FORMAT = ParquetFormat()
