"""Contact sheets: a scan's thumbnails in a grid, each with its file name."""

from __future__ import annotations

import itertools
import logging
import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image, ImageDraw

from batchage.config import MAX_PIXELS
from batchage.decode import decode, n_decoders
from batchage.drawing.lettering import draw as draw_line
from batchage.drawing.lettering import fit, lay_out
from batchage.drawing.saving import SAVE_OPTIONS, prepare_folder, save_picture
from batchage.errors import DecodeError, UsageError
from batchage.places import AnyPath, locate, on_this_machine, thumbnail_name
from batchage.types import ImageArray, page_name
from batchage.write import output_paths, read_columns

COLUMNS, ROWS = 6, 7
CELL = 480
"""Longest side of a picture on a sheet, in pixels; a full sheet so stays below 4000."""
MIN_COLUMN = 200
"""Width of a column of narrow pictures, which leaves room for their names."""
GAP, MARGIN = 24, 36
CAPTION_SIZE, CAPTION_HEIGHT = 22, 40
TITLE_SIZE, TITLE_HEIGHT, MIN_TITLE_WIDTH = 26, 56, 640
PAPER, INK, EMPTY, FAINT = "#FFFFFF", "#222222", "#EEEEEE", "#666666"
MISSING = "no thumbnail"

log = logging.getLogger("batchage")


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """A picture of a sheet, RGB uint8 `(h, w, 3)` or None where there is none, and its name."""

    pixels: ImageArray | None
    caption: str

    @property
    def width(self) -> int:
        return CELL if self.pixels is None else self.pixels.shape[1]

    @property
    def height(self) -> int:
        return CELL // 2 if self.pixels is None else self.pixels.shape[0]


def prepare_sheets(first: str | os.PathLike[str]) -> Path:
    """The path of a first sheet, whose folder is made.

    Raises:
        UsageError: It is a URL, or its suffix is neither that of a JPEG nor of a PNG.
        OutputError: The folder can't be made or written.
    """
    output = on_this_machine(first)
    if output.suffix.lower() not in SAVE_OPTIONS:
        raise UsageError(f"{output}: unknown suffix; use {' or '.join(SAVE_OPTIONS)}")
    prepare_folder(output.parent, [output.name])
    return output


def sheet_path(output: Path, number: int) -> Path:
    """`sheet.jpg`, then `sheet-002.jpg` and so on; `number` begins with 1."""
    return output if number == 1 else output.with_stem(f"{output.stem}-{number:03d}")


def make_contact_sheets(
    table: str | os.PathLike[str],
    thumbnails: str | os.PathLike[str],
    output: str | os.PathLike[str],
    quiet: bool = True,
) -> list[Path]:
    """Lay a scan's thumbnails out in a grid, 42 a sheet.

        import batchage

        batchage.make_contact_sheets("results.parquet", "thumbs", "sheet.jpg")

    The same thumbnails give the same files. A photo without a thumbnail keeps an empty place.

    Args:
        table: The faces table that the scan wrote, or the folder of a dataset; also URLs.
        thumbnails: Folder of its thumbnails, or its URL.
        output: The first sheet, `.jpg` or `.png`; further ones are beside it, `-002` and so on.
        quiet: Show no progress on standard error.

    Returns:
        The sheets, of which there is at least one.

    Raises:
        UsageError: The table or the file's suffix can't be used.
        OutputError: A sheet can't be written.
    """
    from tqdm import tqdm

    place, folder = prepare_sheets(output), locate(thumbnails)
    paths = output_paths(locate(table))
    names = read_columns(paths.faces, ("root", "image_path", "page"))
    faces = Counter(zip(*(names[name].to_pylist() for name in names.column_names), strict=True))
    n_sheets = max(1, math.ceil(len(faces) / (COLUMNS * ROWS)))
    prepare_folder(place.parent, [sheet_path(place, n + 1).name for n in range(n_sheets)])
    # Few photos stand in a block and not in one row.
    columns = min(COLUMNS, math.ceil(math.sqrt(1.5 * len(faces))))
    count = f" · {len(faces):,} photos, {faces.total():,} faces"
    photos, sheets = iter(faces), []
    with ThreadPoolExecutor(n_decoders(), "tile") as threads:
        for number in tqdm(
            range(1, n_sheets + 1), unit=" sheets", file=sys.stderr, disable=quiet or None
        ):
            part = itertools.islice(photos, COLUMNS * ROWS)
            about = f"{count} · sheet {number} of {n_sheets}"
            sheets.append(sheet_path(place, number))
            # The tiles are given away here, so that those of two sheets are never held.
            tiles = threads.map(lambda photo: _tile(folder, *photo), part)
            save_picture(_sheet(list(tiles), columns, paths.output.name, about), sheets[-1])
    if (later := sheet_path(place, n_sheets + 1)).exists():
        log.warning("%s: is left of earlier, longer contact sheets; delete it", later)
    return sheets


