"""Keep only the faces that the model can judge well: large, sharp, and turned to the camera.

    python examples/filter_by_quality.py                       # the example photos
    python examples/filter_by_quality.py photos -o good.csv --min-size 120

The model card has the errors by size, sharpness and turn of the face.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import batchage

PHOTOS = Path(__file__).parent / "photos"
COLUMNS = ["image_path", "face_index", "age_years", "gender", "face_size_px", "sharpness", "yaw"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Scan photos and keep the faces of good quality.")
    parser.add_argument("photos", type=Path, nargs="?", default=PHOTOS)
    parser.add_argument("-o", "--output", type=Path, default=Path("good-faces.csv"))
    parser.add_argument("--min-size", type=float, default=80, help="pixels")
    parser.add_argument("--min-sharpness", type=float, default=100)
    parser.add_argument("--max-yaw", type=float, default=0.35, help="0 frontal to 1 in profile")
    arguments = parser.parse_args()
    faces = batchage.scan(arguments.photos).faces
    tests = {
        "large enough": faces.face_size_px >= arguments.min_size,
        "sharp enough": faces.sharpness >= arguments.min_sharpness,
        "frontal enough": faces.yaw.abs() <= arguments.max_yaw,
    }
    for name, passed in tests.items():
        print(f"{name}: {passed.sum()} of {len(faces)}")
    good = faces[tests["large enough"] & tests["sharp enough"] & tests["frontal enough"]]
    good.to_csv(arguments.output, columns=COLUMNS, index=False)
    print(f"{len(good)} faces in {arguments.output}")


if __name__ == "__main__":
    main()
