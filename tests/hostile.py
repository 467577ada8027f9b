"""Some hundred files that a scan must survive, made from noise; each with the statuses that fit."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

KINDS = {
    "jpg": {"format": "JPEG", "quality": 80},
    "progressive.jpg": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP"},
    "tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "bmp": {"format": "BMP"},
    "gif": {"format": "GIF"},
    "heic": {"format": "HEIF"},
    "avif": {"format": "AVIF"},
}
READ = {"no_face", "ok"}
DAMAGED = {*READ, "truncated", "unreadable", "too_large"}
UNREADABLE = {"unreadable"}
TOO_LARGE = {"too_large"}


def picture(width=96, height=64):
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 200, width)[None, :, None] + rng.integers(0, 50, (height, width, 3))
    return Image.fromarray(ramp.astype(np.uint8))


def encoded(image=None, **options):
    buffer = io.BytesIO()
    (image or picture()).save(buffer, **options)
    return buffer.getvalue()


def chunk(kind, data, claimed=None):
    length = len(data) if claimed is None else claimed
    return struct.pack(">I", length) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *extra, depth=8, colour=0, rows=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body


def tiff(entries, next_ifd=0, order="<"):
    """A TIFF of one directory; `entries` are `(tag, type, count, value)`."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        body += struct.pack(order + "HHII", tag, kind, count, value)
    return mark + struct.pack(order + "I", 8) + body + struct.pack(order + "I", next_ifd)


def with_exif(data, exif):
    """A JPEG with the bytes of `exif` as its EXIF segment."""
    segment = b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def size_entries(width, height):
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1),
            (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height),
            (279, 4, 1, 4096)]  # fmt: skip


def damaged_pictures():
    rng = np.random.default_rng(11)
    for suffix, options in KINDS.items():
        data = encoded(**options)
        for share in np.linspace(0, 1, 14)[1:-1]:
            yield f"cut/{share:.2f}.{suffix}", data[: int(len(data) * share)], DAMAGED
        for length in (1, 4, 12, 17):
            yield f"stump/{length}.{suffix}", data[:length], DAMAGED
        for number in range(12):
            flipped = bytearray(data)
            reach = 100 if number % 2 else len(data)
            for position in rng.integers(0, min(reach, len(data)), 1 + number):
                flipped[position] ^= 1 << int(rng.integers(0, 8))
            yield f"flip/{number}.{suffix}", bytes(flipped), DAMAGED
        for wrong in ("jpg", "png", "tif"):
            yield f"wrong/{suffix}.{wrong}", data, READ
        yield f"tail/{suffix}", data + rng.bytes(5000), READ


