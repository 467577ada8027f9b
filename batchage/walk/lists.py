"""Lists of paths."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from batchage.errors import UsageError

LONGEST = 1 << 16
"""Bytes that an entry may have: more than any path, so that the first chunk shows a separator."""
# The longer ones first: UTF-32's begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CONTROLS = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Lines end so in UTF-16 and UTF-32, and no file is called so.
_WIDE_LINE_END = re.compile(rb"\0[\r\n]\0")
_MOST_CONTROLS, _MOST_NULS = 1 / 20, 1 / 3
"""Of the bytes of what can be a list: files of pictures and of UTF-16 have more."""
_STANDARD_INPUT = Path("-")


def open_list(name: Path) -> list[str]:
    """The entries of a list in a file; `-` is standard input.

    Raises:
        UsageError: It can't be read, or is no list.
    """
    is_stream = name == _STANDARD_INPUT
    shown = "standard input" if is_stream else str(name)
    try:
        with nullcontext(sys.stdin.buffer) if is_stream else name.open("rb") as stream:
            return list(read_list(stream, shown))
    except OSError as error:
        raise UsageError(
            f"{shown}: the list can't be read ({error.strerror}); check --files-from"
        ) from None


def read_list(stream: BinaryIO, name: str = "the list") -> Iterator[str]:
    """Reads a list of paths or URLs, one a line, or separated by NUL where the list has any.

    It is decoded as its byte order mark says, and taken byte for byte where it has none. Blank
    lines and the carriage returns of Windows are dropped.

    Args:
        stream: The list, opened as bytes.
        name: What to call it in an error.

    Yields:
        The paths; bytes that are not valid in the file system's encoding survive.

    Raises:
        UsageError: It is no list, or isn't what its mark says.
    """
    try:
        for entry in _entries(stream):
            yield os.fsdecode(entry)
    except ValueError as error:
        reason = "damaged text" if isinstance(error, UnicodeError) else error
        raise UsageError(
            f"{name}: can't be a list of files ({reason}); give one path a line, in UTF-8"
        ) from None


def _entries(stream: BinaryIO) -> Iterator[bytes]:
    """Raises `ValueError` where these are none."""
    chunks = _chunks(stream)
    chunk = next(chunks)
    separator = next((each for each in (b"\0", b"\n", b"\r") if each in chunk), b"\n")
    _refuse_others(chunk)
    rest = b""
    while chunk:
        *lines, rest = (rest + chunk).split(separator)
        if len(rest) > LONGEST:
            raise ValueError("an entry is longer than any path")
        yield from _without_blanks(lines, separator)
        chunk = next(chunks)
    yield from _without_blanks([rest], separator)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The list piece by piece, in UTF-8 whatever its mark says; the last piece is empty."""
    chunk = stream.read(LONGEST)
    encoding = next((name for mark, name in _MARKS.items() if chunk.startswith(mark)), None)
    if encoding is None:
        chunk = chunk.removeprefix(codecs.BOM_UTF8)
        while chunk:
            yield chunk
            chunk = stream.read(LONGEST)
    else:
        decoder = codecs.getincrementaldecoder(encoding)()
        while chunk:
            # The mark alone gives no text.
            if text := decoder.decode(chunk):
                yield text.encode()
            chunk = stream.read(LONGEST)
        decoder.decode(b"", final=True)
    yield b""


def _refuse_others(start: bytes) -> None:
    nuls = start.count(b"\0")
    if _WIDE_LINE_END.search(start) or nuls > len(start) * _MOST_NULS:
        raise ValueError("it is like UTF-16 without its byte order mark")
    if len(_CONTROLS.findall(start)) > len(start) * _MOST_CONTROLS:
        raise ValueError("it isn't text")


def _without_blanks(lines: list[bytes], separator: bytes) -> Iterator[bytes]:
    for line in lines:
        entry = line if separator == b"\0" else line.removesuffix(b"\r")
        if entry.strip():
            yield entry
