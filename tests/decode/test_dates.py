"""A photo's date is when it was taken, as one of its notes says in full, or there is none."""

import io
import struct
import zlib
from datetime import datetime, timedelta

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from batchage.decode import DecodePool, decode
from batchage.decode.dates import capture_time
from batchage.types import CaptureTime
from tests.dng import directory, make_dng

pillow_heif.register_heif_opener()
TAKEN = datetime(2004, 5, 6, 7, 8, 9)
ORIGINAL, DIGITIZED, EDITED = 36867, 36868, 306
EXIF_SOURCE = "EXIF:DateTimeOriginal"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SPACES = {
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}


def exif_of(details, main=()):
    exif = Image.Exif()
    exif.update(main)
    exif[0x8769] = dict(details)
    return exif


def xmp_of(attributes="", inside=""):
    spaces = " ".join(f'xmlns:{name}="{space}"' for name, space in SPACES.items())
    return (
        '<?xpacket begin="" id="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}">'
        f'<rdf:Description rdf:about="" {spaces} {attributes}>{inside}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def iim(**datasets):
    """An IPTC block with a character set, as most begin with, and datasets of record 2."""
    values = {55: datasets.get("date"), 60: datasets.get("time")}
    rows = [(1, 90, b"\x1b%G"), (2, 0, b"\0\4")]
    rows += [(2, number, value.encode()) for number, value in values.items() if value]
    return b"".join(struct.pack(">BBBH", 28, *row[:2], len(row[2])) + row[2] for row in rows)


def photoshop_segment(block):
    """IPTC as a JPEG has it: resource 0x0404 in APP13."""
    block += b"\0" * (len(block) % 2)
    body = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHL", 0x0404, 0, len(block)) + block
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def picture():
    return Image.fromarray(np.full((16, 16, 3), 90, np.uint8))


def encoded(kind, **how):
    stream = io.BytesIO()
    picture().save(stream, kind, **how)
    return stream.getvalue()


def captured(data, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(data)
    return decode(path).captured


def from_exif(text, more=()):
    return capture_time(b"", {"exif": exif_of({ORIGINAL: text, **dict(more)}).tobytes()})


def from_xmp(text):
    return capture_time(b"", {"xmp": xmp_of(f'xmp:CreateDate="{text}"')})


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP", "HEIF", "AVIF"])
def test_every_format_has_exif_with_its_offset_and_fraction(tmp_path, kind):
    details = {
        ORIGINAL: "2004:05:06 07:08:09", 37521: "25", 36881: "-03:30", 36880: "+09:00"
    }  # fmt: skip
    how = {"exif": exif_of(details, {EDITED: "2020:01:01 00:00:00"}).tobytes()}
    if kind == "TIFF":
        how = {"tiffinfo": {EDITED: "2020:01:01 00:00:00", 0x8769: details}}
    data = encoded(kind, **how)
    expected = CaptureTime(TAKEN + timedelta(milliseconds=250), EXIF_SOURCE, "second", -210)
    assert captured(data, tmp_path) == expected


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP", "HEIF", "AVIF"])
def test_every_format_has_xmp(tmp_path, kind):
    packet = xmp_of('photoshop:DateCreated="2004-05-06T07:08:09+05:45"')
    how = {"xmp": packet}
    if kind == "TIFF":
        how = {"tiffinfo": {700: packet}}
    if kind == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", packet.decode())
        how = {"pnginfo": notes}
    found = captured(encoded(kind, **how), tmp_path)
    assert found == CaptureTime(TAKEN, "XMP-photoshop:DateCreated", "second", 345)


@pytest.mark.parametrize("kind", [1, 4, 7])
def test_iptc_of_a_tiff_whatever_its_bytes_are_declared_as(kind):
    block = iim(date="20040506", time="070809+0200")
    block += b"\0" * (-len(block) % 4)
    values = struct.unpack(f"<{len(block) // 4}L", block) if kind == 4 else tuple(block)
    tags = directory({33723: (kind, values)}, 8)
    found = capture_time(b"II*\0" + struct.pack("<L", 8) + tags, {})
    assert found == CaptureTime(TAKEN, "IPTC:DateCreated", "second", 120)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (iim(date="20040506", time="070809-0800"), (TAKEN, "second", -480)),
        (iim(date="20040506", time="070809"), (TAKEN, "second", None)),
        (iim(date="20040506"), (datetime(2004, 5, 6), "day", None)),
        (iim(date="20040506", time="250000+0000"), (datetime(2004, 5, 6), "day", None)),
        (iim(date="20040500"), None),
        (iim(date="00000000", time="070809+0000"), None),
        (iim(time="070809+0000"), None),
        (iim(date="20040506")[:-3], None),
    ],
)
def test_iptc_of_a_jpeg(tmp_path, block, expected):
    data = encoded("JPEG")
    found = captured(data[:2] + photoshop_segment(block) + data[2:], tmp_path)
    assert (found and (found.at, found.precision, found.offset_minutes)) == expected


