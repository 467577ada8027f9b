"""Pictures as files, whole or not at all, on this machine or in a store beyond it."""

from __future__ import annotations

import io
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from batchage.errors import OutputError
from batchage.places import AnyPath, folder_at, mark_folder, reason_of, result_of
from batchage.types import ImageArray

T = TypeVar("T")

# Full-resolution colour keeps the edges of coloured labels crisp.
_JPEG = {"format": "JPEG", "quality": 88, "optimize": True, "subsampling": "4:4:4"}
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": {"format": "PNG"},
}
"""How pictures are written, by the file's suffix."""
THREADS = 8
RECORDS_AHEAD = 64
"""Records that wait for their pictures, at most."""


class Uploads:
    """Pictures on their way to a store while the scan goes on; one thread adds to them."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._threads = ThreadPoolExecutor(THREADS, "upload")
        self._latest: list[Future[None]] = []

    def add(self, put: Callable[[], None]) -> None:
        """Have `put` called soon."""
        self._latest.append(self._threads.submit(put))

    def in_order(self, records: Generator[T]) -> Generator[T]:
        """The records, each when all is there that was added before it came.

        Raises:
            OutputError: A picture can't be put.
        """
        waiting: deque[tuple[T, list[Future[None]]]] = deque()
        with closing(records):
            for record in records:
                waiting.append((record, self._latest))
                self._latest = []
                while waiting and (len(waiting) > RECORDS_AHEAD or _are_done(waiting[0][1])):
                    yield _after(*waiting.popleft())
            while waiting:
                yield _after(*waiting.popleft())

    def close(self) -> None:
        """End what is under way, and begin nothing that waits."""
        self._threads.shutdown(cancel_futures=True)


def _are_done(futures: Iterable[Future[None]]) -> bool:
    return all(future.done() for future in futures)


def _after(record: T, futures: Iterable[Future[None]]) -> T:
    for future in futures:
        result_of(future)
    return record


def prepare_folder(folder: AnyPath, pictures: Iterable[str] = ()) -> None:
    """Make a folder where it does not exist, see that it can be written, and mark it as ours.

    Args:
        folder: Where pictures are about to be made.
        pictures: Names of those that are called otherwise than thumbnails and crops.

    Raises:
        OutputError: It can't be written.
    """
    try:
        place = folder_at(folder)
        place.make()
        if isinstance(folder, Path):
            with tempfile.TemporaryFile(dir=folder):
                pass
        else:
            probe = _temporary_name()
            place.write(probe, b"")
            place.remove([probe])
        mark_folder(folder, pictures)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"Can't write into the folder {folder} ({_reason(error)}): choose another folder or "
            f"{'change its permissions' if isinstance(folder, Path) else 'check credentials'}."
        ) from error


def save_picture(pixels: ImageArray, path: AnyPath, uploads: Uploads | None = None) -> None:
    """Write a picture without any metadata, whole or not at all.

    Args:
        pixels: RGB uint8 `(h, w, 3)`.
        path: The file to write or replace; its suffix is one of `SAVE_OPTIONS`.
        uploads: What takes it if it is for a store, and says later if it can't be written.

    Raises:
        OutputError: The file can't be written.
    """
    options = SAVE_OPTIONS[path.suffix.lower()]
    if not isinstance(path, Path):
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, **options)
        put = partial(_put, path, content.getvalue())
        uploads.add(put) if uploads else put()
        return
    part = path.with_name(_temporary_name())
    try:
        try:
            Image.fromarray(pixels).save(part, **options)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"Can't write {path} ({_reason(error)}): check that its folder exists, can be written "
            "and has free space."
        ) from error


def _put(path: AnyPath, data: bytes) -> None:
    try:
        folder_at(path.parent).write(path.name, data)
    except OSError as error:
        raise OutputError(
            f"Can't write {path} ({reason_of(error)}): see that the store can be reached and give "
            "the same command again."
        ) from error


def _temporary_name() -> str:
    return f".batchage-{uuid.uuid4().hex}.tmp"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
