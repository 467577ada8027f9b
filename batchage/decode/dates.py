"""When a photo was taken, by what its file says of it, or nothing: no date is guessed.

The date of the last edit (EXIF tag 306) and those of the file system are never taken. What isn't
written as its standard has it is refused as a whole: half a date is none.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from xml.parsers import expat

from PIL import ExifTags, TiffImagePlugin

from batchage.types import CaptureTime

_YEARS = range(1800, 2200)
_MOST_MINUTES = 14 * 60
"""The largest offset from UTC that is in use anywhere."""

_EXIF = {
    ExifTags.Base.DateTimeOriginal: (
        ExifTags.Base.OffsetTimeOriginal,
        ExifTags.Base.SubsecTimeOriginal,
    ),
    ExifTags.Base.DateTimeDigitized: (
        ExifTags.Base.OffsetTimeDigitized,
        ExifTags.Base.SubsecTimeDigitized,
    ),
}
"""Tags of dates, best first, each with those of its offset and of its fraction of a second."""
_XMP = {
    "http://ns.adobe.com/exif/1.0/ DateTimeOriginal": "XMP-exif:DateTimeOriginal",
    "http://ns.adobe.com/photoshop/1.0/ DateCreated": "XMP-photoshop:DateCreated",
    "http://ns.adobe.com/xap/1.0/ CreateDate": "XMP-xmp:CreateDate",
}
"""Properties that have dates, best first, and what the table calls them."""
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns# RDF"
_DESCRIPTION = "http://www.w3.org/1999/02/22-rdf-syntax-ns# Description"
_RAW_EXIF = (
    (b"ftypcrx", b"CMT2", 4),
    (b"\0MRM", b"\0TTW", 8),
    (b"FUJIFILM", b"Exif\0\0", 6),
    (b"FOVb", b"Exif\0\0", 6),
)
"""How files of Canon, Minolta, Fujifilm and Sigma begin, what marks EXIF in them, and how many
bytes after the mark's start it begins."""
_MOST_EXIF = 1 << 20
_XMP_TAG, _IPTC_TAG, _PHOTOSHOP_IPTC = 700, 33723, 0x0404
_TAGS = [int(tag) for date, others in _EXIF.items() for tag in (date, *others)]
_TAGS += [int(ExifTags.IFD.Exif), _XMP_TAG]
_IPTC_DATE, _IPTC_TIME = 55, 60

_ZONE = r"(?P<zone>Z|[+-]\d\d:\d\d)?"
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d)"
_SECONDS = r":(?P<second>\d\d)(?:\.(?P<fraction>\d+))?"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII)


_EXIF_DATE = _pattern(
    r"(?P<year>\d{4})(?P<by>[:/-])(?P<month>\d\d)(?P=by)(?P<day>\d\d)"
    rf"[ T]{_CLOCK}{_SECONDS}{_ZONE}"
)
_ISO_DATE = _pattern(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)" + rf"(?:[T ]{_CLOCK}(?:{_SECONDS})?{_ZONE})?"
)
_IIM_DATE = _pattern(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?P<zone>[+-]\d{4})?)?"
)
_MAIL_DATE = _pattern(
    rf"(?:[A-Z][a-z]{{2}}, )?(?P<day>\d\d?) (?P<month>{'|'.join(_MONTHS)}) (?P<year>\d{{4}}) "
    rf"{_CLOCK}(?::(?P<second>\d\d))?(?: (?P<zone>GMT|UTC?|[+-]\d{{4}}))?"
)


def capture_time(
    data: bytes, info: Mapping[Any, Any], directory: int | None = None
) -> CaptureTime | None:
    """When the photo was taken, by the first of its notes that says so.

    EXIF comes first, then XMP, IPTC and PNG's own text. Damaged notes say nothing. A note of the
    day alone gives way to a later one of the same day with a time.

    Args:
        data: The file.
        info: What Pillow calls the `info` of its picture, after the pixels were read; empty for
            what Pillow doesn't read.
        directory: Where the picture's own directory is in a TIFF, unless it is the first one's.
    """
    tags = _tags(data, info, directory)
    readers = (
        _from_exif(tags),
        _from_xmp(_xmp_packet(tags, info)),
        _from_iptc(_iptc_block(tags, info)),
        _from_png(info),
    )
    found = [moment for reader in readers for moment in reader]
    if found and found[0].precision == "day":
        # Programs write the time of the day into one of two notes.
        day = found[0].at.date()
        exact = (each for each in found if each.precision != "day" and each.at.date() == day)
        return next(exact, found[0])
    return found[0] if found else None


