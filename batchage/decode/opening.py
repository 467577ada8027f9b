"""Pictures of all formats but TIFF and camera raw: header first, then pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageFile

from batchage.decode.formats import JPEG_XL, load_jpeg_xl
from batchage.decode.jpeg2000 import open_jpeg_2000
from batchage.decode.jxl import jxl_size
from batchage.decode.png import essential_png
from batchage.decode.psd import open_psd
from batchage.errors import DecodeError, one_line

JPEG_FORMATS = ("JPEG", "MPO")
_JPEG_END = b"\xff\xd9"
_PAGED = ("HEIF",)
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_DIVISORS = (8, 4, 2)
DAMAGED = "the file is damaged; the visible part was used"
TRUNCATED = "the file is truncated; the visible part was used"


@dataclass(frozen=True, slots=True)
class Pages:
    """Which of a file's pictures is wanted.

    Attributes:
        wanted: Its number, from 1.
        tell: Called with the number of pictures that the file has, where there are several.
    """

    wanted: int
    tell: Callable[[int], None]

    def choose(self, n_pages: int) -> None:
        """Tell how many there are, and see that the wanted one is among them.

        Raises:
            DecodeError: It isn't.
        """
        if n_pages > 1:
            self.tell(n_pages)
        if self.wanted > n_pages:
            raise DecodeError(f"the file has no page {self.wanted}")


@dataclass(slots=True, eq=False)
class OpenedPicture:
    """A picture whose header was read.

    Attributes:
        image: Of any mode; its pixels are there after `load`.
        is_upright: Whether its EXIF orientation has been followed already.
        warning: What is wrong with it, if anything is.
    """

    image: Image.Image
    data: bytes
    is_upright: bool = False
    warning: str | None = None
    divisor: int = 1

    def reduce(self, enough: int, longest: int) -> None:
        """Let a JPEG's decoder leave out what isn't needed.

        Args:
            enough: Pixels that the longest side of what is looked at at once should have.
            longest: How many it has now.
        """
        if self.image.format in JPEG_FORMATS:
            self.divisor = next((n for n in _DIVISORS if longest // n >= enough), 1)
            _draft(self.image, self.divisor)

    def remark(self) -> str | None:
        """That the file is an animation, of which the first frame is looked at, if it is one."""
        n = self._n_frames() if self.image.format in _ANIMATED else 1
        return f"the first of {n} frames was looked at" if n > 1 else None

    @property
    def n_pages(self) -> int:
        """How many pictures that stand for themselves the file has."""
        return self._n_frames() if self.image.format in _PAGED else 1

    def _n_frames(self) -> int:
        try:
            return int(getattr(self.image, "n_frames", 1))
        # What comes after the first picture may be damaged.
        except Exception:
            return 1

    def turn_to(self, page: int) -> None:
        """Go to one of the pages, from 1: the main one, then the others as they are in the file."""
        if page > 1:
            main = self.image.tell()
            self.image.seek(page - 2 if page - 2 < main else page - 1)

    def load(self) -> None:
        """Decode the pixels; of a damaged picture, those that can be had, with a warning."""
        try:
            self.image.load()
            return
        except MemoryError:
            raise
        except Exception as error:
            failure = error
        self.warning = TRUNCATED if "truncated" in str(failure) else DAMAGED
        if self.image.format in JPEG_FORMATS:
            try:
                # Given an end marker libjpeg fills in what is missing, in progressive files too.
                repaired = _open_as("JPEG", self.data + _JPEG_END)
                _draft(repaired, self.divisor)
                repaired.load()
                self.image = repaired
                return
            except Exception as error:
                failure = error
        if isinstance(self.image, ImageFile.ImageFile):
            # Without tiles to decode, load() hands out the rows that were decoded before.
            self.image.tile = []
        try:
            self.image.load()
        except Exception:
            raise failure from None


def open_picture(
    data: bytes,
    formats: list[str],
    check_size: Callable[[int, int], None],
    pages: Pages,
) -> OpenedPicture:
    """Reads the header.

    Args:
        data: The file.
        formats: What it may be.
        check_size: Called with width and height before any pixel is decoded; may raise.
        pages: Which one is wanted.

    Raises:
        DecodeError: It is damaged, or of a kind that isn't read.
    """
    failure: Exception | None = None
    for name in formats:
        try:
            opened = _opened(name, data, check_size)
        except (Image.DecompressionBombError, DecodeError):
            raise
        except Exception as error:
            failure = failure or error
            continue
        pages.choose(opened.n_pages)
        opened.turn_to(pages.wanted)
        check_size(*opened.image.size)
        return opened
    raise DecodeError(f"the picture's header is damaged: {one_line(failure)}") from failure


def _opened(name: str, data: bytes, check_size: Callable[[int, int], None]) -> OpenedPicture:
    if name == JPEG_XL:
        return _opened_jpeg_xl(data, check_size)
    if name == "JPEG2000":
        return OpenedPicture(open_jpeg_2000(data), data)
    if name == "PSD":
        return OpenedPicture(open_psd(data), data, is_upright=True)
    try:
        return OpenedPicture(_open_as(name, data), data)
    except Image.DecompressionBombError:
        raise
    except Exception:
        if name != "PNG":
            raise
    rest = essential_png(data)
    warning = DAMAGED if rest.lacks_looks else None
    return OpenedPicture(_open_as(name, rest.data), rest.data, warning=warning)


def _opened_jpeg_xl(data: bytes, check_size: Callable[[int, int], None]) -> OpenedPicture:
    """One that is decoded at once, which turns it; a JPEG inside is as it was."""
    load_jpeg_xl()
    check_size(*jxl_size(data))
    try:
        image = _open_as(JPEG_XL, data)
    # What it raises tells how its library is to be built.
    except RuntimeError as error:
        raise DecodeError("the JPEG XL file is truncated or damaged") from error
    return OpenedPicture(image, data, is_upright=not getattr(image, "jpeg", False))


def _open_as(name: str, data: bytes) -> ImageFile.ImageFile:
    # Image.open would apply Pillow's own pixel limit, a process-wide global.
    return Image.OPEN[name][0](io.BytesIO(data), "")


def _draft(image: Image.Image, divisor: int) -> None:
    if divisor > 1:
        sides = (image.width // divisor, image.height // divisor)
        image.draft(None, (max(1, sides[0]), max(1, sides[1])))
