"""One file → upright RGB pixels.

`decode` reads a file once, recognises its format by content, checks the picture's size before any
pixel is decoded, and turns every mode into RGB uint8. Whatever a damaged file makes a decoder
raise leaves here as a `DecodeError` with one sentence.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from batchage.config import MAX_PIXELS
from batchage.decode.colour import colours_of
from batchage.decode.dates import capture_time
from batchage.decode.formats import NOT_A_PICTURE, formats_of
from batchage.decode.numbers import all_to_bytes
from batchage.decode.opening import Pages, open_picture
from batchage.decode.raw import has_raw_mark, is_raw, missing_reader, opens_as_raw, read_raw
from batchage.decode.tiff import TiffDocument, is_tiff
from batchage.errors import DecodeError, TooLargeError, one_line
from batchage.places import content_hasher, read_local, read_remote
from batchage.tiles import longest_look
from batchage.types import DecodedImage, ImageArray

_ORIENTATION = int(ExifTags.Base.Orientation)
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

_SRGB, _LAB = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """A picture with its pixels, not upright yet.

    Attributes:
        image: Of any mode.
        size: Width and height that it would have unreduced.
        orientation: How it is to be turned, as in EXIF.
        warning: What is wrong with it, if anything is.
        note: What else is to be said of the file: that it is an animation, or goes on, damaged.
        directory: Of a page of a TIFF after the first, where its directory is.
    """

    image: Image.Image
    size: tuple[int, int]
    orientation: int
    warning: str | None
    note: str | None
    directory: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A file that was read, of which further pages will be asked for.

    Attributes:
        signature: Path, inode, size and modification time, which tell that it is still the same.
        data: Its bytes.
        content_hash: Their hash.
    """

    signature: tuple[object, ...]
    data: bytes
    content_hash: str


_KEPT: list[_Kept] = []
"""The last one, in a process that decodes page after page."""


def _signature(path: Path) -> tuple[object, ...] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return path, found.st_ino, found.st_size, found.st_mtime_ns


def decode_next(
    path: Path | str,
    *,
    tell_pages: Callable[[int], None],
    page: int = 1,
    data: bytes | None = None,
    **how: Any,
) -> DecodedImage:
    """`decode` for who asks for one page after the other: the body of a worker process.

    The bytes of a file on this machine are kept as long as pages are left.
    """
    n_pages = 1

    def note_pages(n: int) -> None:
        nonlocal n_pages
        n_pages = n
        tell_pages(n)

    signature = _signature(path) if isinstance(path, Path) else None
    if signature is None or data is not None:
        return decode(path, tell_pages=tell_pages, page=page, data=data, **how)
    if not (_KEPT and _KEPT[0].signature == signature):
        _KEPT.clear()
        _silence_pillow()
        try:
            data = _read(path, how.get("max_pixels", MAX_PIXELS))
        except MemoryError as error:
            raise DecodeError("there is not enough memory to decode the picture") from error
        _KEPT.append(_Kept(signature, data, content_hasher(data).hexdigest()))
    try:
        return decode(path, tell_pages=note_pages, page=page, data=_KEPT[0].data, **how)
    finally:
        if page >= n_pages:
            _KEPT.clear()


def _content_hash(data: bytes) -> str:
    if _KEPT and _KEPT[0].data is data:
        return _KEPT[0].content_hash
    return str(content_hasher(data).hexdigest())


