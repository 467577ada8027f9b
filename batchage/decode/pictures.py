"""One file → upright RGB pixels.

`decode` reads a file once, recognises its format by content, checks the picture's size before any
pixel is decoded, and turns every mode into RGB uint8. Whatever a damaged file makes a decoder
raise leaves here as a `DecodeError` with one sentence.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, PngImagePlugin, TiffImagePlugin, features

from batchage.config import MAX_PIXELS
from batchage.decode.raw import is_raw, read_raw
from batchage.errors import DecodeError, TooLargeError
from batchage.places import content_hasher, read_local, read_remote
from batchage.tiles import longest_look
from batchage.types import DecodedImage, ImageArray

NOT_A_PICTURE = "not a picture in a known format (JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF)"
_PREFIX_BYTES = 16
_JPEG_END = b"\xff\xd9"
# AVIF before HEIF: both claim the container brand mif1, and only AVIF's opener looks at the codec.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "HEIF")
_JPEG_FORMATS = ("JPEG", "MPO")
_DIVISORS = (8, 4, 2)
_ORIENTATION = int(ExifTags.Base.Orientation)
_DATES = (
    int(ExifTags.Base.DateTimeOriginal),
    int(ExifTags.Base.DateTimeDigitized),
    int(ExifTags.Base.DateTime),
)
_DATE = re.compile(
    r"\s*(\d{4})\D{1,2}(\d{1,2})\D{1,2}(\d{1,2})(?:\D{1,2}(\d{1,2})\D(\d{1,2})(?:\D(\d{1,2}))?)?",
    re.ASCII,
)
_YEARS = range(1800, 2200)
_EPOCH = datetime(1970, 1, 1)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_UPRIGHT[value] for value in (5, 6, 7, 8)}

Image.init()
# Profiles and the notes of image generators are larger than Pillow's limit of one megabyte.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
pillow_heif.register_heif_opener()
if not features.check("avif") and hasattr(pillow_heif, "register_avif_opener"):
    pillow_heif.register_avif_opener()


@dataclass(slots=True, eq=False)
class _Opened:
    """A picture whose header was read, and its EXIF tags by number."""

    image: Image.Image
    tags: Mapping[int, object]


def decode(
    path: Path | str,
    *,
    max_pixels: int = MAX_PIXELS,
    reserve: Callable[[int], None] = lambda n_bytes: None,
    enough: int | None = None,
    data: bytes | None = None,
    tiles: bool = False,
) -> DecodedImage:
    """Decodes one file; may be called from several threads at once.

    Of a file with several pictures (animation, pages) the first is used. Transparent parts become
    white. A damaged picture of which a part can be seen is returned with a `warning`.

    Args:
        path: The file; a `str` is a URL.
        max_pixels: Largest width × height, in pixels, that is decoded.
        reserve: Called with the bytes of the result once they are known, before they are decoded.
        enough: A JPEG may be decoded at a half, a quarter or an eighth of its size as long as the
            longest side of what is looked at at once, in pixels, stays this large; None wants all
            of it.
        data: The file's bytes, if they have been read already.
        tiles: Whether large pictures of any shape are looked at in tiles.

    Returns:
        The whole picture, RGB uint8 `(h, w, 3)`, upright after EXIF.

    Raises:
        TooLargeError: The picture has more than `max_pixels` pixels.
        DecodeError: The file gives no picture. The message doesn't repeat the path.
    """
    _silence_pillow()
    try:
        data = _read(path, max_pixels) if data is None else data
        _check_prefix(path, data)
        reduction = partial(_reduction, enough=enough, tiles=tiles)
        if is_raw(path):
            return _decode_raw(data, max_pixels, reserve, reduction)
        return _decode_bytes(data, max_pixels, reserve, reduction)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError("the picture has more pixels than its decoder allows") from error
    except MemoryError as error:
        raise DecodeError("there is not enough memory to decode the picture") from error
    # Pillow's plugins raise any type on a damaged file.
    except Exception as error:
        raise DecodeError(f"the picture can't be decoded: {_one_line(error)}") from error


def _silence_pillow() -> None:
    """Ignores Pillow's warnings on damaged files, which a row reports instead.

    `warnings.catch_warnings` swaps a global and isn't safe with threads; putting the same filter
    in front again is.
    """
    quiet = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)
    if not warnings.filters or warnings.filters[0] != quiet:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def _read(path: Path | str, max_pixels: int) -> bytes:
    if isinstance(path, str):
        return read_remote(path, max_pixels)
    return read_local(path, max_pixels, partial(_check_prefix, path))


def _check_prefix(path: Path | str, start: bytes) -> None:
    """Refuse a file that doesn't start like a picture."""
    if not start:
        raise DecodeError("the file is empty")
    if not is_raw(path) and not _formats_of(start[:_PREFIX_BYTES]):
        raise DecodeError(NOT_A_PICTURE)