def _tile(folder: AnyPath, root: str | None, relative: str | None, page: int | None) -> _Tile:
    root, relative = root or "", relative or ""
    caption = page_name(PurePosixPath(relative).name, page)
    try:
        path = folder / thumbnail_name(root, relative, page)
        place = path if isinstance(path, Path) else str(path)
        pixels = decode(place, max_pixels=MAX_PIXELS, enough=CELL).pixels
    except DecodeError:
        return _Tile(None, caption)
    height, width = pixels.shape[:2]
    factor = CELL / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return _Tile(pixels, caption)


def _sheet(tiles: Sequence[_Tile], columns: int, name: str, about: str) -> ImageArray:
    """RGB uint8 `(h, w, 3)`: a title and the tiles in rows, no larger than they need."""
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns or 1)]
    column = max([MIN_COLUMN, *(tile.width for tile in tiles)])
    heights = [max(tile.height for tile in row) for row in rows]
    width = max(MIN_TITLE_WIDTH, columns * (column + GAP) - GAP)
    height = TITLE_HEIGHT + sum(heights) + len(rows) * CAPTION_HEIGHT + max(0, len(rows) - 1) * GAP
    canvas = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), PAPER)
    _draw_title(canvas, name, about)
    y = MARGIN + TITLE_HEIGHT
    for row, row_height in zip(rows, heights, strict=True):
        for index, tile in enumerate(row):
            x = MARGIN + index * (column + GAP)
            _draw_tile(canvas, tile, (x, y + row_height), column)
        y += row_height + CAPTION_HEIGHT + GAP
    return np.array(canvas)


def _draw_title(canvas: Image.Image, name: str, about: str) -> None:
    # Apart: a table's right-to-left name doesn't turn the rest around.
    rest = lay_out(about, TITLE_SIZE)
    title = fit(name, TITLE_SIZE, canvas.width - 2 * MARGIN - rest.width)
    draw_line(canvas, title, (MARGIN, MARGIN + TITLE_SIZE), INK)
    draw_line(canvas, rest, (MARGIN + title.width, MARGIN + TITLE_SIZE), FAINT)


def _draw_tile(canvas: Image.Image, tile: _Tile, corner: tuple[int, int], column: int) -> None:
    """A picture whose cell has its lower left corner at `corner`, with its name below."""
    x, y = corner
    left, top = x + (column - tile.width) // 2, y - tile.height
    if tile.pixels is not None:
        canvas.paste(Image.fromarray(tile.pixels), (left, top))
    else:
        painter = ImageDraw.Draw(canvas)
        painter.rectangle((left, top, left + tile.width - 1, y - 1), fill=EMPTY)
        line = lay_out(MISSING, CAPTION_SIZE)
        middle = (x + (column - line.width) // 2, y - tile.height // 2 + CAPTION_SIZE // 3)
        draw_line(canvas, line, middle, FAINT)
    caption = fit(tile.caption, CAPTION_SIZE, column)
    place = (x + (column - caption.width) // 2, y + round(1.3 * CAPTION_SIZE))
    draw_line(canvas, caption, place, INK)
