"""Whether each face is found, and found once: small ones in photos, and any share of the frame.

    python -m tests.benchmarks.detection --manifest runs/fairface.parquet -o detection.json

Heads in photos as cameras make them, and pictures of a manifest's test split, each with one face,
enlarged or shrunk to shares of a frame of 1,200 pixels; of more than 1, the middle is seen.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from batchage.config import DEFAULT_DETECTOR, DetectorSettings
from batchage.decode import decode
from batchage.detect import Detector, create_detector
from batchage.networks import choose_compute
from batchage.tiles import reduced_side
from batchage.types import ImageArray
from tests.benchmarks.machine import save
from tests.benchmarks.photos import make_photos
from train.data import read_manifests, read_pixels

FRAME = 1200
SHARES = (0.08, 0.15, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.25)
N_PHOTOS = 20


def framed(picture: ImageArray, share: float, rng: np.random.Generator) -> ImageArray:
    """The picture as `share` of a frame with a soft background."""
    side = round(FRAME * share)
    scaled = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    if side >= FRAME:
        start = (side - FRAME) // 2
        return scaled[start : start + FRAME, start : start + FRAME]
    coarse = rng.integers(60, 200, (6, 8, 3), np.uint8)
    frame = cv2.resize(coarse, (FRAME, FRAME), interpolation=cv2.INTER_CUBIC)
    start = (FRAME - side) // 2
    frame[start : start + side, start : start + side] = scaled
    return frame


def measure_shares(detector: Detector, pictures: list[ImageArray]) -> dict[str, dict[str, int]]:
    """Pictures in which a face is found, and faces found, by share of the frame."""
    found = {}
    for share in SHARES:
        rng = np.random.default_rng(0)
        counts = [len(detector.detect([framed(p, share, rng)])[0]) for p in pictures]
        found[f"{share}"] = {"pictures": sum(map(bool, counts)), "faces": sum(counts)}
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--manifest", type=Path, required=True, help="what train.prepare wrote")
    parser.add_argument("--faces", type=int, default=120, help="pictures of the test split")
    parser.add_argument("--detect-size", type=int, nargs="+", default=[640, 960, 1280])
    parser.add_argument("--detect-precision", nargs="+", default=["float32", "int8"])
    arguments = parser.parse_args()
    rows = read_manifests([arguments.manifest], "test").slice(0, arguments.faces)
    pictures = [read_pixels(Path(path)) for path in rows["path"].to_pylist()]
    results: dict[str, Any] = {"pictures": len(pictures)}
    with tempfile.TemporaryDirectory() as folder:
        results["heads"] = make_photos(Path(folder), N_PHOTOS)
        for size, precision in product(arguments.detect_size, arguments.detect_precision):
            settings = DetectorSettings(detect_size=size)
            compute = choose_compute(detect_precision=precision)
            detector = create_detector(DEFAULT_DETECTOR, settings, compute)
            photos = (
                decode(path, enough=reduced_side(size)).pixels
                for path in sorted(Path(folder).iterdir())
            )
            results[f"{size} {precision}"] = {
                "heads_found": sum(len(detector.detect([photo])[0]) for photo in photos),
                "share_of_frame": measure_shares(detector, pictures),
            }
    save(arguments.output, {"detection": results})


if __name__ == "__main__":
    main()
