"""Each stage by itself, the start, and a scan of photos of 12 megapixels.

python -m tests.benchmarks.stages -o stages.json
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from batchage.align import align
from batchage.config import DEFAULT_MODEL, DetectorSettings
from batchage.decode import decode
from batchage.detect import _retinaface_network
from batchage.detect.retinaface import RetinaFace, letterbox
from batchage.networks import Compute, has_tensorflow, load_bundle, load_forward
from batchage.predict import network as predict_network
from batchage.tiles import reduced_side
from tests.benchmarks.machine import save, shortest
from tests.benchmarks.photos import make_photos

OPENVINO = Compute("cpu", "float32", "measured")
KERAS = Compute("gpu", "float32", "measured")
DETECT_SIZE = DetectorSettings().detect_size
BATCH = 32


def measure_decoding(photo: Path) -> dict[str, float]:
    """Milliseconds for one photo."""
    enough = reduced_side(DETECT_SIZE)
    reduced = decode(photo, enough=enough).pixels
    return {
        "full": 1000 * shortest(lambda: decode(photo)),
        "reduced": 1000 * shortest(lambda: decode(photo, enough=enough)),
        "letterbox": 1000 * shortest(lambda: letterbox(reduced, DETECT_SIZE, DETECT_SIZE)),
    }


def runtimes() -> dict[str, Compute]:
    """What networks can run on here."""
    return {"openvino": OPENVINO, **({"keras": KERAS} if has_tensorflow() else {})}


def measure_detection() -> dict[str, float]:
    """Milliseconds for one photo of 3:4, the network alone."""
    bundle = load_bundle("retinaface-mobilenet025", _retinaface_network.KIND)
    photo = np.zeros((DETECT_SIZE * 3 // 4, DETECT_SIZE, 3), np.uint8)
    batch = letterbox(photo, DETECT_SIZE, DETECT_SIZE).canvas[None]
    found = {}
    for name, compute in (runtimes() | {"int8": replace(OPENVINO, precision="int8")}).items():
        forward = load_forward(
            compute,
            bundle,
            _retinaface_network.build_network,
            _retinaface_network.build_graph,
            few_shapes=True,
        )
        found[name] = 1000 * shortest(lambda forward=forward: forward(batch))
    return found


def measure_prediction() -> dict[str, float]:
    """Milliseconds a face, in batches, the network alone, also in less precision."""
    bundle = load_bundle(DEFAULT_MODEL, predict_network.KIND)
    architecture = predict_network.Architecture(**bundle.spec["architecture"])
    size = bundle.spec["input_size"]
    batch = np.zeros((BATCH, size, size, 3), np.uint8)
    found = {}
    less = {name: replace(OPENVINO, precision=name) for name in ("bfloat16", "int8")}
    for name, compute in (runtimes() | less).items():
        forward = load_forward(
            compute,
            bundle,
            lambda: predict_network.build_network(architecture),
            lambda graph: predict_network.build_graph(graph, architecture, size),
        )
        found[name] = 1000 * shortest(lambda forward=forward: forward(batch)) / BATCH
    return found


def measure_alignment(photo: Path) -> float:
    """Milliseconds a face."""
    image = decode(photo, enough=reduced_side(DETECT_SIZE)).pixels
    landmarks = RetinaFace(DetectorSettings(), OPENVINO).detect([image])[0].landmarks
    return 1000 * shortest(lambda: [align(image, p, 128) for p in landmarks]) / len(landmarks)


def scan(folder: Path, output: Path, *options: object) -> float:
    """Seconds of the command, from its start to its end."""
    command = [sys.executable, "-m", "batchage", "scan", folder, "-o", output, "-q", "--overwrite"]
    start = time.perf_counter()
    subprocess.run(list(map(str, [*command, *options])), check=True)
    return time.perf_counter() - start


def measure_scans(folder: Path, n_photos: int) -> dict[str, Any]:
    """One photo, which is the start, and many."""
    n_faces = make_photos(folder / "many", n_photos)
    make_photos(folder / "one", 1)
    output = folder / "r.parquet"
    one = min(scan(folder / "one", output) for _ in range(3))
    many = scan(folder / "many", output)
    return {
        "photos": n_photos,
        "faces": n_faces,
        "one_photo_s": one,
        "all_s": many,
        "photos_per_s": n_photos / many,
        "ms_per_further_photo": 1000 * (many - one) / (n_photos - 1),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scans = measure_scans(Path(folder), arguments.photos)
        photo = Path(folder) / "many" / "000001.jpg"
        results = {
            "decoding_ms": measure_decoding(photo),
            "detection_ms": measure_detection(),
            "alignment_ms_a_face": measure_alignment(photo),
            "prediction_ms_a_face": measure_prediction(),
            "scan": scans,
        }
    save(arguments.output, results)


if __name__ == "__main__":
    main()
