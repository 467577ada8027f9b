"""The thumbnails of a scan, drawn anew from its table: no network runs."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import sys
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batchage.budget import ByteBudget
from batchage.config import DECODED_BYTES, ScanConfig
from batchage.contact_sheet import make_contact_sheets, prepare_sheets
from batchage.errors import BatchageError, DecodeError, UsageError
from batchage.fetch import Fetched, Fetcher, FilesAhead
from batchage.isolation import DecodePool
from batchage.lettering import printable
from batchage.pipeline import DECODED_AHEAD, N_DECODERS, REDUCED_SIDE
from batchage.remote_walk import examine
from batchage.storage import is_url
from batchage.thumbnails import THUMBNAIL_SIDE, ThumbnailWriter
from batchage.types import DecodedImage, FaceRecord, ImageRecord, ImageRef, Pose, Prediction, Status
from batchage.write import output_paths, read_columns
from batchage.write.files import read_object

SIDES = range(64, 16_385)
"""Sides of thumbnails that can be asked for, in pixels."""
BOX = ("x1", "y1", "x2", "y2")
NUMBERS = (*BOX, "age_years", "gender_prob_female", "image_width", "image_height")
FACE_COLUMNS = ("root", "image_path", "face_index", "gender", *NUMBERS)
IMAGE_COLUMNS = ("root", "image_path", "content_hash")
# Only a backslash and bytes that are no ASCII are written so: a name can't hide a slash.
_ESCAPED_BYTE = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")

WHAT_STAYS = "; what was drawn stays"

log = logging.getLogger("batchage")


@dataclass(frozen=True, slots=True)
class NotDrawn:
    """A photo without a thumbnail.

    Attributes:
        relative: Its path as in the table.
        reason: Why.
    """

    relative: str
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

    def summary(self, folder: Path) -> str:
        """One line that says how it went, and what to do if photos are gone."""
        done = f"{len(self.thumbnails):,} thumbnails in {folder}"
        if not self.not_drawn:
            return done
        n = f"{len(self.not_drawn):,}"
        return f"{done}; {n} could not be drawn (--photos says where moved photos are)"


@dataclass(frozen=True, slots=True, eq=False)
class PhotoRows:
    """What the tables say of one photo with faces.

    Attributes:
        root: The folder that was scanned.
        relative: Path inside it, POSIX form.
        content_hash: As of `DecodedImage`, or None where it is unknown.
        numbers: float64 `(n, 8)`, a row a face, columns as in `NUMBERS`.
        genders: Each face's.
    """

    root: str
    relative: str
    content_hash: str | None
    numbers: NDArray[np.float64]
    genders: Sequence[str | None]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the upright photo in pixels."""
        width, height = self.numbers[0, len(NUMBERS) - 2 :]
        return float(width), float(height)

    def faces(self) -> list[FaceRecord]:
        """Its faces, as far as they are drawn: without landmarks, sharpness and pose.

        Raises:
            ValueError: A number is missing, or a box is none.
        """
        boxes = self.numbers[:, : len(BOX)]
        if not np.isfinite(self.numbers).all() or (boxes[:, :2] > boxes[:, 2:]).any():
            raise ValueError
        boxes = np.clip(boxes, 0, np.tile(self.size, 2))
        faces = []
        for index, (box, gender) in enumerate(zip(boxes, self.genders, strict=True)):
            age, female = map(float, self.numbers[index, len(BOX) :][:2])
            if gender == "male":
                # The table's float32 may round what is just below a half.
                female = min(female, float(np.nextafter(0.5, 0)))
            prediction = Prediction(age, age, age, female)
            faces.append(
                FaceRecord(
                    face_index=index,
                    box=box.astype(np.float32),
                    landmarks=np.zeros((5, 2), np.float32),
                    score=1.0,
                    sharpness=0.0,
                    pose=Pose(0.0, 0.0, 0.0),
                    prediction=prediction,
                )
            )
        return faces


def read_photos(table: Path) -> list[PhotoRows]:
    """The photos with faces of a scan's tables, in the order of the faces table.

    Args:
        table: The faces table.

    Raises:
        UsageError: The tables can't be read.
    """
    paths = output_paths(table)
    faces = read_columns(paths.faces, FACE_COLUMNS)
    images = read_columns(paths.images, IMAGE_COLUMNS).to_pydict()
    names = zip(images["root"], images["image_path"], strict=True)
    hashes = dict(zip(names, images["content_hash"], strict=True))
    return list(_grouped(faces, hashes))


def _grouped(faces: pa.Table, hashes: Mapping[tuple[str, str], str | None]) -> Iterator[PhotoRows]:
    numbers = np.column_stack([_as_floats(faces[name]) for name in NUMBERS])
    indices = _as_floats(faces["face_index"])
    roots, names = (faces[name].to_pylist() for name in ("root", "image_path"))
    genders = faces["gender"].to_pylist()
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, photo in enumerate(zip(roots, names, strict=True)):
        rows_of.setdefault(photo, []).append(row)
    for (root, relative), rows in rows_of.items():
        # Ties of drawing go by the order, which a table sorted otherwise has lost.
        ordered = sorted(rows, key=lambda row: float(indices[row]))
        yield PhotoRows(
            root=root or "",
            relative=relative or "",
            content_hash=hashes.get((root, relative)),
            numbers=numbers[ordered],
            genders=[genders[row] for row in ordered],
        )


