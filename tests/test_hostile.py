"""A folder of hostile files: each is a row with a status that fits, and nothing else happens."""

import collections

import pytest

from batchage.write import output_paths, read_table
from tests.command import run
from tests.hostile import make_corpus


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    expected = make_corpus(folder / "photos")
    result = run(
        "scan", "photos", "-o", "r.csv", "--thumbnails", "thumbs", "--detect-size", "128",
        "--timeout", "60", "--max-pixels", "100000000", cwd=folder,
    )  # fmt: skip
    return folder, expected, result


def test_every_file_is_a_row_with_a_status_that_fits(scanned):
    folder, expected, result = scanned
    assert result.returncode == 3, result.stderr[-2000:]
    assert len(expected) >= 300
    table = read_table(output_paths(folder / "r.csv").images).to_pylist()
    found = {row["image_path"]: row for row in table}
    shown = {name.decode("utf-8", "backslashreplace"): kinds for name, kinds in expected.items()}
    assert len(table) == len(found)
    assert found.keys() == shown.keys()
    wrong = {
        name: (row["status"], row["error"])
        for name, row in found.items()
        if row["status"] not in shown[name]
    }
    assert not wrong
    assert all(row["error"] and "\n" not in row["error"] for row in table
               if row["status"] not in ("ok", "no_face"))  # fmt: skip
    print(collections.Counter((row["image_path"].split("/")[0], row["status"]) for row in table))


def test_terminal_gets_no_traceback_and_no_control_characters(scanned):
    *_, result = scanned
    shown = result.stderr
    assert "Traceback" not in shown
    # The progress bar's own are a carriage return and "clear the line".
    text = shown.replace("\x1b[A", "").replace("\r", "").replace("\n", "")
    assert "\x1b[31m" not in text
    assert "\x07" not in text


def test_nothing_is_written_outside(scanned):
    folder, *_ = scanned
    assert {path.name for path in folder.iterdir()} == {
        "photos", "r.csv", "r.images.csv", "r.csv.scan.json", "thumbs",
    }  # fmt: skip
