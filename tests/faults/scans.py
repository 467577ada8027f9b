"""What the tests of faults share: photos, and the rows of a scan."""

import time

import numpy as np
import pytest
from PIL import Image

from batchage.write import output_paths, read_table
from tests.command import PHOTOS


def make_photos(folder, count):
    """Small pictures with faces, each another one."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    sources = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.rglob("*.jpg"))]
    for number in range(count):
        image = sources[number % len(sources)]
        width = int(rng.integers(200, 420))
        image = image.resize((width, width * image.height // image.width))
        (folder / str(number % 5)).mkdir(exist_ok=True)
        image.save(folder / str(number % 5) / f"{number:04}.jpg", quality=int(rng.integers(60, 95)))
    (folder / "2" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def finish(process, timeout=600):
    """Its exit code and what it said; it must have ended with a sentence, if with anything."""
    _, said = process.communicate(timeout=timeout)
    assert "Traceback" not in said, said
    return process.returncode, said


def rows(output):
    """Everything but the time that was spent."""
    paths = output_paths(output)
    images = read_table(paths.images).drop_columns(["seconds"]).to_pylist()
    return images, read_table(paths.faces).to_pylist()


def wait_for_part(process, output, timeout=300):
    for _ in range(timeout * 20):
        if list(output.with_name(f"{output.name}.parts").glob("*.images.parquet")):
            return
        assert process.poll() is None, finish(process)
        time.sleep(0.05)
    pytest.fail("no part was saved")
