"""Parquet, with the run's metadata in the footer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from batchage.write.base import in_schema, with_run


class ParquetFormat:
    """Zstandard-compressed Parquet; `batchage.*` keys of the schema metadata describe the run."""

    holds_both: ClassVar[Literal[False]] = False

    def open_writer(
        self, stream: BinaryIO, schema: pa.Schema, metadata: Mapping[str, str]
    ) -> pq.ParquetWriter:
        """A writer of a table with `schema` to `stream`."""
        return pq.ParquetWriter(stream, with_run(schema, metadata), compression="zstd")

    def read(self, stream: BinaryIO, schema: pa.Schema) -> pa.Table:
        """The table in a file; its own metadata are kept."""
        # Arrow's threads could hold the stream while a short command ends, which aborts it.
        return in_schema(pq.read_table(stream, use_threads=False, pre_buffer=False), schema)

    def read_pieces(self, stream: BinaryIO, schema: pa.Schema) -> Iterator[pa.Table]:
        """The same, some rows at a time."""
        with pq.ParquetFile(stream) as file:
            empty = file.schema_arrow.empty_table()
            yield in_schema(empty, schema)
            for batch in file.iter_batches():
                yield in_schema(pa.Table.from_batches([batch]), schema)


FORMAT = ParquetFormat()
