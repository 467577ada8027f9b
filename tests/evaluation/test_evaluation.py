"""Tables against labels: metrics, the join, and the command."""

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import batchage
from batchage.errors import UsageError
from batchage.evaluation import (
    QUALITIES,
    Label,
    Outcome,
    all_metrics,
    central_face,
    markdown_table,
    read_csv,
    read_utkface,
    sections,
)
from batchage.evaluation.join import join
from batchage.evaluation.metrics import calibration_error, quality_bins
from batchage.types import FaceRecord, ImageRecord, ImageRef, Pose, Prediction, Status
from batchage.write.base import suffixes
from tests.builders import write_tables
from tests.command import run


def make_outcome(age_min, age, age_max=None, **changes):
    n = len(age)
    age = np.asarray(age, float)
    values = {
        "age_min": np.asarray(age_min, float),
        "age_max": np.asarray(age_min if age_max is None else age_max, float),
        "age": age,
        "low": age - 5,
        "high": age + 5,
        "gender": np.array(["female"] * n, object),
        "prob_female": np.full(n, 0.9),
        "is_sure": np.ones(n, bool),
        "group": np.array([None] * n, object),
        "quality": {},
    }
    return Outcome(**{**values, **changes})


def make_record(name, ages, root="/photos", width=300):
    faces = [
        FaceRecord(
            i,
            np.array([100 * i, 0, 100 * i + 100, 100], np.float32),
            np.zeros((5, 2), np.float32),
            0.9,
            50.0,
            Pose(0.0, 0.0, 0.0),
            Prediction(age, age - 5, age + 5, 0.8),
        )
        for i, age in enumerate(ages)
    ]
    ref = ImageRef(Path(root) / name, root, name)
    return ImageRecord(ref, Status.OK, width=width, height=100, faces=faces)


def make_table(path, records):
    write_tables(path, records)
    return path


def test_metrics_of_exact_ages_by_hand():
    outcome = make_outcome(
        [30, 40, 50, 3],
        [33, 40, 60, 4],
        prob_female=np.array([0.9, 0.2, 0.6, 0.3]),
        gender=np.array(["female", "female", "male", None], object),
    )
    metrics = all_metrics(outcome)
    everyone = metrics["all"]
    assert everyone["age_mae"] == pytest.approx((3 + 0 + 10 + 1) / 4)
    assert everyone["gender_accuracy"] == pytest.approx(1 / 3, abs=1e-4)
    assert everyone["interval_coverage"] == 0.75
    assert everyone["interval_width"] == 10
    assert everyone["age_in_range"] is None
    assert metrics["age_within_5_years"] == 0.75
    assert metrics["all"]["age_bias"] == pytest.approx(14 / 4)
    assert metrics["gender_confusion"] == {
        "male": {"male": 0, "female": 1},
        "female": {"male": 1, "female": 1},
    }
    assert metrics["subsets"]["ages 5 and over"]["faces"] == 3
    assert metrics["subsets"]["ages 21 to 60"]["age_mae"] == pytest.approx(13 / 3, abs=1e-3)
    assert everyone["gender_stated"] == pytest.approx((0.9 + 0.8 + 0.6) / 3, abs=1e-4)
    assert metrics["ages"]["3–5"]["faces"] == 1
    margin = 1.96 * np.std([3, 0, 10, 1], ddof=1) / 2
    assert metrics["margins"]["age_mae"] == pytest.approx(margin, abs=1e-3)


def test_ranges_count_in_completed_years():
    outcome = make_outcome([20, 20, 20, 20], [20.0, 29.9, 30.0, 19.9], age_max=[29] * 4)
    assert list(outcome.age_in_range) == [True, True, False, False]
    assert np.allclose(outcome.age_error, [0, 0, 0, 0.1])
    everyone = all_metrics(outcome)["all"]
    assert everyone["age_in_range"] == 0.5
    assert everyone["age_mae"] is None
    metrics = all_metrics(outcome)
    assert metrics["ages"]["20–29"]["faces"] == 4
    assert metrics["age_ranges_missed"] == 0
    far = make_outcome([20, 70], [60.0, 66.0], age_max=[29, 130])
    assert all_metrics(far)["age_ranges_missed"] == 0.5
    assert list(all_metrics(far)["ages"]) == ["20–29", "70 and over"]


def test_many_ranges_are_told_by_the_stretch_of_their_lower_ends():
    lowest = np.arange(20)
    outcome = make_outcome(lowest, lowest + 1.0, age_max=lowest + 2)
    rows = all_metrics(outcome)["ages"]
    assert {name: row["faces"] for name, row in rows.items()} == {
        "0–2": 3, "3–5": 3, "6–9": 4, "10–14": 5, "15–19": 5
    }  # fmt: skip


