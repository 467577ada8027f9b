"""The rebuilt detector against the original graph's stored answers, and its behaviour."""

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from batchage.bundle import load_bundle
from batchage.config import DetectorSettings
from batchage.decode import decode
from batchage.detect import create_detector
from batchage.detect.retinaface import (
    RetinaFace,
    anchors,
    canvas_shapes,
    letterbox,
    suppress,
)
from batchage.detect.retinaface_network import KIND
from batchage.errors import BundleError, MissingExtraError, UsageError
from batchage.hardware import Compute
from batchage.types import Detections

ROOT = Path(__file__).resolve().parent.parent
COMPUTE = Compute("cpu", "float32", "test")
GOLDEN = sorted((ROOT / "tests" / "golden" / "retinaface").glob("*.npy"))


@pytest.fixture(scope="module")
def detector():
    return RetinaFace(DetectorSettings(), COMPUTE)


def photo(stem):
    return decode(next((ROOT / "examples" / "photos").rglob(f"{stem}.jpg"))).pixels


def test_there_are_golden_answers_with_faces():
    assert sum(len(np.load(path)) > 0 for path in GOLDEN) >= 3


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_boxes_landmarks_and_scores_are_those_of_the_original_graph(path):
    expected = np.load(path)
    detector = RetinaFace(DetectorSettings(detect_size=640), COMPUTE)
    canvas = letterbox(photo(path.stem), 640, 640).canvas
    found = detector._look([canvas], [max(canvas.shape[:2])])[0]
    assert len(found) == len(expected)
    limits = np.array(canvas.shape[1::-1] * 2)
    for row in expected:
        k = int(np.argmin(np.abs(found.landmarks.reshape(-1, 10) - row[4:14]).max(axis=1)))
        assert np.abs(found.boxes[k] - np.clip(row[:4], 0, limits)).max() < 0.5
        assert np.abs(found.landmarks[k].ravel() - row[4:14]).max() < 0.5
        assert abs(found.scores[k] - row[14]) < 1e-3


def test_batch_gives_what_single_pictures_give(detector):
    pictures = [photo(path.stem) for path in GOLDEN[:4]]
    together = detector.detect(pictures)
    for picture, faces in zip(pictures, together, strict=True):
        alone = detector.detect([picture])[0]
        assert np.allclose(alone.boxes, faces.boxes, atol=0.05)
        assert np.allclose(alone.scores, faces.scores, atol=1e-4)


def test_coordinates_are_those_of_the_full_picture(detector):
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


def one_face():
    """A photo with one face, and its box."""
    picture = photo("collins")
    return picture, (178, 63, 270, 180)


@pytest.mark.parametrize("share", [0.08, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_face_is_one_face_whatever_share_of_the_photo_it_takes(detector, share):
    picture, (x1, y1, x2, y2) = one_face()
    side = round((y2 - y1) / share)
    top, left = (y1 + y2 - side) // 2, (x1 + x2 - side) // 2
    padded = np.pad(picture, ((side, side), (side, side), (0, 0)), mode="edge")
    framed = padded[top + side : top + 2 * side, left + side : left + 2 * side]
    enlarged = cv2.resize(framed, (1800, 1800), interpolation=cv2.INTER_CUBIC)
    (found,) = detector.detect([enlarged])
    assert len(found) == 1
    expected = np.array([x1 - left, y1 - top, x2 - left, y2 - top]) * 1800 / side
    assert np.abs(found.boxes[0] - np.clip(expected, 0, 1800)).max() < 0.15 * 1800 * share


def test_a_large_and_a_small_face_in_one_photo_are_both_found(detector):
    picture, _ = one_face()
    canvas = np.full((1500, 2000, 3), 90, np.uint8)
    large = cv2.resize(picture[:264, 92:356], (1200, 1200), interpolation=cv2.INTER_CUBIC)
    canvas[100:1300, 50:1250] = large
    canvas[300:420, 1600:1720] = cv2.resize(large, (120, 120), interpolation=cv2.INTER_AREA)
    (found,) = detector.detect([canvas])
    assert len(found) == 2
    assert found.scores[0] >= found.scores[1]


@pytest.mark.parametrize(
    ("boxes", "kept"),
    [
        ([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]], [0.9, 0.7]),
        ([[0, 0, 40, 40], [5, 5, 15, 15], [60, 60, 70, 70]], [0.9, 0.7]),
        ([[0, 0, 10, 10], [6, 0, 16, 10], [12, 0, 22, 10]], [0.9, 0.7, 0.6]),
    ],
    ids=["nearly the same", "one in another", "beside each other"],
)
def test_suppression_keeps_the_best_of_overlapping_faces(boxes, kept):
    scores = np.array([0.6, 0.9, 0.7], np.float32)
    found = Detections(np.array(boxes, np.float32), np.zeros((3, 5, 2), np.float32), scores)
    assert suppress(found).scores.tolist() == pytest.approx(kept)


@pytest.mark.parametrize("shape", [(10, 4000), (4000, 10), (1, 1), (481, 640), (640, 640)])
@pytest.mark.parametrize("size", [128, 640, 960])
def test_any_picture_fits_one_of_nine_canvases(shape, size):
    box = letterbox(np.zeros((*shape, 3), np.uint8), size, min(size, max(shape)))
    assert box.canvas.shape[:2] in canvas_shapes(size)
    assert len(canvas_shapes(size)) == 9


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
