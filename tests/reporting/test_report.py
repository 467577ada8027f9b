"""The page of a scan's results: whole, escaped, and at work in a browser."""

import json
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import batchage
from batchage.errors import OutputError, UsageError
from batchage.places import thumbnail_name
from batchage.types import CaptureTime, FaceRecord, ImageRecord, ImageRef, Pose, Prediction, Status
from batchage.write import read_table
from tests.builders import pictures_in, write_tables
from tests.command import PHOTOS, run

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ONE = thumbnail_name("/photos", "a/one.jpg")
NASTY = "<script>alert(1)</script> & 'quoted' \"name\" \u2028.jpg"


def make_face(index, age, female, score=0.9):
    return FaceRecord(
        face_index=index,
        box=np.array([10 + 30 * index, 20, 30 + 30 * index, 50], np.float32),
        landmarks=np.zeros((5, 2), np.float32),
        score=score,
        sharpness=1.0,
        pose=Pose(0, 0, 0),
        prediction=Prediction(age, age - 5, age + 5, female),
    )


def make_record(name, faces=(), status=Status.OK, taken=None, error=None):
    ref = ImageRef(Path("/photos") / name, "/photos", name, 1, 1.0)
    return ImageRecord(
        ref, status, error, 200, 100, "hash", taken, faces=list(faces),
        thumbnail=thumbnail_name("/photos", name) if faces else None,
    )  # fmt: skip


@pytest.fixture
def table(tmp_path):
    """Two photos with three faces, one without, and a file that could not be read."""
    records = [
        make_record("a/one.jpg", [make_face(0, 30, 0.9), make_face(1, 8, 0.2)],
                    taken=CaptureTime(datetime(2001, 2, 3, 4, 5), "PNG:CreationTime")),
        make_record("b/two.jpg", [make_face(0, 71, 0.6, score=0.5)]),
        make_record("b/none.jpg", status=Status.NO_FACE),
        make_record(NASTY, status=Status.UNREADABLE, error="<b>broken</b>"),
    ]  # fmt: skip
    write_tables(tmp_path / "r.parquet", records)
    (tmp_path / "thumbs").mkdir()
    shutil.copy(PHOTOS / "portraits" / "collins.jpg", tmp_path / "thumbs" / ONE)
    return tmp_path / "r.parquet"


def data_of(folder):
    text = (folder / "data.js").read_text()
    return json.loads(text.removeprefix("const DATA = ").rstrip(";\n"))


def test_a_day_is_shown_without_a_time_that_nobody_knows(tmp_path):
    taken = CaptureTime(datetime(1943, 5, 12), "IPTC:DateCreated", "day")
    write_tables(tmp_path / "r.csv", [make_record("a.jpg", [make_face(0, 30, 0.9)], taken=taken)])
    batchage.report(tmp_path / "r.csv", tmp_path / "page")
    assert data_of(tmp_path / "page")["photos"]["taken"] == ["1943-05-12"]


def test_data_are_those_of_the_tables(table, tmp_path):
    page = batchage.report(table, tmp_path / "page", tmp_path / "thumbs")
    assert page == tmp_path / "page" / "index.html"
    data = data_of(tmp_path / "page")
    assert data["photos"]["path"] == ["a/one.jpg", "b/two.jpg"]
    assert data["photos"]["taken"] == ["2001-02-03 04:05", None]
    assert (data["photos"]["width"], data["photos"]["height"]) == ([200, 200], [100, 100])
    assert data["faces"]["photo"] == [0, 0, 1]
    assert data["faces"]["age"] == [30, 8, 71]
    assert data["faces"]["low"] == [25, 3, 66]
    assert data["faces"]["gender"] == ["female", "male", "female"]
    assert data["faces"]["female"] == [0.9, 0.2, 0.6]
    assert data["faces"]["x1"] == [500, 2000, 500]
    assert data["faces"]["y2"] == [5000, 5000, 5000]
    assert data["unread"] == [{"path": NASTY, "status": "unreadable", "error": "<b>broken</b>"}]


def test_thumbnails_come_along_and_missing_ones_are_left_out(table, tmp_path):
    batchage.report(table, tmp_path / "page", tmp_path / "thumbs")
    assert pictures_in(tmp_path / "page" / "thumbnails") == [ONE]
    assert data_of(tmp_path / "page")["photos"]["thumbnail"] == [ONE, None]
    # Once more over it, and moved elsewhere, it is still whole.
    batchage.report(table, tmp_path / "page", tmp_path / "thumbs")
    shutil.rmtree(tmp_path / "thumbs")
    assert (tmp_path / "page" / "thumbnails" / ONE).stat().st_size > 0


def test_thumbnails_that_were_drawn_later_are_shown(table, tmp_path):
    records = [make_record("a/one.jpg", [make_face(0, 30, 0.9)])]
    records[0].thumbnail = None
    write_tables(tmp_path / "r.parquet", records)
    batchage.report(table, tmp_path / "page", tmp_path / "thumbs")
    assert data_of(tmp_path / "page")["photos"]["thumbnail"] == [ONE]


def test_thumbnails_of_an_earlier_report_go(table, tmp_path):
    batchage.report(table, tmp_path / "page", tmp_path / "thumbs")
    (tmp_path / "page" / "thumbnails" / "mine.jpg").write_text("not the report's")
    write_tables(tmp_path / "r.parquet", [make_record("b/two.jpg", [make_face(0, 71, 0.6)])])
    batchage.report(table, tmp_path / "page", tmp_path / "thumbs")
    assert pictures_in(tmp_path / "page" / "thumbnails") == ["mine.jpg"]


