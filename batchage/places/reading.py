"""The bytes of a file, wherever it is."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from batchage.errors import DecodeError, TooLargeError, UsageError
from batchage.places.connections import connected
from batchage.places.patience import patiently, reason_of

content_hasher = partial(hashlib.blake2b, digest_size=16)
_PREFIX_BYTES = 16
_PIECE_BYTES = 1 << 20
_SMALL_FILE = 64 << 20
_BYTES_PER_PIXEL = 8  # 16 bits of red, green, blue and opacity


def read_local(path: Path, max_pixels: int, check: Callable[[bytes], None]) -> bytes:
    """All bytes of a file of this machine.

    Args:
        path: The file.
        max_pixels: As of `decode`.
        check: Called with the file's first 16 bytes before the others are read; may raise.

    Raises:
        TooLargeError: No picture of `max_pixels` pixels needs so many bytes.
        DecodeError: The file can't be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError("not a regular file")
        check_file_size(status.st_size, max_pixels)
        with path.open("rb") as file:
            check(file.read(_PREFIX_BYTES))
            file.seek(0)
            return file.read()
    except OSError as error:
        reason = (error.strerror or " ".join(str(error).split())).lower()
        raise DecodeError(f"the file can't be read: {reason}") from error


def read_remote(url: str, max_pixels: int, size: int | None = None) -> bytes:
    """All bytes of a file elsewhere.

    Args:
        url: The file.
        max_pixels: As of `decode`.
        size: Of the file in bytes, if it is known: spares a request.

    Raises:
        TooLargeError: As of `read_local`.
        DecodeError: The file can't be read, also after several tries.
    """
    try:
        return patiently(_fetch, url, max_pixels, size)
    except OSError as error:
        raise DecodeError(f"the file can't be read: {reason_of(error)}") from error
    except UsageError as error:
        raise DecodeError(str(error)) from error


def _fetch(url: str, max_pixels: int, size: int | None) -> bytes:
    with connected(url) as (files, path):
        if size is None:
            size = files.info(path).get("size")
        if size is not None:
            check_file_size(size, max_pixels)
            return bytes(files.cat_file(path))
        with files.open(path, "rb") as file:
            data = bytes(file.read(largest_file(max_pixels) + 1))
        check_file_size(len(data), max_pixels)
        return data


def largest_file(max_pixels: int) -> int:
    """Bytes that a file may have."""
    return max(_SMALL_FILE, max_pixels * _BYTES_PER_PIXEL)


def check_file_size(size: int, max_pixels: int) -> None:
    """Refuse a file that is too large to be a picture that is allowed.

    Raises:
        TooLargeError: It is.
    """
    if size > largest_file(max_pixels):
        raise TooLargeError(f"{size} bytes are more than {max_pixels} pixels need (--max-pixels)")


def content_hash(place: Path | str) -> str | None:
    """The `content_hash` of a decoded file, without decoding it; None where it can't be read.

    Args:
        place: A path, or a URL.
    """
    try:
        return patiently(_hash_remote, place) if isinstance(place, str) else _hash(place)
    except OSError:
        return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, content_hasher).hexdigest()


def _hash_remote(url: str) -> str:
    digest = content_hasher()
    with connected(url) as (files, path), files.open(path, "rb") as file:
        # Not all of these files have what `file_digest` asks for.
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