def test_a_png_has_texts_of_its_own(tmp_path):
    for text, offset in [
        ("Thu, 06 May 2004 07:08:09 GMT", 0), ("Thu, 6 May 2004 07:08:09 -0700", -420),
        ("2004-05-06T07:08:09+02:00", 120), ("2004:05:06 07:08:09", None),
    ]:  # fmt: skip
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Creation Time", text, zip=offset == 0)
        found = captured(encoded("PNG", pnginfo=notes), tmp_path)
        assert found == CaptureTime(TAKEN, "PNG:CreationTime", "second", offset)
    for text in ("05/06/04", "Thu May 6 2004", "yesterday", "06 Mai 2004 07:08:09", ""):
        assert capture_time(b"", {"Creation Time": text}) is None


def test_texts_and_exif_behind_the_pixels_of_a_png(tmp_path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Creation Time", "2004:05:06 07:08:09", zip=False)
    data = encoded("PNG", pnginfo=notes)
    body = b"eXIf" + exif_of({ORIGINAL: "2003:05:06 07:08:09"}).tobytes()[6:]
    chunk = struct.pack(">L", len(body) - 4) + body + struct.pack(">L", zlib.crc32(body))
    end = data.index(b"IEND") - 4
    found = captured(data[:end] + chunk + data[end:], tmp_path)
    assert (found.at.year, found.source) == (2003, EXIF_SOURCE)


def test_notes_that_imagemagick_put_into_a_png():
    def raw(block):
        return f"\nany\n{len(block):8d}\n" + "\n".join(
            block.hex()[at : at + 72] for at in range(0, len(block.hex()), 72)
        )

    exif = exif_of({ORIGINAL: "2004:05:06 07:08:09"}).tobytes()
    for name in ("exif", "APP1"):
        found = capture_time(b"", {f"Raw profile type {name}": raw(exif)})
        assert found == CaptureTime(TAKEN, EXIF_SOURCE)
    found = capture_time(b"", {"Raw profile type iptc": raw(iim(date="20040506"))})
    assert found.source == "IPTC:DateCreated"
    packet = xmp_of('xmp:CreateDate="2004-05-06"')
    assert capture_time(b"", {"Raw profile type xmp": raw(packet)}).precision == "day"
    assert capture_time(b"", {"Raw profile type exif": "\nexif\n 4\nno hex"}) is None


def test_camera_raw(tmp_path):
    seen = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    path = tmp_path / "photo.dng"
    path.write_bytes(make_dng(seen, taken="2004:05:06 07:08:09"))
    assert decode(path).captured == CaptureTime(TAKEN, EXIF_SOURCE)
    path.write_bytes(make_dng(seen, edited="2004:05:06 07:08:09"))
    assert decode(path).captured is None


@pytest.mark.parametrize("head", [b"II*\0", b"IIRO", b"IIRS", b"IIU\0"])
def test_magic_numbers_of_cameras(head):
    tags = directory({ORIGINAL: (2, b"2004:05:06 07:08:09\0")}, 8)
    assert capture_time(head + struct.pack("<L", 8) + tags, {}) == CaptureTime(TAKEN, EXIF_SOURCE)


def test_big_tiff():
    text = b"2004:05:06 07:08:09\0"
    row = struct.pack("<HHQQ", ORIGINAL, 2, len(text), 16 + 8 + 20 + 8)
    data = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16)
    data += struct.pack("<Q", 1) + row + bytes(8) + text
    assert capture_time(data, {}) == CaptureTime(TAKEN, EXIF_SOURCE)


