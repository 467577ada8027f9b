"""Options out of a file and the environment, and what a scan would do."""

import json
from pathlib import Path

import pytest

from batchage.write import read_table
from tests.command import PHOTOS, refuse, run
from tests.command_line.test_cli import one_sentence


def lines(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def dry(*arguments, cwd):
    """The settings of a scan that is not carried out, and its forecast."""
    return json.loads(lines(run("scan", PHOTOS, "--dry-run", "-q", "--json", *arguments, cwd=cwd)))


def test_a_file_sets_what_flags_and_environment_do_not(tmp_path, monkeypatch):
    (tmp_path / "batchage.toml").write_text(
        '[scan]\noutput = "faces.csv"\nexclude = ["*hopper*"]\nquiet = true\ndetect-size = 320\n'
    )
    lines(run("scan", PHOTOS, cwd=tmp_path))
    about = json.loads((tmp_path / "faces.csv.scan.json").read_text())
    assert about["settings"]["detect_size"] == 320
    assert len(read_table(tmp_path / "faces.images.csv")) == 6
    monkeypatch.setenv("BATCHAGE_SCAN_DETECT_SIZE", "448")
    lines(run("scan", PHOTOS, "--overwrite", "-o", "other.csv", cwd=tmp_path))
    about = json.loads((tmp_path / "other.csv.scan.json").read_text())
    assert about["settings"]["detect_size"] == 448


def test_another_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("BATCHAGE_SCAN_DETECT_SIZE", "320")
    (tmp_path / "batchage.toml").write_text("[scan]\nrecursive = true\n")
    (tmp_path / "mine.toml").write_text("[scan]\nrecursive = false\n")
    options = ["--dry-run", "-q", "--json"]
    result = run("--config", "mine.toml", "scan", PHOTOS, *options, cwd=tmp_path)
    assert json.loads(lines(result))["photos"] == 0
    assert dry(cwd=tmp_path)["photos"] == 9


def test_a_mistyped_variable_is_named(tmp_path, monkeypatch):
    wrong = ("DETECT_SIZE", "SCAN_DETEC_SIZE", "SCAN_INPUTS")
    for name in (*wrong, "SCAN_DETECT_SIZE", "REPORT_SIDE", "HOME", "SERVICE_HOST"):
        monkeypatch.setenv(f"BATCHAGE_{name}", "448")
    result = run("scan", PHOTOS / "no-people", "--dry-run", "-q", cwd=tmp_path)
    assert result.returncode == 0
    hints = [
        "did you mean BATCHAGE_SCAN_DETECT_SIZE?",
        "did you mean BATCHAGE_SCAN_DETECT_SIZE?",
        "see batchage scan --help",
    ]
    assert result.stderr.splitlines() == [
        f"batchage: BATCHAGE_{name} is not an option and is ignored; {hint}"
        for name, hint in zip(wrong, hints, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[scan", "is not TOML"),
        ("detect-size = 640", "put options into a table of a command: [scan]"),
        ("[skan]", "put options into a table of a command: [scan]"),
        ("[scan]\ndetect_size = 640", "has no option detect_size; did you mean detect-size?"),
        ("[scan]\ncolour = 640", "has no option colour; see batchage scan --help"),
        ("[report]\nsides = 640", "[report] has no option sides"),
        ("[scan]\nhelp = true", "has no option help"),
        ('[scan]\nexclude = "a"', "give a list"),
        ("[scan]\nquiet = 1", "give true or false"),
        ("[scan]\noutput = true", "[scan] output = true: give text"),
        ("[scan]\ndetect-size = 640.5", "[scan] detect-size = 640.5: give a whole number"),
        ("[scan]\ndetect-size = 100", "give a multiple of 64"),
        ('[scan]\ndetect-size = "large"', '[scan] detect-size = "large": give a whole number'),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, what):
    (tmp_path / "batchage.toml").write_text(text)
    result = refuse("scan", PHOTOS, cwd=tmp_path)
    assert result.returncode == 2
    sentence = one_sentence(result)
    assert sentence.startswith("batchage: batchage.toml: ")
    assert what in sentence


def test_a_missing_file_is_named(tmp_path):
    result = run("--config", "none.toml", "info", cwd=tmp_path)
    assert result.returncode == 2
    assert "none.toml" in one_sentence(result)


def everything_in(folder: Path):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_dry_run_counts_tells_the_time_and_writes_nothing(tmp_path):
    forecast = dry("-o", "r.csv", "--thumbnails", "thumbs", cwd=tmp_path)
    assert (forecast["photos"], forecast["taken_over"], forecast["tried"]) == (9, 0, 9)
    assert forecast["bytes"] == sum(
        f.stat().st_size for f in PHOTOS.rglob("*.*") if f.suffix != ".md"
    )
    assert forecast["faces_per_photo"] == pytest.approx(17 / 9)
    assert 0 < forecast["seconds"] < 300
    assert everything_in(tmp_path) == {}


def test_a_dry_run_knows_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setenv("BATCHAGE_SCAN_DETECT_SIZE", "320")
    lines(run("scan", PHOTOS / "portraits", "-o", "r.csv", "-q", cwd=tmp_path))
    before = everything_in(tmp_path)
    refused = run("scan", PHOTOS, "-o", "r.csv", "--dry-run", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--update" in one_sentence(refused)
    portraits = ["scan", PHOTOS / "portraits", "-o", "r.csv", "--update", "--dry-run"]
    forecast = json.loads(lines(run(*portraits, "-q", "--json", cwd=tmp_path)))
    assert (forecast["photos"], forecast["taken_over"], forecast["tried"]) == (6, 6, 0)
    shown = run(*portraits, cwd=tmp_path).stderr
    assert "photos [" not in shown
    assert "6  (they have not changed)" in shown
    assert "nothing was written" in shown
    assert everything_in(tmp_path) == before
