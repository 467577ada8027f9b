"""The stages together: what fails costs its photo alone, memory is bounded, order is kept."""

import os
import signal
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image

from batchage import pipeline as pipeline_module
from batchage.align import align
from batchage.config import DetectorSettings, ScanConfig
from batchage.decode import Recropper, decode
from batchage.errors import OutputError, WorkerError
from batchage.networks import Compute, load_bundle
from batchage.pipeline import Pipeline
from batchage.predict import KIND, Predictor
from batchage.types import Detections
from batchage.walk import iter_images
from tests.builders import make_bundle
from tests.icc import DISPLAY_P3, screen_profile

FACE = np.array([[10, 10], [22, 10], [16, 16], [11, 22], [21, 22]], np.float32)
PLAIN, DETECT_FAILS, ALIGN_FAILS, NO_FACE = 50, 100, 150, 250


class StandIn:
    """A detector that goes by a picture's brightness."""

    detector_id = "stand-in"

    def __init__(self):
        self.sizes = []
        self.landmarks = FACE

    def detect(self, images):
        self.sizes.append(len(images))
        found = []
        for image in images:
            kind = round(int(image[0, 0, 0]) / 50) * 50
            if kind == DETECT_FAILS:
                raise RuntimeError("no faces in this light")
            n = 0 if kind == NO_FACE else int(image[0, -1, 0]) // 20
            points = np.repeat(self.landmarks[None], n, axis=0)
            if kind == ALIGN_FAILS:
                points = np.zeros((n, 3), np.float32)
            boxes = np.repeat(np.array([[4, 4, 28, 28]], np.float32), n, axis=0)
            found.append(Detections(boxes, points, np.ones(n, np.float32)))
        return found


def make_photo(path, kind=PLAIN, n_faces=1, size=(48, 40)):
    pixels = np.full((size[1], size[0], 3), kind, np.uint8)
    pixels[:, -1] = n_faces * 20 + 5
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny").path


@pytest.fixture
def run(tmp_path, model, monkeypatch):
    """Scan `tmp_path/photos` with the stand-in; the records by name."""
    detector = StandIn()
    monkeypatch.setattr(
        pipeline_module, "create_detector", lambda name, settings, compute: detector
    )
    opened = []

    def scan(**settings):
        pipeline = Pipeline(ScanConfig(**{"model": str(model), "batch_size": 4, **settings}))
        opened.append(pipeline)
        records = list(pipeline.run(iter_images([tmp_path / "photos"])))
        return {record.ref.relative: record for record in records}

    scan.detector = detector
    yield scan
    for pipeline in opened:
        pipeline.close()


def test_order_is_that_of_the_walk_whatever_batches_need(run, tmp_path):
    for number in range(23):
        make_photo(tmp_path / "photos" / f"{number:02}.png", n_faces=number % 4)
    found = run()
    assert list(found) == [f"{number:02}.png" for number in range(23)]
    assert [len(record.faces) for record in found.values()] == [n % 4 for n in range(23)]
    assert all(record.error is None for record in found.values())


@pytest.mark.parametrize(
    ("kind", "stage"), [(DETECT_FAILS, "face detection"), (ALIGN_FAILS, "alignment")]
)
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_photo_on_which_a_stage_fails_takes_no_other_with_it(
    run, tmp_path, kind, stage, device, monkeypatch
):
    monkeypatch.setitem(pipeline_module.DETECT_BATCH, "cpu", 4 if device == "gpu" else 1)
    for number in range(9):
        make_photo(tmp_path / "photos" / f"{number}.png", kind if number == 4 else PLAIN)
    found = run()
    assert found["4.png"].status == "failed"
    assert stage in found["4.png"].error
    assert [record.status for name, record in found.items() if name != "4.png"] == ["ok"] * 8