def _as_floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of numbers, NaN where one is missing."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def photo_path(root: str, relative: str) -> Path | str:
    r"""Where to open a photo of a table, whose names may be made up.

    Args:
        root: The folder that holds it, or its URL.
        relative: Its path inside that, POSIX form; a byte that is not UTF-8 as `\xNN`.

    Raises:
        DecodeError: It leads out of the folder.
    """
    inside = PurePosixPath(relative)
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise DecodeError("its path in the table leads out of the scanned folder")
    name = as_file_name(relative)
    return f"{root.rstrip('/')}/{name}" if is_url(root) else Path(root) / name


def as_file_name(shown: str) -> str:
    """The name of a file that a table shows: the inverse of `walk.display_name`."""
    name = _ESCAPED_BYTE.sub(lambda byte: bytes.fromhex(byte[1].decode()), os.fsencode(shown))
    return os.fsdecode(name)


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
        table: A faces table that a scan wrote.
        output: Folder for the thumbnails; made where it is missing.
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
    rows = read_photos(Path(table))
    writer = ThumbnailWriter(Path(output), side)
    artist = _Artist(writer, photos, _scan_settings(output_paths(Path(table)).about))
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
                    name = printable(result.relative)
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


def _scan_settings(about: Path) -> dict[str, Any]:
    """What decoding goes by: the scan's settings, or their defaults where they are unknown."""
    defaults = ScanConfig()
    settings = {"detect_size": defaults.detection.detect_size, "max_pixels": defaults.max_pixels}
    recorded: Any = None
    with contextlib.suppress(OSError, ValueError):
        recorded = read_object(about).get("settings")
    if isinstance(recorded, dict):
        for name in settings:
            if type(recorded.get(name)) is int and recorded[name] > 0:
                settings[name] = recorded[name]
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
        enough = REDUCED_SIDE * settings["detect_size"]
        # The scan's own size gives the scan's own pixels.
        self._enough = enough if writer.side == THUMBNAIL_SIDE else max(enough, writer.side)

    def draw_all(self, rows: Sequence[PhotoRows]) -> Generator[str | NotDrawn]:
        """Names of thumbnails, or why there is none, in the order of `rows`."""
        fetcher = Fetcher(self._settings["max_pixels"])
        source, turns = FilesAhead(map(self._ref, rows), fetcher), itertools.count()
        budget, pool = ByteBudget(DECODED_BYTES), DecodePool(N_DECODERS)
        ahead: deque[Future[str | NotDrawn]] = deque()
        with ThreadPoolExecutor(N_DECODERS, "draw") as threads:
            try:
                while True:
                    for ref, fetched in source.take(DECODED_AHEAD - len(ahead), not ahead):
                        turn = next(turns)
                        photo = _Photo(rows[turn], ref, fetched)
                        ahead.append(threads.submit(self._draw, photo, turn, budget, pool))
                    if not ahead:
                        return
                    yield ahead.popleft().result()
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
            image = pool.decode(ref.path, *limits, reserve, data, enough=self._enough)
            if _has_changed(rows, image):
                raise DecodeError("the file has changed since the scan; scan it again")
            record = ImageRecord(ref, Status.OK, faces=faces)
            return self._writer.write(self._writer.reduced(image), record)
        except DecodeError as error:
            return NotDrawn(ref.relative, str(error))
        except BatchageError:
            raise
        except ValueError:
            return NotDrawn(ref.relative, "its faces in the table have no usable boxes or ages")
        except Exception as error:
            log.debug("%s: drawing", ref.relative, exc_info=error)
            reason = f"drawing failed on this picture ({type(error).__name__})"
            return NotDrawn(ref.relative, reason)
        finally:
            budget.pass_turn(turn)
            budget.release(sum(reserved))
            if fetched:
                fetched.release()


def _has_changed(photo: PhotoRows, image: DecodedImage) -> bool:
    known = photo.content_hash
    return (known is not None and known != image.content_hash) or photo.size != (
        image.width,
        image.height,
    )


def run(
    table: Path,
    output: Path,
    photos: Path | None,
    side: int | None,
    contact_sheet: Path | None,
    quiet: bool,
) -> int:
    """Draw thumbnails, and contact sheets where a file for them is named, with progress.

    Args:
        table: As of `draw_thumbnails`.
        output: As of `draw_thumbnails`.
        photos: As of `draw_thumbnails`.
        side: As of `draw_thumbnails`; None is a scan's.
        contact_sheet: As `output` of `make_contact_sheets`.
        quiet: Show neither progress nor a line at the end.

    Returns:
        How many photos could not be drawn.

    Raises:
        BatchageError: As of these two.
    """
    if contact_sheet:
        prepare_sheets(contact_sheet)
    redrawn = draw_thumbnails(
        table, output, photos, THUMBNAIL_SIDE if side is None else side, quiet
    )
    lines = [redrawn.summary(output)]
    if contact_sheet:
        sheets = make_contact_sheets(table, output, contact_sheet, quiet)
        lines.append(f"contact sheets: {', '.join(map(str, sheets))}")
    if not quiet:
        print("\n".join(lines), file=sys.stderr)
    return len(redrawn.not_drawn)