def test_genders_that_are_not_stated_are_a_group_of_their_own():
    outcome = make_outcome(
        [30] * 4,
        [30] * 4,
        prob_female=np.array([0.9, 0.55, 0.45, 0.1]),
        is_sure=np.array([True, False, False, True]),
        gender=np.array(["female", "female", "male", "female"], object),
    )
    metrics = all_metrics(outcome)
    assert metrics["all"]["gender_accuracy"] == 0.5
    assert metrics["all"]["gender_stated"] == pytest.approx(0.9)
    assert metrics["all"]["gender_not_sure"] == 0.5
    assert metrics["gender_confusion"] == {
        "male": {"male": 0, "female": 0, "not sure": 1},
        "female": {"male": 1, "female": 1, "not sure": 1},
    }
    titles = {section.title: section for section in sections(metrics)}
    assert titles["Gender"].columns[-1] == "not sure"
    assert "not sure" in titles["Accuracy"].columns
    everyone = all_metrics(make_outcome([30], [30]))["all"]
    assert everyone["gender_not_sure"] is None


def test_calibration_error_sees_overconfidence():
    truth = np.arange(1000) % 10 < 7
    assert calibration_error(np.full(1000, 0.7), truth) == pytest.approx(0, abs=1e-9)
    assert calibration_error(np.full(1000, 0.99), truth) == pytest.approx(0.29)


@given(
    st.lists(
        st.floats(0, 1, width=32) | st.just(float("nan")) | st.just(1.0), min_size=1, max_size=60
    )
)
def test_quality_bins_hold_every_known_face_once(values):
    quality = {"detection_score": np.array(values)}
    outcome = make_outcome([30] * len(values), [31] * len(values), quality=quality)
    if np.isfinite(values).any():
        bins = list(quality_bins(outcome, "detection_score"))
        assert sum(len(part) for _, part in bins) == np.isfinite(values).sum()
        assert len({bounds for bounds, _ in bins}) == len(bins)


def test_quality_bins_start_with_the_worst():
    yaw = np.linspace(-1, 1, 101)
    outcome = make_outcome([30] * 101, [31] * 101, quality={"yaw": yaw, "sharpness": yaw + 1})
    _, worst = next(quality_bins(outcome, "yaw"))
    assert np.abs(worst.quality["yaw"]).min() > 0.75
    _, worst = next(quality_bins(outcome, "sharpness"))
    assert worst.quality["sharpness"].max() < 0.5


def test_central_face_is_the_one_meant():
    boxes = np.array([[0, 0, 10, 10], [45, 45, 55, 55], [90, 90, 99, 99]], np.float32)
    assert central_face(boxes, 100, 100) == 1


def test_join_counts_what_it_leaves_over(tmp_path):
    path = make_table(
        tmp_path / "r.parquet",
        [
            make_record("a.jpg", [30]),
            make_record("b/c.jpg", [10, 50, 90]),
            make_record("d.jpg", [1]),
        ],
    )
    (tmp_path / "labels.csv").write_text(
        "path,age,gender\n/photos/a.jpg,33,female\n/photos/b/c.jpg,50,\nlost.jpg,4,male\n"
    )
    evaluation = batchage.evaluate(path, tmp_path / "labels.csv")
    assert list(evaluation.counts.values()) == [2, 1, 1, 1]
    assert [label.written for label in evaluation.joined.without_face] == ["lost.jpg"]
    assert list(evaluation.joined.outcome.age) == [30, 50]
    assert evaluation.metrics["all"]["age_mae"] == 1.5
    assert set(evaluation.joined.outcome.quality) == set(QUALITIES)
    assert evaluation.files == []


def test_a_label_never_meets_a_namesake_in_another_folder(tmp_path):
    # b/1.jpg has no face, so no row; its label must not fall back on a/1.jpg.
    records = [
        make_record("1.jpg", [70], root=str(tmp_path / "a")),
        make_record("2.jpg", [30], root=str(tmp_path / "b")),
    ]
    table = make_table(tmp_path / "r.parquet", records)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "labels.csv").write_text("path,age\n1.jpg,5\n2.jpg,31\n")
    joined = batchage.evaluate(table, tmp_path / "b" / "labels.csv").joined
    assert list(joined.outcome.age) == [30]
    assert [label.written for label in joined.without_face] == ["1.jpg"]


