"""A scan's tables in another format or place: many files into one, or one into many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from batchage.errors import UsageError
from batchage.places import as_output_error, locate, read_object
from batchage.results.parts import Parts
from batchage.write import (
    FACES,
    IMAGES,
    OutputPaths,
    Rows,
    TablesWriter,
    output_paths,
    read_pieces,
    require_place,
)

if TYPE_CHECKING:
    from upath import UPath


def compact(
    table: str | os.PathLike[str] | UPath,
    output: str | os.PathLike[str] | UPath,
    overwrite: bool = False,
) -> OutputPaths:
    """Write the tables of a finished scan anew, in the format of `output`.

        import batchage

        batchage.compact("s3://bucket/results", "results.parquet")

    Rows are read and written some at a time, so far as the formats allow: Parquet, Feather, CSV
    and JSON Lines do; a file in a store is fetched whole.

    Args:
        table: What the scan wrote: a faces table, or the folder of a dataset; also URLs.
        output: What to write; the tables there can be updated as the scan's own.
        overwrite: Replace a finished output.

    Returns:
        Where the new tables are.

    Raises:
        UsageError: The tables can't be read, or a finished output is there.
        OutputError: It can't be written.
    """
    source, target = output_paths(locate(table)), output_paths(locate(output))
    if source == target:
        raise UsageError(f"{output}: is what is read; choose another output")
    about = _about(source)
    with as_output_error(target.output, "choose another place for the output"):
        require_place(target)
    parts = Parts(target.output)
    parts.lock()
    try:
        if parts.about() is not None:
            raise UsageError(
                f"{output}: an interrupted scan would write there; finish it or choose another "
                "output"
            )
        with as_output_error(target.output, "make it readable", "read"):
            is_there = target.exist()
        if is_there and not overwrite:
            raise UsageError(f"{output}: is there already; use --overwrite to replace it")
        with TablesWriter(target, about, parts.folder.path) as tables:
            for rows in _rows(source):
                tables.write(rows)
    finally:
        parts.unlock()
    return target


def _about(source: OutputPaths) -> dict[str, Any]:
    try:
        return read_object(source.about)
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from None


def _unreadable(source: OutputPaths, error: Exception) -> UsageError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return UsageError(
        f"{source.output}: can't be read as a scan's tables ({reason}); give the ones that a scan "
        "wrote"
    )


def _rows(source: OutputPaths) -> Iterator[Rows]:
    """The rows, piece by piece of the images table, with their faces."""
    faces = _Faces(source)
    try:
        for images in read_pieces(source.images, IMAGES):
            rows = Rows(images, faces.take(int(pc.sum(images["n_faces"]).as_py() or 0)))
            rows.require_order()
            yield rows
        if not faces.are_used_up():
            raise ValueError("there are faces of no image")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(source, error) from None


class _Faces:
    """Hands out the rows of the faces table, so many at a time."""

    def __init__(self, source: OutputPaths) -> None:
        self._pieces = read_pieces(source.faces, FACES)
        self._rest = next(self._pieces, FACES.empty_table())

    def take(self, n: int) -> pa.Table:
        taken = [self._rest.slice(0, n)]
        self._rest = self._rest.slice(n)
        while (missing := n - sum(table.num_rows for table in taken)) > 0:
            piece = next(self._pieces, None)
            if piece is None:
                raise ValueError("the table of faces ends too early")
            taken.append(piece.slice(0, missing))
            self._rest = piece.slice(missing)
        return pa.concat_tables(taken)

    def are_used_up(self) -> bool:
        return not self._rest.num_rows and not any(piece.num_rows for piece in self._pieces)