def test_face_that_cannot_be_predicted_costs_its_photo(run, tmp_path, monkeypatch):
    predict = Predictor.predict

    def fails(self, crops):
        if any(crop[0, 0, 0] == 70 for crop in crops):
            raise ValueError("not this one")
        return predict(self, crops)

    monkeypatch.setattr(Predictor, "predict", fails)
    monkeypatch.setattr(pipeline_module, "align", crop_of)
    for number in range(6):
        make_photo(tmp_path / "photos" / f"{number}.png", 70 if number == 2 else PLAIN, n_faces=2)
    found = run()
    assert found["2.png"].status == "failed"
    assert "prediction failed" in found["2.png"].error
    assert found["2.png"].faces == []
    assert all(len(record.faces) == 2 for name, record in found.items() if name != "2.png")


def crop_of(image, points, size, colours):
    from batchage.types import FaceCrop, Pose

    return FaceCrop(np.full((size, size, 3), image[0, 0, 0], np.uint8), 1.0, Pose(0, 0, 0))


def test_thumbnail_that_cannot_be_drawn_costs_its_photo(run, tmp_path, monkeypatch):
    def fails(image, faces, side):
        raise ValueError("no font")

    monkeypatch.setattr("batchage.drawing.thumbnails.draw", fails)
    make_photo(tmp_path / "photos" / "a.png")
    make_photo(tmp_path / "photos" / "b.png", NO_FACE)
    found = run(thumbnails=tmp_path / "thumbs")
    assert (found["a.png"].status, found["b.png"].status) == ("failed", "no_face")


def test_full_disk_of_thumbnails_ends_the_scan(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    make_photo(tmp_path / "photos" / "a.png")
    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(OutputError, match="No space left"):
        run(thumbnails=tmp_path / "thumbs")


def test_crash_and_hang_of_the_decoder_are_rows(run, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "DecodePool", faulty_pool)
    names = ["good", "segfault", "hang", "killed", "error", "large", "zgood"]
    for name in names:
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(b"\xff\xd8\xff")
    found = run(timeout=0.5)
    assert {name.removesuffix(".jpg"): str(record.status) for name, record in found.items()} == {
        "good": "no_face", "zgood": "no_face", "segfault": "failed", "killed": "failed",
        "hang": "timeout", "error": "unreadable", "large": "too_large",
    }  # fmt: skip


def faulty_pool(n_workers):
    from batchage.decode import DecodePool

    return DecodePool(n_workers, "tests.faulty:decode")


def test_files_that_vanish_or_change_during_the_scan(run, model, tmp_path):
    folder = tmp_path / "photos"
    for number in range(30):
        make_photo(folder / f"{number:02}.png")
    pipeline = Pipeline(ScanConfig(model=str(model), batch_size=1))
    refs = list(iter_images([folder]))
    records = pipeline.run(iter(refs))
    first = next(records)
    (folder / "28.png").unlink()
    (folder / "29.png").write_bytes(b"changed")
    rest = {record.ref.relative: record for record in records}
    pipeline.close()
    assert first.status == "ok"
    assert rest["28.png"].status == "unreadable"
    assert "no such file" in rest["28.png"].error
    assert rest["29.png"].status == "unreadable"


def test_decoded_bytes_are_bounded_and_one_huge_photo_passes(run, tmp_path, monkeypatch):
    limit = 60_000
    monkeypatch.setattr(pipeline_module, "decoded_bytes", lambda: limit)
    held = []
    budget = pipeline_module.ByteBudget

    class Watched(budget):
        def acquire(self, turn, n_bytes):
            super().acquire(turn, n_bytes)
            held.append((self._used, n_bytes))

    monkeypatch.setattr(pipeline_module, "ByteBudget", Watched)
    for number in range(20):
        size = (400, 300) if number == 7 else (90, 70)
        make_photo(tmp_path / "photos" / f"{number:02}.png", size=size)
    found = run()
    assert len(found) == 20
    assert all(record.status == "ok" for record in found.values())
    assert any(n_bytes > limit for _, n_bytes in held)
    assert all(used <= limit or used == n_bytes for used, n_bytes in held)


def test_leaving_early_stops_threads_and_processes(run, model, tmp_path):
    for number in range(30):
        make_photo(tmp_path / "photos" / f"{number:02}.png")
    pipeline = Pipeline(ScanConfig(model=str(model), batch_size=1))
    before = threading.active_count()
    records = pipeline.run(iter_images([tmp_path / "photos"]))
    next(records)
    workers = [worker._process for worker in pipeline._pool._workers]
    records.close()
    pipeline.close()
    assert threading.active_count() <= before
    assert all(process.poll() is not None for process in workers)


def test_leaving_while_the_last_photo_hangs_is_prompt(run, model, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "DecodePool", faulty_pool)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "hang.jpg").write_bytes(b"\xff\xd8\xff")
    pipeline = Pipeline(ScanConfig(model=str(model), timeout=600))
    # Libraries of other tests may have put their own in its place.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    # As asyncio leaves it, in notebooks for one: a wait is then not interrupted.
    signal.siginterrupt(signal.SIGINT, False)
    try:
        sender = subprocess.Popen(["sh", "-c", f"sleep 1; kill -INT {os.getpid()}"])
        with pytest.raises(KeyboardInterrupt):
            list(pipeline.run(iter_images([tmp_path / "photos"])))
        sender.wait()
    finally:
        signal.signal(signal.SIGINT, handler)
    pipeline.close()
    assert all(worker._process.poll() is not None for worker in pipeline._pool._workers)


