"""What a file is, is told by its content; each format is read, or refused with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from batchage.decode import decode, formats
from batchage.errors import DecodeError, TooLargeError
from tests.hostile import chunk

SIZE = (96, 64)
LOSSLESS = {
    "a.jp2": {"format": "JPEG2000"},
    "a.tga": {"format": "TGA"},
    "rle.tga": {"format": "TGA", "compression": "tga_rle"},
    "a.ppm": {"format": "PPM"},
    "a.qoi": {"format": "QOI"},
    "a.sgi": {"format": "SGI"},
    "a.pcx": {"format": "PCX"},
    "a.dds": {"format": "DDS"},
    "a.png": {"format": "PNG"},
    "a.bmp": {"format": "BMP"},
    "a.webp": {"format": "WEBP", "lossless": True},
    "a.jxl": {"format": "JXL", "lossless": True},
}
LOSSY = {
    "a.jpg": {"format": "JPEG", "quality": 95},
    "progressive.jpg": {"format": "JPEG", "quality": 95, "progressive": True},
    "a.gif": {"format": "GIF"},
    "a.heic": {"format": "HEIF", "quality": 95},
    "a.avif": {"format": "AVIF", "quality": 95},
}
FORMATS = LOSSLESS | LOSSY
formats.load_jpeg_xl()


def picture():
    """Of many colours, and nowhere flat."""
    noise = np.random.default_rng(0).integers(0, 30, (SIZE[1], SIZE[0], 3))
    return np.linspace(30, 220, SIZE[0])[None, :, None].astype(np.uint8) + noise.astype(np.uint8)


def encoded(pixels=None, **how):
    stream = io.BytesIO()
    Image.fromarray(picture() if pixels is None else pixels).save(stream, **how)
    return stream.getvalue()


def psd(planes, mode=3, bits=8, version=1, layers=0, is_merged=1):
    """A Photoshop file of planes `(n, h, w)`."""
    n, height, width = planes.shape
    info = b"8BIM" + struct.pack(">H2xIIB", 1057, 5, 1, is_merged) + b"\0"
    layer = struct.pack(">IIh", 6, 2, layers) if layers else struct.pack(">I", 0)
    return (
        b"8BPS" + struct.pack(">H6xHIIHHI", version, n, height, width, bits, mode, 0)
        + struct.pack(">I", len(info)) + info + layer + struct.pack(">H", 0) + planes.tobytes()
    )  # fmt: skip


def in_planes(pixels):
    return np.moveaxis(pixels, 2, 0)


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name):
    image = decode(name, data=encoded(**FORMATS[name]))
    assert image.warning is None
    off = np.abs(image.pixels.astype(int) - picture())
    assert off.mean() <= (0 if name in LOSSLESS else 8)


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.endswith(".tga")])
def test_a_name_says_nothing(name):
    data = encoded(**FORMATS[name])
    expected = decode(name, data=data).pixels
    for wrong in ("a.jpg", "a.png", "a.tga", "a.dng", "a"):
        assert np.array_equal(decode(wrong, data=data).pixels, expected), wrong


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_cut_off_is_never_made_up(name):
    data = encoded(**FORMATS[name])
    for share in np.linspace(0.02, 0.98, 9):
        try:
            image = decode(name, data=data[: int(len(data) * share)])
        except DecodeError as error:
            assert "\n" not in str(error)
        else:
            assert image.warning, share


@pytest.mark.parametrize("name", FORMATS)
def test_a_black_photo_is_one(name):
    image = decode(name, data=encoded(np.zeros((64, 96, 3), np.uint8), **FORMATS[name]))
    assert image.warning is None
    assert image.pixels.max() <= 2


@pytest.mark.parametrize("name", FORMATS)
def test_too_many_pixels_are_refused(name):
    with pytest.raises(TooLargeError, match="--max-pixels"):
        decode(name, data=encoded(**FORMATS[name]), max_pixels=1000)


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (64, 64), (640, 480), (96, 54), (9000, 10)])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size, container):
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "JXL", use_container=container, effort=1)
    n_pixels = size[0] * size[1]
    decode("a.jxl", data=stream.getvalue(), max_pixels=n_pixels)
    with pytest.raises(TooLargeError, match=f"{size[0]} x {size[1]} pixels"):
        decode("a.jxl", data=stream.getvalue(), max_pixels=n_pixels - 1)


def test_a_jpeg_inside_jpeg_xl_is_turned_once(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        image.save(tmp_path / "a.jxl", lossless_jpeg=True)
    expected = decode(tmp_path / "a.jpg").pixels
    assert np.abs(decode(tmp_path / "a.jxl").pixels.astype(int) - expected).mean() < 2


def test_jpeg_xl_without_the_extra(monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    formats.load_jpeg_xl.cache_clear()
    with pytest.raises(DecodeError, match=r"pip install 'batchage\[jxl\]'"):
        decode("a.jxl", data=encoded(format="JXL"))


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535)])
def test_jpeg_2000_of_many_bits_is_right_or_refused(dtype, white):
    imagecodecs = pytest.importorskip("imagecodecs")
    for shape in ((64, 96), (64, 96, 3)):
        stored = np.full(shape, white, dtype)
        data = imagecodecs.jpeg2k_encode(stored, level=0, reversible=True)
        if dtype == "uint16" and len(shape) == 3:
            with pytest.raises(DecodeError, match="16 bits can't be read"):
                decode("a.jp2", data=data)
        else:
            assert decode("a.jp2", data=data).pixels.min() == 255


def test_the_composite_of_a_photoshop_file():
    pixels = picture()
    assert np.array_equal(decode("a.psd", data=psd(in_planes(pixels))).pixels, pixels)
    black = np.full((1, 64, 96), 255, np.uint8)
    cmyk = np.concatenate([in_planes(pixels), black])
    assert np.abs(decode("a.psd", data=psd(cmyk, mode=4)).pixels.astype(int) - pixels).max() < 3
    lab = ImageCms.profileToProfile(
        Image.fromarray(pixels), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )  # fmt: skip
    shifted = np.frombuffer(lab.tobytes(), np.uint8).reshape(64, 96, 3) ^ np.uint8([0, 128, 128])
    found = decode("a.psd", data=psd(in_planes(shifted), mode=9)).pixels
    assert np.abs(found.astype(int) - pixels).mean() < 3


def test_a_selection_in_a_photoshop_file_hides_nothing():
    planes = np.concatenate([in_planes(picture()), np.zeros((1, 64, 96), np.uint8)])
    assert np.array_equal(decode("a.psd", data=psd(planes, layers=1)).pixels, picture())
    assert decode("a.psd", data=psd(planes, layers=-1)).pixels.min() == 255


@pytest.mark.parametrize(
    ("how", "reason"),
    [({"is_merged": 0}, "Maximize Compatibility"), ({"bits": 16}, "16 bits"),
     ({"version": 2}, "PSB"), ({"mode": 7}, "colour mode 7")],
)  # fmt: skip
def test_photoshop_files_without_a_composite_that_can_be_read(how, reason):
    with pytest.raises(DecodeError, match=reason):
        decode("a.psd", data=psd(in_planes(picture()), **how))


def png_with(*extra, damage=b""):
    """A PNG with chunks before its pixels; those of kind `damage` have a wrong checksum."""
    data = encoded(format="PNG")
    at = data.index(b"IDAT") - 4
    pieces = [piece[:-1] + b"?" if piece[4:8] == damage else piece for piece in extra]
    return data[:at] + b"".join(pieces) + data[at:]


@pytest.mark.parametrize(
    ("kind", "remark"),
    [*((kind, "the first of 3 frames was looked at") for kind in ("GIF", "WEBP", "PNG", "AVIF")),
     ("TIFF", None), ("HEIF", None)],
)  # fmt: skip
def test_further_pictures_are_not_passed_over_in_silence(kind, remark):
    pages = [Image.fromarray(np.full((64, 96, 3), level, np.uint8)) for level in LEVELS]
    data, told = saved(pages, kind), []
    image = decode("a", data=data, tell_pages=told.append)
    assert image.note == remark
    assert told == ([] if remark else [3])
    assert abs(int(image.pixels.mean()) - LEVELS[0]) < 4
    told = []
    assert decode("a", data=saved(pages[:1], kind), tell_pages=told.append).note is None
    assert told == []
    with pytest.raises(DecodeError, match="the file has no page 4"):
        decode("a", data=saved(pages, "TIFF"), page=4)


LEVELS = (40, 120, 200)


def saved(pages, kind, **how):
    stream = io.BytesIO()
    pages[0].save(stream, kind, save_all=True, append_images=pages[1:], **how)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "how", "order"),
    [
        ("TIFF", {}, (0, 1, 2)),
        ("TIFF", {"compression": "tiff_lzw"}, (0, 1, 2)),
        ("HEIF", {}, (0, 1, 2)),
        ("HEIF", {"primary_index": 1}, (1, 0, 2)),
        ("HEIF", {"primary_index": 2}, (2, 0, 1)),
    ],
)
def test_pages_are_those_of_the_file_and_the_main_picture_is_the_first(kind, how, order):
    sizes = [(64, 96), (128, 64), (96, 96)]
    pages = [
        Image.fromarray(np.full((*size, 3), level, np.uint8))
        for size, level in zip(sizes, LEVELS, strict=True)
    ]
    data = saved(pages, kind, **how)
    for number, index in enumerate(order, start=1):
        image = decode("a", data=data, page=number)
        assert image.pixels.shape[:2] == sizes[index]
        assert abs(int(image.pixels.mean()) - LEVELS[index]) < 4


PROFILE = b"name\0\0" + zlib.compress(b"profile")


@pytest.mark.parametrize(
    "data",
    [
        png_with(chunk(b"tEXt", b"a\0b"), damage=b"tEXt"),
        png_with(chunk(b"gAMA", struct.pack(">I", 45455)), damage=b"gAMA"),
        png_with(chunk(b"iCCP", PROFILE), damage=b"iCCP"),
        png_with(chunk(b"iCCP", b"name\0\1" + PROFILE[6:])),
        png_with(chunk(b"pHYs", b"short")),
        png_with(chunk(b"tEXt", b"a\0b"), chunk(b"zTXt", b"a\0\0rubbish"), damage=b"tEXt"),
    ],
)
def test_png_with_damage_beside_its_pixels(data):
    image = decode("a.png", data=data)
    assert np.array_equal(image.pixels, picture())
    assert image.warning is None


def test_png_with_damage_in_how_it_is_shown_is_marked():
    exif = Image.Exif()
    exif[274] = 6
    data = png_with(chunk(b"eXIf", exif.tobytes()[6:]), damage=b"eXIf")
    assert "damaged" in decode("a.png", data=data).warning
    turned = png_with(chunk(b"eXIf", exif.tobytes()[6:]), chunk(b"tEXt", b"a\0b"), damage=b"tEXt")
    image = decode("a.png", data=turned)
    assert image.warning is None
    assert image.pixels.shape == (96, 64, 3)


@pytest.mark.parametrize(
    "text", [b"P6 is a road", b"Python", b"\n\n\n", b"\x01\xda", b"icon", b"qoi"]
)
def test_text_is_no_picture(text):
    with pytest.raises(DecodeError):
        decode("a.jpg", data=text)
