"""Reading the tables of a scan, whatever their format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from batchage.errors import UsageError
from batchage.places import AnyPath, folder_at, open_input
from batchage.write.base import check_suffix, table_format
from batchage.write.parquet import FORMAT as PARQUET
from batchage.write.paths import ABOUT, part_name, part_names
from batchage.write.schema import FACES, IMAGES, TABLES, as_found


def read_table(path: AnyPath, schema: pa.Schema | None = None) -> pa.Table:
    """A table that a scan wrote, in any of the formats, in the schema's types.

    Args:
        path: The file, or the folder of a dataset or of one of its tables.
        schema: `FACES` or `IMAGES`: which of them, in what may hold both; None goes by the name.

    Raises:
        OSError: It can't be read.
        ValueError: It is damaged, or isn't such a table.
    """
    if schema is None:
        is_images = path.stem.endswith(".images") or (path.name == "images" and not path.suffix)
        schema = IMAGES if is_images else FACES
    if not check_suffix(path):
        return pa.concat_tables(read_pieces(path, schema))
    form = table_format(path)
    if form.holds_both:
        return form.read(path, schema)
    with open_input(path) as stream:
        return form.read(stream, schema)


def read_pieces(path: AnyPath, schema: pa.Schema) -> Iterator[pa.Table]:
    """The same table piece by piece, where its format can be read so.

    Raises:
        OSError: It can't be read.
        ValueError: It is damaged, or isn't such a table.
    """
    if not check_suffix(path):
        for file in _dataset_files(path, schema):
            with open_input(file) as stream:
                yield from PARQUET.read_pieces(stream, schema)
        return
    form = table_format(path)
    if form.holds_both:
        yield form.read(path, schema)
        return
    with open_input(path) as stream:
        yield from form.read_pieces(stream, schema)


def _dataset_files(path: AnyPath, schema: pa.Schema) -> list[AnyPath]:
    """The files of a table of a dataset, which is named by its folder or by the table's own."""
    part = next(name for name, known in TABLES.items() if known is schema)
    table = path / part
    names = part_names(table)
    if not names:
        table, names = path, part_names(path)
    if not names:
        raise FileNotFoundError(2, "No such file or directory")
    if not folder_at(table.parent).has(ABOUT):
        raise ValueError(f"it is unfinished: {ABOUT} is missing")
    if names != [part_name(number) for number in range(len(names))]:
        raise ValueError("files of it are missing")
    return [table / name for name in names]


def read_columns(path: AnyPath, names: Sequence[str], with_optional: bool = False) -> pa.Table:
    """Columns of a table that a scan wrote.

    Args:
        path: The table.
        names: The columns.
        with_optional: Whether those follow that only some tables have.

    Raises:
        UsageError: It isn't one, or not the one that has them.
    """
    wanted = FACES if set(names) <= {*as_found(FACES, names).names} else IMAGES
    holds_both = not check_suffix(path) or table_format(path).holds_both
    try:
        table = read_table(path, wanted if holds_both else None)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(
            f"{path}: can't be read as a scan's table ({reason}); give the one that a scan wrote"
        ) from None
    if missing := [name for name in names if name not in table.column_names]:
        other = "images" if missing[0] in FACES.names else "faces"
        raise UsageError(f"{path}: is the table of {other}, which has no column {missing[0]}")
    known = {*FACES.names, *IMAGES.names, *names}
    optional = [name for name in table.column_names if name not in known] if with_optional else []
    return table.select([*names, *optional])