LARGE = (2048, 1536)
SMALL_FACE = FACE / 2 + 4


def make_large_photo(path, n_faces=1):
    """A JPEG that is decoded at half its size; the stand-in's face is small in it."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(PLAIN - 8, PLAIN + 8, (LARGE[1], LARGE[0], 3)).astype(np.uint8)
    pixels[:8, :8] = PLAIN
    pixels[:, -8:] = n_faces * 20 + 5
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


@pytest.mark.parametrize("face", [SMALL_FACE, FACE * 20])
def test_crops_and_thumbnails_are_in_srgb(run, tmp_path, face):
    path = tmp_path / "photos" / "large.jpg"
    make_large_photo(path, n_faces=1)
    pixels = np.array(Image.open(path))
    # Skin, in a wide space: these values are paler than the colour they stand for.
    pixels[16:, 16:-16] = (200, 140, 120)
    Image.fromarray(pixels).save(path, quality=95, icc_profile=screen_profile(DISPLAY_P3))
    run.detector.landmarks = face
    folders = {"crops": tmp_path / "crops", "thumbnails": tmp_path / "thumbs"}
    record = run(**folders, detection=DetectorSettings(detect_size=512))["large.jpg"]
    assert (record.status, record.error) == ("ok", None)
    crop = np.asarray(Image.open(tmp_path / "crops" / record.faces[0].crop))
    thumbnail = np.asarray(Image.open(tmp_path / "thumbs" / record.thumbnail))
    skin = decode(path).pixels[700, 1000].astype(int)
    assert np.abs(skin - (211, 137, 116)).max() <= 2
    for found in (crop[16, 16], thumbnail[-100, 300]):
        assert np.abs(found.astype(int) - skin).max() <= 3


def test_an_unusable_profile_is_told_and_changes_no_status(run, tmp_path):
    make_photo(tmp_path / "photos" / "plain.png")
    picture = Image.open(tmp_path / "photos" / "plain.png")
    picture.save(tmp_path / "photos" / "tagged.png", icc_profile=b"nonsense")
    found = run()
    assert [record.status for record in found.values()] == ["ok", "ok"]
    assert found["plain.png"].error is None
    assert "colour profile is damaged" in found["tagged.png"].error
    first, second = (record.faces[0].prediction for record in found.values())
    assert first == second


def test_small_faces_are_cut_out_of_the_full_picture(run, tmp_path):
    path = tmp_path / "photos" / "large.jpg"
    make_large_photo(path, n_faces=2)
    run.detector.landmarks = SMALL_FACE
    make_photo(tmp_path / "photos" / "other.png")
    found = run(crops=tmp_path / "crops", detection=DetectorSettings(detect_size=512))
    assert list(found) == ["large.jpg", "other.png"]
    record = found["large.jpg"]
    assert (record.status, record.width, record.height) == ("ok", *LARGE)
    # Pixel k of the half-size picture is the middle of the pixels 2k and 2k + 1.
    in_full_size = (2 * SMALL_FACE + 0.5).astype(np.float32)
    expected = align(decode(path).pixels, in_full_size, 32)
    for face in record.faces:
        assert np.array_equal(face.landmarks, in_full_size)
        assert face.sharpness == expected.sharpness
    crop = np.asarray(Image.open(tmp_path / "crops" / record.faces[0].crop))
    assert np.array_equal(crop, expected.pixels)


def test_photo_that_is_gone_before_its_small_faces_are_cut_out_is_a_row(run, tmp_path, monkeypatch):
    make_large_photo(tmp_path / "photos" / "large.jpg")
    make_photo(tmp_path / "photos" / "other.png")
    run.detector.landmarks = SMALL_FACE
    detect = StandIn.detect

    def detect_and_remove(self, images):
        (tmp_path / "photos" / "large.jpg").unlink(missing_ok=True)
        return detect(self, images)

    monkeypatch.setattr(StandIn, "detect", detect_and_remove)
    found = run(detection=DetectorSettings(detect_size=512))
    assert found["large.jpg"].status == "unreadable"
    assert "can't be read" in found["large.jpg"].error
    assert found["large.jpg"].faces == []
    assert found["other.png"].status == "ok"


@pytest.mark.parametrize(("least", "n_faces"), [(40, 1), (60, 0)])
def test_smallest_face_is_in_pixels_of_the_photo(run, tmp_path, least, n_faces):
    """The stand-in's box has 24 pixels, 48 in the photo."""
    make_large_photo(tmp_path / "photos" / "large.jpg")
    found = run(detection=DetectorSettings(detect_size=512, min_face_size=least))
    assert len(found["large.jpg"].faces) == n_faces


