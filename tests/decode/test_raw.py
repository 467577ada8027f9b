"""Camera raw files: previews, developed pixels, and what is said where neither can be had."""

import io
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

import batchage
from batchage.decode import decode, raw
from batchage.errors import DecodeError, TooLargeError
from tests.builders import make_bundle
from tests.command import PHOTOS
from tests.dng import make_dng, mosaic

COLLINS = PHOTOS / "portraits" / "collins.jpg"


@pytest.fixture(scope="module")
def picture():
    return Image.open(COLLINS).convert("RGB")


def as_jpeg(picture):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95)
    return stream.getvalue()


def difference(pixels, picture):
    return np.abs(pixels.astype(int) - np.asarray(picture)).mean()


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, 3)])
@pytest.mark.parametrize("has_preview", [True, False])
def test_preview_or_developed_pixels_are_upright(
    tmp_path, picture, has_preview, orientation, turns
):
    preview = as_jpeg(picture) if has_preview else None
    path = tmp_path / "photo.DNG"
    taken = "2021:03:04 05:06:07"
    path.write_bytes(make_dng(mosaic(picture), preview, picture.size, orientation, taken))
    image = decode(path)
    upright = np.rot90(np.asarray(picture), turns)
    # Developing without a colour profile shifts colours; what is where stays.
    assert difference(image.pixels, upright) < (4 if has_preview else 30)
    assert (image.width, image.height) == upright.shape[1::-1]
    assert image.captured.at == datetime(2021, 3, 4, 5, 6, 7)


def test_a_preview_that_is_too_small_is_left_aside(tmp_path, picture):
    path = tmp_path / "photo.dng"
    small = picture.resize((64, 64))
    path.write_bytes(make_dng(mosaic(picture), as_jpeg(small), small.size))
    image = decode(path)
    assert (image.width, image.height) == picture.size
    assert image.captured is None


def test_a_preview_may_be_decoded_reduced(tmp_path, picture):
    path = tmp_path / "photo.dng"
    path.write_bytes(make_dng(mosaic(picture), as_jpeg(picture), picture.size))
    image = decode(path, enough=100)
    assert image.pixels.shape == (128, 128, 3)
    assert (image.width, image.height) == picture.size


def test_limits_hold_before_anything_is_developed(tmp_path, picture):
    path = tmp_path / "photo.dng"
    path.write_bytes(make_dng(mosaic(picture)))
    reserved = []
    decode(path, reserve=reserved.append)
    assert reserved == [512 * 512 * 3]
    with pytest.raises(TooLargeError, match="--max-pixels"):
        decode(path, max_pixels=512 * 512 - 1)


@pytest.mark.parametrize("content", [b"II*\0broken", b"no raw at all", b"FUJIFILMCCD-RAW 0201"])
def test_a_broken_file_is_a_sentence(tmp_path, content):
    path = tmp_path / "photo.nef"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="the camera raw can't be read: "):
        decode(path)


def test_a_scan_finds_faces_in_raw_files(tmp_path, picture):
    (tmp_path / "a.dng").write_bytes(make_dng(mosaic(picture), as_jpeg(picture), picture.size))
    (tmp_path / "b.cr3").write_bytes(b"broken")
    model = str(make_bundle(tmp_path / "model" / "tiny").path)
    images = batchage.scan(tmp_path, model=model).images
    assert images.status.tolist() == ["ok", "unreadable"]
    assert images.n_faces.tolist() == [1, 0]


@pytest.fixture
def no_reader(monkeypatch):
    monkeypatch.setattr(raw, "find_spec", lambda name: None)
    raw.missing_reader.cache_clear()
    yield
    raw.missing_reader.cache_clear()


@pytest.mark.parametrize("name", ["a.dng", "a.tif", "a.jpg"])
def test_without_the_extra_it_is_said_what_to_install(picture, no_reader, name):
    data = make_dng(mosaic(picture), as_jpeg(picture.resize((64, 64))), (64, 64))
    with pytest.raises(DecodeError, match=r"pip install 'batchage\[raw\]'"):
        decode(name, data=data)


@pytest.mark.parametrize("name", ["a.nef", "a.dng", "a.CR2"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_picture_that_is_called_raw_needs_no_reader(picture, no_reader, name, kind):
    stream = io.BytesIO()
    picture.save(stream, kind)
    assert difference(decode(name, data=stream.getvalue()).pixels, picture) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "HEIF"])
def test_a_picture_that_is_called_raw_is_read_as_what_it_is(picture, kind):
    stream = io.BytesIO()
    picture.save(stream, kind)
    assert difference(decode("a.nef", data=stream.getvalue()).pixels, picture) < 3


@pytest.mark.parametrize("name", ["a.tif", "a.jpg", "a"])
def test_a_raw_file_under_another_name_is_developed(picture, name):
    data = make_dng(mosaic(picture), as_jpeg(picture.resize((64, 64))), (64, 64))
    image = decode(name, data=data)
    assert (image.width, image.height) == picture.size
    assert difference(image.pixels, picture) < 30


def test_raw_data_out_of_which_nothing_comes_are_not_a_black_photo(picture):
    with pytest.raises(DecodeError, match="nothing comes out of it"):
        decode("a.dng", data=make_dng(mosaic(picture) * 0))
