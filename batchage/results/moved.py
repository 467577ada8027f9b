"""Rows of the earlier output for files that have another name now: the same content, elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchage.config import ScanConfig
from batchage.errors import DecodeError, UsageError
from batchage.places import (
    N_REQUESTS,
    AnyPath,
    DaemonThreads,
    as_output_error,
    crop_name,
    each_ahead,
    folder_at,
    is_url,
    result_of,
    thumbnail_name,
)
from batchage.results.sink import PATH_BYTES, row_keys
from batchage.types import ERROR_STATUSES, ImageRef
from batchage.walk import as_file_name, examine, photo_path
from batchage.write import Rows, modified_at

AT_ONCE = 1000
"""Rows that are made at a time."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """Rows of the earlier output, and the file that they are of now.

    Attributes:
        rows: Their numbers, one for each of the file's pictures.
        ref: The file.
    """

    rows: range
    ref: ImageRef


class MovedRows:
    """Finds and hands out the rows of files that were moved, renamed or copied."""

    def __init__(self, base: Rows, config: ScanConfig, begun: float = math.inf) -> None:
        """Nothing is read yet.

        Args:
            base: The earlier output.
            config: The settings, of which the folders of pictures count.
            begun: When an update that goes on was begun, in seconds since the epoch: it may have
                drawn other pictures since then.
        """
        self._begun = begun
        # Arrow takes no rows of pieces whose dictionaries differ.
        images, faces = base.images.unify_dictionaries(), base.faces.unify_dictionaries()
        self._base, self._config = Rows(images, faces), config
        self._first_faces = np.concatenate([[0], np.cumsum(images["n_faces"].to_numpy())])
        # What failed is tried again, whatever it is called.
        is_usable = ~np.isin(images["status"].to_numpy(zero_copy_only=False), [*ERROR_STATUSES])
        is_usable &= images["content_hash"].is_valid().to_numpy()
        starts = self._base.file_starts()
        self._ends = dict(zip(starts.tolist(), [*starts[1:].tolist(), len(base)], strict=False))
        if len(starts):
            is_usable = np.logical_and.reduceat(is_usable, starts)
        sizes = images["file_size"].fill_null(-1).to_numpy()[starts]
        files = np.flatnonzero(is_usable & (sizes >= 0))
        files = files[np.argsort(sizes[files], kind="stable")]
        self._firsts, self._sizes = starts[files], sizes[files]
        self._taken: list[_Taken] = []

    def may_have(self, ref: ImageRef) -> bool:
        """Whether there is a file of the same size, whose content is worth comparing."""
        return ref.error is None and len(self._of_size(ref)) > 0

    def _of_size(self, ref: ImageRef) -> NDArray[np.intp]:
        """The first rows of files of the size that this one has."""
        if ref.size is None:
            return self._firsts[:0]
        first, last = np.searchsorted(self._sizes, [ref.size, ref.size + 1])
        return self._firsts[first:last]

    def take(self, ref: ImageRef, content: Callable[[], str | None]) -> bool:
        """Take over the rows of a file that has this one's content, if there is one.

        One whose pictures have to come along must be gone from its place: no other file there
        replaces them in the meantime.

        Args:
            ref: A file that has no row of its own.
            content: Its hash, asked for only where there is a file of its size.
        """
        if not self.may_have(ref) or (known := content()) is None:
            return False
        images = self._base.images
        for row in map(int, self._of_size(ref)):
            if images["content_hash"][row].as_py() != known or not self._is_like(row, ref):
                continue
            rows = range(row, self._ends[row])
            pictures = [picture for page in rows for picture in self._pictures(page)]
            if not pictures or (self._is_away(row, ref) and all(map(self._is_there, pictures))):
                self._taken.append(_Taken(rows, ref))
                return True
        return False

    def _place(self, row: int) -> tuple[str, str]:
        images = self._base.images
        return images["root"][row].as_py(), images["image_path"][row].as_py()

    def _is_like(self, row: int, ref: ImageRef) -> bool:
        """Whether it is under another name that doesn't make it another kind of file."""
        place = self._place(row)
        was, is_now = (PurePosixPath(name).suffix.lower() for name in (place[1], ref.relative))
        return was == is_now and place != (ref.root, ref.relative)

    def _is_away(self, row: int, ref: ImageRef) -> bool:
        root, relative = self._place(row)
        if _joined(root, relative) == _joined(ref.root, ref.relative):
            return True
        if isinstance(ref.path, str) and root == ref.root and ref.path.endswith(f"/{ref.relative}"):
            # With the password, which a table leaves out.
            root = ref.path.removesuffix(f"/{ref.relative}")
        try:
            place = photo_path(root if is_url(root) else as_file_name(root), relative)
            examine(place) if isinstance(place, str) else place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except (OSError, ValueError, UsageError, DecodeError):
            return False
        return False

    def _is_there(self, picture: AnyPath) -> bool:
        try:
            if not math.isinf(self._begun):
                return isinstance(picture, Path) and picture.stat().st_mtime < self._begun
            return folder_at(picture.parent).has(picture.name)
        except OSError:
            return False

    def _pictures(self, row: int) -> Iterator[AnyPath]:
        """Where the thumbnail and crops of a row are."""
        thumbnail = self._base.images["thumbnail"][row].as_py()
        if self._config.thumbnails and thumbnail:
            yield self._config.thumbnails / thumbnail
        if self._config.crops:
            for face in range(self._first_faces[row], self._first_faces[row + 1]):
                if crop := self._base.faces["crop"][face].as_py():
                    yield self._config.crops / crop

    def paths(self) -> set[bytes]:
        """The keys of the names that the files had."""
        keys = (row_keys(self._rows_of(some).images) for some in self._batches())
        return {key[:PATH_BYTES] for some in keys for key in some}

    def rows(self) -> Iterator[Rows]:
        """The rows that were taken, under their new names and in the order of the walk."""
        for some in self._batches():
            yield self._renamed(some)

    def bring_pictures(self) -> None:
        """Have the pictures under the names that the rows give them.

        Raises:
            OutputError: They can't be written.
        """
        if not self._config.picture_folders:
            return
        with closing(DaemonThreads(N_REQUESTS)) as threads:
            ask = partial(threads.submit, _bring)
            for _, brought in each_ahead(self._picture_pairs(), ask, N_REQUESTS):
                if brought:
                    result_of(brought)

    def _picture_pairs(self) -> Iterator[_Pair]:
        for some in self._batches():
            old, new = self._rows_of(some), self._renamed(some)
            for folder, names in (
                (self._config.thumbnails, (old.images["thumbnail"], new.images["thumbnail"])),
                (self._config.crops, (old.faces["crop"], new.faces["crop"])),
            ):
                for was, is_now in zip(*(column.to_pylist() for column in names), strict=True):
                    if folder and was and was != is_now:
                        yield _Pair(folder, was, is_now)

    def _batches(self) -> Iterator[Sequence[_Taken]]:
        for start in range(0, len(self._taken), AT_ONCE):
            yield self._taken[start : start + AT_ONCE]

    def _rows_of(self, some: Sequence[_Taken]) -> Rows:
        rows = [row for taken in some for row in taken.rows]
        faces = [
            face
            for row in rows
            for face in range(self._first_faces[row], self._first_faces[row + 1])
        ]
        return Rows(
            self._base.images.take(pa.array(rows, pa.int64())),
            self._base.faces.take(pa.array(faces, pa.int64())),
        )

    def _renamed(self, some: Sequence[_Taken]) -> Rows:
        rows = self._rows_of(some)
        refs = [taken.ref for taken in some for _ in taken.rows]
        counts = rows.images["n_faces"].to_pylist()
        owners = [ref for ref, n in zip(refs, counts, strict=True) for _ in range(n)]
        columns = (rows.faces[name].to_pylist() for name in ("crop", "face_index", "page"))
        crops = [
            crop and crop_name(ref.root, ref.relative, number, page)
            for ref, crop, number, page in zip(owners, *columns, strict=True)
        ]
        times = [modified_at(ref.mtime) for ref in refs]
        return Rows(
            _with_columns(rows.images, {**_names(refs, rows.images), "modified_at": times}),
            _with_columns(rows.faces, {**_names(owners, rows.faces), "crop": crops}),
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    """A picture's name in its folder, as it was and as it will be."""

    folder: AnyPath
    old: str
    new: str


def _bring(pair: _Pair) -> None:
    with as_output_error(pair.folder / pair.new):
        folder_at(pair.folder).take(pair.folder / pair.old, pair.new)


def _names(refs: Sequence[ImageRef], table: pa.Table) -> dict[str, Any]:
    columns = (table[name].to_pylist() for name in ("thumbnail", "page"))
    return {
        "image_path": [ref.relative for ref in refs],
        "root": [ref.root for ref in refs],
        "thumbnail": [
            thumbnail and thumbnail_name(ref.root, ref.relative, page)
            for ref, thumbnail, page in zip(refs, *columns, strict=True)
        ],
    }


def _with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    for name, values in columns.items():
        index, field = table.schema.get_field_index(name), table.schema.field(name)
        is_word = pa.types.is_dictionary(field.type)
        column = pa.array(values, field.type.value_type if is_word else field.type)
        table = table.set_column(index, field, column.cast(field.type))
    return table


def _joined(root: str, relative: str) -> str:
    return f"{root.rstrip('/')}/{relative}"
