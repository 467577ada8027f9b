"""Use a detector of your own: here one that keeps only the largest face of each photo.

    python examples/custom_detector.py                         # the example photos
    python examples/custom_detector.py portraits -o portraits.parquet

A detector has a `detector_id` and a method `detect`, which returns boxes, five landmarks and scores
for each picture. This one asks the shipped detector; another network would take its place.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import batchage
from batchage.config import DEFAULT_DETECTOR
from batchage.detect import create_detector
from batchage.networks import Compute
from batchage.types import ImageArray, box_sizes

PHOTOS = Path(__file__).parent / "photos"


class LargestFace:
    """The shipped detector, less all faces but the largest."""

    def __init__(self, settings: batchage.DetectorSettings, compute: Compute) -> None:
        self._inner = create_detector(DEFAULT_DETECTOR, settings, compute)
        self.detector_id = f"largest-of-{self._inner.detector_id}"

    def detect(self, images: Sequence[ImageArray]) -> list[batchage.Detections]:
        """The largest face of each picture, or none."""
        found = self._inner.detect(images)
        return [faces.select((-box_sizes(faces.boxes)).argsort()[:1]) for faces in found]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Scan photos with a detector of one's own.")
    parser.add_argument("photos", type=Path, nargs="?", default=PHOTOS)
    parser.add_argument("-o", "--output", type=Path, default=Path("largest.parquet"))
    arguments = parser.parse_args()
    batchage.register_detector("largest-face", LargestFace)
    result = batchage.scan(
        arguments.photos, output=arguments.output, update=True, detector="largest-face"
    )
    print(result.faces[["image_path", "face_size_px", "age_years", "gender"]].to_string())


if __name__ == "__main__":
    main()
