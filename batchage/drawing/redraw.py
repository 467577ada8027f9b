"""The thumbnails of a scan, drawn anew from its table: no network runs."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sys
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchage.config import ScanConfig
from batchage.decode import (
    ByteBudget,
    DecodePool,
    decoded_ahead,
    decoded_bytes,
    n_decoders,
)
from batchage.drawing.lettering import printable
from batchage.drawing.photo_rows import PhotoRows, read_photos
from batchage.drawing.thumbnails import THUMBNAIL_SIDE, ThumbnailWriter
from batchage.errors import BatchageError, DecodeError, UsageError
from batchage.places import (
    AnyPath,
    Fetched,
    Fetcher,
    FilesAhead,
    is_url,
    locate,
    read_object,
    result_of,
    without_password,
)
from batchage.tiles import reduced_side
from batchage.types import DecodedImage, ImageRecord, ImageRef, Status, page_name
from batchage.walk import as_file_name, examine, photo_path
from batchage.write import output_paths

SIDES = range(64, 16_385)
"""Sides of thumbnails that can be asked for, in pixels."""
WHAT_STAYS = "; what was drawn stays"

log = logging.getLogger("batchage")


@dataclass(frozen=True, slots=True)
class NotDrawn:
    """A photo without a thumbnail.

    Attributes:
        name: Its path as in the table, and its page.
        reason: Why.
    """

    name: str
    reason: str


@dataclass(slots=True)
class Redrawn:
    """What became of a table's photos.

    Attributes:
        thumbnails: Names of the files that were written, in the order of the table.
        not_drawn: The other photos.
    """

    thumbnails: list[str] = field(default_factory=list)
    not_drawn: list[NotDrawn] = field(default_factory=list)

    def summary(self, folder: str) -> str:
        """One line that says how it went, and what to do if photos are gone."""
        done = f"{len(self.thumbnails):,} thumbnails in {without_password(folder)}"
        if not self.not_drawn:
            return done
        n = f"{len(self.not_drawn):,}"
        return f"{done}; {n} could not be drawn (--photos says where moved photos are)"


def draw_thumbnails(
    table: str | os.PathLike[str],
    output: str | os.PathLike[str],
    photos: str | os.PathLike[str] | None = None,
    side: int = THUMBNAIL_SIDE,
    quiet: bool = True,
) -> Redrawn:
    """Draw the thumbnails that a scan with `thumbnails` writes, from the table that it wrote.

        import batchage

        batchage.draw_thumbnails("results.parquet", "thumbs")

    A photo that is gone, has changed or can't be read is a warning in the log. What is drawn stays
    if the call is interrupted.

    Args:
        table: A faces table that a scan wrote, or the folder of a dataset; also URLs.
        output: Folder for the thumbnails, or its URL; made where it is missing.
        photos: The folder where the photos are now, or its URL; None looks where they were scanned.
        side: Longest side of a thumbnail in pixels, 64 to 16,384.
        quiet: Show no progress on standard error.

    Raises:
        UsageError: The tables or arguments can't be used.
        OutputError: A file can't be written.
    """
    from tqdm import tqdm

    if side not in SIDES:
        raise UsageError(f"side {side}: give {SIDES[0]} to {SIDES[-1]} pixels")
    if photos is not None and not _is_folder(photos):
        raise UsageError(f"{photos}: no such folder of photos")
    source = locate(table)
    rows = read_photos(source)
    writer = ThumbnailWriter(locate(output), side)
    artist = _Artist(writer, photos, _scan_settings(output_paths(source).about))
    redrawn = Redrawn()
    shown = {"total": len(rows), "unit": " photos", "disable": quiet or None}
    try:
        with contextlib.closing(artist.draw_all(rows)) as results:
            for result in tqdm(results, file=sys.stderr, **shown):
                if isinstance(result, str):
                    redrawn.thumbnails.append(result)
                    continue
                redrawn.not_drawn.append(result)
                with tqdm.external_write_mode(file=sys.stderr):
                    name = printable(result.name)
                    log.warning("%s: no thumbnail: %s", name, result.reason)
    except KeyboardInterrupt as signalled:
        signalled.args = (WHAT_STAYS,)
        raise
    return redrawn


def _is_folder(place: str | os.PathLike[str]) -> bool:
    if not is_url(place):
        return Path(place).is_dir()
    try:
        return examine(str(place)).is_folder
    except OSError:
        return False


def _scan_settings(about: AnyPath) -> dict[str, Any]:
    """What decoding goes by: the scan's settings, or their defaults where they are unknown."""
    defaults = ScanConfig()
    settings = {
        "detect_size": defaults.detection.detect_size,
        "tiles": defaults.detection.tiles,
        "max_pixels": defaults.max_pixels,
    }
    recorded: Any = None
    with contextlib.suppress(OSError, ValueError):
        recorded = read_object(about).get("settings")
    if isinstance(recorded, dict):
        for name, default in settings.items():
            value = recorded.get(name)
            if type(value) is type(default) and (value is False or value > 0):
                settings[name] = value
    return {**settings, "timeout": defaults.timeout}


