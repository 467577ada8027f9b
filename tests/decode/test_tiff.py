"""TIFF files of every layout come out as the same picture, or are refused with the reason."""

import io
import struct
from functools import cache

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchage.decode import decode
from batchage.errors import DecodeError, TooLargeError
from tests.hostile import tiff
from tests.tiff_matrix import cases, make, scene

SHARE, N_TURNS = 3, 3
"""One case in so many is tried, in so many tests."""
COMPRESSIONS = ["none", "lzw", "deflate", "packbits", "zstd", "jpeg", "jpeg2000"]


@cache
def matrix():
    return list(cases())


def some(start, step):
    return [build() for build in matrix()[start::step]]


def difference(pixels, expected):
    return np.abs(pixels.astype(int) - expected)


def as_bytes(picture):
    return np.rint(picture * 255).astype(np.uint8)


@pytest.mark.parametrize("turn", range(N_TURNS))
def test_layouts(turn):
    """What tifffile reads is what was stored, and the picture is what that means."""
    tried = some(turn, SHARE * N_TURNS)
    n_refused = 0
    for case in tried:
        if case.stored is not None:
            read = tifffile.imread(io.BytesIO(case.data), squeeze=False)
            assert np.array_equal(read.ravel(), case.stored.ravel(), equal_nan=True), case.name
        try:
            image = decode("a.tif", data=case.data)
        except DecodeError as error:
            assert "can't be read" in str(error), case.name
            assert "compression=jpeg" in case.name
            n_refused += 1
            continue
        assert image.warning is None, case.name
        assert image.pixels.shape == case.expected.shape, case.name
        off = difference(image.pixels, case.expected)
        assert off.mean() <= case.tolerance, case.name
        assert np.percentile(off, 95) <= 5 * case.tolerance + 4, case.name
    assert len(tried) > 100
    assert n_refused <= len(tried) / 20


@pytest.mark.parametrize("is_tiled", [False, True])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("bits", ["8", "16"])
def test_truncated_ones_are_used_and_marked(compression, bits, is_tiled):
    if compression in ("jpeg", "jpeg2000") and bits == "16":
        pytest.skip("there are none")
    case = make("rgb", bits, "contig", compression, is_tiled=is_tiled)
    for share in (0.7, 0.8, 0.9):
        data = case.data[: int(len(case.data) * share)]
        image = decode("a.tif", data=data)
        assert image.warning == "the file is truncated; the visible part was used"
        is_right = difference(image.pixels, case.expected).max(axis=2) < 40
        assert is_right.mean() > share / 4


def test_what_comes_before_damage_is_kept():
    case = make("grey", "16", "contig", "lzw")
    damaged = bytearray(case.data)
    page = tifffile.TiffFile(io.BytesIO(case.data)).pages.first
    damaged[page.dataoffsets[2] + 40 :] = bytes(len(damaged) - page.dataoffsets[2] - 40)
    image = decode("a.tif", data=bytes(damaged))
    assert image.warning == "the file is damaged; the visible part was used"
    assert difference(image.pixels[:32], case.expected[:32]).max() <= 1


@pytest.mark.parametrize("compression", ["lzw", "none"])
def test_a_file_without_pixels_is_not_a_black_picture(compression):
    case = make("rgb", "16", "contig", compression)
    first = tifffile.TiffFile(io.BytesIO(case.data)).pages.first.dataoffsets[0]
    with pytest.raises(DecodeError, match="before any of the picture"):
        decode("a.tif", data=case.data[:first])


def test_a_black_picture_is_one():
    black = make("rgb", "16", picture=scene() * 0)
    image = decode("a.tif", data=black.data)
    assert image.warning is None
    assert image.pixels.max() == 0


def with_tag(tag, value):
    """A small grey TIFF with one tag changed."""
    entries = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64)]  # fmt: skip
    kept = {entry[0]: entry for entry in entries} | {tag: (tag, 3, 1, value)}
    return tiff([kept[key] for key in sorted(kept)]) + bytes(range(200))


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [(259, 34676, "SGILOG"), (259, 40000, "40000"), (262, 32844, "LOGL"), (262, 9000, "9000"),
     (339, 5, "format"), (258, 24, "24 bits"), (277, 40, "40 samples"), (262, 3, "palette")],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_with_the_reason(tag, value, reason):
    assert decode("a.tif", data=with_tag(256, 8)).pixels.shape == (8, 8, 3)
    with pytest.raises(DecodeError, match=reason):
        decode("a.tif", data=with_tag(tag, value))