def decode(
    path: Path | str,
    *,
    max_pixels: int = MAX_PIXELS,
    reserve: Callable[[int], None] = lambda n_bytes: None,
    tell_pages: Callable[[int], None] = lambda n_pages: None,
    page: int = 1,
    enough: int | None = None,
    data: bytes | None = None,
    colours_later: bool = False,
    tiles: bool = False,
) -> DecodedImage:
    """Decodes a picture of a file; may be called from several threads at once.

    Of an animation the first frame is used, with a `note`. Pages of a TIFF are numbered as they
    are in the file, without reduced copies and masks; of a HEIC file the main picture comes first.
    Transparent parts become white. A damaged picture of which a part can be seen is returned with a
    `warning`.

    Args:
        path: The file; a `str` is a URL.
        max_pixels: Largest width × height, in pixels, that is decoded.
        reserve: Called with the bytes of the result once they are known, before they are decoded.
        tell_pages: Called with the number of pages where there are several, before one is decoded.
        page: Which one to decode, from 1.
        enough: A JPEG may be decoded at a half, a quarter or an eighth of its size as long as the
            longest side of what is looked at at once, in pixels, stays this large; None wants all
            of it.
        data: The file's bytes, if they have been read already.
        colours_later: Leave it to `in_srgb` to turn what is made of the picture into sRGB, which is
            cheaper for small things, where its own values are close enough to find faces in.
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
        check_size = partial(_check_size, max_pixels=max_pixels)
        pages = Pages(page, tell_pages)
        return _Loader(check_size, reserve, pages, enough, colours_later, tiles).decode(path, data)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError("the picture has more pixels than its decoder allows") from error
    except MemoryError as error:
        raise DecodeError("there is not enough memory to decode the picture") from error
    # Pillow's plugins raise any type on a damaged file.
    except Exception as error:
        raise DecodeError(f"the picture can't be decoded: {one_line(error)}") from error


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
    if not formats_of(path, start) and not is_raw(path) and not has_raw_mark(start):
        raise DecodeError(NOT_A_PICTURE)


@dataclass(frozen=True, slots=True, eq=False)
class _Loader:
    """Decodes files in one way.

    Attributes:
        check_size: Called with width and height before anything is decoded; may raise.
        reserve: As of `decode`.
        pages: Which one to decode.
        enough: As of `decode`.
        colours_later: As of `decode`.
        tiles: As of `decode`.
    """

    check_size: Callable[[int, int], None]
    reserve: Callable[[int], None]
    pages: Pages
    enough: int | None
    colours_later: bool
    tiles: bool

    def decode(self, path: Path | str, data: bytes) -> DecodedImage:
        formats = formats_of(path, data)
        if has_raw_mark(data) or (is_raw(path) and not formats):
            return self._raw(data)
        if not is_tiff(data):
            return self._upright(self._load(data, formats), data)
        try:
            document = TiffDocument(data)
        except DecodeError:
            if is_raw(path):
                return self._raw(data)
            raise
        is_called_raw = is_raw(path) and (document.is_only_reduced or opens_as_raw(data))
        if document.is_raw or is_called_raw:
            return self._raw(data)
        return self._upright(self._load_tiff(document), data)

    def _load(self, data: bytes, formats: list[str]) -> _Loaded:
        opened = open_picture(data, formats, self.check_size, self.pages)
        size = opened.image.size
        orientation = 1 if opened.is_upright else _orientation_of(opened.image)
        note = opened.remark()
        if self.enough is not None:
            opened.reduce(self.enough, longest_look(*size, self.enough, self.tiles))
        # Of a progressive file, all coefficients are held, whatever the scale.
        held = size if opened.image.info.get("progressive") else opened.image.size
        self.reserve(math.prod(held) * 3)
        opened.load()
        return _Loaded(opened.image, size, orientation, opened.warning, note)

    def _load_tiff(self, document: TiffDocument) -> _Loaded:
        wanted = self.pages.wanted
        self.pages.choose(len(document))
        found = document.read(wanted, self.check_size, self.reserve)
        is_cut = document.is_cut and wanted == len(document)
        note = "the file is damaged: what follows this page can't be found" if is_cut else None
        # Of a photo with a reduced copy before it, that one's directory says when it was taken.
        directory = found.directory if wanted > 1 else None
        return _Loaded(
            found.image, found.image.size, found.orientation, found.warning, note, directory
        )

    def _upright(self, loaded: _Loaded, data: bytes) -> DecodedImage:
        image, (width, height) = loaded.image, loaded.size
        info = image.info
        colours = colours_of(image.mode, info, data)
        image = colours.converted(_to_rgb(colours.separated(image)), self.colours_later)
        method = _UPRIGHT.get(loaded.orientation)
        if method is not None:
            image = image.transpose(method)
            if method in _SIDEWAYS:
                width, height = height, width
        pixels = np.array(image)
        if loaded.warning is not None and _is_blank(pixels):
            raise DecodeError("the file is truncated or damaged before any of the picture")
        return DecodedImage(
            pixels=pixels,
            width=width,
            height=height,
            content_hash=_content_hash(data),
            captured=capture_time(data, info, loaded.directory),
            warning=loaded.warning,
            note="; ".join(filter(None, (loaded.note, colours.note))) or None,
            colours=colours.left(self.colours_later),
        )

    def _raw(self, data: bytes) -> DecodedImage:
        lack = missing_reader()
        if lack:
            raise DecodeError(lack)
        found = read_raw(data, self.check_size, self.reserve)
        content, captured = _content_hash(data), capture_time(data, {})
        if isinstance(found, bytes):
            image = self._upright(self._load(found, ["JPEG"]), found)
            # LibRaw gives a preview without EXIF one that says 1970.
            known = image.captured if image.captured and image.captured.at != _EPOCH else None
            return replace(image, content_hash=content, captured=captured or known)
        if _is_blank(found):
            # LibRaw doesn't say so where it lacks what the raw data are compressed by.
            raise DecodeError("the camera raw can't be read: nothing comes out of it")
        height, width = found.shape[:2]
        return DecodedImage(found, width, height, content, captured)


def _is_blank(pixels: ImageArray) -> bool:
    return bool((pixels == pixels[0, 0]).all())


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise DecodeError("the picture has no pixels")
    if width * height > max_pixels:
        raise TooLargeError(
            f"{width} x {height} pixels are more than the limit of {max_pixels} (--max-pixels)"
        )


def to_srgb(image: Image.Image) -> Image.Image:
    """A picture of any mode → RGB, in sRGB where it says what its colours are."""
    colours = colours_of(image.mode, image.info, b"")
    return colours.converted(_to_rgb(colours.separated(image)), later=False)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode → RGB, transparent parts on white."""
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(all_to_bytes(np.asarray(image)))
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode == "LAB":
        converted = ImageCms.profileToProfile(image, _LAB, _SRGB, outputMode="RGB")
        assert converted is not None
        return converted
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation_of(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION)
    # A picture isn't lost for its metadata, and Pillow raises any type on damaged EXIF.
    except Exception:
        return 1
    return value if isinstance(value, int) else 1
