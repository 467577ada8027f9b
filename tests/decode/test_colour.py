"""Every colour space comes out as sRGB; what is sRGB already stays as it is, bit for bit."""

import io
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from batchage.decode import DecodePool, decode, to_srgb
from batchage.decode.colour import DAMAGED, FOREIGN, NO_PROFILE, colours_of
from batchage.pixels import in_srgb
from tests.command import PHOTOS
from tests.icc import (
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    SWAPPED,
    grey_profile,
    ink_profile,
    screen_profile,
)

pillow_heif.register_heif_opener()
SRGB_PROFILES = {
    "littlecms": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "ours": screen_profile(SRGB),
}
P3, SWAP, WIDE = screen_profile(DISPLAY_P3), screen_profile(SWAPPED), screen_profile(PROPHOTO, 1.8)
KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"]


@pytest.fixture(scope="module")
def photo():
    return Image.open(PHOTOS / "portraits" / "collins.jpg").convert("RGB").resize((192, 192))


def stored_as(photo, profile, mode="RGB"):
    """The values that mean the photo's colours in a profile."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    source = ImageCms.createProfile("sRGB")
    stored = ImageCms.profileToProfile(photo, source, target, outputMode=mode)
    # Else it would be saved with the picture without being asked for.
    del stored.info["icc_profile"]
    return stored


def encoded(picture, kind, **how):
    stream = io.BytesIO()
    picture.save(stream, kind, **({"quality": 95} if kind not in ("PNG", "TIFF") else {}), **how)
    return stream.getvalue()


def difference(pixels, picture):
    return np.abs(np.asarray(pixels).astype(int) - np.asarray(picture)).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SRGB_PROFILES)
def test_srgb_stays_bit_for_bit(photo, kind, name):
    tagged = decode("p", data=encoded(photo, kind, icc_profile=SRGB_PROFILES[name]))
    plain = decode("p", data=encoded(photo, kind))
    assert np.array_equal(tagged.pixels, plain.pixels)
    assert (tagged.colours, tagged.note) == (plain.colours, plain.note) == (None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_profile_is_converted_at_once_or_later(photo, kind):
    data = encoded(stored_as(photo, P3), kind, icc_profile=P3)
    now, later = decode("p", data=data), decode("p", data=data, colours_later=True)
    assert difference(now.pixels, photo) < 3
    assert difference(later.pixels, photo) > difference(now.pixels, photo) + 1
    assert now.colours is None
    # Between the colours of the cube it is interpolated.
    both = np.abs(in_srgb(later.pixels, later.colours).astype(int) - now.pixels)
    assert (both.max() <= 6, both.mean() < 0.5) == (True, True)


@pytest.mark.parametrize("profile", [SWAP, WIDE])
def test_values_far_from_srgb_are_converted_at_once(photo, profile):
    data = encoded(stored_as(photo, profile), "JPEG", icc_profile=profile)
    image = decode("p", data=data, colours_later=True)
    assert image.colours is None
    assert difference(image.pixels, photo) < 4


def test_inks_are_as_their_profile_has_them(photo):
    profile = ink_profile()
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 0, 0))
    printed = decode("p", data=encoded(cmyk, "JPEG", icc_profile=profile))
    # Magenta on paper, Lab 50, 74, -4, is about this in sRGB, and not 255, 0, 255.
    assert np.abs(printed.pixels[4, 4].astype(int) - (226, 12, 127)).max() <= 20
    assert printed.note is None
    blank = Image.new("CMYK", (8, 8))
    assert decode("p", data=encoded(blank, "JPEG", icc_profile=profile)).pixels.min() >= 253


def test_inks_without_a_profile_are_said_to_be_guessed(photo):
    image = decode("p", data=encoded(photo.convert("CMYK"), "JPEG"))
    assert image.note == NO_PROFILE
    assert image.warning is None
    assert difference(image.pixels, photo) < 3


def test_greys_keep_grey_and_take_their_curve(photo):
    grey = photo.convert("L")
    plain = decode("p", data=encoded(grey, "PNG")).pixels
    for profile in SRGB_PROFILES.values():
        assert np.array_equal(
            decode("p", data=encoded(grey, "PNG", icc_profile=profile)).pixels, plain
        )
    for picture in (grey, grey.convert("LA")):
        data = encoded(picture, "PNG", icc_profile=grey_profile(1.0))
        light = decode("p", data=data).pixels
        assert (light == light[..., :1]).all()
        assert light[plain == 128].mean() == pytest.approx(188, abs=2)


def test_palettes_and_transparent_parts(photo):
    stored = stored_as(photo, P3)
    few = stored.quantize(64)
    expected = decode("p", data=encoded(few.convert("RGB"), "PNG", icc_profile=P3)).pixels
    assert np.array_equal(decode("p", data=encoded(few, "PNG", icc_profile=P3)).pixels, expected)
    clear = stored.convert("RGBA")
    clear.putalpha(0)
    assert decode("p", data=encoded(clear, "PNG", icc_profile=P3)).pixels.min() == 255


@pytest.mark.parametrize(
    ("profile", "note"),
    [(b"\0" * 400, DAMAGED), (b"nonsense", DAMAGED), (P3[:300], DAMAGED), (P3[:130], DAMAGED),
     (screen_profile([(0, 0, 0)] * 3), DAMAGED), (ink_profile(), FOREIGN),
     (grey_profile(2.2), FOREIGN), (P3.replace(b"mntr", b"link"), FOREIGN)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_unusable_profile_leaves_the_picture_and_is_told(photo, profile, note, kind):
    image = decode("p", data=encoded(photo, kind, icc_profile=profile), colours_later=True)
    plain = decode("p", data=encoded(photo, kind))
    assert np.array_equal(image.pixels, plain.pixels)
    assert (image.colours, image.note, image.warning) == (None, note, None)


@given(st.sampled_from([P3, ink_profile(), grey_profile(1.8)]), st.data())
def test_any_profile_is_followed_or_left(profile, data):
    broken = bytearray(profile)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    mode = {b"RGB ": "RGB", b"CMYK": "CMYK", b"GRAY": "L"}[profile[16:20]]
    colours = colours_of(mode, {"icc_profile": bytes(broken)}, b"")
    picture = Image.new(mode, (4, 4))
    for later in (True, False):
        converted = colours.separated(picture)
        if converted.mode == "RGB":
            assert colours.converted(converted, later).size == (4, 4)


def png_with(photo, *chunks):
    data = encoded(photo, "PNG")
    made = b"".join(
        struct.pack(">L", len(body) - 4) + body + struct.pack(">L", zlib.crc32(body))
        for body in chunks
    )
    return data[:33] + made + data[33:]


GAMMA = struct.pack(">4sL", b"gAMA", 45455)
PLACES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3_PLACES = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


@pytest.mark.parametrize(
    "chunks",
    [[GAMMA], [GAMMA, struct.pack(">4s8L", b"cHRM", *PLACES)],
     [b"sRGB\0", struct.pack(">4sL", b"gAMA", 100_000)], [b"cICP\1\15\0\1"], [b"cICP\2\2\0\1"],
     [b"cICP\1\15\0\1", struct.pack(">4sL", b"gAMA", 100_000)]],
)  # fmt: skip
def test_a_png_that_says_that_it_is_srgb_stays_bit_for_bit(photo, chunks):
    image = decode("p", data=png_with(photo, *chunks), colours_later=True)
    assert np.array_equal(image.pixels, np.asarray(photo))
    assert (image.colours, image.note) == (None, None)


@pytest.mark.parametrize(
    "chunks", [[GAMMA, struct.pack(">4s8L", b"cHRM", *P3_PLACES)], [b"cICP\14\15\0\1"]]
)
def test_a_png_without_a_profile_may_say_what_its_colours_are(photo, chunks):
    image = decode("p", data=png_with(stored_as(photo, P3), *chunks))
    assert difference(image.pixels, photo) < 1


@pytest.mark.parametrize(
    ("gamma", "places"), [(0, PLACES), (1, PLACES), (45455, (0,) * 8), (45455, (31270, 0) * 4)]
)
def test_impossible_colours_of_a_png_are_told(photo, gamma, places):
    chunks = struct.pack(">4sL", b"gAMA", gamma), struct.pack(">4s8L", b"cHRM", *places)
    image = decode("p", data=png_with(photo, *chunks))
    assert np.array_equal(image.pixels, np.asarray(photo))
    assert image.note == (DAMAGED if gamma else None)


def test_linear_light_of_a_png_is_shown_as_bright_as_it_is(photo):
    grey = Image.new("L", (4, 4), 128)
    image = decode("p", data=png_with(grey, struct.pack(">4sL", b"gAMA", 100_000)))
    assert np.abs(image.pixels.astype(int) - 188).max() <= 1


def coded(photo, kind, primaries, curve):
    data = encoded(photo, kind)
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, curve) + data[at + 4 :]


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_code_points_of_heif_and_avif(photo, kind):
    image = decode("p", data=coded(stored_as(photo, P3), kind, 12, 13))
    assert difference(image.pixels, photo) < 3
    plain = decode("p", data=encoded(photo, kind)).pixels
    for primaries, curve in [(1, 1), (2, 2), (1, 13), (9, 12)]:
        image = decode("p", data=coded(photo, kind, primaries, curve))
        assert np.array_equal(image.pixels, plain)
    # Pictures inside that disagree say nothing of the one that is looked at.
    both = coded(photo, kind, 12, 13) + b"colrnclx" + struct.pack(">HH", 1, 13) + bytes(8)
    assert np.array_equal(decode("p", data=both).pixels, plain)


@pytest.mark.parametrize(("curve", "paper"), [(16, 0.5807), (18, 0.75)])
def test_hdr_shows_paper_as_light_and_highlights_as_lighter(curve, paper):
    greys = [0, round(255 * 0.4), round(255 * paper), 255]
    colours = colours_of("RGB", {}, coded(Image.new("RGB", (8, 8)), "AVIF", 9, curve))
    values = np.array(greys, np.uint8).reshape(1, -1, 1).repeat(3, axis=2)
    shown = np.asarray(colours.converted(Image.fromarray(values), later=True)).astype(int)[0]
    assert (np.ptp(shown, axis=1) <= 2).all()
    dark, middle, white, lightest = shown[:, 0]
    assert dark == 0
    assert dark < middle < 160
    assert 225 <= white < lightest
    assert lightest >= 250


def test_workers_hand_on_colours(photo, tmp_path):
    path = tmp_path / "p.jpg"
    path.write_bytes(encoded(stored_as(photo, P3), "JPEG", icc_profile=P3))
    here, pool = decode(path, colours_later=True), DecodePool(1)
    there = pool.decode(path, 10**6, 60, colours_later=True)
    assert np.array_equal(there.pixels, here.pixels)
    assert np.array_equal(there.colours, here.colours)
    path.write_bytes(encoded(photo, "JPEG", icc_profile=b"none"))
    assert pool.decode(path, 10**6, 60).note == DAMAGED
    pool.close()


def test_pictures_in_memory(photo):
    stored = stored_as(photo, P3)
    stored.info["icc_profile"] = P3
    before = np.array(stored)
    assert difference(to_srgb(stored), photo) < 1
    assert np.array_equal(np.asarray(stored), before)


def test_a_text_called_like_a_profile_is_none(photo):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("icc_profile", "text", zip=False)
    notes.add_text("gamma", "text", zip=False)
    image = decode("p", data=encoded(photo, "PNG", pnginfo=notes))
    assert np.array_equal(image.pixels, np.asarray(photo))
