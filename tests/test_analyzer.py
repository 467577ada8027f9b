"""Pictures in memory, and detectors of one's own."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import batchage
from batchage.errors import UsageError
from tests.builders import make_bundle
from tests.command import PHOTOS


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return batchage.ScanConfig(model=str(make_bundle(tmp_path_factory.mktemp("m") / "tiny").path))


def test_pictures_in_memory_give_the_rows_of_a_scan(config):
    names = ["no-people/coffee.jpg", "portraits/collins.jpg", "portraits/hopper-rotated.jpg"]
    found = batchage.Analyzer(config).analyze([Image.open(PHOTOS / name) for name in names])
    scanned = batchage.scan(*(PHOTOS / name for name in names), config=config).faces
    assert found.image_index.tolist() == [1, 2]
    columns = [name for name in found.columns if name in scanned and name != "gender"]
    assert {"x1", "age_high", "gender_prob_female", "roll"} < {*columns}
    # These photos are small: nothing of them was decoded at a reduced scale.
    np.testing.assert_allclose(found[columns], scanned[columns], rtol=1e-3, atol=1e-3)
    assert found.gender.tolist() == scanned.gender.tolist()


def test_arrays_and_pil_pictures_are_the_same(config):
    analyzer = batchage.Analyzer(config)
    picture = Image.open(PHOTOS / "portraits/collins.jpg").convert("RGB")
    both = analyzer.analyze([np.asarray(picture), picture])
    first, second = (both[both.image_index == i].drop(columns="image_index") for i in (0, 1))
    assert first.reset_index(drop=True).equals(second.reset_index(drop=True))
    assert analyzer.analyze([]).columns.tolist() == both.columns.tolist()
    with_probability = batchage.Analyzer(replace(config, age_threshold=(18,))).analyze(picture)
    assert {*with_probability.columns} == {*both.columns, "prob_under_18"}


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 4), (0, 30, 3)])
def test_an_array_that_is_no_picture_is_explained(config, shape):
    with pytest.raises(UsageError, match=r"picture 0 is an array of uint8 .*give RGB"):
        batchage.Analyzer(config).analyze([np.zeros(shape, np.uint8)])


class Middle:
    """Says that there is a face in the middle of each picture."""

    detector_id = "middle@1"

    def detect(self, images):
        return [self.face(*image.shape[1::-1]) for image in images]

    @staticmethod
    def face(width, height):
        points = np.array([[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]])
        size = np.array([width, height])
        box = np.array([[0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height]])
        return batchage.Detections(
            box.astype(np.float32),
            (points * size)[None].astype(np.float32),
            np.array([0.9], np.float32),
        )


def test_a_detector_of_ones_own(config):
    batchage.register_detector("middle", lambda settings, compute: Middle())
    result = batchage.scan(PHOTOS / "no-people", config=config, detector="middle")
    assert result.images.n_faces.tolist() == [1, 1]
    assert result.faces.x1.tolist() == pytest.approx(0.3 * result.faces.image_width)
    with pytest.raises(UsageError, match="choose another"):
        batchage.register_detector("retinaface-resnet50", lambda settings, compute: Middle())


def test_one_picture_many_or_paths(config):
    analyzer = batchage.Analyzer(config)
    path = PHOTOS / "portraits" / "collins.jpg"
    picture = Image.open(path)
    found = [analyzer.analyze(images) for images in (path, str(path), picture, [picture])]
    assert all(len(faces) == 1 for faces in found)
    assert all(faces.equals(found[0]) for faces in found[1:])
    arrays = (np.asarray(picture), np.asarray(picture)[None])
    assert all(len(analyzer.analyze(array)) == 1 for array in arrays)
    mixed = analyzer.analyze(iter([path, np.asarray(picture)]))
    assert mixed.image_index.tolist() == [0, 1]


def test_a_file_that_is_none_is_named(config, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(batchage.DecodeError, match=r"text\.jpg: not a picture"):
        batchage.Analyzer(config).analyze(tmp_path / "text.jpg")


def test_what_was_found_is_said_in_short(config):
    result = batchage.scan(PHOTOS / "portraits" / "collins.jpg", config=config)
    assert repr(result) == "<ScanResult: 1 face in 1 photo>"


def test_public_names_are_shown():
    assert {"scan", "Analyzer", "ScanConfig", "report"} <= set(dir(batchage))
    assert all(hasattr(batchage, name) for name in batchage.__all__)
