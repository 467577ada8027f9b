"""The parts of a scan that are done, in a folder beside the output.

results.parquet.parts/
    lock                  held while a scan runs
    scan.json             what the scan is made with; where it is missing, nothing counts
    00000.parquet         faces of the first part
    00000.images.parquet  its files; put into place last: where it is, the part counts
    base.*                the earlier output that is being updated; the folder base of a dataset's
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchage.errors import OutputError, UsageError
from batchage.places import AnyPath, as_output_error, folder_at, read_object, without_password
from batchage.results.lock import NAME as LOCK
from batchage.results.lock import Lock, lock_folder
from batchage.types import ImageRecord
from batchage.write import (
    FACES,
    IMAGES,
    OutputPaths,
    Rows,
    age_thresholds_of,
    faces_batch,
    files_of,
    images_batch,
    output_paths,
    read_table,
)

PLACE_REMEDY = "choose another place for the output"
STORE_REMEDY = "check the address and the credentials"
ABOUT = "scan.json"
_NUMBER = re.compile(r"(\d{5,})\.images\.parquet")
_LEFT = re.compile(r"\.DS_Store|\.directory|\._.*|\.nfs.*|\.fuse_hidden.*")
_OURS = re.compile(r"lock(\.[0-9a-f]+)?|scan\.json|base/|base\.[^/]*|\d{5,}\.[^/]*|[^/]*\.partial")

log = logging.getLogger("batchage")


def _load(paths: OutputPaths) -> Rows:
    """Both tables of a scan or part.

    Raises:
        OSError: A file can't be opened.
        ValueError: One is damaged, or they don't belong together.
    """
    try:
        rows = Rows(read_table(paths.images, IMAGES), read_table(paths.faces, FACES))
    except pa.ArrowException as error:
        raise ValueError(str(error).splitlines()[0]) from None
    except OSError as error:
        # Arrow says so of damaged Parquet, too, but without a number.
        if error.errno or type(error) is not OSError:
            raise
        raise ValueError(str(error).splitlines()[0]) from None
    rows.require_order()
    return rows


def read_rows(paths: OutputPaths) -> Rows:
    """Both tables of a finished scan.

    Raises:
        UsageError: They can't be read, or no longer belong together.
    """
    try:
        return _load(paths)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{paths.output}: the earlier scan can't be updated ({error}); use --overwrite to scan "
            "anew"
        ) from None


class Parts:
    """See the module."""

    def __init__(self, output: AnyPath) -> None:
        """Name the folder; nothing is touched."""
        self.folder = folder_at(output.with_name(f"{output.name}.parts"))
        self.base = output_paths(self.folder.path / f"base{output.suffix}")
        self._output = output
        self._lock: Lock | None = None
        self._next: int | None = None

    def lock(self) -> None:
        """Keep other scans away until `unlock`, or until this process ends in whatever way.

        Raises:
            OutputError: The folder can't be made, or isn't one that a scan made.
            UsageError: Another scan is at work on this output.
        """
        remedy = PLACE_REMEDY if isinstance(self._output, Path) else STORE_REMEDY
        with as_output_error(self._output, remedy):
            shown = without_password(str(self._output))
            self._lock = lock_folder(self.folder, shown, self._refuse_foreign)

    def _refuse_foreign(self) -> None:
        # What file managers leave does no harm.
        foreign = (n for n in self.folder.names() if not (_is_ours(n) or _LEFT.fullmatch(n)))
        if name := next(foreign, None):
            raise OutputError(
                f"{self.folder.path}: has files that no scan made, such as {name}; move the "
                "folder away or choose another output"
            )

    def unlock(self) -> None:
        """Let others; a folder without anything that counts is removed."""
        if self._lock is None:
            return
        is_empty = False
        try:
            # What can't be removed now does no harm.
            with contextlib.suppress(OSError):
                if not self.folder.has(ABOUT):
                    self._remove_all()
                    is_empty = True
        finally:
            self._lock.release(with_folder=is_empty)
            self._lock = None

    def about(self) -> dict[str, Any] | None:
        """What the interrupted scan is made with; None where there is none.

        Raises:
            OutputError: It can't be read, or is damaged.
        """
        path = self.folder.path / ABOUT
        with as_output_error(path, "make it readable", "read"):
            try:
                return read_object(path)
            except FileNotFoundError:
                return None
            except ValueError:
                raise OutputError(
                    f"{path}: it is damaged; remove that folder to scan anew"
                ) from None

    def begun(self) -> float:
        """When the scan that goes on was begun, in seconds since the epoch; 0 in a store."""
        path = self.folder.path / ABOUT
        return path.stat().st_mtime if isinstance(path, Path) else 0.0

    def begin(self, about: dict[str, Any], update: OutputPaths | None = None) -> None:
        """Forget what the folder holds and begin a scan.

        Args:
            about: What it is made with.
            update: The finished output whose rows may be taken over.

        Raises:
            OutputError: A file can't be written.
        """
        self.clear()
        with as_output_error(self.folder.path):
            if update:
                self._take(update)
            self.folder.write_json(ABOUT, about)

    def _take(self, update: OutputPaths) -> None:
        """Have the files of an output as `base`."""
        names = {
            update.faces.name: self.base.faces.name,
            update.images.name: self.base.images.name,
            update.about.name: self.base.about.name,
        }
        targets = {update.output: self.base.output, update.faces: self.base.faces}
        targets |= {update.images: self.base.images}
        for source in files_of(update):
            folder = folder_at(targets.get(source.parent, self.folder.path))
            folder.make()
            folder.take(source, names.get(source.name, source.name))

    def clear(self) -> None:
        """Remove everything but the lock, `scan.json` first.

        Raises:
            OutputError: That can't be done.
        """
        with as_output_error(self.folder.path):
            self.check()
            self.folder.remove([ABOUT])
            self._remove_all()
            self._next = None

    def check(self) -> None:
        """See that no other scan took the folder over.

        Raises:
            OutputError: One did.
            OSError: That can't be seen.
        """
        if self._lock:
            self._lock.check()

    def _remove_all(self) -> None:
        names = self.folder.names()
        if f"{self.base.output.name}/" in names and self.base.is_dataset:
            for place in (self.base.faces, self.base.images, self.base.output):
                folder = folder_at(place)
                folder.remove(name for name in folder.names() if not name.endswith("/"))
                folder.remove_empty()
        self.folder.remove(name for name in names if not name.endswith("/") and name != LOCK)

    def has_any(self) -> bool:
        """Whether there is a part to go on from."""
        return self.folder.has(ABOUT) and bool(self._numbers())

    def _numbers(self) -> list[int]:
        names = map(_NUMBER.fullmatch, self.folder.names())
        return sorted(int(name[1]) for name in names if name)

    def _paths(self, number: int) -> OutputPaths:
        return output_paths(self.folder.path / f"{number:05}.parquet")

    def write(self, records: Sequence[ImageRecord], about: Mapping[str, Any]) -> None:
        """Add a part of a scan.

        Raises:
            OutputError: It can't be written; the folder is as before.
        """
        with as_output_error(self._output):
            self.check()
            if self._next is None:
                self._next = max(self._numbers(), default=-1) + 1
            paths = self._paths(self._next)
            ages = age_thresholds_of(about)
            tables = {
                paths.faces: faces_batch(records, about["model_id"], ages),
                paths.images: images_batch(records, ages),
            }
            for path, batch in tables.items():
                content = pa.BufferOutputStream()
                pq.write_table(pa.Table.from_batches([batch]), content, compression="zstd")
                self.folder.write(path.name, content.getvalue().to_pybytes())
            self._next += 1

    def __iter__(self) -> Iterator[Rows]:
        """The parts in the order they were written; damaged ones are removed with a warning."""
        for number in self._numbers():
            paths = self._paths(number)
            try:
                with as_output_error(self._output, "make its parts readable", "read"):
                    rows = self._load(paths)
            except ValueError:
                shown = without_password(str(paths.images))
                log.warning("%s is damaged; its photos are scanned again", shown)
                self.folder.remove([paths.images.name, paths.faces.name])
            else:
                yield rows

    @staticmethod
    def _load(paths: OutputPaths) -> Rows:
        try:
            return _load(paths)
        except FileNotFoundError as error:
            raise ValueError(f"{error.filename} is missing") from None


def _is_ours(name: str) -> bool:
    """Whether it is a file of the parts folder's own."""
    return _OURS.fullmatch(name) is not None
