"""Feather: an Arrow file, which pandas, Polars and R open without converting.

Words are plain text in it: the file format allows a column only one dictionary, which rows that are
streamed don't know beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, ClassVar, Literal

import pyarrow as pa

from batchage.write.base import in_schema, with_run
from batchage.write.schema import without_dictionaries


class FeatherWriter:
    """Streams one table."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        """Write the head."""
        self._schema = schema
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._writer = pa.ipc.new_file(stream, schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._writer.write_batch(batch.cast(self._schema))

    def close(self) -> None:
        """Write the foot."""
        self._writer.close()


class FeatherFormat:
    """Zstandard-compressed; `batchage.*` keys of the schema metadata describe the run."""

    holds_both: ClassVar[Literal[False]] = False

    def open_writer(
        self, stream: BinaryIO, schema: pa.Schema, metadata: Mapping[str, str]
    ) -> FeatherWriter:
        """A writer of a table with `schema` to `stream`."""
        return FeatherWriter(stream, with_run(without_dictionaries(schema), metadata))

    def read(self, stream: BinaryIO, schema: pa.Schema) -> pa.Table:
        """The table in a file; its own metadata are kept."""
        return in_schema(pa.ipc.open_file(stream).read_all(), schema)

    def read_pieces(self, stream: BinaryIO, schema: pa.Schema) -> Iterator[pa.Table]:
        """The same, batch after batch."""
        file = pa.ipc.open_file(stream)
        for number in range(file.num_record_batches):
            yield in_schema(pa.Table.from_batches([file.get_batch(number)]), schema)


FORMAT = FeatherFormat()
