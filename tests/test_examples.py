"""The scripts and the notebook in `examples/`, as a user runs them on the example photos."""

import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
from nbclient import NotebookClient
from PIL import Image

from batchage.networks import load_bundle
from batchage.predict import KIND
from batchage.write import read_table
from tests.command import ROOT

EXAMPLES = ROOT / "examples"


def run(script, folder, *arguments):
    """What the script prints; it has its defaults, so that it writes into `folder`."""
    result = subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_scan_and_query_answers_for_each_folder(tmp_path):
    answer = run("scan_and_query.py", tmp_path)
    rows = [line.split("│")[1:4] for line in answer.splitlines() if "│" in line][2:]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["groups", "1", "11"],
        ["portraits", "6", "6"],
        ["no-people", "2", "0"],
    ]
    assert read_table(tmp_path / "query.parquet").num_rows == 17


def test_annotate_draws_on_photos_with_faces(tmp_path):
    printed = run("annotate.py", tmp_path, "--side", 300).splitlines()
    assert len(printed) == 7
    for line in printed:
        with Image.open(tmp_path / line.rsplit(", ", 1)[1]) as picture:
            assert max(picture.size) == 300 or "collins-face" in line
            # The frame's Okabe-Ito colours, after JPEG.
            pixels = np.asarray(picture, np.int16).reshape(-1, 3)
        colours = np.array([[230, 159, 0], [0, 114, 178]])
        assert (abs(pixels[:, None] - colours).max(axis=2) < 12).any(), line


def test_filter_by_quality_keeps_what_passes(tmp_path):
    run("filter_by_quality.py", tmp_path, "--min-size", 100, "--min-sharpness", 300)
    good = pd.read_csv(tmp_path / "good-faces.csv")
    assert 0 < len(good) < 17
    assert (good.face_size_px >= 100).all()
    assert (good.sharpness >= 300).all()
    assert not good.image_path.str.contains("collins").any()


def test_custom_detector_keeps_the_largest_face(tmp_path):
    run("custom_detector.py", tmp_path)
    faces = read_table(tmp_path / "largest.parquet").to_pandas()
    assert faces.image_path.is_unique
    assert len(faces) == 7
    sheet = faces[faces.image_path.str.contains("contact-sheet")]
    assert sheet.face_size_px.item() > 170


def test_fine_tune_makes_a_bundle(tmp_path):
    run("fine_tune.py", tmp_path)
    bundle = load_bundle(tmp_path / "runs" / "trial" / "bundle", KIND)
    assert bundle.spec["training"]["recipe"] == "fine_tune"


def test_notebook_runs_and_holds_no_outputs():
    notebook = nbformat.read(EXAMPLES / "explore.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells)
    folder = {"metadata": {"path": EXAMPLES}}
    NotebookClient(notebook, timeout=300, resources=folder).execute()
    assert sum("image/png" in o.get("data", {}) for cell in cells for o in cell.outputs) == 2
