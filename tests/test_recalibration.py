"""A bundle fitted to labelled photos: `batchage calibrate`."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import batchage
from batchage.align import whole_picture
from batchage.config import DetectorSettings
from batchage.errors import OutputError, UsageError
from batchage.networks import load_bundle
from batchage.predict import KIND, Calibration
from batchage.recalibration import run as run_of_calibration
from batchage.types import Detections
from tests.builders import make_bundle
from tests.command import PHOTOS, refuse, run
from tests.command_line.test_cli import one_sentence


class WholePicture:
    """Takes every picture for a face."""

    def __init__(self, settings: DetectorSettings, compute):
        self.detector_id = "whole@1"

    def detect(self, images):
        return [
            Detections(
                np.array([[0, 0, *image.shape[1::-1]]], np.float32),
                whole_picture(*image.shape[1::-1])[None],
                np.ones(1, np.float32),
            )
            for image in images
        ]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("m") / "tiny")


def make_photos(folder, n, age, gender=lambda i: "male"):
    """Noise, whose ages the tiny network takes for about 50; and their labels."""
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "age", "gender"])
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(photos / f"{i}.png")
            table.writerow([f"{i}.png", age(i, rng), gender(i)])
    return photos, folder / "labels.csv"


def test_intervals_and_ages_are_fitted_to_the_photos(tmp_path, bundle):
    photos, labels = make_photos(tmp_path, 200, lambda i, rng: round(20 + rng.normal(0, 3)))
    found = batchage.calibrate(photos, labels, tmp_path / "mine", config=of(bundle))
    assert (found.n_faces, found.n_exact, found.without_face) == (200, 200, [])
    assert found.fits_ages
    assert found.before.age_mae > 20 > 5 > found.after.age_mae
    assert abs(found.after.age_bias) < 1 < abs(found.before.age_bias)
    assert 0.85 <= found.after.interval_coverage <= 0.97
    assert found.gain.years == pytest.approx(found.before.age_mae - found.after.age_mae, abs=1e-3)
    assert 0 < found.gain.margin < found.gain.years
    fitted = load_bundle(tmp_path / "mine", KIND)
    assert fitted.sha256 == bundle.sha256
    assert fitted.model_id == found.bundle.model_id != bundle.model_id
    result = json.loads((tmp_path / "mine" / "calibration.json").read_text())
    assert result["after"]["age_mae"] == found.after.age_mae
    # What it says on all of them is what a scan with it says.
    scanned = batchage.scan(photos, config=of(fitted))
    assert abs(scanned.faces.age_years.mean() - 20) < 1


def of(bundle):
    """Settings with a bundle, for pictures that are faces as they are."""
    batchage.register_detector("whole-for-calibration", WholePicture)
    return batchage.ScanConfig(model=str(bundle.path), detector="whole-for-calibration")


def test_ages_that_fit_stay_as_they_are(tmp_path, bundle):
    photos, labels = make_photos(tmp_path, 60, lambda i, rng: round(50 + rng.normal(0, 6)))
    found = batchage.calibrate(photos, labels, tmp_path / "mine", config=of(bundle))
    assert not found.fits_ages
    calibration = Calibration.from_spec(found.bundle.spec["calibration"])
    assert (calibration.age_slope, calibration.age_offset) == (1.0, 0.0)
    assert found.after.age_mae == found.before.age_mae


def test_what_few_faces_gain_is_measured_too(tmp_path, bundle):
    photos, labels = make_photos(tmp_path, 52, lambda i, rng: round(50 + rng.normal(0, 12)))
    found = batchage.calibrate(photos, labels, tmp_path / "mine", config=of(bundle))
    # The tiny network's own interval is of all years.
    assert found.before.interval_coverage == 1
    assert 0.7 < found.after.interval_coverage < 1
    assert found.after.interval_width < found.before.interval_width


def test_a_folder_that_appears_meanwhile_is_left_alone(tmp_path, bundle, monkeypatch):
    photos, labels = make_photos(tmp_path, 52, lambda i, rng: 50)
    look = run_of_calibration._look_at

    def look_while_another_writes(*arguments):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "weights.h5").write_text("another's")
        return look(*arguments)

    monkeypatch.setattr(run_of_calibration, "_look_at", look_while_another_writes)
    with pytest.raises(OutputError, match="mine: the bundle can't be written"):
        batchage.calibrate(photos, labels, tmp_path / "mine", config=of(bundle))
    assert (tmp_path / "mine" / "weights.h5").read_text() == "another's"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.csv", "mine", "photos"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("./0.png,60,male", "0.png: two labels for one photo"),
        (".,60,male", "is a folder; label photos"),
        ("x" * 300 + ".png,60,male", "3 faces with an exact age and 3 with a gender were found"),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path, bundle, more, said):
    photos, labels = make_photos(tmp_path, 3, lambda i, rng: 50)
    labels.write_text(f"{labels.read_text()}{more}\n")
    with pytest.raises(UsageError, match=said):
        batchage.calibrate(photos, labels, tmp_path / "mine", config=of(bundle))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.csv", "photos"]


@pytest.mark.parametrize("label", ["age", "gender"])
def test_ages_or_genders_alone_will_do(tmp_path, bundle, label):
    gender = (lambda i: "") if label == "age" else (lambda i: ["male", "female"][i % 2])
    age = (lambda i, rng: 50) if label == "age" else (lambda i, rng: "")
    photos, labels = make_photos(tmp_path, 60, age, gender)
    if label == "gender":
        labels.write_text(labels.read_text().replace("path,age,", "path,note,"))
    found = batchage.calibrate(photos, labels, tmp_path / "mine", config=of(bundle))
    assert (found.n_exact, found.n_genders) == ((60, 0) if label == "age" else (0, 60))
    assert (found.after.age_mae is None) == (label == "gender")
    assert (found.after.gender_calibration_error is None) == (label == "age")


def test_the_command_says_what_it_gains(tmp_path):
    source = PHOTOS / "portraits" / "collins-face.png"
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = ["path,age,gender"]
    for i in range(52):
        (photos / f"{i}.png").write_bytes(source.read_bytes())
        rows.append(f"{i}.png,{60 + i % 5},female")
    (photos / "none.png").write_bytes((PHOTOS / "no-people" / "coffee.jpg").read_bytes())
    (tmp_path / "labels.csv").write_text("\n".join([*rows, "none.png,30,male", "gone.jpg,30,male"]))
    command = ["calibrate", "photos", "--labels", "labels.csv", "-o", "mine"]
    result = run(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "52 labelled faces, 52 with an exact age, 52 with a gender" in result.stdout
    assert "2 labels without a face, such as none.png" in result.stdout
    assert "interval coverage" in result.stdout
    assert "mine@" in result.stderr
    assert (tmp_path / "mine" / "NOTICE").is_file()
    again = run(*command, cwd=tmp_path)
    assert again.returncode == 2
    assert "mine: already exists; choose another folder" in one_sentence(again)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--labels", "labels.csv", "-o", "mine"], "nowhere: no such folder"),
        (["photos", "--labels", "none.csv", "-o", "mine"], "none.csv: can't be read"),
        (["photos", "--labels", "labels.csv", "-o", "s3://b/mine"], "give a path"),
        (["photos", "--labels", "labels.csv"], "--output is missing"),
        (["photos", "-o", "mine"], "--labels is missing"),
        (
            ["photos", "--labels", "labels.csv", "-o", "mine"],
            "too few to calibrate; label 50 or more",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, arguments, said):
    make_photos(tmp_path, 3, lambda i, rng: 30)
    result = refuse("calibrate", *arguments, "-q", cwd=tmp_path)
    assert result.returncode == 2
    assert said in one_sentence(result)
    assert not (tmp_path / "mine").exists()


def test_labels_name_pages(tmp_path, bundle):
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(61)]
    (tmp_path / "photos").mkdir()
    pages[0].save(tmp_path / "photos" / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "photos" / "b.tif")
    lines = [f"a.tif,{20 + page % 5},{page or ''}" for page in (0, *range(2, 62))]
    lines += ["b.tif,30,", "b.tif,31,2"]
    (tmp_path / "labels.csv").write_text("\n".join(["path,age,page", *lines]) + "\n")
    found = batchage.calibrate(
        tmp_path / "photos", tmp_path / "labels.csv", tmp_path / "mine", of(bundle)
    )
    assert (found.n_faces, found.without_face) == (62, ["b.tif"])
