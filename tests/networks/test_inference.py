"""Both forms of each network give the same numbers, and weights that don't fit are refused."""

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batchage.detect import _retinaface_network as detector
from batchage.errors import BundleError
from batchage.networks import (
    Compute,
    GraphBuilder,
    load_bundle,
    load_forward,
    network_weights,
    write_weights,
)
from batchage.networks.bundle import read_weights
from batchage.predict import network as predictor
from tests.builders import TINY, make_bundle

OPENVINO = Compute("cpu", "float32", "test")
# Keras goes to the GPU if there is one, and else runs all the same.
KERAS = Compute("gpu", "float32", "test")
SHIPPED = load_bundle("vgg16-utkface", predictor.KIND)


def load_detector(compute):
    bundle = load_bundle("retinaface-mobilenet025", detector.KIND)
    return load_forward(compute, bundle, detector.build_network, detector.build_graph)


def load_predictor(compute, bundle=SHIPPED):
    architecture = predictor.Architecture(**bundle.spec["architecture"])
    return load_forward(
        compute,
        bundle,
        lambda: predictor.build_network(architecture),
        lambda graph: predictor.build_graph(graph, architecture, bundle.spec["input_size"]),
    )


def random_pictures(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def assert_same(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        assert np.abs(found[name] - values).max() < tolerance, name


def test_both_detectors_give_the_same_numbers():
    openvino, keras = load_detector(OPENVINO), load_detector(KERAS)
    for shape in [(1, 96, 128), (2, 128, 96), (1, 320, 320)]:
        batch = random_pictures(*shape)
        assert_same(openvino(batch), keras(batch), 1e-3)


def test_both_predictors_give_the_same_numbers(tmp_path):
    tiny = make_bundle(tmp_path / "tiny")
    for bundle, n in [(tiny, 5), (SHIPPED, 3)]:
        batch = random_pictures(n, bundle.spec["input_size"], bundle.spec["input_size"])
        assert_same(
            load_predictor(OPENVINO, bundle)(batch), load_predictor(KERAS, bundle)(batch), 1e-3
        )


def test_weights_go_into_the_graph_as_arrays():
    # Handed to an operation as they are, they become Python lists, which take most of a second.
    architecture = predictor.Architecture(**SHIPPED.spec["architecture"])
    size = sum(array.nbytes for array in read_weights(SHIPPED.weights).values())
    tracemalloc.start()
    try:
        graph = GraphBuilder(SHIPPED.weights)
        graph.build(predictor.build_graph(graph, architecture, SHIPPED.spec["input_size"]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_face_gets_the_same_numbers_in_any_company(precision):
    forward = load_predictor(replace(OPENVINO, precision=precision))
    size = SHIPPED.spec["input_size"]
    batch = random_pictures(7, size, size)
    together = forward(batch)
    for k in range(len(batch)):
        alone = forward(batch[k : k + 1])
        for name, values in alone.items():
            # Matrix kernels are chosen by batch on some processors, which moves the last bit.
            assert np.allclose(values[0], together[name][k], rtol=0, atol=1e-4), name


def test_keras_traces_nothing_again_for_new_sizes():
    traces = []

    class Counted:
        def __init__(self):
            self.network = detector.build_network()
            self.weights = self.network.weights

        def __call__(self, images, training):
            traces.append(images.shape)
            return self.network(images, training=training)

    bundle = load_bundle("retinaface-mobilenet025", detector.KIND)
    forward = load_forward(KERAS, bundle, Counted, detector.build_graph)
    for shape in [(1, 64, 96), (2, 64, 96), (1, 96, 64), (3, 64, 64)]:
        forward(random_pictures(*shape))
    assert len(traces) == 1


@pytest.mark.parametrize("compute", [OPENVINO, KERAS], ids=["openvino", "keras"])
@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("shared/kernel"),
        lambda weights: weights.update({"shared/kernel": np.zeros((512, 3), np.float32)}),
        lambda weights: weights.update({"more/kernel": np.zeros(3, np.float32)}),
    ],
    ids=["missing", "another shape", "surplus"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, compute, change):
    weights = network_weights(predictor.build_network(TINY))
    change(weights)
    write_weights(tmp_path / "weights.h5", weights)
    with pytest.raises(BundleError, match=r"weights\.h5.*don't fit the network"):
        load_forward(
            compute,
            replace(SHIPPED, path=tmp_path),
            lambda: predictor.build_network(TINY),
            lambda graph: predictor.build_graph(graph, TINY, 32),
        )


def test_a_file_that_is_no_weights_file_is_refused(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"no HDF5")
    with pytest.raises(BundleError, match="export the bundle again"):
        load_forward(OPENVINO, replace(SHIPPED, path=tmp_path), None, lambda graph: {})


STARVED = """
import resource
from pathlib import Path
import numpy as np
from batchage.networks.bundle import load_bundle
from batchage.networks.hardware import Compute
from batchage.predict.network import KIND
from batchage.predict.predictor import Predictor
predictor = Predictor(load_bundle("vgg16-utkface", KIND), Compute("cpu", "float32", ""), 96)
crops = [np.zeros((predictor.input_size,) * 2 + (3,), np.uint8)] * 96
predictor.predict(crops[:1])
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (400 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(len(predictor.predict(crops)), predictor.batch_size)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_batches_are_halved_where_memory_really_does_not_suffice():
    result = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    n_faces, batch_size = map(int, result.stdout.split())
    assert n_faces == 96
    assert batch_size < 96


def test_pictures_of_few_shapes_are_taken_one_by_one():
    bundle = load_bundle("retinaface-mobilenet025", detector.KIND)
    forward = load_forward(
        OPENVINO, bundle, detector.build_network, detector.build_graph, few_shapes=True
    )
    batch = random_pictures(3, 96, 128)
    assert_same(forward(batch), load_detector(OPENVINO)(batch), 1e-3)