@dataclass(frozen=True, slots=True, eq=False)
class _Photo:
    """A photo to draw, and its bytes if it is remote."""

    rows: PhotoRows
    ref: ImageRef
    fetched: Fetched | None


class _Artist:
    """Draws photos in threads, each decoded in a process of its own."""

    def __init__(
        self,
        writer: ThumbnailWriter,
        photos: str | os.PathLike[str] | None,
        settings: Mapping[str, Any],
    ) -> None:
        self._writer, self._photos, self._settings = writer, photos, settings
        enough = reduced_side(settings["detect_size"])
        # The scan's own size gives the scan's own pixels.
        self._enough = enough if writer.side == THUMBNAIL_SIDE else max(enough, writer.side)

    def draw_all(self, rows: Sequence[PhotoRows]) -> Generator[str | NotDrawn]:
        """Names of thumbnails, or why there is none, in the order of `rows`."""
        fetcher = Fetcher(self._settings["max_pixels"])
        n_workers = n_decoders()
        n_ahead = decoded_ahead(n_workers)
        source, turns = FilesAhead(map(self._ref, rows), fetcher), itertools.count()
        budget, pool = ByteBudget(decoded_bytes()), DecodePool(n_workers)
        ahead: deque[Future[str | NotDrawn]] = deque()
        with ThreadPoolExecutor(n_workers, "draw") as threads:
            try:
                while True:
                    for ref, fetched in source.take(n_ahead - len(ahead), not ahead):
                        turn = next(turns)
                        photo = _Photo(rows[turn], ref, fetched)
                        ahead.append(threads.submit(self._draw, photo, turn, budget, pool))
                    if not ahead:
                        return
                    yield result_of(ahead.popleft())
            finally:
                for future in ahead:
                    future.cancel()
                budget.close()
                fetcher.close()
                pool.close()

    def _ref(self, photo: PhotoRows) -> ImageRef:
        root = os.fspath(self._photos or as_file_name(photo.root))
        try:
            path = photo_path(root, photo.relative)
        except DecodeError as error:
            return ImageRef(Path(), photo.root, photo.relative, error=str(error))
        return ImageRef(path, photo.root, photo.relative)

    def _draw(
        self, photo: _Photo, turn: int, budget: ByteBudget, pool: DecodePool
    ) -> str | NotDrawn:
        rows, ref, fetched = photo.rows, photo.ref, photo.fetched
        name = page_name(rows.relative, rows.page)
        reserved: list[int] = []

        def reserve(n_bytes: int) -> None:
            budget.acquire(turn, n_bytes)
            reserved.append(n_bytes)

        try:
            if ref.error is not None:
                raise DecodeError(ref.error)
            faces = rows.faces()
            limits = (self._settings["max_pixels"], self._settings["timeout"])
            data = fetched.data() if fetched else None
            how = {
                "page": rows.page or 1,
                "enough": self._enough,
                "tiles": self._settings["tiles"],
                "colours_later": True,
            }
            image = pool.decode(ref.path, *limits, reserve, data, **how)
            if _has_changed(rows, image):
                raise DecodeError("the file has changed since the scan; scan it again")
            record = ImageRecord(ref, Status.OK, faces=faces, page=rows.page)
            return self._writer.write(self._writer.reduced(image), record)
        except DecodeError as error:
            return NotDrawn(name, str(error))
        except BatchageError:
            raise
        except ValueError:
            return NotDrawn(name, "its faces in the table have no usable boxes or ages")
        except Exception as error:
            log.debug("%s: drawing", name, exc_info=error)
            reason = f"drawing failed on this picture ({type(error).__name__})"
            return NotDrawn(name, reason)
        finally:
            budget.pass_turn(turn)
            budget.release(turn, sum(reserved))
            if fetched:
                fetched.release()


def _has_changed(photo: PhotoRows, image: DecodedImage) -> bool:
    known = photo.content_hash
    return (known is not None and known != image.content_hash) or photo.size != (
        image.width,
        image.height,
    )
