"""The scan's own thumbnails and crops of rows that are in no table any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchage.config import ScanConfig
from batchage.places import AnyPath, as_output_error, folder_at, is_made_name
from batchage.write import Rows


@dataclass(frozen=True, slots=True)
class _Column:
    """Names of pictures in a folder."""

    folder: AnyPath
    table: str
    name: str

    def names(self, rows: Rows) -> Iterator[str]:
        """Those of some rows."""
        return filter(None, getattr(rows, self.table)[self.name].to_pylist())


class LeftBehind:
    """Removes what only rows name that were dropped: what another scan made isn't touched."""

    def __init__(self, config: ScanConfig) -> None:
        """Nothing is dropped yet."""
        folders = ((config.thumbnails, "images", "thumbnail"), (config.crops, "faces", "crop"))
        self._dropped: dict[_Column, set[str]] = {
            _Column(folder, table, name): set() for folder, table, name in folders if folder
        }
        # Hashes take less room; of two names with one, neither is removed.
        self._kept: set[int] = set()

    def drop(self, rows: Rows) -> None:
        """Note rows that are not taken over."""
        for column, names in self._dropped.items():
            names.update(column.names(rows))

    def keep(self, rows: Rows) -> None:
        """Note rows of the finished tables."""
        for column in self._dropped:
            self._kept.update(map(hash, column.names(rows)))

    def remove(self) -> None:
        """Remove the pictures that no row names.

        Raises:
            OutputError: They can't be removed.
        """
        for column, names in self._dropped.items():
            # Tables may have been changed: nothing else is removed, whatever they say.
            left = [n for n in sorted(names) if hash(n) not in self._kept and is_made_name(n)]
            if left:
                with as_output_error(column.folder, done="tidied up"):
                    folder_at(column.folder).remove(left)
