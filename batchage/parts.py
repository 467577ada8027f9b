"""The parts of a scan that are done, in a folder beside the output.

results.parquet.parts/
    lock                  held while a scan runs
    scan.json             what the scan is made with; where it is missing, nothing counts
    00000.parquet         faces of the first part
    00000.images.parquet  its files; put into place last: where it is, the part counts
    base.*                the earlier output that is being updated
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchage.errors import OutputError, UsageError
from batchage.types import ImageRecord
from batchage.write import OutputPaths, Rows, output_paths, read_table
from batchage.write.files import (
    as_output_error,
    put_into_place,
    read_object,
    sync_folder,
    write_json,
)
from batchage.write.schema import FACES, IMAGES, faces_batch, images_batch

LOCK_TRIES = 1000
PLACE_REMEDY = "choose another place for the output"
_NUMBER = re.compile(r"(\d{5,})\.images\.parquet")
_OURS = re.compile(r"lock|scan\.json|base\..*|\d{5,}\..*|.*\.partial")

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
        if error.errno:
            raise
        raise ValueError(str(error).splitlines()[0]) from None
    counts = rows.images["n_faces"].to_numpy()
    for column in ("root", "image_path"):
        names = np.repeat(rows.images[column].to_numpy(zero_copy_only=False), counts)
        if names.tolist() != rows.faces[column].to_pylist():
            raise ValueError("the rows of faces and images are not in the same order any more")
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
            f"{paths.faces}: the earlier scan can't be updated ({error}); use --overwrite to scan "
            "anew"
        ) from None


class Parts:
    """See the module."""

    def __init__(self, output: Path) -> None:
        """Name the folder; nothing is touched."""
        self.folder = output.with_name(f"{output.name}.parts")
        self.base = output_paths(self.folder / f"base{output.suffix}")
        self._output = output
        self._about = self.folder / "scan.json"
        self._lock: int | None = None

    def lock(self) -> None:
        """Keep other scans away until `unlock`, or until this process ends in whatever way.

        Raises:
            OutputError: The folder can't be made, or isn't one that a scan made.
            UsageError: Another scan is at work on this output.
        """
        with as_output_error(self._output, PLACE_REMEDY):
            for _ in range(LOCK_TRIES):
                # Another scan that ends may remove folder and file at any moment.
                with contextlib.suppress(FileExistsError):
                    self.folder.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    self._refuse_foreign()
                    self._lock = self._try_lock()
                if self._lock is not None:
                    return
                if not self.folder.is_dir() and self.folder.exists():
                    raise NotADirectoryError(0, f"{self.folder.name} is no folder")
            raise FileNotFoundError(0, "its folder can't be made")

    def _refuse_foreign(self) -> None:
        foreign = next((path.name for path in self.folder.iterdir() if not _is_ours(path)), None)
        if foreign:
            raise OutputError(
                f"{self.folder}: has files that no scan made, such as {foreign}; move the folder "
                "away or choose another output"
            )

    def _try_lock(self) -> int | None:
        """The locked file's handle; None where its last owner has removed it meanwhile."""
        path = self.folder / "lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        is_held = False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_held = os.path.samestat(os.fstat(handle), path.stat())
        except BlockingIOError:
            raise UsageError(
                f"{self._output}: another scan is writing there; wait for it or choose another "
                "output"
            ) from None
        finally:
            if not is_held:
                os.close(handle)
        return handle

    def unlock(self) -> None:
        """Let others; a folder without anything that counts is removed."""
        if self._lock is None:
            return
        try:
            if not self._about.exists():
                self._remove_all()
                (self.folder / "lock").unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    self.folder.rmdir()
        finally:
            os.close(self._lock)
            self._lock = None

    def about(self) -> dict[str, Any] | None:
        """What the interrupted scan is made with; None where there is none.

        Raises:
            OutputError: It can't be read, or is damaged.
        """
        with as_output_error(self._about, "make it readable", "read"):
            try:
                return read_object(self._about)
            except FileNotFoundError:
                return None
            except ValueError:
                raise OutputError(
                    f"{self._about}: it is damaged; remove that folder to scan anew"
                ) from None

    def begin(self, about: dict[str, Any], update: OutputPaths | None = None) -> None:
        """Forget what the folder holds and begin a scan.

        Args:
            about: What it is made with.
            update: The finished output whose rows may be taken over.

        Raises:
            OutputError: A file can't be written.
        """
        self.clear()
        with as_output_error(self.folder):
            for path, base in zip(update or (), self.base, strict=bool(update)):
                _link_or_copy(path, base)
            sync_folder(self.folder)
            write_json(self._about, about)

    def clear(self) -> None:
        """Remove everything but the lock, `scan.json` first."""
        with as_output_error(self.folder):
            self._about.unlink(missing_ok=True)
            sync_folder(self.folder)
            self._remove_all()

    def _remove_all(self) -> None:
        for path in self.folder.iterdir():
            if _is_ours(path) and path.name != "lock":
                path.unlink(missing_ok=True)

    def has_any(self) -> bool:
        """Whether there is a part to go on from."""
        return self._about.exists() and bool(self._numbers())

    def _numbers(self) -> list[int]:
        names = (_NUMBER.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def _paths(self, number: int) -> OutputPaths:
        return output_paths(self.folder / f"{number:05}.parquet")

    def write(self, records: Sequence[ImageRecord], model_id: str) -> None:
        """Add a part.

        Raises:
            OutputError: It can't be written; the folder is as before.
        """
        numbers = self._numbers()
        paths = self._paths(numbers[-1] + 1 if numbers else 0)
        tables = {
            paths.faces: faces_batch(records, model_id),
            paths.images: images_batch(records),
        }
        with as_output_error(self._output):
            for path, batch in tables.items():
                partial = path.with_suffix(".partial")
                try:
                    pq.write_table(pa.Table.from_batches([batch]), partial, compression="zstd")
                    put_into_place(partial, path)
                except BaseException:
                    partial.unlink(missing_ok=True)
                    raise

    def __iter__(self) -> Iterator[Rows]:
        """The parts in the order they were written; damaged ones are removed with a warning."""
        for number in self._numbers():
            paths = self._paths(number)
            try:
                with as_output_error(self._output, "make its parts readable", "read"):
                    rows = self._load(paths)
            except ValueError:
                log.warning("%s is damaged; its photos are scanned again", paths.images)
                paths.images.unlink(missing_ok=True)
                paths.faces.unlink(missing_ok=True)
            else:
                yield rows

    @staticmethod
    def _load(paths: OutputPaths) -> Rows:
        try:
            return _load(paths)
        except FileNotFoundError as error:
            raise ValueError(f"{error.filename} is missing") from None


def _is_ours(path: Path) -> bool:
    """Whether it is a file of the parts folder's own."""
    return _OURS.fullmatch(path.name) is not None and not path.is_dir()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no hard links.
        partial = target.with_name(f"{target.name}.partial")
        shutil.copyfile(source, partial)
        put_into_place(partial, target)