def no_pictures():
    texts = [
        *(b"", b" ", b"hello", b"\0" * 500, b"<html><script>alert(1)</script>", b"%PDF-1.7\n"),
        *(b"PK\x03\x04" + b"\0" * 60, b"\x7fELF" + b"\0" * 60, b"MZ" + b"\0" * 60),
        *(b"\xff\xd8", b"\xff\xd8\xff\xe0\0\x10JFIF", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP"),
        *(b"II*\0", b"MM\0*\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n"),
        *(b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypavif"),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ]
    for number, text in enumerate(texts):
        yield f"no/{number}.jpg", text, UNREADABLE


def bombs():
    yield "bomb/wide.png", png(2**31 - 1, 2**31 - 1), {*TOO_LARGE, *UNREADABLE}
    yield "bomb/bits.png", encoded(Image.new("1", (20_000, 20_000)), format="PNG"), TOO_LARGE
    yield "bomb/flat.webp", encoded(Image.new("RGB", (16_000, 8_000)), format="WEBP"), TOO_LARGE
    yield "bomb/flat.gif", encoded(Image.new("P", (20_000, 6_000)), format="GIF"), TOO_LARGE
    gif = bytearray(encoded(format="GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield "bomb/screen.gif", bytes(gif), {*TOO_LARGE, *UNREADABLE}
    group4 = encoded(Image.new("1", (30_000, 30_000)), format="TIFF", compression="group4")
    yield "bomb/flat.tif", group4, TOO_LARGE
    yield "bomb/claims.tif", tiff(size_entries(2**32 - 1, 2**32 - 1)), {*TOO_LARGE, *UNREADABLE}
    yield "bomb/strip.tif", tiff(size_entries(2**31, 3)), {*TOO_LARGE, *UNREADABLE}
    bmp = bytearray(encoded(format="BMP"))
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    yield "bomb/claims.bmp", bytes(bmp), {*TOO_LARGE, *UNREADABLE}
    jpeg = bytearray(encoded(format="JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    yield "bomb/claims.jpg", bytes(jpeg), TOO_LARGE
    squeezed = zlib.compress(b"\0" * 80_000_000)
    yield "bomb/text.png", png(8, 8, chunk(b"zTXt", b"k\0\0" + squeezed), rows=b"\0" * 72), DAMAGED
    yield "bomb/icc.png", png(8, 8, chunk(b"iCCP", b"k\0\0" + squeezed), rows=b"\0" * 72), DAMAGED
    yield "bomb/rows.png", png(8, 8, rows=b"\0" * 80_000_000), DAMAGED


def headers():
    jpeg = encoded(format="JPEG")
    segments = (b"\xff\xef\xff\xff" + b"x" * 65_533) * 60
    yield "header/segments.jpg", jpeg[:2] + segments + jpeg[2:], READ
    yield "header/endless.png", png(8, 8, chunk(b"tEXt", b"k\0v", claimed=2**31 - 1)), DAMAGED
    many = b"".join(chunk(b"tEXt", b"k%d\0v" % i) for i in range(20_000))
    yield "header/many.png", png(8, 8, many, rows=b"\0" * 72), DAMAGED
    yield "header/none.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""), UNREADABLE
    yield "header/zero.png", png(0, 0), UNREADABLE
    yield "header/entries.tif", b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 300, UNREADABLE
    yield "header/own-offset.tif", tiff(size_entries(8, 8), next_ifd=8), DAMAGED
    yield "header/big-endian.tif", tiff(size_entries(8, 8), next_ifd=8, order=">"), DAMAGED
    yield "header/nowhere.tif", b"II*\0\xf0\xff\xff\xff", UNREADABLE
    yield "header/no-entries.tif", tiff([]), UNREADABLE


def metadata():
    jpeg = encoded(format="JPEG")
    rng = np.random.default_rng(5)
    blocks = {
        "empty": b"",
        "noise": rng.bytes(3000),
        "cut": tiff([(274, 3, 1, 6)])[:13],
        "orientation-99": tiff([(274, 3, 1, 99)]),
        "orientation-text": tiff([(274, 2, 4, 0x41414141)]),
        "orientation-many": tiff([(274, 3, 2**31, 8)]),
        "orientation-rational": tiff([(274, 5, 1, 8)]),
        "cyclic": tiff([(0x8769, 4, 1, 8)], next_ifd=8),
        "far": tiff([(0x8769, 4, 1, 2**32 - 1), (36867, 2, 20, 2**32 - 20)]),
        "date": tiff([(306, 2, 20, 26)]) + b"9999:99:99 99:99:99\0",
        "date-bytes": tiff([(306, 7, 20, 26)]) + b"\xff" * 20,
        "unknown-types": tiff([(274, 77, 1, 6), (306, 0, 9, 1)]),
        "many": tiff([(i, 3, 1, i) for i in range(3000)]),
    }
    for name, block in blocks.items():
        yield f"exif/{name}.jpg", with_exif(jpeg, block), READ
    for name, profile in {"noise": rng.bytes(500), "empty": b"", "header": b"\0" * 128}.items():
        for suffix in ("JPEG", "PNG", "TIFF", "WEBP"):
            data = encoded(format=suffix, icc_profile=profile)
            yield f"icc/{name}.{suffix.lower()}", data, READ


def names():
    data = encoded(format="JPEG")
    for name in [
        "line\nbreak.jpg", "carriage\rreturn.jpg", "tab\t.jpg", "'single'.jpg", '"double".jpg',
        "=cmd|' C calc'!A0.jpg", "+1+1.jpg", "-minus.jpg", "--update.jpg", "@sum.jpg",
        "comma,.jpg",
        "..double.dot.jpg", "a..jpg", "back\\slash.jpg", "\x1b[31mred\x1b[0m.jpg", "bell\x07.jpg",
        "<script>alert(1)</script>.jpg", "&amp;.jpg", "percent%s%n.jpg", "{brace}.jpg",
        "[b]rich[ b].jpg",
        "x" * 246 + ".jpg", "😀" * 60 + ".jpg", "\u202egpj.txt.jpg", "e\u0301.jpg", "\u00e9.jpg",
        " space .jpg", "CON.jpg", "dot./.jpg/x.jpg", "*?.jpg", "~.jpg", "$(id).jpg", "`id`.jpg",
        "\ufeffbom.jpg", "null\u2400.jpg", "#hash;semi.jpg",
    ]:  # fmt: skip
        yield f"name/{name}", data, READ


def make_corpus(folder):
    """Write the files.

    Args:
        folder: Where to.

    Returns:
        The statuses that fit, by path relative to `folder` as bytes.
    """
    expected = {}
    for source in (damaged_pictures, no_pictures, bombs, headers, metadata, names):
        for name, data, statuses in source():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            if not path.name.startswith("."):
                expected[os.fsencode(name)] = statuses
    expected.update(_special_files(Path(folder) / "special"))
    return {name: kinds for name, kinds in expected.items() if b"/." not in name}


def _special_files(folder):
    folder.mkdir()
    data = encoded(format="JPEG")
    os.mkfifo(folder / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        # The path of a socket may have no more than about a hundred bytes.
        os.chdir(folder)
        try:
            server.bind("socket.jpg")
        finally:
            os.chdir(here)
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "self.jpg").symlink_to("self.jpg")
    (folder / "one.jpg").symlink_to("two.jpg")
    (folder / "two.jpg").symlink_to("one.jpg")
    (folder / "loop").symlink_to("..")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "folder.jpg").mkdir()
    (folder / "inside.jpg").write_bytes(data)
    with (folder / "sparse.jpg").open("wb") as file:
        file.write(data)
        file.truncate(20 << 30)
    (folder / "locked.jpg").write_bytes(data)
    (folder / "locked.jpg").chmod(0)
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as file:  # noqa: PTH123
        file.write(data)
    broken = ("fifo", "socket", "dangling", "self", "one", "two", "zero")
    return {
        **{f"special/{name}.jpg".encode(): UNREADABLE for name in broken},
        b"special/sparse.jpg": TOO_LARGE,
        b"special/locked.jpg": READ if os.geteuid() == 0 else UNREADABLE,
        b"special/inside.jpg": READ,
        b"special/caf\xe9.jpg": READ,
    }
