"""Bundle, network and predictor, on tiny random networks."""

import contextlib
import itertools
import json
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.align import align, whole_picture
from batchage.errors import BundleError, MissingExtraError, UsageError
from batchage.networks import Compute, choose_compute, load_bundle
from batchage.networks.hardware import Processor, processor
from batchage.predict import KIND, Architecture, Calibration, Predictor, RawOutputs
from batchage.predict.calibration import quantile_interval, scale_probability, to_predictions
from batchage.predict.predictor import fastest_batch
from tests.builders import make_bundle
from tests.command import ROOT

FLOAT32 = Compute("cpu", "float32", "test")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def predictor(bundle):
    return Predictor(bundle, FLOAT32, batch_size=4)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (lambda n: n, 32),
        (lambda n: 100 + n, 256),
        (lambda n: max(n, 128), 128),
        (lambda n: max(n, 48), 64),
    ],
    ids=["each face costs alike", "each batch costs much", "128 at once", "48 at once"],
)
def test_batches_on_a_gpu_are_doubled_while_that_is_worth_it(monkeypatch, seconds, expected):
    now = [0.0]
    monkeypatch.setattr("batchage.predict.predictor.time.perf_counter", lambda: now[0])

    def forward(batch):
        now[0] += seconds(len(batch))

    assert fastest_batch(forward, 8) == expected


def test_batches_on_a_gpu_are_no_larger_than_its_memory(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr("batchage.predict.predictor.time.perf_counter", lambda: next(ticks))

    def forward(batch):
        if len(batch) > 64:
            raise MemoryError

    assert fastest_batch(forward, 8) == 64


def test_the_batch_size_is_searched_on_a_gpu_only_and_unless_given(bundle):
    # Keras goes to the GPU if there is one, and else runs all the same.
    gpu = Compute("gpu", "float32", "test")
    assert Predictor(bundle, FLOAT32).batch_size == 32
    assert Predictor(bundle, gpu).batch_size in (32, 64, 128, 256)
    assert Predictor(bundle, gpu, batch_size=5).batch_size == 5


def crops(n):
    return list(np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 9])
def test_padding_never_shows(predictor, n):
    together = predictor.predict(crops(9)[:n])
    assert len(together) == n
    for crop, prediction in zip(crops(9), together, strict=False):
        alone = predictor.predict([crop])[0]
        assert alone.age_years == pytest.approx(prediction.age_years, abs=1e-3)
        assert alone.prob_female == pytest.approx(prediction.prob_female, abs=1e-4)


def test_prediction_is_in_range(predictor):
    for p in predictor.predict(crops(9)):
        assert 0 <= p.age_low <= p.age_years <= p.age_high
        assert p.age_years <= 100
        assert 0 <= p.prob_female <= 1
        assert p.gender == ("female" if p.prob_female >= 0.5 else "male")


def test_what_is_no_number_is_no_prediction(bundle, monkeypatch):
    predictor = Predictor(bundle, FLOAT32)
    outputs = predictor._forward(np.stack(crops(2)))
    monkeypatch.setattr(
        predictor,
        "_forward",
        lambda _: {**outputs, "age_distribution": outputs["age_distribution"] * np.nan},
    )
    with pytest.raises(BundleError, match="no number"):
        predictor.predict(crops(2))


