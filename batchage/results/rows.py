"""Rows of earlier tables, taken over stretch by stretch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchage.errors import OutputError
from batchage.results.sink import MISSING, PATH_BYTES, SIGNATURE, row_keys
from batchage.types import ImageRef
from batchage.write import Rows


class Cursor:
    """Hands out the rows of a source, so many at a time."""

    def __init__(self, source: Iterator[Rows]) -> None:
        """Begin at the first of the source's rows."""
        self._source = source
        self._rows: Rows | None = None
        self._borders: Sequence[int] = ()
        self._n_taken = 0

    def take(self, n: int) -> Iterator[Rows]:
        """The next `n` files' rows, in pieces.

        Raises:
            OutputError: The source ends before.
        """
        while n:
            if self._rows is None:
                self._begin()
            assert self._rows is not None
            first = self._n_taken
            last = min(first + n, len(self._borders) - 1)
            rows = self._rows.slice(self._borders[first], self._borders[last])
            self._n_taken = last
            if last == len(self._borders) - 1:
                self._rows = None
            n -= last - first
            yield rows

    def _begin(self) -> None:
        rows = self._rows = next(self._source, None)
        if rows is None:
            raise OutputError(
                "the parts of this scan were changed while it ran; give the same command again"
            )
        self._borders, self._n_taken = [*rows.file_starts().tolist(), len(rows)], 0

    def end(self) -> None:
        """See the source through to its end: nothing is left to hand out."""
        deque(self._source, maxlen=0)


def stretches(wanted: Iterable[bool]) -> Iterator[tuple[int, int]]:
    """Stretches `(start, stop)` of what is wanted."""
    start = 0
    for is_wanted, run in groupby(wanted):
        stop = start + sum(1 for _ in run)
        if is_wanted:
            yield start, stop
        start = stop


def keys_below(folder: ImageRef, images: pa.Table) -> list[bytes]:
    """The keys of those rows whose files are in a folder."""
    prefix = "" if folder.relative == "." else f"{folder.relative}/"
    is_below = pc.and_(
        pc.equal(images["root"], folder.root), pc.starts_with(images["image_path"], prefix)
    )
    return row_keys(images.filter(is_below))


def with_times(rows: Rows, keys: Sequence[bytes]) -> Rows:
    """The rows with the modification times in `keys`, of files touched but not changed."""
    times = [SIGNATURE.unpack(key[PATH_BYTES:])[1] for key in keys]
    field = rows.images.schema.field("modified_at")
    mask = np.array(times) == MISSING
    column = pa.array(times, pa.int64(), mask=mask).cast(field.type)
    index = rows.images.schema.get_field_index("modified_at")
    return Rows(rows.images.set_column(index, field, column), rows.faces)