@pytest.mark.parametrize(
    ("bits", "planar"), [("8", "contig"), ("16", "separate"), ("f32", "contig")]
)
def test_limits_hold_before_anything_is_decoded(bits, planar):
    case = make("rgb", bits, planar)
    asked = []
    image = decode("a.tif", data=case.data, reserve=asked.append)
    (n_bytes,) = asked
    # Beside the picture, a band.
    assert image.pixels.nbytes <= n_bytes <= image.pixels.nbytes + len(case.data)
    with pytest.raises(TooLargeError, match="--max-pixels"):
        decode("a.tif", data=case.data, max_pixels=100)


@pytest.mark.parametrize(
    ("picture", "dtype", "white"),
    [("scene", "f4", 1.0), ("scene", "f4", 255.0), ("scene", "f8", 65535.0),
     ("scene", "f4", 4095.0), ("bright", "f4", 1.0), ("scene", "u4", 255.0),
     ("scene", "i2", 32767.0)],
)  # fmt: skip
def test_white_is_found(picture, dtype, white):
    """Also where a third of the samples are brighter than white, as in pictures of light."""
    values = scene() * (1.6 if picture == "bright" else 1.0) * white
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values.astype(dtype), photometric="rgb", metadata=None)
    pixels = decode("a.tif", data=buffer.getvalue()).pixels
    expected = as_bytes(np.clip(values / white, 0, 1))
    assert difference(pixels, expected).mean() < 3


def test_shared_colours_without_compression():
    """Luminance of four pixels, then one colour for them, again and again."""
    light = np.arange(4 * 6).reshape(4, 6) * 10
    units = b"".join(
        bytes([*light[y : y + 2, x : x + 2].ravel(), 128, 128]) for y in (0, 2) for x in (0, 2, 4)
    )
    at = 8 + 2 + 12 * 11 + 4 + 6
    entries = [(256, 4, 1, 6), (257, 4, 1, 4), (258, 3, 3, at - 6), (259, 3, 1, 1), (262, 3, 1, 6),
               (273, 4, 1, at), (277, 3, 1, 3), (278, 4, 1, 4), (279, 4, 1, len(units)),
               (284, 3, 1, 1), (530, 3, 2, 2 | 2 << 16)]  # fmt: skip
    data = tiff(entries) + struct.pack("<3H", 8, 8, 8) + units
    assert np.array_equal(decode("a.tif", data=data).pixels[..., 1], light)


def test_a_profile_stays_with_its_picture():
    from batchage.decode.tiff import TiffDocument

    case = make("rgb", "16")
    data = io.BytesIO(case.data)
    with tifffile.TiffFile(data) as file:
        assert file.pages.first.iccprofile is None
    buffer = io.BytesIO()
    stored = np.zeros((8, 8, 3), np.uint16)
    tifffile.imwrite(buffer, stored, photometric="rgb", iccprofile=b"profile", metadata=None)
    document = TiffDocument(buffer.getvalue())
    picture = document.read(0, lambda width, height: None, lambda n_bytes: None)
    assert picture.image.info["icc_profile"] == b"profile"


def test_one_strip_of_many_floats_is_not_held_whole():
    buffer = io.BytesIO()
    values = np.zeros((1500, 1000, 3), np.float32)
    tifffile.imwrite(buffer, values, photometric="rgb", metadata=None)
    asked = []
    image = decode("a.tif", data=buffer.getvalue(), reserve=asked.append)
    assert asked[0] < image.pixels.nbytes * 1.3


@given(st.data())
def test_damaged_files_give_pixels_or_a_decode_error(data):
    case = data.draw(st.sampled_from(matrix()[::7]))()
    damaged = bytearray(case.data)
    for _ in range(data.draw(st.integers(1, 3))):
        # The header and the directory are the first few hundred bytes.
        limit = data.draw(st.sampled_from([min(len(damaged), 400), len(damaged)]))
        damaged[data.draw(st.integers(0, limit - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode("a.tif", data=bytes(damaged), max_pixels=1_000_000)
    except DecodeError as error:
        assert "\n" not in str(error)
    else:
        assert image.pixels.ndim == 3


def test_pictures_of_pillow_stay_what_they_were(tmp_path):
    picture = Image.fromarray(as_bytes(scene()))
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "LAB"):
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            image = picture if mode == "LAB" else picture.convert(mode)
            image.save(tmp_path / "a.tif", compression=compression)
            expected = np.asarray(image.convert("RGB"))
            off = difference(decode(tmp_path / "a.tif").pixels, expected)
            assert off.max() <= (0 if mode in ("1", "L", "P", "RGB") else 2), (mode, compression)