def test_full_size_that_takes_too_long_leaves_the_faces_of_the_reduced_picture(
    run, tmp_path, monkeypatch
):
    make_large_photo(tmp_path / "photos" / "large.jpg")
    run.detector.landmarks = SMALL_FACE
    submit = Recropper.submit

    def submit_late(self, *arguments):
        self._timeout = 1e-3
        return submit(self, *arguments)

    monkeypatch.setattr(Recropper, "submit", submit_late)
    record = run(detection=DetectorSettings(detect_size=512))["large.jpg"]
    assert (record.status, len(record.faces)) == ("ok", 1)
    assert "reduced picture: decoding took more than" in record.error


def test_workers_that_cannot_be_started_end_the_scan(run, tmp_path, monkeypatch):
    make_large_photo(tmp_path / "photos" / "large.jpg")
    run.detector.landmarks = SMALL_FACE

    def fail(*_):
        raise WorkerError("no processes")

    monkeypatch.setattr(Recropper, "submit", fail)
    with pytest.raises(WorkerError):
        run(detection=DetectorSettings(detect_size=512))


def test_order_is_kept_while_small_faces_are_cut_out(run, tmp_path):
    for number in range(30):
        if number % 3:
            make_photo(tmp_path / "photos" / f"{number:02}.png")
        else:
            make_large_photo(tmp_path / "photos" / f"{number:02}.jpg")
    run.detector.landmarks = SMALL_FACE
    found = run(detection=DetectorSettings(detect_size=512))
    assert [int(name[:2]) for name in found] == list(range(30))
    assert all(len(record.faces) == 1 for record in found.values())


def test_batches_are_halved_where_memory_does_not_suffice(model):
    predictor = Predictor(load_bundle(str(model), KIND), Compute("cpu", "float32", ""), 8)
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(11)]
    expected = predictor.predict(crops)
    forward = predictor._forward

    def starved(batch):
        if len(batch) > 2:
            raise MemoryError
        return forward(batch)

    predictor._forward = starved
    found = predictor.predict(crops)
    assert predictor.batch_size == 2
    assert found == expected
    predictor._forward = lambda batch: starved(np.zeros(9))
    with pytest.raises(MemoryError):
        predictor.predict(crops)
    assert predictor.batch_size == 1
