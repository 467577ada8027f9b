"""SQLite: a database with the tables `faces`, `images` and `scan`.

`scan` has the run's metadata, a row a key. Times are ISO 8601 text, which SQLite's date functions
take.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa

from batchage.places import AnyPath
from batchage.write.plain import plain_rows, table_of
from batchage.write.schema import TABLES, as_found

KEYS = {
    "faces": "root, image_path, COALESCE(page, 0), face_index",
    "images": "root, image_path, COALESCE(page, 0)",
}
"""What tells rows apart, as an index: in a primary key no two missing pages would be the same."""
_COLUMNS = "SELECT name FROM pragma_table_info(?, 'main')"


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """What SQLite says of a disk, in the type that all others have for it."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


def _declaration(field: pa.Field) -> str:
    if pa.types.is_floating(field.type):
        # May be missing whatever the schema says: there is no NaN.
        return f"{field.name} REAL"
    kind = "INTEGER" if pa.types.is_integer(field.type) else "TEXT"
    return f"{field.name} {kind}{'' if field.nullable else ' NOT NULL'}"


class SqliteWriter:
    """Streams both tables."""

    def __init__(
        self, path: Path, schemas: Mapping[str, pa.Schema], metadata: Mapping[str, str]
    ) -> None:
        """Make the tables."""
        path.unlink(missing_ok=True)
        with _as_os_error():
            # From any thread: a scan may be closed by another than the one that began it.
            self._database = sqlite3.connect(path, check_same_thread=False)
            # The file counts when it is whole: there is nothing to roll back to.
            self._database.execute("PRAGMA journal_mode = OFF")
            for name, schema in schemas.items():
                columns = ", ".join(map(_declaration, schema))
                self._database.execute(f"CREATE TABLE {name} ({columns})")
                self._database.execute(f"CREATE UNIQUE INDEX {name}_key ON {name} ({KEYS[name]})")
            self._database.execute("CREATE TABLE scan (key TEXT PRIMARY KEY, value TEXT)")
            self._database.executemany("INSERT INTO scan VALUES (?, ?)", metadata.items())

    def write(self, images: pa.Table, faces: pa.Table) -> None:
        """Append rows."""
        with _as_os_error():
            for name, table in (("images", images), ("faces", faces)):
                values = ", ".join(f":{column}" for column in table.column_names)
                self._database.executemany(
                    f"INSERT INTO {name} VALUES ({values})", plain_rows(table)
                )

    def close(self) -> None:
        """Write what is left."""
        with _as_os_error():
            try:
                self._database.commit()
            finally:
                self._database.close()


class SqliteFormat:
    """See the module."""

    holds_both: ClassVar[Literal[True]] = True

    def open_writer(
        self, path: Path, schemas: Mapping[str, pa.Schema], metadata: Mapping[str, str]
    ) -> SqliteWriter:
        """A writer of a new database."""
        return SqliteWriter(path, schemas, metadata)

    def read(self, path: AnyPath, schema: pa.Schema) -> pa.Table:
        """One of its tables, rows in the order they were written."""
        name = next(name for name, known in TABLES.items() if known is schema)
        if not isinstance(path, Path):
            raise ValueError("a database must lie on a disk of this machine")
        with path.open("rb"):
            # SQLite has but one word for a file that isn't there and one that can't be read.
            pass
        address = f"{path.absolute().as_uri()}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
                # A database may come from anywhere: none of its own code is run.
                database.execute("PRAGMA trusted_schema = OFF")
                database.row_factory = sqlite3.Row
                has = [row[0] for row in database.execute(_COLUMNS, [name])]
                columns = ", ".join(as_found(schema, has).names)
                rows = database.execute(f"SELECT {columns} FROM main.{name} ORDER BY rowid")
                return table_of([dict(row) for row in rows], schema)
        except sqlite3.Error as error:
            raise ValueError(str(error)) from None


FORMAT = SqliteFormat()
