"""Long and large pictures are looked at in tiles, and each face in them is one face."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import batchage
from batchage.config import DetectorSettings
from batchage.decode import decode
from batchage.detect import find_faces
from batchage.tiles import LARGE_TILE, longest_look, tiling
from batchage.types import DecodedImage, Detections
from tests.command import PHOTOS

ENOUGH = 1280
SIDES = st.integers(1, 40_000)


class Blobs:
    """A detector of white rectangles, as wide and high as it sees them."""

    detector_id = "blobs"

    def __init__(self):
        self.looked_at = []

    def detect(self, images):
        self.looked_at += [image.shape[:2] for image in images]
        return [self.one(image) for image in images]

    def one(self, image):
        grey = np.ascontiguousarray(image[..., 0])
        _, _, stats, _ = cv2.connectedComponentsWithStats((grey > 127).astype(np.uint8))
        x, y, width, height = stats[1:, :4].T.astype(np.float32)
        boxes = np.stack([x, y, x + width, y + height], axis=1).astype(np.float32)
        points = boxes.reshape(-1, 2, 2).mean(axis=1)[:, None].repeat(5, axis=1)
        # A part may have any score.
        return Detections(boxes, points, 1 / (1 + boxes[:, 2] - boxes[:, 0]))


def picture(width, height, rectangles, divisor=1):
    pixels = np.zeros((height // divisor, width // divisor, 3), np.uint8)
    for x1, y1, x2, y2 in np.array(rectangles) // divisor:
        pixels[y1:y2, x1:x2] = 255
    return DecodedImage(pixels, width, height, content_hash="")


def found_in(image, **settings):
    detector = Blobs()
    (faces,) = find_faces(detector, [image], DetectorSettings(**settings))
    return sorted(faces.boxes.tolist()), detector.looked_at


@given(SIDES, SIDES, st.booleans())
def test_tiles_cover_a_picture_and_hold_what_is_no_larger_than_they_share(width, height, tiles):
    cut = tiling(width, height, ENOUGH, tiles)
    if cut is None:
        return
    found = list(cut.tiles(width, height))
    for start, length, side in (("x", width, "width"), ("y", height, "height")):
        spans = sorted({(getattr(t, start), getattr(t, start) + getattr(t, side)) for t in found})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        for (_, end), (following, _) in itertools.pairwise(spans):
            # One pixel less where places are rounded.
            assert end - following >= min(cut.overlap, length) - 1
    assert len(found) < 40 * 40 * 4


@given(SIDES, SIDES)
def test_ordinary_photos_are_looked_at_as_before(width, height):
    if max(width, height) < 3 * min(width, height):
        assert tiling(width, height, ENOUGH) is None
        assert longest_look(width, height, ENOUGH) == max(width, height)


@pytest.mark.parametrize(
    ("width", "height", "side"),
    [(30_000, 2000, 3000), (2000, 30_000, 3000), (12_000, 1200, 1800), (6000, 200, 1280),
     (4000, 3000, 4000), (1900, 400, 1900)],
)  # fmt: skip
def test_how_much_is_looked_at_at_once(width, height, side):
    assert longest_look(width, height, ENOUGH) == side


def test_large_pictures_are_cut_up_if_it_is_wanted():
    assert tiling(10_000, 8000, ENOUGH) is None
    assert tiling(6000, 4000, ENOUGH, tiles=True) is None
    assert longest_look(10_000, 8000, ENOUGH, tiles=True) == LARGE_TILE


@pytest.mark.parametrize("divisor", [1, 2])
@pytest.mark.parametrize("is_upright", [False, True])
def test_each_face_of_a_long_picture_is_found_once(divisor, is_upright):
    faces = [(x, 40, x + 300, 440) for x in range(20, 7600, 420)] + [(100, 500, 140, 560)]
    faces = [[*face[1::-1], *face[:1:-1]] for face in faces] if is_upright else faces
    size = (600, 8000) if is_upright else (8000, 600)
    boxes, looks = found_in(picture(*size, faces, divisor))
    assert boxes == sorted((np.array(faces) / divisor).tolist())
    assert len(looks) == (11 if is_upright else 10)


def test_large_and_small_faces_of_a_large_picture_are_found_once(monkeypatch):
    monkeypatch.setattr("batchage.tiles.LARGE_PIXELS", 20_000_000)
    faces = [(100, 100, 1900, 2500), (2500, 1900, 2540, 1950), (3000, 2000, 3500, 2600)]
    image = picture(6000, 4000, faces, 2)
    boxes, looks = found_in(image, tiles=True)
    assert boxes == (np.array(faces) / 2).tolist()
    assert len(looks) > 4
    assert found_in(image)[1] == [(2000, 3000)]


def test_two_people_who_overlap_stay_two():
    class Pair(Blobs):
        def one(self, image):
            """A tall face with a small one before it, wherever the small one is."""
            small = super().one(image)
            large = Detections(
                small.boxes + np.float32([-100, -150, 60, 50]), small.landmarks, small.scores
            )
            return large.joined(small)

    image = picture(6000, 600, [(1000, 300, 1100, 400), (2900, 300, 3000, 400)])
    (faces,) = find_faces(Pair(), [image], DetectorSettings())
    assert len(faces) == 4


def test_faces_of_a_panorama_are_found_where_they_are(tmp_path):
    portraits = [decode(path).pixels for path in sorted((PHOTOS / "portraits").glob("*.jpg"))[:3]]
    panorama = np.full((640, 5000, 3), 120, np.uint8)
    places = (100, 2200, 4400)
    for portrait, x in zip(portraits, places, strict=True):
        width = round(420 * portrait.shape[1] / portrait.shape[0])
        panorama[150:570, x : x + width] = cv2.resize(portrait, (width, 420))
    cv2.imwrite(str(tmp_path / "long.jpg"), panorama[..., ::-1])
    faces = batchage.scan(tmp_path / "long.jpg").faces.sort_values("x1")
    assert len(faces) == 3
    assert (faces.face_size_px > 60).all()
    for (x1, x2), x in zip(faces[["x1", "x2"]].to_numpy(), places, strict=True):
        assert x < x1 < x2 < x + 420
