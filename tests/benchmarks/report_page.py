"""How fast the page of a report answers with 100,000 faces, in headless Chromium.

python -m tests.benchmarks.report_page -o report.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from batchage.reporting import report
from batchage.types import FaceRecord, ImageRecord, ImageRef, Pose, Prediction, Status
from tests.benchmarks.machine import save
from tests.builders import write_tables

FACES_A_PHOTO = 2
STEPS = {
    "sort by age": "$('sort').value = '-age'; choose()",
    "sort by uncertainty": "$('sort').value = '-width'; choose()",
    "ages from 20 to 30": "$('age-from').value = 20; $('age-to').value = 30; choose()",
    "part of the path": "$('text').value = '/0012'; choose()",
    "all again": "$('filters').reset(); choose()",
    "next page": "page++; show()",
}


def make_records(n_faces: int) -> list[ImageRecord]:
    """Photos of made-up faces."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(n_faces // FACES_A_PHOTO):
        name = f"album {number // 500:03}/{number:06}.jpg"
        record = ImageRecord(ImageRef(Path("/p") / name, "/p", name, 1, 1.0), Status.OK)
        record.width, record.height, record.thumbnail = 4000, 3000, f"{number:06}.jpg"
        for index in range(FACES_A_PHOTO):
            age, female = rng.uniform(1, 90), rng.random()
            box = np.array([100, 100, 500, 600], np.float32) + 700 * index
            prediction = Prediction(age, age * 0.8, age * 1.2, female)
            points = np.zeros((5, 2), np.float32)
            face = FaceRecord(index, box, points, 0.9, 1.0, Pose(0, 0, 0), prediction)
            record.faces.append(face)
        records.append(record)
    return records


def milliseconds(page: Page, action: str) -> float:
    """Of an action, until the page has been laid out again."""
    return float(
        page.evaluate(
            "(action) => { const start = performance.now(); (0, eval)(action);"
            " document.body.offsetHeight; return performance.now() - start; }",
            action,
        )
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_tables(folder / "r.parquet", make_records(arguments.faces))
        start = time.perf_counter()
        path = report(folder / "r.parquet", folder / "page")
        made = time.perf_counter() - start
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium, args=["--no-sandbox"]
        )
        page = browser.new_page(bypass_csp=True)
        start = time.perf_counter()
        page.goto(path.as_uri())
        opened = time.perf_counter() - start
        answers = {step: milliseconds(page, action) for step, action in STEPS.items()}
        size = (folder / "page" / "data.js").stat().st_size
        browser.close()
    results = {"made_s": made, "opened_s": opened, "data_mb": size / 1e6, "answers_ms": answers}
    save(arguments.output, {"faces": arguments.faces, **results})


if __name__ == "__main__":
    main()