def _from_exif(tags: Mapping[int, object]) -> Iterator[CaptureTime]:
    for tag, (offset_tag, fraction_tag) in _EXIF.items():
        for found in _read(_text(tags.get(tag)), f"EXIF:{tag.name}", _EXIF_DATE):
            at, offset = found.at, found.offset_minutes
            fraction = _text(tags.get(fraction_tag))
            if not at.microsecond and fraction.isdecimal() and fraction.isascii():
                at = at.replace(microsecond=_microseconds(fraction))
            if offset is None:
                offset = _minutes(_text(tags.get(offset_tag)))
            yield replace(found, at=at, offset_minutes=offset)


def _from_xmp(packet: bytes) -> Iterator[CaptureTime]:
    values = _xmp_values(packet) if packet else {}
    for name, source in _XMP.items():
        yield from _read(values.get(name, ""), source, _ISO_DATE)


def _from_iptc(block: bytes) -> Iterator[CaptureTime]:
    values = _iim_values(block)
    date, time = values.get(_IPTC_DATE, ""), values.get(_IPTC_TIME, "")
    source = "IPTC:DateCreated"
    yield from _read(f"{date}T{time}", source, _IIM_DATE)
    yield from _read(date, source, _IIM_DATE)


def _from_png(info: Mapping[Any, Any]) -> Iterator[CaptureTime]:
    text = _text(info.get("Creation Time"))
    yield from _read(text, "PNG:CreationTime", _EXIF_DATE, _ISO_DATE, _MAIL_DATE)


def _read(text: str, source: str, *patterns: re.Pattern[str]) -> Iterator[CaptureTime]:
    """The date that the whole of a text is, in one of the ways to write it, if it is one."""
    for pattern in patterns:
        found = pattern.fullmatch(text.strip())
        moment = _capture_time(found.groupdict(), source) if found else None
        if moment is not None:
            yield moment
            return


def _capture_time(parts: Mapping[str, str | None], source: str) -> CaptureTime | None:
    zone, month = parts.get("zone"), parts["month"] or ""
    offset = _minutes(zone) if zone else None
    if zone and offset is None:
        return None
    clock = [parts.get(name) for name in ("hour", "minute", "second")]
    precision = ("second" if clock[2] else "minute") if clock[0] else "day"
    number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
    hour, minute, second = (int(value or 0) for value in clock)
    fraction = _microseconds(parts.get("fraction") or "")
    try:
        year, day = int(parts["year"] or 0), int(parts["day"] or 0)
        at = datetime(year, number, day, hour, minute, second, fraction)
    except ValueError:
        return None
    return CaptureTime(at, source, precision, offset) if at.year in _YEARS else None


def _microseconds(fraction: str) -> int:
    """The digits behind a second's point."""
    return int(fraction.ljust(6, "0")[:6])


def _minutes(zone: str) -> int | None:
    """`Z`, `GMT`, `+05:30` or `-0800` in minutes east of UTC; None where it isn't one."""
    if zone in ("Z", "GMT", "UT", "UTC"):
        return 0
    found = _pattern(r"([+-])(\d\d):?([0-5]\d)").fullmatch(zone)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    if minutes > _MOST_MINUTES:
        return None
    return -minutes if found[1] == "-" else minutes