def test_age_is_the_expectation_of_its_distribution(predictor):
    raw = predictor.predict_raw(crops(5))
    assert np.allclose(raw.distribution.sum(axis=1), 1, atol=1e-4)
    assert np.allclose(raw.distribution @ np.arange(101), raw.age, atol=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_face_has_the_same_numbers_alone_and_among_others(precision):
    shipped = load_bundle("vgg16-utkface", KIND)
    predictor = Predictor(shipped, Compute("cpu", precision, "test"))
    some = list(np.random.default_rng(0).integers(0, 256, (6, 128, 128, 3), np.uint8))
    together = predictor.predict_raw(some)
    for n in (1, 2, 5):
        parts = [predictor.predict_raw(some[i : i + n]) for i in range(0, 6, n)]
        assert np.array_equal(np.concatenate([p.age for p in parts]), together.age)
        assert np.array_equal(np.concatenate([p.gender for p in parts]), together.gender)


def test_bundle_round_trip_keeps_the_weights(bundle):
    with h5py.File(bundle.path / "weights.h5") as file:
        assert file["age/kernel"].dtype == np.float16
        assert np.array_equal(file["age/kernel"][:, 0], np.arange(101))


def test_calibration_widens_and_softens():
    mass = np.zeros((1, 101), np.float32)
    mass[0, 30] = 1
    raw = RawOutputs(np.array([30.0], np.float32), mass, np.array([0.9], np.float32))
    narrow = to_predictions(raw, Calibration())[0]
    wide = to_predictions(raw, Calibration(age_scales=(3.0,), gender_temperatures=(2.0,)))[0]
    # Nine tenths of one year's mass reach 0.45 years to either side, and half a year is added.
    assert (narrow.age_low, narrow.age_high) == (30, 30)
    assert (wide.age_low, wide.age_high) == (28, 32)
    assert 0.5 < wide.prob_female < narrow.prob_female
    assert to_predictions(raw, Calibration(age_scales=(99.0,)))[0].age_low == 0


def test_scales_and_temperatures_are_in_proportion_between_their_knots():
    calibration = Calibration(
        age_knots=(20.0, 40.0), age_scales=(1.0, 3.0),
        gender_knots=(0.0, 10.0), gender_temperatures=(2.0, 1.0),
    )  # fmt: skip
    ages = np.array([0.0, 20.0, 30.0, 35.0, 40.0, 99.0], np.float32)
    assert calibration.scale_at(ages).tolist() == [1, 1, 2, 2.5, 3, 3]
    assert calibration.temperature_at(ages[:2] / 4).tolist() == [2, 1.5]


def test_an_age_is_let_in_by_its_own_scale():
    mass = np.zeros((1, 101), np.float32)
    mass[0, 30] = 1
    raw = RawOutputs(np.array([30.0], np.float32), mass, np.array([0.9], np.float32))
    (found,) = to_predictions(raw, Calibration(age_knots=(30.0, 31.0), age_scales=(1.0, 6.0)))
    assert (found.age_low, found.age_high) == (30, 35)


def test_mirror_images_are_averaged(bundle, predictor):
    averaged = Predictor(bundle, FLOAT32, 4, tta=True).predict_raw(crops(5))
    plain = predictor.predict_raw(crops(5))
    mirrored = predictor.predict_raw([crop[:, ::-1] for crop in crops(5)])
    assert np.allclose(averaged.age, (plain.age + mirrored.age) / 2, atol=1e-3)
    assert np.allclose(averaged.gender, (plain.gender + mirrored.gender) / 2, atol=1e-4)
    assert np.allclose(averaged.distribution.sum(axis=1), 1, atol=1e-4)
    assert not np.allclose(plain.age, mirrored.age, atol=1e-5)


def test_quantile_interval_holds_the_stated_mass():
    mass = np.full((1, 101), 1 / 101, np.float32)
    low, high = quantile_interval(mass, 0.9)[0]
    assert high - low == pytest.approx(0.9 * 101, abs=0.01)


def test_temperature_one_changes_nothing():
    p = np.array([0.0, 0.2, 0.5, 1.0])
    assert np.allclose(scale_probability(p, 1.0), p, atol=1e-5)


def damage_weights(path):
    data = bytearray((path / "weights.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "weights.h5").write_bytes(data)


def edit_spec(**changes):
    def edit(path):
        spec = json.loads((path / "model.json").read_text())
        (path / "model.json").write_text(json.dumps({**spec, **changes}))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_weights, "SHA-256"),
        (lambda path: (path / "weights.h5").unlink(), "can't be read"),
        (lambda path: (path / "model.json").unlink(), "not a readable bundle"),
        (lambda path: (path / "model.json").write_text("{"), "not a readable bundle"),
        (lambda path: (path / "model.json").write_text("[]"), "not a readable bundle"),
        (edit_spec(format=99), "bundle format 99"),
        (edit_spec(kind="other"), "of kind 'other'"),
    ],
)
def test_broken_bundle_is_refused(tmp_path, damage, message):
    make_bundle(tmp_path / "tiny")
    damage(tmp_path / "tiny")
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "tiny", KIND)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"layers": 3}},
        {"calibration": None},
        {"calibration": {**asdict(Calibration()), "age_scales": [1.0, 2.0]}},
        {"calibration": {**asdict(Calibration()), "age_knots": ["x"]}},
        {"calibration": {**asdict(Calibration()), "gender_temperatures": [0.0]}},
        {"calibration": {**asdict(Calibration()), "gender_heat": 1.0}},
        {"input_size": "big"},
    ],
)
def test_bundle_with_unusable_settings_is_refused(tmp_path, changes):
    with pytest.raises(BundleError, match="export it again"):
        Predictor(make_bundle(tmp_path / "tiny", **changes), FLOAT32)


def test_weights_of_another_shape_are_refused(tmp_path):
    other = Architecture(shared_units=4, age_units=8, gender_units=8).to_dict()
    with pytest.raises(BundleError, match="don't fit"):
        Predictor(make_bundle(tmp_path / "tiny", architecture=other), FLOAT32)