@pytest.mark.parametrize(
    ("head", "mark"),
    [(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom\0\0\1\0", b"CMT2"), (b"\0MRM\0\0\0\0", b"\0TTW\0\0\1\0"),
     (b"FUJIFILMCCD-RAW 0201\xff\xd8\xff\xe1\0\0", b"Exif\0\0"), (b"FOVb\0\0", b"Exif\0\0")],
)  # fmt: skip
def test_camera_raw_that_is_no_tiff(head, mark):
    tiff = b"II*\0" + struct.pack("<L", 8) + directory({ORIGINAL: (2, b"2004:05:06 07:08:09\0")}, 8)
    assert capture_time(head + mark + tiff + b"more", {}) == CaptureTime(TAKEN, EXIF_SOURCE)
    assert capture_time(head + tiff, {}) is None
    assert capture_time(b"other" + mark + tiff, {}) is None


def test_a_day_gives_way_to_a_time_of_that_day():
    day = xmp_of('photoshop:DateCreated="2004-05-06"')
    notes = {"xmp": day, "photoshop": {0x0404: iim(date="20040506", time="070809-0500")}}
    assert capture_time(b"", notes) == CaptureTime(TAKEN, "IPTC:DateCreated", "second", -300)
    notes["photoshop"] = {0x0404: iim(date="20040507", time="070809-0500")}
    assert capture_time(b"", notes).source == "XMP-photoshop:DateCreated"


def test_the_best_note_counts():
    notes = {
        "exif": exif_of({DIGITIZED: "2002:01:01 00:00:01"}).tobytes(),
        "xmp": xmp_of(
            'xmp:CreateDate="2005-01-01T00:00:00" photoshop:DateCreated="2004-01-01"',
            "<exif:DateTimeOriginal>2003-01-01T00:00</exif:DateTimeOriginal>",
        ),
        "photoshop": {0x0404: iim(date="20060101")},
        "Creation Time": "2007:01:01 00:00:00",
    }
    seen = []
    while (found := capture_time(b"", notes)) is not None:
        seen.append((found.source, found.at.year))
        if found.source == "XMP-exif:DateTimeOriginal":
            assert found.precision == "minute"
            notes["xmp"] = notes["xmp"].replace(b"2003-01-01", b"2003-13-01")
        elif found.source == "XMP-photoshop:DateCreated":
            notes["xmp"] = notes["xmp"].replace(b"2004-01-01", b"2004-01")
        else:
            notes.pop(next(iter(notes)))
    assert seen == [
        ("EXIF:DateTimeDigitized", 2002), ("XMP-exif:DateTimeOriginal", 2003),
        ("XMP-photoshop:DateCreated", 2004), ("XMP-xmp:CreateDate", 2005),
        ("IPTC:DateCreated", 2006), ("PNG:CreationTime", 2007),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["1988:00:00 00:00:00", "1988:00:00", "2004:05:06 24:00:00", "2004:05:06 05:20:59 PM", "",
     "2004:05:06 07:08", "2004:05:06", "    :  :     :  :  ", "0000:00:00 00:00:00",
     "2004:05:06 07:08:60",
     "2004:02:30 07:08:09", "2004:05:06 07:08:09 banana", "x2004:05:06 07:08:09",
     "04:05:06 07:08:09",
     "2004:5:6 7:8:9", "2004:05:06 7:08:09", "2004:05-06 07:08:09", "0204:05:06 07:08:09",
     "9999:12:31 23:59:59", "٢٠٠٤:05:06 07:08:09", "2004:05:06\n07:08:09",
     "2004:05:06 07:08:09+25:00",
     "1083827289", "06.05.2004 07:08:09", "May 6 2004 07:08:09"],
)  # fmt: skip
def test_what_is_malformed_is_refused_and_the_next_note_counts(text):
    data = encoded("JPEG")
    raw = text.encode("utf-8")
    tags = {ORIGINAL: (2, raw + b"\0"), DIGITIZED: (2, b"2004:05:06 07:08:09\0")}
    for names, expected in [([ORIGINAL], None), ([ORIGINAL, DIGITIZED], TAKEN)]:
        ifd = directory({tag: tags[tag] for tag in names}, 8)
        exif = b"Exif\0\0II*\0" + struct.pack("<L", 8) + ifd
        found = capture_time(data, {"exif": exif})
        assert (found and found.at) == expected


def test_the_date_of_the_last_edit_is_none(tmp_path):
    exif = exif_of({36880: "+02:00"}, {EDITED: "2004:05:06 07:08:09"})
    assert captured(encoded("JPEG", exif=exif), tmp_path) is None
    packet = xmp_of('xmp:ModifyDate="2004-05-06T07:08:09" xmp:MetadataDate="2004-05-06T07:08:09"')
    assert captured(encoded("JPEG", xmp=packet), tmp_path) is None


@pytest.mark.parametrize(
    ("offset", "minutes"),
    [("+05:30", 330), ("-08:00", -480), ("Z", 0), ("+00:00", 0), ("   :  ", None), ("", None),
     ("+2", None), ("+99:00", None), ("+02:75", None), ("Europe/Berlin", None)],
)  # fmt: skip
def test_an_offset_is_sound_or_unknown(offset, minutes):
    found = from_exif("2004:05:06 07:08:09", {36881: offset})
    assert (found.at, found.offset_minutes) == (TAKEN, minutes)


@pytest.mark.parametrize(
    ("fraction", "microsecond"),
    [
        ("5", 500_000),
        ("05", 50_000),
        ("123456789", 123_456),
        ("  ", 0),
        ("x", 0),
        ("25  ", 250_000),
    ],
)
def test_fractions_of_a_second(fraction, microsecond):
    assert from_exif("2004:05:06 07:08:09", {37521: fraction}).at.microsecond == microsecond


@pytest.mark.parametrize("text", ["2004", "2004-05", "2004-05-06T", "2004-05-06T07", "T07:08:09",
                                  "2004-05-06T07:08:09+0200", "2004:05:06 07:08:09"])  # fmt: skip
def test_xmp_has_whole_days_in_its_own_form(text):
    assert from_xmp(text) is None


def test_pictures_inside_a_picture_have_dates_of_their_own():
    inner = (
        '<exif:Pantry><rdf:Bag><rdf:li><rdf:Description xmp:CreateDate="1999-01-01">'
        "<exif:DateTimeOriginal>1998-01-01</exif:DateTimeOriginal>"
        "</rdf:Description></rdf:li></rdf:Bag></exif:Pantry>"
    )
    assert capture_time(b"", {"xmp": xmp_of(inside=inner)}) is None


def test_xmp_under_other_prefixes_in_utf_16_and_with_padding():
    packet = xmp_of('xmp:CreateDate="2004-05-06T07:08:09"').replace(b"xmp:", b"anything:")
    packet = packet.replace(b"xmlns:xmp", b"xmlns:anything")
    for written in (packet + b"\0\0 ", packet.decode().encode("utf-16")):
        assert capture_time(b"", {"xmp": written}).at == TAKEN


def test_xmp_that_would_grow_without_end_is_refused():
    bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"2" * 1000 + b'">' + b"<!ENTITY b '&a;&a;&a;'>]>"
    packet = xmp_of('xmp:CreateDate="2004-05-06"')
    start = packet.index(b"<x:xmpmeta")
    assert capture_time(b"", {"xmp": packet[start:]}).at.year == 2004
    assert capture_time(b"", {"xmp": bomb + packet[start:]}) is None


def test_a_worker_hands_on_all_of_it(tmp_path):
    path = tmp_path / "photo.jpg"
    details = {ORIGINAL: "2004:05:06 07:08:09", 36881: "-03:30", 37521: "5"}
    path.write_bytes(encoded("JPEG", exif=exif_of(details)))
    pool = DecodePool(1)
    assert pool.decode(path, 10**6, 60).captured == decode(path).captured
    pool.close()


@given(st.datetimes(datetime(1800, 1, 1), datetime(2199, 12, 31)), st.integers(-839, 839))
def test_any_time_is_read_as_it_was_written(at, minutes):
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    zone = f"{sign}{hours:02}:{rest:02}"
    found = from_xmp(f"{at.isoformat()}{zone}")
    assert (found.at, found.offset_minutes) == (at, minutes)
    whole = at.replace(microsecond=0)
    assert from_exif(f"{whole:%Y:%m:%d %H:%M:%S}").at == whole


@given(st.text(st.characters(codec="latin-1")) | st.from_regex(r"\d{4}:\d\d:\d\d.{,12}"))
def test_any_text_is_a_date_as_a_whole_or_none(text):
    found = capture_time(b"", {"Creation Time": text})
    if found is not None:
        assert f"{found.at:%Y}" in text
        assert text.strip()[-1] in "0123456789ZTC"


@given(st.binary(max_size=200), st.sampled_from(["exif", "xmp", "iptc", "file"]))
def test_any_block_is_read_or_left(block, kind):
    notes = {"exif": {"exif": b"II*\0\x08\0\0\0" + block}, "xmp": {"xmp": block}, "file": {}}
    capture_time(block if kind == "file" else b"", notes.get(kind, {"photoshop": {0x0404: block}}))
