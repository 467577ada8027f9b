"""A line of text in any script: right-to-left order, joined Arabic letters, fonts by character.

Text is put into the order in which it is seen, Arabic letters into the forms that they take beside
each other. Each character then gets the first font that has it: Pillow's own, DejaVu Sans, which
comes with matplotlib, and the fonts of the machine. What no font has is shown as its code point.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from batchage.drawing.fonts import load_matplotlib

ELLIPSIS = "…"
MAX_CHARACTERS = 512
"""Longer text is elided before it is laid out."""
KEPT_ENDING = 5
"""Last characters that are kept before all but the first one, for the sake of `.jpg`."""
JOINERS = "\u200c\u200d"
_ZWJ = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_MARKS = ("Mn", "Mc", "Me")
_RIGHT_TO_LEFT = ("R", "AL", "AN")
_VARIATION_SELECTORS = dict.fromkeys([*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
_REGULAR = ("Regular", "Book", "Roman", "Normal", "Medium")
# They claim every character and draw it blank or as a box.
_FONTS_WITHOUT_LETTERS = ("lastresort", "adobeblank")
# Sizes in pixels that fonts of coloured bitmaps come in.
_BITMAP_SIZES = (109, 128, 136, 160, 96, 64, 48, 32)
_CODE_SIZE = 0.7
_MIN_CODE_SIZE = 9


def printable(text: str) -> str:
    """The text without characters that control a terminal, break a line or reorder it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A font file and what it has.

    Attributes:
        path: The file; None is Pillow's own.
        starts: First code points `(n,)` of the ranges that it has, ascending.
        ends: Their last ones.
        bitmap_size: Of a font of bitmaps: the one size in pixels that is used of it.
    """

    path: str | None
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    bitmap_size: int | None = None

    def has(self, text: str) -> bool:
        """Whether it has every character of `text`."""
        codes = np.array([ord(char) for char in text], np.int64)
        index = np.searchsorted(self.starts, codes, side="right") - 1
        return bool(((index >= 0) & (codes <= self.ends[index])).all())

    def font(self, size: int, text: str) -> ImageFont.FreeTypeFont:
        """The font at a size in pixels, for text that is in the order in which it is seen."""
        # Raqm, which joins Indic letters and emoji, would reorder right-to-left text once more.
        is_ordered = any(map(_is_right_to_left, text))
        engine = ImageFont.Layout.BASIC if is_ordered else ImageFont.Layout.RAQM
        return _load(self.path, self.bitmap_size or size, engine)

    def draws(self, text: str) -> bool:
        """Whether anything is seen of `text`."""
        if self.bitmap_size:
            return True
        try:
            return self.font(32, text).getmask(text).getbbox() is not None
        except (OSError, ValueError):
            return False


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Text of one font.

    Attributes:
        text: Its characters in the order in which they are seen, left to right.
        face: The font; None where none has the one character of `text`.
        width: In pixels.
    """

    text: str
    face: Face | None
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Text that was laid out.

    Attributes:
        pieces: Left to right.
        size: Height of the letters in pixels, as of fonts.
    """

    pieces: Sequence[Piece]
    size: int

    @property
    def width(self) -> int:
        """In pixels."""
        return sum(piece.width for piece in self.pieces)


def lay_out(text: str, size: int) -> Line:
    r"""Text as it is drawn; the direction of the whole is that of its first letter.

    Args:
        text: Anything; what can't be printed is shown as an escape such as `\n`.
        size: Of the letters, in pixels.
    """
    return _lay_out(_clusters(_cleaned(text)), size)


def fit(text: str, size: int, room: int) -> Line:
    """Text with as much of its middle left out as it takes to fit.

    Args:
        text: As of `lay_out`.
        size: As of `lay_out`.
        room: Pixels. What remains in any case is the ellipsis.
    """
    parts = _clusters(_cleaned(text))
    line = _lay_out(parts, size)
    if line.width <= room:
        return line
    line = _lay_out([ELLIPSIS], size)
    fewest, most = 0, len(parts) - 1
    while fewest < most:
        kept = (fewest + most + 1) // 2
        n_last = max(kept // 2, min(kept - 1, KEPT_ENDING))
        head, tail = parts[: kept - n_last], parts[len(parts) - n_last :]
        shorter = _lay_out([*head, ELLIPSIS, *tail], size)
        if shorter.width <= room:
            line, fewest = shorter, kept
        else:
            most = kept - 1
    return line


def draw(canvas: Image.Image, line: Line, start: tuple[int, int], colour: str) -> None:
    """Draw a line.

    Args:
        canvas: RGB, drawn on.
        line: What to draw.
        start: Left end of its baseline, in pixels.
        colour: Of the letters.
    """
    x, baseline = start
    painter = ImageDraw.Draw(canvas)
    for piece in line.pieces:
        if piece.face is None:
            _draw_code(painter, piece, (x, baseline), line.size, colour)
        elif piece.face.bitmap_size:
            _draw_bitmaps(canvas, piece.face, piece.text, (x, baseline), line.size)
        else:
            font = piece.face.font(line.size, piece.text)
            painter.text((x, baseline), piece.text, font=font, fill=colour, anchor="ls")
        x += piece.width


def _cleaned(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        text = text[:half] + ELLIPSIS + text[-half:]
    text = unicodedata.normalize("NFC", text).translate(_VARIATION_SELECTORS)
    return "".join(
        " " if unicodedata.category(c) == "Zs" else c if c in JOINERS else printable(c)
        for c in text
    )


def _clusters(text: str) -> list[str]:
    """Characters with the marks and joiners that belong to them."""
    parts: list[str] = []
    for char in text:
        if parts and _belongs(char, parts[-1]):
            parts[-1] += char
        else:
            parts.append(char)
    return parts


def _belongs(char: str, before: str) -> bool:
    code = ord(char)
    return (
        char in JOINERS
        or before[-1] == _ZWJ
        or unicodedata.category(char) in _MARKS
        or code in _SKIN_TONES
        or (code in _FLAG_LETTERS and len(before) == 1 and ord(before) in _FLAG_LETTERS)
    )


def _is_right_to_left(char: str) -> bool:
    return unicodedata.bidirectional(char) in _RIGHT_TO_LEFT


@cache
def _reshaper() -> Any:
    from arabic_reshaper import ArabicReshaper

    return ArabicReshaper({"delete_harakat": False})


def _as_seen(text: str) -> str:
    """Left to right what is read in whatever direction."""
    if not any(map(_is_right_to_left, text)):
        return text
    # The package's other function, in Rust, leaves brackets unmirrored.
    from bidi.algorithm import get_display

    # In one go, what comes after a joiner can lose its ligatures or fail.
    return str(get_display(_ZWJ.join(map(_reshaper().reshape, text.split(_ZWJ)))))


def _lay_out(parts: Sequence[str], size: int) -> Line:
    faces = [
        (part, face)
        for cluster in _clusters(_as_seen("".join(parts)))
        for part, face in _with_faces(cluster)
    ]
    pieces: list[Piece] = []
    for face, group in groupby(faces, key=lambda pair: pair[1]):
        texts = [text for text, _ in group]
        if face is None:
            pieces.extend(Piece(text, None, _code_width(text, size)) for text in texts)
        else:
            text = "".join(texts)
            pieces.append(Piece(text, face, _width(face, text, size)))
    return Line(pieces, size)


def _width(face: Face, text: str, size: int) -> int:
    length = face.font(size, text).getlength(text)
    return math.ceil(length * size / face.bitmap_size if face.bitmap_size else length)


def _with_faces(cluster: str) -> list[tuple[str, Face | None]]:
    """A cluster and its font, or its characters and theirs if no font has them all."""
    face = _face_of(cluster)
    if face or len(cluster) == 1:
        return [(cluster, face)]
    return [(char, _face_of(char)) for char in cluster if char not in JOINERS]


@lru_cache(maxsize=1 << 16)
def _face_of(cluster: str) -> Face | None:
    wanted = "".join(char for char in cluster if char not in JOINERS) or " "
    return next((face for face in _faces() if face.has(wanted) and _suits(face, wanted)), None)


def _suits(face: Face, text: str) -> bool:
    return text.isspace() or face in _own_faces() or face.draws(text)


def _faces() -> Iterator[Face]:
    yield from _own_faces()
    yield from _system_faces()


@cache
def _own_faces() -> tuple[Face, ...]:
    matplotlib = load_matplotlib()
    from matplotlib.ft2font import FT2Font

    default = ImageFont.load_default(32)
    assert isinstance(default, ImageFont.FreeTypeFont)
    dejavu = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    return (
        Face(None, *_ranges(FT2Font(default.path).get_charmap())),
        Face(dejavu, *_ranges(FT2Font(dejavu).get_charmap())),
    )


@cache
def _system_faces() -> tuple[Face, ...]:
    """The machine's fonts: plain ones before bold and slanted ones, coloured bitmaps last."""
    load_matplotlib()
    from matplotlib.font_manager import findSystemFonts
    from matplotlib.ft2font import FT2Font

    found: list[tuple[tuple[bool, bool, str], Face]] = []
    for path in findSystemFonts():
        try:
            font = FT2Font(path)
            name = font.family_name.replace(" ", "").lower().lstrip(".")
            codes = font.get_charmap()
            bitmap_size = None if font.scalable else _bitmap_size(path)
        # A damaged font is none.
        except (OSError, RuntimeError, ValueError):
            continue
        is_usable = codes and (font.scalable or bitmap_size)
        if is_usable and not name.startswith(_FONTS_WITHOUT_LETTERS):
            order = (not font.scalable, font.style_name not in _REGULAR, path)
            found.append((order, Face(path, *_ranges(codes), bitmap_size)))
    return tuple(face for _, face in sorted(found, key=lambda pair: pair[0]))


