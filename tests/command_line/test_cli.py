"""The command as a user runs it, with the shipped bundle; and the Python API."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import batchage
from batchage.command import COMMANDS
from batchage.config import ScanConfig
from batchage.options import GROUPS, settings_of
from batchage.write import read_table
from tests.builders import pictures_in
from tests.command import PHOTOS, ROOT, refuse, run


def one_sentence(result):
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("batchage: ")
    return lines[0]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """One scan of the example photos and a set of broken files."""
    folder = tmp_path_factory.mktemp("scan")
    bad = folder / "bad"
    bad.mkdir()
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "text.jpg").write_text("not a picture")
    whole = next(PHOTOS.rglob("*.jpg")).read_bytes()
    (bad / "cut.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (bad / "=cmd|' quoted, name.jpg").write_bytes(b"\xff\xd8\xff")
    Image.new("1", (20_000, 20_000)).save(bad / "huge.png")
    result = run(
        "scan", PHOTOS, bad, "-o", folder / "out" / "results.parquet", "--max-pixels", 100_000_000,
        "--thumbnails", folder / "thumbs", "--crops", folder / "crops",
        "--log-file", folder / "scan.log", "--profile",
    )  # fmt: skip
    return folder, result


def test_scan_of_photos_and_broken_files_ends_with_3(scanned):
    folder, result = scanned
    assert result.returncode == 3, result.stderr
    assert result.stdout == ""
    images = read_table(folder / "out" / "results.images.parquet").to_pylist()
    status = {Path(row["image_path"]).name: row["status"] for row in images}
    assert status["empty.jpg"] == status["text.jpg"] == "unreadable"
    assert status["=cmd|' quoted, name.jpg"] == "unreadable"
    assert status["huge.png"] == "too_large"
    assert status["cut.jpg"] == "truncated"
    assert all(row["error"] for row in images if row["status"] not in ("ok", "no_face"))
    photos = [p for p in PHOTOS.rglob("*") if p.is_file() and p.suffix != ".md"]
    assert len(images) == len(photos) + 5


def test_scan_finds_the_people_it_should(scanned):
    folder, _ = scanned
    faces = read_table(folder / "out" / "results.parquet").to_pandas()
    collins = faces[faces.image_path.str.contains("portraits/collins")]
    hopper = faces[faces.image_path.str.contains("portraits/hopper")]
    assert len(collins) == len(hopper) == 3
    # Eileen Collins was about 40 in her portrait, Grace Hopper 77. Hopper's gender is left out:
    # the shipped bundle misreads it on her mirrored picture.
    assert (collins.gender == "female").all()
    assert collins.age_years.between(20, 55).all()
    assert hopper.age_years.between(60, 95).all()
    assert faces.image_path.str.contains("groups/contact-sheet").sum() == 11
    assert (faces.age_low <= faces.age_years).all()
    assert (faces.age_years <= faces.age_high).all()
    assert not faces.image_path.str.contains("no-people").any()


def test_boxes_lie_inside_the_upright_photo(scanned):
    folder, _ = scanned
    faces = read_table(folder / "out" / "results.parquet").to_pandas()
    assert (faces.x1 >= 0).all()
    assert (faces.x2 <= faces.image_width).all()
    assert (faces.y2 <= faces.image_height).all()


def test_thumbnails_and_crops_are_where_the_table_says(scanned):
    folder, _ = scanned
    faces = read_table(folder / "out" / "results.parquet").to_pylist()
    assert sorted({row["thumbnail"] for row in faces}) == pictures_in(folder / "thumbs")
    assert sorted(row["crop"] for row in faces) == pictures_in(folder / "crops")


def test_metadata_of_the_run_is_in_the_footer(scanned):
    folder, _ = scanned
    footer = pq.read_schema(folder / "out" / "results.parquet").metadata
    assert footer[b"batchage.model_id"].startswith(b"vgg16-utkface@")
    assert json.loads(footer[b"batchage.settings"])["detect_size"] == 960


def test_summary_and_log_tell_what_happened(scanned):
    folder, result = scanned
    shown = result.stderr
    for text in ("photos", "faces", "could not be read", "gender", "results.parquet"):
        assert text in shown
    for stage in ("load networks", "detect", "predict", "decode", "write"):
        assert f"│ {stage} " in shown.partition("where the time went")[2]
    assert "Traceback" not in shown
    assert "oneDNN" not in shown
    assert "empty.jpg: unreadable: " in (folder / "scan.log").read_text()


def test_python_gives_the_same_rows(scanned):
    folder, _ = scanned
    result = batchage.scan(PHOTOS)
    written = read_table(folder / "out" / "results.parquet").to_pandas()
    written = written[written.root == str(PHOTOS)]
    assert list(result.faces.columns) == list(written.columns)
    assert list(result.faces.image_path) == list(written.image_path)
    # Batches are cut elsewhere, and bfloat16 sums depend on that.
    assert np.allclose(result.faces.age_years, written.age_years, atol=0.5)
    assert len(result.images) == len({*result.images.image_path})


def test_second_scan_is_refused_and_update_takes_over(tmp_path):
    (tmp_path / "photos").mkdir()
    names = ["a.jpg", "b.jpg"]
    for name, path in zip(names, sorted((PHOTOS / "portraits").glob("*.jpg")), strict=False):
        (tmp_path / "photos" / name).write_bytes(path.read_bytes())
    first = batchage.scan(tmp_path / "photos", output=tmp_path / "r.parquet")
    assert len(first.images) == 2
    refused = run("scan", "photos", "-o", "r.parquet", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--update" in one_sentence(refused)
    other = run("scan", "photos", "-o", "r.parquet", "--update", "--tta", cwd=tmp_path)
    assert other.returncode == 2
    assert "tta False instead of True" in one_sentence(other)
    (tmp_path / "photos" / "c.png").write_bytes(next(PHOTOS.rglob("sky*")).read_bytes())
    (tmp_path / "photos" / "a.jpg").unlink()
    updated = run("scan", "photos", "-o", "r.parquet", "--update", "--timeout", "9", cwd=tmp_path)
    assert updated.returncode == 0
    shown = " ".join(updated.stderr.replace("│", "").split())
    assert "taken over 1 (1 scanned now)" in shown
    assert "gone 1 (left out)" in shown
    assert read_table(tmp_path / "r.images.parquet")["image_path"].to_pylist() == ["b.jpg", "c.png"]


def test_scan_that_is_left_early_goes_on(tmp_path):
    photos = sorted((PHOTOS / "portraits").glob("*.jpg"))
    config = ScanConfig(output=tmp_path / "r.parquet", batch_size=1)
    with batchage.Scan(batchage.iter_images(photos), config) as scan:
        first = next(iter(scan))
    assert not config.output.exists()
    with batchage.Scan(batchage.iter_images(photos), config) as scan:
        rest = [record.ref.relative for record in scan]
    assert scan.sink.taken_over >= 1
    assert first.ref.relative not in rest
    images = read_table(tmp_path / "r.images.parquet")["image_path"].to_pylist()
    assert images == [path.name for path in photos]


def test_csv_on_standard_output_and_a_list_on_standard_input():
    portrait = next((PHOTOS / "portraits").glob("*.jpg"))
    result = run("scan", "-", "-o", "-", "-q", stdin=f"{portrait}\nmissing.jpg\n")
    assert result.returncode == 3
    header, *rows = result.stdout.strip().splitlines()
    assert header.startswith("image_path,root,")
    assert len(rows) == 1
    assert "missing.jpg" not in result.stdout


def test_empty_folder_gives_empty_tables(tmp_path):
    (tmp_path / "photos").mkdir()
    result = run("scan", "photos", "-o", "results.csv", cwd=tmp_path)
    assert result.returncode == 0
    assert "no photos were found" in result.stderr
    assert read_table(tmp_path / "results.csv").num_rows == 0


def test_missing_path_is_usage(tmp_path):
    result = run("scan", "nowhere", "-o", tmp_path / "r.parquet")
    assert result.returncode == 2
    assert "nowhere" in one_sentence(result)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-o", "results.xlsx"], ".parquet"),
        (["--device", "tpu"], "auto"),
        (["--precision", "int4"], "bfloat16"),
        (["--detect-precision", "bfloat16"], "int8"),
        (["--detector", "haar"], "retinaface"),
        (["--detect-size", "7"], "64"),
        (["--batch-size", "0"], "--batch-size 0: give 1 or more"),
        (["--batch-size", "many"], "--batch-size many: give a whole number"),
        (["--detect-size", "640.5"], "--detect-size 640.5: give a whole number"),
        (["--detct-size", "640"], "did you mean --detect-size?"),
        (["--output"], "--output: needs a value"),
        (["--thumbnails", ""], "--thumbnails '': give a folder, or leave it out"),
        (["--engine", "cluster"], "cluster: no such engine; choose one of local, ray"),
        (["--update", "--overwrite"], "contradict each other"),
        (["--files-from", "nolist.txt"], "nolist.txt"),
    ],
)
def test_wrong_options_are_usage(tmp_path, arguments, word):
    result = refuse("scan", PHOTOS, *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert word in one_sentence(result)
    assert not list(tmp_path.iterdir())


def test_nothing_to_scan_is_usage(tmp_path):
    result = refuse("scan", cwd=tmp_path)
    assert result.returncode == 2
    assert "--files-from" in one_sentence(result)


def test_broken_bundle_fails(tmp_path):
    (tmp_path / "model").mkdir()
    result = run("scan", PHOTOS, "--model", tmp_path / "model", "-o", tmp_path / "r.parquet")
    assert result.returncode == 1
    assert "model.json" in one_sentence(result)


def test_output_that_cannot_be_written_fails(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("scan", PHOTOS, "-o", tmp_path / "file" / "r.parquet")
    assert result.returncode == 1
    assert "r.parquet" in one_sentence(result) or "file" in one_sentence(result)


def test_help_needs_no_tensorflow():
    code = (
        "import sys, batchage.command.app;"
        "sys.exit('tensorflow' in sys.modules or 'cv2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    result = run("scan", "--help")
    assert result.returncode == 0
    assert "--thumbnails" in result.stdout


def test_summary_as_json(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    output = tmp_path / "r.parquet"
    result = run("scan", PHOTOS / "portraits", tmp_path / "bad.jpg", "-o", output, "-q", "--json")
    assert result.returncode == 3
    summary = json.loads(result.stdout)
    assert (summary["photos"], summary["faces"], summary["could_not_be_read"]) == (7, 6, 1)
    assert summary["statuses"] == {"ok": 6, "unreadable": 1}
    assert sum(summary["genders"].values()) == sum(summary["decades"].values()) == 6
    assert summary["written"]["faces_table"] == str(output)
    refused = run("scan", PHOTOS, "-o", "-", "--json")
    assert refused.returncode == 2
    assert "--json" in one_sentence(refused)


@pytest.mark.parametrize(
    "arguments",
    [
        ("scan", PHOTOS, "--report", "s3://bucket/page"),
        ("scan", PHOTOS, "--thumbnails", "thumbs", "--contact-sheet", "s3://bucket/sheet.jpg"),
        ("report", "r.parquet", "-o", "s3://bucket/page"),
        ("evaluate", "r.parquet", "--labels", "labels.csv", "-o", "s3://bucket/page"),
        ("thumbnails", "r.parquet", "--contact-sheet", "s3://bucket/sheet.jpg"),
    ],
)
def test_what_is_written_on_this_machine_only_takes_no_url(tmp_path, arguments):
    result = refuse(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "this is written on this machine only; give a path" in one_sentence(result)
    assert list(tmp_path.iterdir()) == []


def test_no_variable_asks_for_the_version(monkeypatch):
    monkeypatch.setenv("BATCHAGE_VERSION", "1")
    assert "Usage: " in run("info", "--help").stdout


def test_scan_on_a_processor_needs_no_tensorflow(tmp_path):
    code = (
        "import sys; sys.modules.update(tensorflow=None, keras=None);"
        "from batchage.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, "scan", PHOTOS / "portraits", "--device", "cpu"]
    result = subprocess.run(
        [*command, "-o", tmp_path / "r.parquet"], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert read_table(tmp_path / "r.parquet").num_rows == 6


def test_info_shows_precision_and_verified_bundles():
    result = run("info")
    shown = result.stdout
    assert result.returncode == 0
    assert result.stderr == ""
    assert "vgg16-utkface" in shown
    assert "sha256" in shown
    assert "damaged" not in shown
    assert "cpu in " in shown
    assert "finds faces in" in shown


def test_the_reference_documents_every_option():
    page = (ROOT / "docs" / "commands.md").read_text()
    for command in COMMANDS.values():
        for setting in settings_of(command.call):
            assert all(f"`{flag}" in page for flag in setting.flags), setting.flags


def test_readme_names_only_options_that_there_are():
    options = {flag for c in COMMANDS.values() for s in settings_of(c.call) for flag in s.flags}
    of_others = {"--config", "--global", "--help", "--show-completion"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / "README.md").read_text()))
    assert named
    assert named <= options | of_others


def test_help_fits_a_narrow_terminal_and_cuts_nothing_off():
    result = run("scan", "--help", COLUMNS="60")
    assert result.returncode == 0
    assert max(map(len, result.stdout.splitlines())) <= 60
    assert "…" not in result.stdout
    words = " ".join(result.stdout.split())
    for setting in settings_of(COMMANDS["scan"].call):
        assert setting.told.help in words
    lines = result.stdout.splitlines()
    headings = [line for line in lines if line[:1].isalpha() and line[-1] == ":"]
    assert headings == [f"{group}:" for group in ("Arguments", *GROUPS, "Help")]


def test_a_command_that_there_is_not_is_named():
    result = run("scn", PHOTOS)
    assert result.returncode == 2
    assert one_sentence(result) == "batchage: scn: there is no such command; did you mean scan?"
    missing = run("report")
    assert missing.returncode == 2
    assert one_sentence(missing).startswith("batchage: TABLE is missing: Table or folder")


def test_completion_knows_options_and_values(monkeypatch):
    taught = run("--show-completion", "bash")
    assert taught.returncode == 0
    assert "_BATCHAGE_COMPLETE" in taught.stdout
    asked = {"_BATCHAGE_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    words = "batchage scan --device "
    found = run(**asked, COMP_WORDS=words).stdout.split()
    assert found == ["plain,auto", "plain,cpu", "plain,gpu"]


def test_a_gender_that_is_not_sure_enough_is_left_empty(tmp_path):
    options = ["--min-gender-confidence", "0.9", "--thumbnails", "thumbs", "--report", "page"]
    result = run("scan", PHOTOS, "-o", "r.csv", *options, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    faces = read_table(tmp_path / "r.csv")
    prob = np.array(faces["gender_prob_female"])
    sure = np.maximum(prob, 1 - prob) >= 0.9
    assert 0 < sure.sum() < len(sure)
    assert [gender is not None for gender in faces["gender"].to_pylist()] == sure.tolist()
    assert json.loads(result.stdout)["genders"]["not sure"] == (~sure).sum()
    assert "not sure" in result.stderr
    assert "gender not sure" in (tmp_path / "page" / "index.html").read_text()
    again = ["scan", PHOTOS, "-o", "r.csv", "--update"]
    refused = run(*again, "--thumbnails", "thumbs", cwd=tmp_path)
    assert refused.returncode == 2
    assert "min_gender_confidence 0.9 instead of 0.5" in one_sentence(refused)
    drawn = run("thumbnails", "r.csv", "-o", "drawn", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    for thumbnail in (tmp_path / "thumbs").iterdir():
        assert thumbnail.read_bytes() == (tmp_path / "drawn" / thumbnail.name).read_bytes()


def test_the_probability_of_being_younger_is_a_column_and_a_setting(tmp_path):
    options = ["--age-threshold", "60", "--age-threshold", "18", "--age-threshold", "60"]
    result = run("scan", PHOTOS, "-o", "r.csv", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    faces = read_table(tmp_path / "r.csv").to_pandas()
    assert ((faces.prob_under_18 >= 0) & (faces.prob_under_18 <= faces.prob_under_60)).all()
    assert faces.prob_under_60[faces.age_years < 45].mean() > 0.5
    images = read_table(tmp_path / "r.images.csv").to_pandas()
    largest = faces.groupby("image_path").prob_under_60.max()
    found = images[images.n_faces > 0].set_index("image_path").max_prob_under_60
    assert found.sort_index().equals(largest.sort_index().rename("max_prob_under_60"))
    refused = run("scan", PHOTOS, "-o", "r.csv", "--update", cwd=tmp_path)
    assert refused.returncode == 2
    assert "age_threshold [18, 60] instead of []" in one_sentence(refused)
    kept = run("scan", PHOTOS, "-o", "r.csv", "--update", *options, cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr
    assert read_table(tmp_path / "r.csv").to_pandas().equals(faces)
    streamed = run("scan", PHOTOS, "-o", "-", "--age-threshold", "18", cwd=tmp_path)
    header = streamed.stdout.splitlines()[0].split(",")
    assert [name for name in header if "under" in name] == ["prob_under_18"]
    nonsense = run("scan", PHOTOS, "--age-threshold", "0", cwd=tmp_path)
    assert nonsense.returncode == 2
    assert "give a whole number of years, 1 to 100" in one_sentence(nonsense)


def test_config_refuses_nonsense():
    with pytest.raises(batchage.UsageError):
        ScanConfig(max_pixels=0)
    with pytest.raises(batchage.UsageError, match="age threshold 101"):
        ScanConfig(age_threshold=(18, 101))


@pytest.mark.parametrize("arguments", [["s3://b/photos"], [PHOTOS, "-o", "s3://b/results/"]])
def test_an_install_without_extras_names_the_one_that_an_address_needs(tmp_path, arguments):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['fsspec', 'upath', 's3fs', 'tenacity']));"
        "from batchage.__main__ import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "scan", *map(str, arguments)],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 2
    assert "pip install 'batchage[s3]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