def _decode_bytes(
    data: bytes,
    max_pixels: int,
    reserve: Callable[[int], None],
    reduction: Callable[[Image.Image], int],
) -> DecodedImage:
    opened = _open(data, max_pixels)
    width, height = opened.image.size
    divisor = reduction(opened.image)
    _reduce(opened.image, divisor)
    # Of a progressive file, all coefficients are held, whatever the scale.
    is_held_whole = opened.image.info.get("progressive")
    pixels_held = width * height if is_held_whole else opened.image.width * opened.image.height
    reserve(pixels_held * 3)
    image, warning = _load(opened.image, data, divisor)
    method = _UPRIGHT.get(_integer(opened.tags.get(_ORIENTATION)))
    # Pillow turns TIFFs itself when it loads them.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        method, (width, height) = None, image.size
    image = to_rgb(image)
    if method is not None:
        image = image.transpose(method)
        if method in _SIDEWAYS:
            width, height = height, width
    pixels = np.array(image)
    if warning is not None and bool((pixels == pixels[0, 0]).all()):
        raise DecodeError("the file is truncated or damaged before any of the picture")
    return DecodedImage(
        pixels=pixels,
        width=width,
        height=height,
        content_hash=content_hasher(data).hexdigest(),
        captured_at=_captured_at(opened.tags),
        warning=warning,
    )


def _decode_raw(
    data: bytes,
    max_pixels: int,
    reserve: Callable[[int], None],
    reduction: Callable[[Image.Image], int],
) -> DecodedImage:
    found = read_raw(data, partial(_check_size, max_pixels=max_pixels), reserve)
    content, taken = content_hasher(data).hexdigest(), _captured_at(_tags(partial(_exif_of, data)))
    if isinstance(found, bytes):
        image = _decode_bytes(found, max_pixels, reserve, reduction)
        # LibRaw gives a preview without EXIF one that says 1970.
        known = image.captured_at if image.captured_at != _EPOCH else None
        return replace(image, content_hash=content, captured_at=taken or known)
    height, width = found.shape[:2]
    return DecodedImage(found, width, height, content, taken)