def test_missing_bundle_names_the_shipped_ones():
    with pytest.raises(UsageError, match=r"shipped bundles: vgg16-utkface$"):
        load_bundle("no-such-bundle", KIND)
    with pytest.raises(BundleError, match="'vgg16-age-gender' is needed here"):
        load_bundle("retinaface-mobilenet025", KIND)


def test_unknown_device_and_precision_are_refused():
    with pytest.raises(UsageError, match="auto, cpu, gpu"):
        choose_compute(device="tpu")
    with pytest.raises(UsageError, match="bfloat16"):
        choose_compute(precision="int4")


def test_the_model_id_tells_apart_what_predicts_differently(tmp_path):
    other = asdict(Calibration(gender_temperatures=(2.0,)))
    changes = [{}, {"description": "other words"}, {"calibration": other}]
    ids = []
    for number, change in enumerate(changes):
        ids.append(make_bundle(tmp_path / str(number) / "tiny", **change).model_id)
    assert ids[0].startswith("tiny@")
    assert ids[0] == ids[1] != ids[2]


def test_int8_is_for_processors(monkeypatch):
    monkeypatch.setattr("batchage.networks.hardware._find_gpu", lambda is_wanted: "")
    with pytest.raises(UsageError, match="--device cpu"):
        choose_compute(precision="int8")
    with pytest.raises(UsageError, match="--device cpu"):
        choose_compute(detect_precision="int8")
    assert choose_compute().detect_precision == "float32"
    assert choose_compute("cpu", "int8").precision == "int8"


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        ({}, "no activation_ranges, which int8 needs"),
        ({"block1_conv2": 3.0}, "no usable activation_ranges"),
        ({"block1_conv2": [1.0, 3.0]}, "no usable activation_ranges"),
        ({"block1_conv2": [0.0, "wide"]}, "no usable activation_ranges"),
        ([1.0], "no usable activation_ranges"),
        ({"block1_conv2": [0.0, 5e-324]}, "no usable activation_ranges"),
        ({"block1_conv2": [0.0, 1e300]}, "no usable activation_ranges"),
        ({"block9_conv9": [0.0, 1.0]}, "no convolution is called block9_conv9"),
    ],
)
def test_int8_needs_ranges(tmp_path, ranges, reason):
    bundle = make_bundle(tmp_path / "tiny", activation_ranges=ranges)
    with pytest.raises(BundleError, match=reason):
        Predictor(bundle, Compute("cpu", "int8", "test"))


@pytest.mark.parametrize(
    ("flag", "precision"), [("avx512_vnni", "int8"), ("avx_vnni", "int8"), ("avx2", "float32")]
)
def test_the_detectors_precision_is_chosen_by_the_processor(monkeypatch, flag, precision):
    here = Processor("GenuineIntel", frozenset({flag}))
    monkeypatch.setattr("batchage.networks.hardware.processor", lambda: here)
    assert choose_compute("cpu").detect_precision == precision
    assert choose_compute("cpu", "int8").detect_precision == precision
    for asked in ("float32", "int8"):
        assert choose_compute("cpu", detect_precision=asked).detect_precision == asked
    with pytest.raises(UsageError, match="detect precision 'int4'"):
        choose_compute(detect_precision="int4")


@pytest.mark.parametrize(
    ("vendor", "flags", "precision"),
    [
        ("GenuineIntel", {"avx512_bf16", "amx_bf16"}, "bfloat16"),
        ("GenuineIntel", {"avx512_bf16"}, "float32"),
        ("AuthenticAMD", {"avx512_bf16"}, "bfloat16"),
        ("AuthenticAMD", {"avx2"}, "float32"),
        ("", set(), "float32"),
    ],
)
def test_precision_is_chosen_by_the_processor(monkeypatch, vendor, flags, precision):
    here = Processor(vendor, frozenset(flags))
    monkeypatch.setattr("batchage.networks.hardware.processor", lambda: here)
    assert choose_compute("cpu").precision == precision
    assert choose_compute("cpu", "int8").precision == "int8"


def test_float16_is_refused_where_something_else_would_be_run(monkeypatch):
    monkeypatch.setattr("batchage.networks.hardware.processor", Processor)
    with pytest.raises(UsageError, match="choose bfloat16 or float32"):
        choose_compute("cpu", "float16")
    here = Processor("GenuineIntel", frozenset({"avx512_fp16"}))
    monkeypatch.setattr("batchage.networks.hardware.processor", lambda: here)
    assert choose_compute("cpu", "float16").precision == "float16"


