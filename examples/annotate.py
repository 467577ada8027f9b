"""Draw frames and labels on photos from Python, at any size, and only where you want them.

    python examples/annotate.py                                # the example photos
    python examples/annotate.py photos -o annotated --side 1600 --min-score 0.9

A `batchage.Scan` gives each photo as soon as it is done, so that nothing is kept in memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import batchage
from batchage.decode import decode
from batchage.drawing import draw, prepare_folder, save_picture
from batchage.places import thumbnail_name

PHOTOS = Path(__file__).parent / "photos"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Scan photos and draw the faces on them.")
    parser.add_argument("photos", type=Path, nargs="?", default=PHOTOS)
    parser.add_argument("-o", "--output", type=Path, default=Path("annotated"), help="folder")
    parser.add_argument("--side", type=int, default=1024, help="longest side in pixels")
    parser.add_argument("--min-score", type=float, default=0.8, help="of the detector, 0 to 1")
    arguments = parser.parse_args()
    prepare_folder(arguments.output)
    photos = batchage.iter_images([arguments.photos])
    with batchage.Scan(photos, batchage.ScanConfig()) as scan:
        for record in scan:
            faces = [face for face in record.faces if face.score >= arguments.min_score]
            if not faces:
                continue
            picture = draw(decode(record.ref.path, page=record.page or 1), faces, arguments.side)
            path = arguments.output / thumbnail_name(
                record.ref.root, record.ref.relative, record.page
            )
            save_picture(picture, path)
            print(f"{record.name}: {len(faces)} faces, {path}")


if __name__ == "__main__":
    main()
