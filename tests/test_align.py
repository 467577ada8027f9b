"""The one crop function: framing, profiles, large faces, and that training uses it."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.align import TEMPLATE, align, estimate_similarity, pose, warp, whole_picture


def moved(points, scale, degrees, shift):
    turn = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (points @ linear.T + shift).astype(np.float32)


@given(
    scale=st.floats(0.05, 30),
    degrees=st.floats(-180, 180),
    x=st.floats(-3000, 3000),
    y=st.floats(-3000, 3000),
)
def test_similarity_undoes_any_similarity(scale, degrees, x, y):
    landmarks = moved(TEMPLATE, scale, degrees, (x, y))
    similarity = estimate_similarity(landmarks, 200)
    back = landmarks @ similarity.matrix[:, :2].T + similarity.matrix[:, 2]
    # float32 coordinates of some thousand pixels hold about 3e-4 px, which the map enlarges.
    assert np.abs(back - TEMPLATE).max() < 0.05 + 0.002 / scale
    assert similarity.scale == pytest.approx(1 / scale, rel=0.02)


def test_chip_is_cropped_as_itself():
    chip = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    assert np.array_equal(align(chip, TEMPLATE, 200).pixels, chip)
    assert np.allclose(whole_picture(200, 200), TEMPLATE)


def test_profile_keeps_its_size():
    middle = TEMPLATE[:, 0].mean()
    profile = TEMPLATE.copy()
    profile[:, 0] = middle + (profile[:, 0] - middle) * 0.1
    assert estimate_similarity(profile, 200).scale == pytest.approx(1.0, abs=0.1)


def test_nodding_face_is_not_blown_up():
    nod = TEMPLATE.copy()
    nod[:, 1] = 95 + (nod[:, 1] - 95) * 0.5
    assert 0.95 < estimate_similarity(nod, 200).scale < 1.25


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), 50.0)])
def test_degenerate_landmarks_still_give_a_crop(points):
    picture = np.full((100, 100, 3), 7, np.uint8)
    crop = align(picture, points.astype(np.float32), 64)
    assert crop.pixels.shape == (64, 64, 3)
    assert np.isfinite(crop.sharpness)


def test_large_face_does_not_alias_and_stays_in_place():
    """A 2000 px face: one-pixel stripes become even grey, a large square stays where it is."""
    stripes = np.zeros((2000, 2000, 3), np.uint8)
    stripes[::2] = 255
    stripes[800:1200, 800:1200] = (255, 0, 0)
    crop = align(stripes, whole_picture(2000, 2000), 100).pixels.astype(int)
    assert abs(crop[10:30, 10:90] - 127).max() <= 8
    ys, xs = np.nonzero((crop[..., 0] > 150) & (crop[..., 2] < 100))
    assert xs.mean() == pytest.approx(50, abs=0.6)
    assert ys.mean() == pytest.approx(50, abs=0.6)
    assert len(xs) == pytest.approx(20 * 20, rel=0.1)


def test_outside_the_picture_is_black():
    crop = align(np.full((50, 50, 3), 200, np.uint8), TEMPLATE, 200).pixels
    assert crop[:45, :45].min() == 200
    assert crop[60:].max() == 0


def test_sharpness_falls_with_blur():
    picture = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    blurred = cv2.GaussianBlur(picture, (0, 0), 3)
    assert align(blurred, TEMPLATE, 100).sharpness < align(picture, TEMPLATE, 100).sharpness / 4


def test_pose_is_small_for_frontal_and_signed_for_turned_faces():
    frontal = pose(TEMPLATE)
    assert np.allclose([frontal.yaw, frontal.pitch, frontal.roll], 0, atol=0.05)
    turned, down = TEMPLATE.copy(), TEMPLATE.copy()
    turned[2, 0] += 30
    assert pose(turned).yaw > 0.5
    down[2, 1] += 15
    assert pose(down).pitch > 0.3
    assert abs(pose(down).yaw) < 0.05


@given(scale=st.floats(0.1, 20), degrees=st.floats(-170, 170))
def test_only_roll_depends_on_how_the_photo_was_held(scale, degrees):
    held = pose(moved(TEMPLATE, scale, degrees, (5, 9)))
    assert held.roll == pytest.approx(pose(TEMPLATE).roll + degrees, abs=0.1)
    assert held.yaw == pytest.approx(pose(TEMPLATE).yaw, abs=1e-3)
    assert held.pitch == pytest.approx(pose(TEMPLATE).pitch, abs=1e-3)


def test_training_uses_the_very_same_function():
    from train import data

    assert data.warp is warp
    assert data.estimate_similarity is estimate_similarity