def _text(value: object) -> str:
    """A note's text: what comes after a NUL is none of it."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.partition("\0")[0].strip() if isinstance(value, str) else ""


def _tags(data: bytes, info: Mapping[Any, Any], directory: int | None) -> dict[int, object]:
    """The EXIF tags of a file, and those of the other notes in a TIFF."""
    if data[:2] in (b"II", b"MM"):
        return _tiff_tags(data, directory)
    exif = info.get("exif")
    if not isinstance(exif, bytes):
        exif = _raw_profile(info, "exif", "APP1") or _raw_exif(data)
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    return _tiff_tags(exif)


def _raw_exif(data: bytes) -> bytes:
    """The EXIF of a camera raw file that is no TIFF, and more behind it."""
    for head, mark, n_skipped in _RAW_EXIF:
        start = data.find(mark) if head in data[:12] else -1
        if start >= 0:
            return data[start + n_skipped : start + n_skipped + _MOST_EXIF]
    return b""


def _tiff_tags(data: bytes, start: int | None = None) -> dict[int, object]:
    """Tags of a directory of a TIFF, the first one or another, and of its EXIF directory.

    As far as they are whole.
    """
    tags: dict[int, object] = {}
    # Pillow raises any type on damaged EXIF.
    try:
        main = _directory(data, start)
        tags.update(main)
        if isinstance(exif := main.get(ExifTags.IFD.Exif), int):
            tags.update(_directory(data, exif))
    except Exception:
        return tags
    return tags


def _directory(data: bytes, start: int | None = None) -> dict[int, object]:
    is_big = data[2:4] in (b"+\0", b"\0+")
    magic = b"*\0" if data[:2] == b"II" else b"\0*"
    # Olympus and Panasonic have magic numbers of their own.
    head = data[:16] if is_big else data[:2] + magic + data[4:8]
    directory, file = TiffImagePlugin.ImageFileDirectory_v2(head), io.BytesIO(data)
    file.seek(directory.next if start is None else start)
    directory.load(file)
    # Many TIFFs declare these bytes as numbers of four, of which Pillow would give the first.
    iptc = {tag: data for tag, data in directory._tagdata.items() if tag == _IPTC_TAG}
    return {tag: directory[tag] for tag in _TAGS if tag in directory} | iptc


def _xmp_packet(tags: Mapping[int, object], info: Mapping[Any, Any]) -> bytes:
    for packet in (info.get("xmp"), tags.get(_XMP_TAG), info.get("XML:com.adobe.xmp")):
        if packet:
            return packet.encode() if isinstance(packet, str) else _as_bytes(packet)
    return _raw_profile(info, "xmp")


def _xmp_values(packet: bytes) -> dict[str, str]:
    """Text of the properties in `_XMP` that speak of the picture itself, by name."""
    values: dict[str, str] = {}
    path: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        text.clear()
        # Deeper down are those of pictures that this one was made of.
        if path[-2:] == [_RDF, _DESCRIPTION]:
            values.update({key: value for key, value in attributes.items() if key in _XMP})

    def end(name: str) -> None:
        if name in _XMP and path[-3:-1] == [_RDF, _DESCRIPTION]:
            values[name] = "".join(text)
        path.pop()

    def refuse(*_: object) -> None:
        raise ValueError("XMP has no document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    # What could define entities that grow without end.
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(packet.rstrip(b"\0 \r\n"), True)
    except (expat.ExpatError, ValueError, LookupError):
        return values
    return values


def _iptc_block(tags: Mapping[int, object], info: Mapping[Any, Any]) -> bytes:
    photoshop = info.get("photoshop")
    if isinstance(photoshop, Mapping):
        return _as_bytes(photoshop.get(_PHOTOSHOP_IPTC))
    return _as_bytes(tags.get(_IPTC_TAG)) or _raw_profile(info, "iptc", "8bim")


def _iim_values(block: bytes) -> dict[int, str]:
    """Texts of the second record of an IPTC block, by number; the first of each."""
    values: dict[int, str] = {}
    place = max(block.find(b"\x1c\x02"), 0)
    while block[place : place + 1] == b"\x1c" and len(block) >= place + 5:
        record, number, size = struct.unpack_from(">BBH", block, place + 1)
        if record == 2 and size < 1 << 15:
            values.setdefault(number, _text(block[place + 5 : place + 5 + size]))
        place += 5 + size
    return values


def _raw_profile(info: Mapping[Any, Any], *names: str) -> bytes:
    """A block that ImageMagick put into a PNG: its name, its length and it in hexadecimal."""
    for name in names:
        text = info.get(f"Raw profile type {name}")
        lines = text.split("\n", 3) if isinstance(text, str) else []
        if len(lines) == 4:
            try:
                return bytes.fromhex(lines[3])
            except ValueError:
                continue
    return b""


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