def _reduction(image: Image.Image, enough: int | None, tiles: bool) -> int:
    """By how much a picture's sides may be divided."""
    if enough is None or image.format not in _JPEG_FORMATS:
        return 1
    side = longest_look(*image.size, enough, tiles)
    return next((n for n in _DIVISORS if side // n >= enough), 1)


def _reduce(image: Image.Image, divisor: int) -> None:
    """Let the decoder leave out what a smaller picture doesn't need."""
    if divisor > 1:
        sides = (image.width // divisor, image.height // divisor)
        image.draft(None, (max(1, sides[0]), max(1, sides[1])))


def _formats_of(prefix: bytes) -> list[str]:
    """The formats whose magic bytes `prefix` has."""
    # Some of Pillow's checks fail on fewer bytes than they look at.
    prefix = prefix.ljust(_PREFIX_BYTES, b"\0")
    found = []
    for name in _FORMATS:
        _, accept = Image.OPEN.get(name, (None, None))
        if accept is not None and accept(prefix) is True:
            found.append(name)
    return found


def _open(data: bytes, max_pixels: int) -> _Opened:
    """Reads the header and checks the size."""
    failure: Exception | None = None
    for name in _formats_of(data[:_PREFIX_BYTES]):
        try:
            image = _open_as(name, data)
        except Image.DecompressionBombError:
            raise
        except Exception as error:
            failure = failure or error
            continue
        _check_size(image.width, image.height, max_pixels)
        if image.mode == "LAB":
            break
        return _Opened(image, _tags(image.getexif))
    if TiffImagePlugin._accept(data[:_PREFIX_BYTES]):
        return _open_unusual_tiff(data, max_pixels)
    raise DecodeError(f"the picture's header is damaged: {_one_line(failure)}") from failure


def _open_as(name: str, data: bytes) -> ImageFile.ImageFile:
    # Image.open would apply Pillow's own pixel limit, a process-wide global.
    return Image.OPEN[name][0](io.BytesIO(data), "")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise DecodeError("the picture has no pixels")
    if width * height > max_pixels:
        raise TooLargeError(
            f"{width} x {height} pixels are more than the limit of {max_pixels} (--max-pixels)"
        )


def _open_unusual_tiff(data: bytes, max_pixels: int) -> _Opened:
    """Decodes a TIFF of samples that Pillow has no mode for (CIELab, float RGB, float64)."""
    file = io.BytesIO(data)
    directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    file.seek(directory.next)
    directory.load(file)
    width, height = (_integer(directory.get(tag)) for tag in (256, 257))
    _check_size(width, height, max_pixels)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.shape[:2] != (height, width):
        raise DecodeError("the TIFF file is damaged or of an unknown kind")
    values = _to_8_bit(np.asarray(values))
    if values.ndim == 3:
        order = cv2.COLOR_BGRA2RGBA if values.shape[2] == 4 else cv2.COLOR_BGR2RGB
        values = cv2.cvtColor(values, order)
    return _Opened(Image.fromarray(values), dict(directory))


def _load(image: Image.Image, data: bytes, divisor: int) -> tuple[Image.Image, str | None]:
    """Decodes the pixels; of a damaged picture, those that can be had, with a warning."""
    try:
        image.load()
        return image, None
    except MemoryError:
        raise
    except Exception as error:
        failure = error
    kind = "truncated" if "truncated" in str(failure) else "damaged"
    warning = f"the file is {kind}; the visible part was used"
    if image.format in _JPEG_FORMATS:
        try:
            # Given an end marker libjpeg fills in what is missing, in progressive files too.
            repaired = _open_as("JPEG", data + _JPEG_END)
            _reduce(repaired, divisor)
            repaired.load()
            return repaired, warning
        except Exception as error:
            failure = error
    if isinstance(image, ImageFile.ImageFile):
        # Without tiles to decode, load() hands out the rows that were decoded before the failure.
        image.tile = []
    try:
        image.load()
    except Exception:
        raise failure from None
    return image, warning


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode → RGB, transparent parts on white."""
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_to_8_bit(np.asarray(image)))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(values: NDArray[np.generic]) -> ImageArray:
    """Numbers of any type and shape → uint8.

    White is 65535 for 16-bit integers. For wider types it is the smallest of 1 (floats only), 255
    (floats only), 65535 and the largest value present that nothing exceeds. Negative and
    undefined values become 0.
    """
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    floats = np.where(np.isfinite(values.astype(np.float64)), values.astype(np.float64), 0.0)
    largest = float(floats.max())
    whites = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    white = next((white for white in whites if largest <= white), largest)
    return np.clip(np.rint(floats * (255.0 / white)), 0, 255).astype(np.uint8)


def _tags(get_exif: Callable[[], Image.Exif]) -> dict[int, object]:
    """The EXIF tags that matter here; as many as a damaged block gives."""
    tags: dict[int, object] = {}
    try:
        exif = get_exif()
        tags.update({tag: exif.get(tag) for tag in (_ORIENTATION, *_DATES)})
        details = exif.get_ifd(ExifTags.IFD.Exif)
        tags.update({tag: details[tag] for tag in _DATES if tag in details})
    # A picture isn't lost for its metadata, and Pillow raises any type on damaged EXIF.
    except Exception:
        return tags
    return tags


def _exif_of(data: bytes) -> Image.Exif:
    """EXIF of a camera raw file: most are TIFF files from outside."""
    exif = Image.Exif()
    exif.load(data)
    return exif


def _captured_at(tags: Mapping[int, object]) -> datetime | None:
    """The first plausible of the three EXIF dates, without zone and fractions of a second."""
    for tag in _DATES:
        value = tags.get(tag)
        found = _DATE.match(value) if isinstance(value, str) else None
        if found is None:
            continue
        try:
            moment = datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]
        except ValueError:
            continue
        if moment.year in _YEARS:
            return moment
    return None


def _integer(value: object) -> int:
    """A tag's value, or 0 where it isn't a whole number."""
    return value if isinstance(value, int) else 0


def _one_line(error: BaseException | None) -> str:
    """What an exception says, short and without line breaks."""
    return " ".join(str(error).split())[:200] or type(error).__name__
