"""Whether a photo takes the same time in a large folder, and how soon a scan of a huge tree begins.

python -m tests.benchmarks.scaling -o scaling.json
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks.machine import save
from tests.benchmarks.photos import portraits
from tests.benchmarks.stages import scan

FILES_A_FOLDER = 1000
WALK = """
import resource, sys, time
from batchage.walk.local import iter_images
start = time.perf_counter()
files = iter_images([sys.argv[1]])
next(files)
first = time.perf_counter() - start
count = 1 + sum(1 for _ in files)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(count, first, time.perf_counter() - start, peak)
"""


def make_small_photos(folder: Path, count: int) -> None:
    """Pictures of 96 x 115 pixels, one in eight with a face, each with a pixel of its own."""
    face = np.asarray(portraits()[1].resize((96, 115)))
    noise = np.random.default_rng(0).integers(0, 256, face.shape, np.uint8)
    for number in range(count):
        pixels = (noise if number % 8 else face).copy()
        pixels[number % 100, number // 100 % 90] = number % 256
        place = folder / f"{number // FILES_A_FOLDER:03}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:06}.jpg")


def measure_scaling(folder: Path, counts: list[int]) -> list[dict[str, float]]:
    """Milliseconds for each further photo, the start taken off."""
    make_small_photos(folder / "one", 1)
    start = min(scan(folder / "one", folder / "r.parquet") for _ in range(3))
    rows = []
    for count in counts:
        make_small_photos(folder / str(count), count)
        seconds = scan(folder / str(count), folder / "r.parquet")
        rows.append({"photos": count, "s": seconds, "ms_a_photo": 1000 * (seconds - start) / count})
    return rows


def measure_walk(folder: Path, count: int) -> dict[str, Any]:
    """Listing a tree of empty files: the time to the first one and to the last, and memory."""
    for number in range(-(-count // FILES_A_FOLDER)):
        place = folder / "tree" / f"{number // 100:03}" / f"{number:05}"
        place.mkdir(parents=True)
        for file in range(min(FILES_A_FOLDER, count - number * FILES_A_FOLDER)):
            (place / f"{file:06}.jpg").touch()
    command = [sys.executable, "-c", WALK, str(folder / "tree")]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {
        "files": int(out[0]),
        "first_s": float(out[1]),
        "all_s": float(out[2]),
        "peak_mb": float(out[3]),
    }


def measure_first_row(folder: Path) -> dict[str, float]:
    """Seconds until a scan of that tree is done with its first file, and its memory by then."""
    command = [sys.executable, "-m", "batchage", "scan", str(folder / "tree"), "-o", "-"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    # Each file is empty, which is worth a line.
    line = process.stderr.readline()
    assert b"unreadable" in line, line
    first = time.perf_counter() - start
    process.kill()
    process.stderr.close()
    process.wait()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"first_file_done_s": first, "peak_mb": peak}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--photos", type=int, nargs="+", default=[1000, 5000, 20000])
    parser.add_argument("--files", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        walk = measure_walk(folder, arguments.files)
        first = measure_first_row(folder)
        rows = measure_scaling(folder, arguments.photos)
    save(arguments.output, {"walk": walk, "scan_of_that_tree": first, "scaling": rows})


if __name__ == "__main__":
    main()
