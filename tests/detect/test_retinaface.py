"""The rebuilt detector against the original graph's stored answers, and its behaviour."""

import sys
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from batchage.config import DetectorSettings
from batchage.decode import decode
from batchage.detect import create_detector
from batchage.detect._retinaface_network import KIND
from batchage.detect.merging import merge, suppress
from batchage.detect.retinaface import (
    RetinaFace,
    anchors,
    canvas_shapes,
    close_up_side,
    letterbox,
)
from batchage.errors import BundleError, MissingExtraError, UsageError
from batchage.networks import Compute, load_bundle
from batchage.types import Detections, box_sizes
from tests.command import PHOTOS, ROOT

COMPUTE = Compute("cpu", "float32", "test")
GOLDEN = sorted((ROOT / "tests" / "golden" / "retinaface").glob("*.npy"))


@cache
def detector_of(size=960, precision="float32"):
    """Loaded once for all tests."""
    return RetinaFace(
        DetectorSettings(detect_size=size), replace(COMPUTE, detect_precision=precision)
    )


@pytest.fixture
def detector():
    return detector_of()


def photo(stem):
    return decode(next(PHOTOS.rglob(f"{stem}.jpg"))).pixels


def test_there_are_golden_answers_with_faces():
    assert sum(len(np.load(path)) > 0 for path in GOLDEN) >= 3


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_boxes_landmarks_and_scores_are_those_of_the_original_graph(path):
    expected = np.load(path)
    detector = detector_of(640)
    canvas = letterbox(photo(path.stem), 640, 640).canvas
    found = detector._look([canvas], [max(canvas.shape[:2])])[0]
    assert len(found) == len(expected)
    limits = np.array(canvas.shape[1::-1] * 2)
    for row in expected:
        k = int(np.argmin(np.abs(found.landmarks.reshape(-1, 10) - row[4:14]).max(axis=1)))
        assert np.abs(found.boxes[k] - np.clip(row[:4], 0, limits)).max() < 0.5
        assert np.abs(found.landmarks[k].ravel() - row[4:14]).max() < 0.5
        assert abs(found.scores[k] - row[14]) < 1e-3


def test_int8_finds_the_same_faces(detector):
    quick = detector_of(precision="int8")
    shifts = []
    for path in GOLDEN:
        picture = photo(path.stem)
        (expected,), (found,) = detector.detect([picture]), quick.detect([picture])
        assert len(found) == len(expected)
        for k, size in enumerate(box_sizes(expected.boxes)):
            same = int(np.abs(found.boxes - expected.boxes[k]).max(axis=1).argmin())
            moved = found.landmarks[same] - expected.landmarks[k]
            shifts.append(np.hypot(*moved.T).mean() / size)
            assert abs(found.scores[same] - expected.scores[k]) < 0.1
    # In a crop of 128 pixels, about a pixel for each percent. (0.005, and 0.007 without VNNI.)
    assert np.median(shifts) < 0.01
    assert max(shifts) < 0.03


