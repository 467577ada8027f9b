"""Random changes of training crops: each changes the picture, and none its size."""

import numpy as np
import pytest
from PIL import Image

from batchage.align import estimate_similarity, whole_picture
from tests.command import PHOTOS
from train import augment
from train.augment import Augmentation, degrade, jitter

CHANGES = {
    "blur": augment.blur,
    "dark": augment.darken,
    "grey": augment.grey,
    "tone": augment.tone,
    "fade": augment.fade,
    "grain": augment.grain,
    "scratches": augment.scratch,
    "halftone": augment.halftone,
    "jpeg": augment.compress,
    "erase": augment.erase,
}
NOTHING = Augmentation(
    rotation=0, zoom=0, shift=0, flip=0, brightness=0, contrast=0, grey=0, low_resolution=0, erase=0
)


@pytest.fixture(scope="module")
def crop():
    picture = Image.open(PHOTOS / "portraits" / "collins.jpg").convert("RGB")
    return np.asarray(picture.resize((96, 96)))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("shape", [(96, 96), (96, 64), (40, 80)])
def test_a_change_keeps_the_size_and_follows_from_its_seed(crop, name, shape):
    if name == "erase" and shape[0] != shape[1]:
        pytest.skip("only crops are erased, which are square")
    crop = crop[: shape[0], : shape[1]]
    change = CHANGES[name]
    once, again, other = (change(crop, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once.shape == crop.shape
    assert once.dtype == np.uint8
    assert np.array_equal(once, again)
    assert not np.array_equal(once, crop)
    assert name == "grey" or not np.array_equal(once, other)


@pytest.mark.parametrize("name", CHANGES)
def test_a_share_of_none_leaves_crops_alone_and_of_one_changes_all(crop, name):
    rng = np.random.default_rng(0)
    assert np.array_equal(degrade(crop, NOTHING, rng), crop)
    always = Augmentation(
        **{field: getattr(NOTHING, field) for field in NOTHING.__slots__ if field != name},
        **{name: 1.0},
    )
    assert not any(np.array_equal(degrade(crop, always, rng), crop) for _ in range(5))


def test_prints_of_one_colour_have_one(crop):
    shades = augment.tone(crop, np.random.default_rng(3)).reshape(-1, 3).astype(float)
    shades -= shades.mean(axis=0)
    variances = np.linalg.svd(shades, compute_uv=False) ** 2
    assert variances[0] / variances.sum() > 0.99


def test_no_jitter_is_the_crop_itself():
    similarity = estimate_similarity(whole_picture(200, 200), 64)
    same = jitter(similarity, 64, NOTHING, np.random.default_rng(0))
    assert np.allclose(same.matrix, similarity.matrix)
