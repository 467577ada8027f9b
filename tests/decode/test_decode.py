"""Every format, mode and orientation comes out as the same upright RGB; bad files are explained."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from batchage.decode import decode
from batchage.errors import DecodeError, TooLargeError
from batchage.types import Detections

pillow_heif.register_heif_opener()
COLOURS = {"upper left": (220, 30, 30), "upper right": (30, 200, 30), "lower left": (30, 30, 220)}
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "HEIF", "AVIF"]
TRANSPOSE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def make_picture(width=96, height=64):
    pixels = np.full((height, width, 3), 240, np.uint8)
    pixels[: height // 2, : width // 2] = COLOURS["upper left"]
    pixels[: height // 2, width // 2 :] = COLOURS["upper right"]
    pixels[height // 2 :, : width // 2] = COLOURS["lower left"]
    return Image.fromarray(pixels)


def assert_upright(pixels, tolerance=40):
    height, width = pixels.shape[:2]
    assert (width, height) == (96, 64)
    assert pixels.dtype == np.uint8
    spots = {"upper left": (16, 24), "upper right": (16, 72), "lower left": (48, 24)}
    for place, (y, x) in spots.items():
        assert np.abs(pixels[y, x].astype(int) - COLOURS[place]).max() <= tolerance, place


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_by_content_not_suffix(tmp_path, kind):
    path = tmp_path / "picture.dat"
    make_picture().save(path, kind)
    image = decode(path)
    assert_upright(image.pixels)
    assert (image.width, image.height, image.scale, image.warning) == (96, 64, 1.0, None)
    assert len(image.content_hash) == 32


def test_png_with_a_long_note_and_profile(tmp_path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("workflow", "x" * 2_000_000, zip=True)
    make_picture().save(tmp_path / "a.png", pnginfo=notes, icc_profile=bytes(1_500_000))
    image = decode(tmp_path / "a.png")
    assert_upright(image.pixels)
    assert image.warning is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientations(tmp_path, kind, orientation):
    stored = make_picture()
    if TRANSPOSE[orientation] is not None:
        stored = stored.transpose(TRANSPOSE[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(tmp_path / "p", kind, exif=exif)
    assert_upright(decode(tmp_path / "p").pixels)


def converted(mode):
    if mode == "I;16":
        return Image.fromarray(np.asarray(make_picture().convert("L")).astype(np.uint16) * 257)
    return make_picture().convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "PNG"),
     ("RGBA", "WEBP"), ("L", "JPEG"), ("LA", "PNG"), ("1", "PNG"),
     ("I;16", "PNG"), ("I;16", "TIFF")],
)  # fmt: skip
def test_modes_become_rgb(tmp_path, mode, kind):
    converted(mode).save(tmp_path / "p", kind)
    pixels = decode(tmp_path / "p").pixels
    assert pixels.shape == (64, 96, 3)
    if mode in ("CMYK", "P", "RGBA"):
        assert_upright(pixels)
    else:
        expected = int(np.asarray(make_picture().convert("L"))[16, 72])
        if mode != "1":
            assert abs(int(pixels[16, 72, 0]) - expected) <= 3
        assert (pixels[..., 0] == pixels[..., 1]).all()


def test_transparent_is_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "p.png")
    assert decode(tmp_path / "p.png").pixels.min() == 255


def test_truncated_jpeg_is_used_and_marked(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)).save(
        buffer, "JPEG"
    )
    data = buffer.getvalue()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    image = decode(tmp_path / "cut.jpg")
    assert "truncated" in (image.warning or "")
    assert image.pixels.shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"hello there", "not a picture"), (b"\xff\xd8\xff\xe0", "picture")],
)
def test_bad_files_are_explained_in_one_line(tmp_path, data, message):
    (tmp_path / "bad.jpg").write_bytes(data)
    with pytest.raises(DecodeError, match=message) as caught:
        decode(tmp_path / "bad.jpg")
    assert "\n" not in str(caught.value)


def test_too_large_is_refused_before_decoding(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    with pytest.raises(TooLargeError, match="--max-pixels"):
        decode(tmp_path / "huge.png")


def test_missing_file_is_a_decode_error(tmp_path):
    with pytest.raises(DecodeError):
        decode(tmp_path / "gone.jpg")


@given(st.sampled_from(FORMATS), st.integers(0, 4000), st.integers(0, 255), st.booleans())
def test_damaged_files_give_pixels_or_a_decode_error(kind, position, value, cut):
    buffer = io.BytesIO()
    make_picture().save(buffer, kind)
    data = bytearray(buffer.getvalue())
    position %= len(data)
    data[position] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        path.write_bytes(data[:position] if cut else data)
        try:
            assert decode(path).pixels.ndim == 3
        except DecodeError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("data", [b"x", b"x\n", b"abc", b"\0" * 40, b"text that is longer"])
def test_what_is_no_picture_is_called_that(tmp_path, data):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(DecodeError, match="not a picture in a known format"):
        decode(tmp_path / "a.jpg")


@given(st.binary(max_size=400), st.booleans())
def test_any_exif_block_leaves_the_picture(exif, is_tiff):
    buffer = io.BytesIO()
    make_picture().save(buffer, "JPEG")
    data = buffer.getvalue()
    block = b"Exif\0\0" + (b"II*\0\x08\0\0\0" if is_tiff else b"") + exif
    segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.jpg"
        path.write_bytes(data[:2] + segment + data[2:])
        image = decode(path)
    assert sorted(image.pixels.shape) == [3, 64, 96]
    assert image.warning is None


def test_file_of_more_bytes_than_its_pixels_may_need_is_not_read(tmp_path):
    make_picture().save(tmp_path / "p.jpg")
    with (tmp_path / "p.jpg").open("r+b") as file:
        file.truncate(100 << 30)
    with pytest.raises(TooLargeError, match="bytes are more than"):
        decode(tmp_path / "p.jpg")


def save_large(path, size=(1600, 1200), **how):
    """A picture that tells its corners apart: light where it began, dark at the end."""
    x = np.linspace(250, 5, size[0])[None] + np.zeros((size[1], 1))
    Image.fromarray(x.astype(np.uint8)).convert("RGB").save(path, **how)


@pytest.mark.parametrize(("enough", "side"), [(None, 1600), (801, 1600), (800, 800), (500, 800),
                                              (400, 400), (300, 400), (1, 200)])  # fmt: skip
def test_jpeg_is_reduced_to_what_is_enough(tmp_path, enough, side):
    save_large(tmp_path / "p.jpg")
    asked = []
    image = decode(tmp_path / "p.jpg", enough=enough, reserve=asked.append)
    assert image.pixels.shape == (side * 3 // 4, side, 3)
    assert (image.width, image.height) == (1600, 1200)
    assert image.scale == side / 1600
    assert asked == [image.pixels.nbytes]
    full = decode(tmp_path / "p.jpg")
    assert full.content_hash == image.content_hash
    assert abs(int(image.pixels[0, 0, 0]) - int(full.pixels[0, 0, 0])) < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_jpeg_is_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    save_large(tmp_path / "p.jpg", exif=exif)
    full, image = decode(tmp_path / "p.jpg"), decode(tmp_path / "p.jpg", enough=500)
    assert (image.width, image.height) == full.pixels.shape[1::-1]
    assert image.pixels.shape == (full.pixels.shape[0] // 2, full.pixels.shape[1] // 2, 3)
    small = full.pixels[::2, ::2].astype(int)
    assert np.abs(image.pixels.astype(int) - small).max() < 8


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_reduced_jpeg_of_other_modes_becomes_rgb(tmp_path, mode):
    make_picture().resize((960, 640)).convert(mode).save(tmp_path / "p.jpg")
    assert decode(tmp_path / "p.jpg", enough=240).pixels.shape == (160, 240, 3)


def test_odd_sides_keep_their_scale(tmp_path):
    save_large(tmp_path / "p.jpg", (1601, 1199))
    image = decode(tmp_path / "p.jpg", enough=400)
    assert image.pixels.shape == (300, 401, 3)
    assert image.scale == pytest.approx(0.25, rel=2e-3)


def test_truncated_jpeg_is_reduced_too(tmp_path):
    save_large(tmp_path / "p.jpg", quality=100)
    data = (tmp_path / "p.jpg").read_bytes()
    (tmp_path / "p.jpg").write_bytes(data[: len(data) // 2])
    image = decode(tmp_path / "p.jpg", enough=400)
    assert "truncated" in (image.warning or "")
    assert image.pixels.shape == (300, 400, 3)


def test_other_formats_are_not_reduced(tmp_path):
    save_large(tmp_path / "p.png")
    assert decode(tmp_path / "p.png", enough=400).scale == 1


def test_progressive_jpeg_reserves_what_its_decoder_holds(tmp_path):
    save_large(tmp_path / "p.jpg", progressive=True)
    asked = []
    assert decode(tmp_path / "p.jpg", enough=400, reserve=asked.append).scale == 0.25
    assert asked == [1600 * 1200 * 3]


@pytest.mark.parametrize("size", [(5000, 1), (3, 11000), (7, 1601), (1601, 1199), (1199, 1601)])
def test_faces_of_a_reduced_picture_lie_in_the_photo(tmp_path, size):
    save_large(tmp_path / "p.jpg", size)
    image = decode(tmp_path / "p.jpg", enough=400)
    height, width = image.pixels.shape[:2]
    box = np.array([[0, 0, width, height]], np.float32)
    whole = Detections(box, np.zeros((1, 5, 2), np.float32), np.ones(1, np.float32))
    (found,) = image.in_full_size(whole).boxes
    assert (found[:2] < 4).all()
    assert (found[:2] >= 0).all()
    assert (found[2:] <= size).all()
    assert (found[2:] > np.array(size) - 5).all()