def _bitmap_size(path: str) -> int | None:
    for size in _BITMAP_SIZES:
        try:
            ImageFont.truetype(path, size)
        except OSError:
            continue
        return size
    return None


def _ranges(charmap: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last code points of what a font has without gaps."""
    codes = np.array(sorted(charmap), np.int64)
    gaps = np.flatnonzero(np.diff(codes) > 1)
    return codes[np.r_[0, gaps + 1]], codes[np.r_[gaps, len(codes) - 1]]


@lru_cache(maxsize=64)
def _load(path: str | None, size: int, engine: ImageFont.Layout) -> ImageFont.FreeTypeFont:
    if path is not None:
        return ImageFont.truetype(path, size, layout_engine=engine)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _code(char: str) -> str:
    return f"U+{ord(char):04X}"


def _code_font(size: int) -> ImageFont.FreeTypeFont:
    return _load(None, max(_MIN_CODE_SIZE, round(_CODE_SIZE * size)), ImageFont.Layout.RAQM)


def _code_padding(size: int) -> int:
    return max(2, size // 8)


def _code_width(char: str, size: int) -> int:
    return math.ceil(_code_font(size).getlength(_code(char))) + 3 * _code_padding(size)


def _draw_code(
    painter: ImageDraw.ImageDraw, piece: Piece, start: tuple[int, int], size: int, colour: str
) -> None:
    """A code point in a frame, which tells it from a name that has those letters."""
    x, baseline = start
    padding, font = _code_padding(size), _code_font(size)
    top = baseline + int(font.getbbox("U", anchor="ls")[1]) - padding
    frame = (x, top, x + piece.width - padding - 1, baseline + padding - 1)
    painter.rectangle(frame, outline=colour)
    painter.text((x + padding, baseline), _code(piece.text), font=font, fill=colour, anchor="ls")


def _draw_bitmaps(
    canvas: Image.Image, face: Face, text: str, start: tuple[int, int], size: int
) -> None:
    assert face.bitmap_size
    font, factor = face.font(size, text), size / face.bitmap_size
    left, top, right, bottom = map(round, font.getbbox(text, anchor="ls"))
    if right <= left or bottom <= top:
        return
    layer = Image.new("RGBA", (right - left, bottom - top))
    painter = ImageDraw.Draw(layer)
    painter.text((-left, -top), text, font=font, anchor="ls", embedded_color=True)
    scaled = (max(1, round(layer.width * factor)), max(1, round(layer.height * factor)))
    small = layer.resize(scaled, Image.Resampling.LANCZOS)
    place = (start[0] + round(left * factor), start[1] + round(top * factor))
    canvas.paste(small, place, small)