@pytest.mark.parametrize(
    ("shape", "dot"),
    [
        ((301, 403), (201, 77)),
        ((2003, 1501), (1999, 3)),
        ((999, 6001), (12, 5990)),
        ((5, 4001), (2, 9)),
    ],
)
def test_places_on_the_canvas_are_those_of_the_picture(shape, dot):
    image = np.zeros((*shape, 3), np.uint8)
    radius = max(shape) // 150
    y, x = dot
    image[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = 255
    for longest in (960, 288):
        box = letterbox(image, 960, min(longest, max(shape)))
        ys, xs = np.nonzero(box.canvas[..., 0] > 127)
        bright = np.nonzero(image[..., 0])
        # The middle of pixel k is at k + 0.5.
        for found, offset, scale, true in (
            (ys, box.dy, box.scale_y, bright[0]),
            (xs, box.dx, box.scale_x, bright[1]),
        ):
            assert abs((found.mean() + 0.5 - offset) - (true.mean() + 0.5) * scale) < 0.6


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_batch_gives_what_single_pictures_give(precision):
    detector = detector_of(precision=precision)
    pictures = [photo(path.stem) for path in GOLDEN[:4]]
    together = detector.detect(pictures)
    for picture, faces in zip(pictures, together, strict=True):
        alone = detector.detect([picture])[0]
        assert np.allclose(alone.boxes, faces.boxes, atol=0.05)
        assert np.allclose(alone.scores, faces.scores, atol=1e-4)


def test_coordinates_are_those_of_the_full_picture():
    # At its size, the large picture is seen as the small one.
    detector = detector_of(512)
    small = photo(next(p.stem for p in GOLDEN if len(np.load(p)) == 1))
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    a, b = detector.detect([small])[0], detector.detect([large])[0]
    assert len(a) == len(b) == 1
    assert np.abs(b.boxes / 3 - a.boxes).max() < 0.03 * (a.boxes[0, 2] - a.boxes[0, 0])


def test_no_face_gives_no_detection(detector):
    assert len(detector.detect([np.full((300, 400, 3), 128, np.uint8)])[0]) == 0


def test_face_that_fills_the_frame_is_found(detector):
    picture = photo(next(p.stem for p in GOLDEN if len(np.load(p)) == 1))
    x1, y1, x2, y2 = detector.detect([picture])[0].boxes[0].astype(int)
    face = picture[y1:y2, x1:x2]
    assert len(detector.detect([np.ascontiguousarray(face).repeat(6, 0).repeat(6, 1)])[0]) == 1


COLLINS = (178, 63, 270, 180)
"""The box of the one face in that photo."""


@pytest.mark.parametrize("share", [0.08, 0.2, 0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("size", [640, 960, 1920])
def test_a_face_is_one_face_whatever_share_of_the_photo_it_takes(share, size):
    x1, y1, x2, y2 = COLLINS
    side = round((y2 - y1) / share)
    top, left = (y1 + y2 - side) // 2, (x1 + x2 - side) // 2
    padded = np.pad(photo("collins"), ((side, side), (side, side), (0, 0)), mode="edge")
    framed = padded[top + side : top + 2 * side, left + side : left + 2 * side]
    enlarged = cv2.resize(framed, (1800, 1800), interpolation=cv2.INTER_CUBIC)
    (found,) = detector_of(size).detect([enlarged])
    assert len(found) == 1
    expected = np.array([x1 - left, y1 - top, x2 - left, y2 - top]) * 1800 / side
    assert np.abs(found.boxes[0] - np.clip(expected, 0, 1800)).max() < 0.15 * 1800 * share


def test_a_large_and_a_small_face_in_one_photo_are_both_found(detector):
    head = photo("collins")[:264, 92:356]
    canvas = np.full((1500, 2000, 3), 90, np.uint8)
    canvas[100:1300, 50:1250] = cv2.resize(head, (1200, 1200), interpolation=cv2.INTER_CUBIC)
    canvas[300:420, 1600:1720] = cv2.resize(head, (120, 120), interpolation=cv2.INTER_AREA)
    (found,) = detector.detect([canvas])
    middles = found.boxes.reshape(-1, 2, 2).mean(axis=1)
    assert sorted(middles[:, 0] > 1500) == [False, True]
    assert found.scores[0] >= found.scores[1]


def test_a_small_face_is_that_of_the_larger_look(detector):
    picture = photo("collins")
    expected = detector._look([picture], [max(picture.shape[:2])])[0]
    (found,) = detector.detect([picture])
    assert np.array_equal(found.boxes, expected.boxes)
    assert np.array_equal(found.landmarks, expected.landmarks)


def boxes_with_scores(*rows):
    values = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(values[:, :4], np.zeros((len(values), 5, 2), np.float32), values[:, 4])


def test_suppression_keeps_the_best_of_overlapping_faces():
    found = boxes_with_scores([0, 0, 10, 10, 0.6], [1, 0, 11, 10, 0.9], [30, 30, 40, 40, 0.7])
    assert suppress(found).scores.tolist() == pytest.approx([0.9, 0.7])


def test_a_face_partly_behind_another_one_is_kept():
    far = boxes_with_scores([0, 0, 10, 10, 0.9], [5, 4, 15, 14, 0.8], [7, 0, 17, 10, 0.7])
    assert len(suppress(far)) == 3
    assert len(merge(suppress(far), boxes_with_scores(), 50)) == 3


@pytest.mark.parametrize(
    ("far", "near", "expected"),
    [
        # What lies in a large face is part of it, however sure the first look is.
        ([[20, 20, 60, 60, 1.0]], [[0, 0, 100, 100, 0.9]], [0.9]),
        # Beside one, it is a face.
        ([[90, 20, 130, 60, 1.0]], [[0, 0, 100, 100, 0.9]], [1.0, 0.9]),
        # A small face is that of the first look, ...
        ([[0, 0, 45, 45, 0.8]], [[0, 0, 44, 44, 0.9]], [0.8]),
        # ... a large one that of the close-up.
        ([[0, 0, 60, 60, 1.0]], [[0, 0, 55, 55, 0.9]], [0.9]),
        # They need not agree which of both it is.
        ([[0, 0, 55, 55, 1.0]], [[0, 0, 45, 45, 0.9]], [0.9]),
        ([[0, 0, 45, 45, 0.8]], [[0, 0, 55, 55, 0.9]], [0.9]),
        # The close-up is not asked for small faces.
        ([[0, 0, 30, 30, 0.8]], [[60, 60, 80, 80, 0.9]], [0.8]),
    ],
)
def test_of_both_looks_each_face_is_kept_once(far, near, expected):
    found = merge(boxes_with_scores(*far), boxes_with_scores(*near), limit=50)
    assert found.scores.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(10, 4000), (4000, 10), (1, 1), (481, 640), (640, 640)])
@pytest.mark.parametrize("size", [128, 320, 384, 640, 960, 1920])
def test_any_picture_fits_a_canvas(shape, size):
    shapes = canvas_shapes(size)
    assert shapes == sorted(shapes, key=np.prod)
    assert not np.any(np.array(shapes) % 32)
    image = np.zeros((*shape, 3), np.uint8)
    assert letterbox(image, size, min(size, max(shape))).canvas.shape[:2] in shapes
    close_up = letterbox(image, size, close_up_side(size))
    assert close_up.dx >= close_up_side(size) // 8 or shape[0] > shape[1]
    assert close_up.dy >= close_up_side(size) // 8 or shape[1] > shape[0]


def test_anchors_match_the_network(detector):
    outputs = detector._forward(np.zeros((1, 64, 96, 3), np.uint8))
    assert outputs["boxes"].shape[1] == len(anchors(64, 96))


def test_unknown_detector_and_missing_extra_are_explained(monkeypatch):
    with pytest.raises(UsageError, match="retinaface-mobilenet025"):
        create_detector("viola-jones", DetectorSettings(), COMPUTE)
    monkeypatch.setitem(sys.modules, "retinaface", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'batchage\[resnet50\]'"):
        create_detector("retinaface-resnet50", DetectorSettings(), COMPUTE)


def make_package(faces):
    """Stands for the package `retina-face`: notes what it is given, answers with `faces`."""
    package = SimpleNamespace(given=[])

    def detect_faces(image, threshold):
        package.given.append((image, threshold))
        return faces

    package.RetinaFace = SimpleNamespace(build_model=lambda: None, detect_faces=detect_faces)
    return package


def make_answer(score, left, size=100):
    points = {
        "right_eye": [left + 30, 40],
        "left_eye": [left + 70, 40],
        "nose": [left + 50, 60],
        "mouth_right": [left + 35, 80],
        "mouth_left": [left + 65, 80],
    }
    box = [left, 0, left + size, size]
    return {"score": score, "facial_area": box, "landmarks": points}


def test_resnet50_answers_in_the_conventions_of_this_package(monkeypatch):
    faces = {"face_1": make_answer(0.8, 0), "face_2": make_answer(0.95, 200)}
    package = make_package(faces)
    monkeypatch.setitem(sys.modules, "retinaface", package)
    detector = create_detector("retinaface-resnet50", DetectorSettings(min_score=0.6), COMPUTE)
    picture = np.zeros((100, 500, 3), np.uint8)
    picture[..., 0] = 255
    (found,) = detector.detect([picture])
    assert found.scores.tolist() == pytest.approx([0.95, 0.8])
    assert found.boxes[0].tolist() == [200, 0, 300, 100]
    # Left eye first, as the picture shows it.
    assert found.landmarks[0, :2, 0].tolist() == [230, 270]
    assert found.landmarks[0, 3:, 0].tolist() == [235, 265]
    ((given, threshold),) = package.given
    assert given[0, 0].tolist() == [0, 0, 255]
    assert threshold == 0.6


@pytest.mark.parametrize("answer", [{}, ()])
def test_resnet50_that_finds_nothing_gives_no_face(monkeypatch, answer):
    monkeypatch.setitem(sys.modules, "retinaface", make_package(answer))
    (found,) = create_detector("retinaface-resnet50", DetectorSettings(), COMPUTE).detect(
        [np.zeros((9, 9, 3), np.uint8)]
    )
    assert len(found) == 0


def test_resnet50_without_its_weights_is_explained(monkeypatch, capsys):
    package = make_package({})

    def fail():
        print("downloading")
        raise ValueError("could not be downloaded\nlong story")

    package.RetinaFace.build_model = fail
    monkeypatch.setitem(sys.modules, "retinaface", package)
    with pytest.raises(BundleError, match=r"could not be downloaded\); connect once"):
        create_detector("retinaface-resnet50", DetectorSettings(), COMPUTE)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("size", [0, 100, 650])
def test_bad_detect_size_is_refused(size):
    with pytest.raises(UsageError, match="multiple of 64"):
        DetectorSettings(detect_size=size)


def test_bundle_states_its_source():
    spec = load_bundle("retinaface-mobilenet025", KIND).spec
    assert "retinaface 1.1.1" in spec["source"]