def test_labels_meet_photos_through_symbolic_links(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    record = make_record("a.jpg", [30], root=str(tmp_path / "real"))
    table = make_table(tmp_path / "r.parquet", [record])
    (tmp_path / "labels.csv").write_text("path,age\nlink/a.jpg,31\n")
    assert len(batchage.evaluate(table, tmp_path / "labels.csv").joined.outcome) == 1


@pytest.mark.parametrize("root", ["/gone", None])
@pytest.mark.parametrize(("of_label", "of_file"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_labels_meet_names_that_unicode_spells_otherwise(tmp_path, of_label, of_file, root):
    name = "Zoé/Jörg が.jpg"
    record = make_record(normalize(of_file, name), [30], root=root or str(tmp_path))
    table = make_table(tmp_path / "r.parquet", [record, make_record("b.jpg", [9], root="/b")])
    text = f"path,age\n{normalize(of_label, name)},31\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    assert list(batchage.evaluate(table, tmp_path / "labels.csv").joined.outcome.age) == [30]


def test_a_label_of_two_spellings_meets_its_own(tmp_path):
    spellings = [normalize(form, "é.jpg") for form in ("NFD", "NFC")]
    records = [make_record(n, [age]) for n, age in zip(spellings, (10, 20), strict=True)]
    table = make_table(tmp_path / "r.parquet", records)
    text = f"path,age\n/photos/{spellings[1]},20\n/photos/{spellings[0]},10\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    assert batchage.evaluate(table, tmp_path / "labels.csv").metrics["all"]["age_mae"] == 0


def test_exact_ages_and_ranges_may_be_mixed(tmp_path):
    table = make_table(tmp_path / "r.csv", [make_record("a.jpg", [30]), make_record("b.jpg", [25])])
    (tmp_path / "labels.csv").write_text(
        "path,age,age_min,age_max,gender,group\n"
        "/photos/a.jpg,31,,,female,\n/photos/b.jpg,,20,29,,g$1$_{\n"
    )
    metrics = batchage.evaluate(table, tmp_path / "labels.csv", tmp_path / "out").metrics
    assert (metrics["all"]["age_mae"], metrics["all"]["age_in_range"]) == (1.0, 1.0)
    assert list(metrics["groups"]) == ["g$1$_{, gender unknown"]
    assert (tmp_path / "out" / "groups.png").exists()


def test_two_labels_for_one_photo_are_refused():
    faces = [{"root": "/p", "image_path": "a.jpg", "page": None}]
    labels = [Label(Path("/p/a.jpg"), 1, 1, written="a.jpg")] * 2
    with pytest.raises(UsageError, match="two labels"):
        join(faces, labels)


def test_a_moved_folder_is_met_by_relative_path_only_if_that_is_unique(tmp_path):
    (tmp_path / "labels.csv").write_text("path,age\na.jpg,30\n")
    one = make_table(tmp_path / "one.csv", [make_record("a.jpg", [30], root="/old")])
    assert len(batchage.evaluate(one, tmp_path / "labels.csv").joined.outcome) == 1
    records = [make_record("a.jpg", [30], root=root) for root in ("/old", "/other")]
    two = make_table(tmp_path / "two.csv", records)
    with pytest.raises(UsageError, match="no label names a photo"):
        batchage.evaluate(two, tmp_path / "labels.csv")


def test_group_names_cannot_break_the_report():
    outcome = make_outcome([30], [31], group=np.array(["a|b\nc"], object))
    text = "\n".join(markdown_table(section) for section in sections(all_metrics(outcome)))
    lines = [row for row in text.splitlines() if row.startswith("| a\\|b")]
    assert [row.split(" | ")[0] for row in lines] == [
        "| a\\|b c, female",
        "| a\\|b c, female, 20–39",
    ]


@pytest.fixture
def labels(tmp_path):
    """Of thirty photos, each two years younger than `make_record` has it below."""
    rows = "".join(
        f"{i}.jpg,{18 + i},{'male' if i % 2 else 'female'},g{i % 2}\n" for i in range(30)
    )
    (tmp_path / "labels.csv").write_text("path,age,gender,group\n" + rows)
    return tmp_path / "labels.csv"


@pytest.mark.parametrize("suffix", suffixes())
def test_a_table_in_any_format_is_measured(tmp_path, labels, suffix):
    table = make_table(
        tmp_path / f"r{suffix}", [make_record(f"{i}.jpg", [20.0 + i]) for i in range(30)]
    )
    everyone = batchage.evaluate(table, labels).metrics["all"]
    assert (everyone["faces"], everyone["age_mae"], everyone["gender_accuracy"]) == (30, 2.0, 0.5)


def test_command_prints_and_saves(tmp_path, labels):
    make_table(tmp_path / "r.parquet", [make_record(f"{i}.jpg", [20.0 + i]) for i in range(30)])
    arguments = ("r.parquet", "--labels", labels, "-o", "out[/a]")
    result = run("evaluate", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "saved in out[/a]: evaluation.json" in result.stderr
    assert "30 labels that met a face" in result.stdout
    saved = json.loads((tmp_path / "out[/a]" / "evaluation.json").read_text())
    assert saved["all"]["age_mae"] == 2.0
    assert saved["all"]["gender_accuracy"] == 0.5
    report = (tmp_path / "out[/a]" / "evaluation.md").read_text()
    for plot in (
        "age",
        "age_error",
        "interval_coverage",
        "gender_calibration",
        "groups",
        "quality",
    ):
        assert f"{plot}.png" in report
        assert (tmp_path / "out[/a]" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("table", "labels", "word"),
    [
        ("missing.parquet", "path,age\n0.jpg,3\n", "missing.parquet"),
        ("text.parquet", "path,age\n0.jpg,3\n", "text.parquet"),
        ("r.images.parquet", "path,age\n0.jpg,3\n", "table of images"),
        ("other.parquet", "path,age\n0.jpg,3\n", "no column image_path"),
        ("other.csv", "path,age\n0.jpg,3\n", "no column image_path"),
        ("other.jsonl", "path,age\n0.jpg,3\n", "no column image_path"),
        ("list.jsonl", "path,age\n0.jpg,3\n", "no column image_path"),
        ("text.jsonl", "path,age\n0.jpg,3\n", "text.jsonl"),
        ("r.xlsx", "path,age\n0.jpg,3\n", "suffix"),
        ("r.parquet", "name\n", "labels.csv"),
        ("r.parquet", "path,age\nnowhere.jpg,3\n", "no label names"),
    ],
)
def test_what_cannot_be_used_is_explained(tmp_path, table, labels, word):
    make_table(tmp_path / "r.parquet", [make_record("0.jpg", [20.0])])
    for name in ("text.parquet", "text.jsonl"):
        (tmp_path / name).write_text("no table")
    (tmp_path / "other.csv").write_text("x\n1\n")
    (tmp_path / "other.jsonl").write_text('{"x": 1}\n')
    (tmp_path / "list.jsonl").write_text("[1]\n")
    pa.parquet.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(UsageError) as caught:
        batchage.evaluate(tmp_path / table, tmp_path / "labels.csv", tmp_path / "evaluation")
    (line,) = str(caught.value).splitlines()
    assert word in line
    assert not (tmp_path / "evaluation").exists()


def test_command_explains_what_it_cannot_use(tmp_path, labels):
    result = run("evaluate", "missing.parquet", "--labels", labels, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("batchage: ")
    assert "missing.parquet" in line
    assert list(tmp_path.iterdir()) == [labels]


def test_command_explains_a_folder_it_cannot_write(tmp_path):
    make_table(tmp_path / "r.parquet", [make_record("0.jpg", [20.0])])
    (tmp_path / "labels.csv").write_text("path,age\n0.jpg,3\n")
    result = run(
        "evaluate", "r.parquet", "--labels", "labels.csv", "-o", "r.parquet/x", cwd=tmp_path
    )
    assert result.returncode == 1
    assert "choose another folder" in result.stderr


def test_utkface_names_and_csv_are_read(tmp_path):
    for name in ("25_1_3_2017.jpg.chip.jpg", "no-label.jpg"):
        (tmp_path / name).write_bytes(b"")
    (label,) = read_utkface(tmp_path)
    assert (label.age_min, label.gender, label.group) == (25, "female", "Indian")
    file = tmp_path / "labels.csv"
    file.write_text(
        "path,age,age_min,age_max,gender,race\na.jpg,30,,,male,x\nb.jpg,,20,29,1,\nc.jpg,,70,,,\n"
    )
    exact, ranged, open_ended = read_csv(file)
    assert (exact.age_min, exact.age_max, exact.gender, exact.group) == (30, 30, "male", "x")
    assert (ranged.age_min, ranged.age_max, ranged.gender) == (20, 29, "female")
    assert (open_ended.age_min, open_ended.gender) == (70, None)
    assert open_ended.age_max > 100


@pytest.mark.parametrize(
    "text",
    ["name,age\nx,3\n", "path,age\nx,old\n", "path,age\nx,nan\n", "path,age\nx,200\n",
     "path,age,gender\nx,3,unsure\n", "path,age_min,age_max\nx,30,20\n", "path,age\n,3\n"],
)  # fmt: skip
def test_bad_csv_is_explained(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=r"labels\.csv: (line 2|needs the columns)"):
        read_csv(tmp_path / "labels.csv")


@given(st.text(max_size=200))
def test_any_text_is_labels_or_a_usage_error(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("labels") / "labels.csv"
    file.write_text(f"path,age,gender\n{text}", encoding="utf-8", errors="surrogatepass")
    try:
        labels = read_csv(file)
    except UsageError as error:
        assert "labels.csv" in str(error)
    else:
        assert all(0 <= label.age_min <= label.age_max <= 130 for label in labels)