@pytest.mark.parametrize("name", ["id_rsa", "../id_rsa", "/etc/passwd", ONE])
def test_a_table_from_elsewhere_brings_no_other_files(tmp_path, name):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "id_rsa").write_text("secret")
    (secret / ONE).symlink_to(secret / "id_rsa")
    record = make_record("a/one.jpg", [make_face(0, 30, 0.9)])
    record.thumbnail = name
    write_tables(tmp_path / "r.parquet", [record])
    batchage.report(tmp_path / "r.parquet", tmp_path / "page", secret)
    assert pictures_in(tmp_path / "page" / "thumbnails") == []
    assert data_of(tmp_path / "page")["photos"]["thumbnail"] == [None]


def test_the_page_loads_nothing_from_elsewhere_and_escapes_names(table, tmp_path):
    nasty = tmp_path / "<script>alert(1)<b>&.parquet"
    for path in tmp_path.glob("r.*"):
        path.rename(tmp_path / path.name.replace("r.", nasty.name.removesuffix("parquet"), 1))
    about = tmp_path / f"{nasty.name}.scan.json"
    about.write_text(json.dumps({"model_id": "<script>alert(2)"}))
    text = batchage.report(nasty, tmp_path / "page").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;b&gt;&amp;.parquet" in text
    assert "&lt;script&gt;alert(2)" in text
    assert text.count("<svg") == 4
    for attribute in ('src="', 'href="'):
        for part in text.split(attribute)[1:]:
            assert part.startswith(("data.js", "#")), part[:50]


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (
            {"states": 0.8, "held": {"a": 0.75, "<b>": 0.7}},
            "80%. Fitted without a source, they hel",
        ),
        ({"states": 0.8, "held": {}}, "Age intervals state 80%.</p>"),
        ({"states": "much"}, "a person's identity. </p>"),
        (["a list"], "a person's identity. </p>"),
    ],
)
def test_the_level_of_intervals_stands_on_the_page_where_it_is_known(table, interval, said):
    about = table.with_name("r.parquet.scan.json")
    about.write_text(json.dumps({"model_id": "m", "age_interval": interval}))
    text = batchage.report(table, table.parent / "page").read_text()
    assert said in text.replace("&#39;", "'")
    assert "<b>" not in text


def test_numbers_that_are_missing_make_a_page(table, tmp_path):
    rows = read_table(table)
    place = rows.column_names.index("age_low")
    for missing in (None, np.nan):
        ages = pa.array([missing, 3.0, 66.0], pa.float32())
        pq.write_table(rows.set_column(place, rows.schema.field(place), ages), table)
        batchage.report(table, tmp_path / "page")
        assert data_of(tmp_path / "page")["faces"]["low"] == [None, 3, 66]


def test_table_without_faces_makes_a_page(tmp_path):
    write_tables(tmp_path / "r.csv", [make_record("none.jpg", status=Status.NO_FACE)])
    batchage.report(tmp_path / "r.csv", tmp_path / "page")
    assert data_of(tmp_path / "page")["faces"]["photo"] == []


def test_what_is_wrong_is_explained(table, tmp_path):
    with pytest.raises(UsageError, match="no such folder of thumbnails"):
        batchage.report(table, tmp_path / "page", tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"gone\.parquet"):
        batchage.report(tmp_path / "gone.parquet", tmp_path / "page")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        batchage.report(table, tmp_path / "file")


def test_scan_makes_its_report(tmp_path):
    portraits, page = PHOTOS / "portraits", tmp_path / "page"
    result = run("scan", portraits, "-o", tmp_path / "r.parquet", "--report", page)
    assert result.returncode == 0, result.stderr
    assert "index.html" in result.stderr
    said = (page / "index.html").read_text()
    assert "Age intervals state 90%. Fitted without a source, they held " in said
    thumbnails = data_of(tmp_path / "page")["photos"]["thumbnail"]
    assert len(thumbnails) == 6
    assert all((tmp_path / "page" / "thumbnails" / name).is_file() for name in thumbnails)
    refused = run("scan", portraits, "-o", "-", "--report", page)
    assert refused.returncode == 2
    assert "--report" in refused.stderr


@pytest.fixture
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to open the page in")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


def test_page_filters_sorts_and_opens_photos(table, tmp_path, browser):
    path = batchage.report(table, tmp_path / "page", tmp_path / "thumbs")
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())

    def shown():
        return [text.split("\n")[0] for text in page.locator("#gallery .said").all_inner_texts()]

    assert shown() == ["female 30", "male 8", "female 71"]
    assert page.inner_text("#n-unread") == "1"
    assert page.locator("#unread td").all_inner_texts()[2] == "<b>broken</b>"
    page.select_option("#sort", "-age")
    assert shown() == ["female 71", "female 30", "male 8"]
    page.fill("#age-to", "50")
    assert shown() == ["female 30", "male 8"]
    page.select_option("#gender", "male")
    assert shown() == ["male 8"]
    assert page.inner_text("#count") == "1 of 3 faces"
    page.click("#filters button[type=reset]")
    page.fill("#text", "b/TWO")
    assert shown() == ["female 71"]
    page.fill("#text", "")
    page.fill("#score", "0.8")
    assert shown() == ["female 30", "male 8"]
    page.focus("#gallery li:nth-child(2) button")
    page.keyboard.press("Enter")
    assert page.inner_text("#photo-title") == "a/one.jpg"
    assert page.locator("#photo-faces li").count() == 2
    assert "male 8" in page.inner_text("#photo-faces .clicked")
    assert page.evaluate("document.querySelector('#photo-picture img').naturalWidth") == 512
    page.keyboard.press("Escape")
    assert not page.is_visible("#photo")
    assert said == []
