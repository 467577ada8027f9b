"""A long scan of small photos, with one of 200 megapixels among them: memory stays flat."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batchage.write import output_paths, read_table
from tests.command import PHOTOS, start

N_PHOTOS = int(os.environ.get("BATCHAGE_SOAK_PHOTOS", "20000"))
MEGABYTE = 1 << 20


def make_photos(folder):
    """Small pictures, one in eight with a face, each with a pixel of its own; a huge one midway."""
    portrait = Image.open(next((PHOTOS / "portraits").glob("collins*.jpg"))).convert("RGB")
    face = np.asarray(portrait.resize((96, 96 * portrait.height // portrait.width)))
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    for number in range(N_PHOTOS):
        pixels = (face if number % 8 == 0 else noise).copy()
        pixels[number % 60, number // 60 % 60] = number % 256
        place = folder / f"{number // 1000:03}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:06}.jpg")
    Image.new("RGB", (20_000, 10_000), "grey").save(folder / f"{N_PHOTOS // 2000:03}" / "huge.jpg")


def resident(pid):
    """Bytes that a process and its children hold; the process alone first."""
    sizes = []
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (pid, *children):
        try:
            pages = Path(f"/proc/{process}/statm").read_text().split()[1]
        except OSError:
            continue
        sizes.append(int(pages) * os.sysconf("SC_PAGE_SIZE"))
    return sizes[0], sum(sizes)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_is_flat(tmp_path):
    make_photos(tmp_path / "photos")
    output = tmp_path / "r.parquet"
    process = start(
        "scan", tmp_path / "photos", "-o", output, "-q", "--detect-size", "128",
        "--save-every", "2",
    )  # fmt: skip
    parts = output.with_name("r.parquet.parts")
    curve = []
    while process.poll() is None:
        if any(parts.glob("*.images.parquet")):
            curve.append(resident(process.pid))
        time.sleep(0.5)
    assert process.returncode == 0, process.stderr.read()
    process.stderr.close()
    assert read_table(output_paths(output).images).num_rows == N_PHOTOS + 1
    # Before the last ones, when the tables are put together.
    own = np.array([size for size, _ in curve[:-4]]) / MEGABYTE
    quarters = [float(np.median(part)) for part in np.array_split(own, 4)]
    peak = max(total for _, total in curve) / MEGABYTE
    print(
        f"{N_PHOTOS} photos: median resident MB by quarter {[round(q) for q in quarters]}, "
        f"growth {quarters[3] / quarters[0] - 1:+.1%}; peak with workers {peak:.0f} MB; "
        f"every 5 %: {[round(float(own[i])) for i in np.linspace(0, len(own) - 1, 21).astype(int)]}"
    )
    assert quarters[3] < 1.05 * quarters[0]
