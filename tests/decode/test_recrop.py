"""Faces that are small in a reduced picture are cut out of the full-size one."""

import numpy as np
import pytest
from PIL import Image

from batchage.align import TEMPLATE, align
from batchage.decode import Recropper, decode
from batchage.errors import DecodeError
from batchage.places import Fetched, Fetcher
from batchage.types import ImageRef

SIZE = 64
# Faces of 40 and 90 pixels.
LANDMARKS = np.stack([TEMPLATE * 0.2 + (900, 300), TEMPLATE * 0.45 + (200, 600)]).astype(np.float32)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "p.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    Image.fromarray(noise).resize((1600, 1200)).save(path, quality=95)
    return path


@pytest.fixture
def recropper():
    made = Recropper(max_pixels=10**7, timeout=60, n_workers=1)
    yield made
    made.close()


def test_crops_are_those_of_the_full_picture(recropper, photo):
    image = decode(photo)
    found = recropper.submit(photo, image.content_hash, LANDMARKS, SIZE).result()
    expected = [align(image.pixels, points, SIZE) for points in LANDMARKS]
    for crop, other in zip(found, expected, strict=True):
        assert np.array_equal(crop.pixels, other.pixels)
        assert (crop.sharpness, crop.pose) == (other.sharpness, other.pose)
    assert recropper.take_cpu_seconds() > 0


def test_bytes_of_remote_files_are_used_and_released(recropper, photo, memory):
    url, data = "memory://photos/p.jpg", photo.read_bytes()
    memory.pipe_file(url, data)
    fetcher = Fetcher(10**7)
    fetched = Fetched(fetcher, ImageRef(url, "memory://photos", "p.jpg", len(data)))
    image = decode(photo)
    found = recropper.submit(url, image.content_hash, LANDMARKS, SIZE, fetched).result()
    expected = [align(image.pixels, points, SIZE) for points in LANDMARKS]
    for crop, other in zip(found, expected, strict=True):
        assert np.array_equal(crop.pixels, other.pixels)
    assert not fetcher.n_bytes
    fetcher.close()


def test_a_file_that_was_changed_meanwhile_is_refused(recropper, photo):
    with pytest.raises(DecodeError, match="changed during the scan"):
        recropper.submit(photo, "another", LANDMARKS, SIZE).result()


def test_a_file_that_is_gone_is_explained(recropper, tmp_path):
    with pytest.raises(DecodeError, match="can't be read"):
        recropper.submit(tmp_path / "gone.jpg", "hash", LANDMARKS, SIZE).result()


def test_closing_ends_what_is_waited_for(photo):
    recropper = Recropper(max_pixels=10**7, timeout=60, n_workers=1)
    pending = [recropper.submit(photo, "", LANDMARKS, SIZE) for _ in range(5)]
    recropper.close()
    assert all(future.cancelled() or future.exception() for future in pending)