def test_this_processor_is_read():
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("the processor is read from /proc")
    assert processor().flags or not Path("/proc/cpuinfo").read_text().count("flags")


def test_gpu_is_used_only_where_there_is_one(monkeypatch):
    monkeypatch.setattr("batchage.networks.hardware.count_gpus", lambda: 0)
    assert choose_compute().device == "cpu"
    with pytest.raises(UsageError, match="no GPU was found"):
        choose_compute("gpu")


def test_gpu_without_tensorflow_is_explained(monkeypatch):
    monkeypatch.setattr("batchage.networks.hardware.count_gpus", lambda: 1)
    monkeypatch.setattr("batchage.networks.hardware.has_tensorflow", lambda: False)
    found = choose_compute()
    assert found.device == "cpu"
    assert "pip install 'batchage[gpu]'" in found.reason
    with pytest.raises(MissingExtraError, match=r"batchage\[gpu\]"):
        choose_compute("gpu")


@pytest.mark.parametrize("sees_it", [True, False])
def test_gpu_is_used_if_tensorflow_sees_it(monkeypatch, sees_it):
    devices = SimpleNamespace(list_physical_devices=lambda kind: ["GPU:0"] * sees_it)
    monkeypatch.setattr("batchage.networks.hardware.count_gpus", lambda: 1)
    monkeypatch.setattr(
        "batchage.networks.hardware.load_tensorflow", lambda: SimpleNamespace(config=devices)
    )
    found = choose_compute()
    assert (found.device, found.precision) == (
        ("gpu", "float16") if sees_it else ("cpu", choose_compute("cpu").precision)
    )
    assert choose_compute("cpu").device == "cpu"
    if not sees_it:
        with pytest.raises(UsageError, match="can't use the GPU"):
            choose_compute("gpu")


UTKFACE = ROOT.parent / "shared" / "data" / "utkface_dev.tar"
N_CROPS = 64


@pytest.fixture(scope="module")
def real_crops():
    """UTKFace chips are aligned already; framed as whole pictures they are crops."""
    if not UTKFACE.exists():
        pytest.skip("UTKFace is not beside the checkout")
    found, size = [], load_bundle("vgg16-utkface", KIND).spec["input_size"]
    with tarfile.open(UTKFACE) as archive:
        for member in itertools.islice((m for m in archive if m.isfile()), 0, 300 * N_CROPS, 300):
            data = np.frombuffer(archive.extractfile(member).read(), np.uint8)
            chip = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
            found.append(align(chip, whole_picture(*chip.shape[1::-1]), size).pixels)
    return found


@pytest.mark.parametrize(
    ("precision", "years", "gender"),
    [("float16", 0.05, 0.01), ("bfloat16", 0.3, 0.01), ("int8", 0.8, 0.08)],
)
def test_less_precision_changes_real_faces_little(real_crops, precision, years, gender):
    """At the 99th percentile; bfloat16 has 8 bits, float16 eleven."""
    bundle = load_bundle("vgg16-utkface", KIND)
    if precision == "float16" and not processor().has_float16:
        pytest.skip("this processor has no float16 arithmetic")
    exact, found = (
        Predictor(bundle, Compute("cpu", kind, "test")).predict_raw(real_crops)
        for kind in ("float32", precision)
    )
    assert len(found.age) == N_CROPS
    assert np.percentile(np.abs(found.age - exact.age), 99) < years
    assert 0 < np.percentile(np.abs(found.gender - exact.gender), 99) < gender


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
paths_in_spec = st.sampled_from(
    [(), ("kind",), ("format",), ("weights",), ("weights", "sha256"), ("input_size",),
     ("architecture",), ("architecture", "shared_units"), ("architecture", "dropout"),
     ("calibration",), ("calibration", "age_knots"), ("calibration", "age_scales"),
     ("calibration", "coverage")]
)  # fmt: skip


@given(paths_in_spec, values)
def test_any_description_gives_a_predictor_or_a_bundle_error(bundle, place, value):
    spec = json.loads((bundle.path / "model.json").read_text())
    changed = spec if place else value
    if place:
        *outer, last = place
        for name in outer:
            changed = changed[name]
        changed[last] = value
        changed = spec
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "weights.h5").symlink_to(bundle.path / "weights.h5")
        (path / "model.json").write_text(json.dumps(changed))
        with contextlib.suppress(BundleError):
            Predictor(load_bundle(path, KIND), FLOAT32, batch_size=1)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_description_are_a_bundle_error(data):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.json").write_bytes(data)
        with pytest.raises(BundleError):
            load_bundle(folder, KIND)
