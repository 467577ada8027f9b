"""The two tables in every format: what is written is what is read, whole or not at all."""

import io
import json
import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from batchage.errors import OutputError, UsageError
from batchage.results import compact
from batchage.results.sink import StreamSink
from batchage.types import CaptureTime, FaceRecord, ImageRecord, ImageRef, Pose, Prediction, Status
from batchage.write import (
    CSV,
    FACES,
    IMAGES,
    csv,
    faces_batch,
    images_batch,
    output_paths,
    read_columns,
    read_table,
    tables,
    unescape_cell,
)
from batchage.write.base import suffixes
from batchage.write.csv import RISKY, escape_cell
from tests.builders import write_tables
from tests.command import ROOT

TABLE_SUFFIXES = [".parquet", ".csv", ".jsonl", ".feather"]
SUFFIXES = suffixes()
NAMES = [
    "plain.jpg",
    "=cmd|' /C calc'!A0.jpg",
    "'quoted'.jpg",
    'comma, "quote"\nnewline.jpg',
    "emoji 😀/ü.jpg",
    "-minus.jpg",
    "@at.jpg",
    "",
]


def make_face(index=0, **changes):
    values = {
        "face_index": index,
        "box": np.array([1.25, 2.5, 101.1, 202.3], np.float32),
        "landmarks": np.arange(10, dtype=np.float32).reshape(5, 2) / 3,
        "score": 0.987,
        "sharpness": 12.5,
        "pose": Pose(-0.1, 0.05, 12.0),
        "prediction": Prediction(34.56, 28.0, 41.0, 0.123),
    }
    return FaceRecord(**{**values, **changes})


def make_record(name="a.jpg", n_faces=2, **changes):
    values = {
        "ref": ImageRef(Path(name), "/photos", name, 1234, 1_600_000_000.25),
        "status": Status.OK,
        "width": 640,
        "height": 480,
        "content_hash": "ab" * 16,
        "captured": CaptureTime(datetime(2001, 2, 3, 4, 5, 6), "EXIF:DateTimeOriginal"),
        "seconds": 0.25,
        "faces": [make_face(i) for i in range(n_faces)],
    }
    return ImageRecord(**{**values, **changes})


def make_bad_record(name="bad.jpg"):
    return ImageRecord(
        ImageRef(Path(name), "/photos", name), Status.UNREADABLE, error="+the file is empty"
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_back(tmp_path, suffix, monkeypatch):
    records = [make_record(name) for name in NAMES] + [make_bad_record()]
    output = tmp_path / "new folder" / f"results{suffix}"
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 3)
    write_tables(output, records)
    paths = output_paths(output)
    faces, images = read_table(paths.faces, FACES), read_table(paths.images, IMAGES)
    assert faces.schema.equals(FACES)
    assert images.schema.equals(IMAGES)
    assert faces.to_pylist() == faces_batch(records, "model@1", ()).to_pylist()
    assert images.to_pylist() == images_batch(records, ()).to_pylist()
    assert {path.name for path in output.parent.iterdir()} == {path.name for path in paths}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_probabilities_of_being_younger_have_columns_of_their_own(tmp_path, suffix):
    young = make_face(1, prediction=Prediction(9.0, 5.0, 14.0, 0.5, 0.5, {18: 0.97, 21: 0.99}))
    old = make_face(0, prediction=Prediction(40.0, 33.0, 48.0, 0.5, 0.5, {18: 0.01, 21: 0.02}))
    records = [make_record(faces=[old, young]), make_bad_record()]
    output = tmp_path / f"results{suffix}"
    write_tables(output, records, age_threshold=[18, 21])
    faces = read_table(output, FACES)
    assert faces["prob_under_18"].to_pylist() == pytest.approx([0.01, 0.97])
    assert faces["prob_under_21"].to_pylist() == pytest.approx([0.02, 0.99])
    place = faces.column_names.index("gender_prob_female") + 1
    assert faces.column_names[place : place + 2] == ["prob_under_18", "prob_under_21"]
    assert faces.drop_columns(["prob_under_18", "prob_under_21"]).schema.names == FACES.names
    images = read_table(output_paths(output).images, IMAGES)
    assert images["max_prob_under_18"].to_pylist() == [pytest.approx(0.97), None]
    assert read_columns(output_paths(output).images, ["max_prob_under_21"]).num_rows == 2
    compact(output, tmp_path / "again.parquet")
    assert read_table(tmp_path / "again.parquet").to_pylist() == faces.to_pylist()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_still_give_readable_tables(tmp_path, suffix):
    output = tmp_path / f"results{suffix}"
    write_tables(output, [])
    assert read_table(output, FACES).num_rows == 0
    assert read_table(output_paths(output).images, IMAGES).num_rows == 0


def test_values_and_types_are_those_of_the_record(tmp_path):
    output = tmp_path / "r.parquet"
    write_tables(output, [make_record(n_faces=1), make_bad_record()])
    (face,) = read_table(output).to_pylist()
    assert face["age_years"] == pytest.approx(34.56)
    assert face["gender"] == "male"
    assert face["face_size_px"] == pytest.approx(141.25, abs=0.01)
    assert face["nose_x"] == pytest.approx(4 / 3)
    good, bad = read_table(tmp_path / "r.images.parquet").to_pylist()
    assert good["modified_at"] == datetime.fromtimestamp(1_600_000_000.25, UTC)
    assert good["captured_at"] == datetime(2001, 2, 3, 4, 5, 6)
    assert (good["n_faces"], bad["n_faces"]) == (2 - 1, 0)
    assert bad["width"] is None
    assert pa.types.is_dictionary(pq.read_schema(output).field("gender").type)


CAPTURED = [
    CaptureTime(datetime(2001, 2, 3, 4, 5, 6, 7000), "XMP-xmp:CreateDate", "second", -210),
    CaptureTime(datetime(1943, 5, 12), "IPTC:DateCreated", "day"),
    CaptureTime(datetime(2001, 2, 3, 4, 5), "PNG:CreationTime", "minute", 0),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_capture_time_stays_local_in_every_format(tmp_path, suffix):
    records = [make_record(f"{i}.jpg", 0, captured=each) for i, each in enumerate(CAPTURED)]
    output = tmp_path / f"results{suffix}"
    write_tables(output, records)
    names = ["captured_at", "captured_at_source", "captured_at_precision"]
    names.append("captured_at_offset_minutes")
    rows = read_table(output_paths(output).images, IMAGES).select(names).to_pylist()
    assert [CaptureTime(*row.values()) for row in rows] == CAPTURED


def test_coco_dates_say_no_more_than_is_known(tmp_path):
    records = [make_record(f"{i}.jpg", 0, captured=each) for i, each in enumerate(CAPTURED)]
    write_tables(tmp_path / "r.json", [*records, make_record(captured=None)])
    images = json.loads((tmp_path / "r.json").read_bytes())["images"]
    assert [image["date_captured"] for image in images] == [
        "2001-02-03T04:05:06.007000-03:30", "1943-05-12", "2001-02-03T04:05:00+00:00", ""
    ]  # fmt: skip


def test_metadata_go_to_the_parquet_footer(tmp_path):
    write_tables(tmp_path / "r.parquet", [make_record()])
    for name in ("r.parquet", "r.images.parquet"):
        assert pq.read_schema(tmp_path / name).metadata[b"batchage.version"] == b"1"


def test_csv_floats_are_short_and_formulas_harmless(tmp_path):
    output = tmp_path / "r.csv"
    write_tables(output, [make_record("=1+1.jpg", n_faces=1)])
    text = output.read_text()
    assert "'=1+1.jpg" in text
    assert "34.56," in text
    assert "34.5600" not in text


@given(st.text())
def test_escaped_cells_are_harmless_and_come_back(text):
    cell = escape_cell(text)
    assert unescape_cell(cell) == text
    assert not cell.startswith(tuple(set(RISKY) - {"'"}))


@given(st.lists(st.text('ab",\n\r', max_size=8), max_size=9), st.integers(1, 60))
def test_csv_is_read_in_pieces_that_end_with_rows(texts, size):
    schema = pa.schema([pa.field("x", pa.string(), nullable=False), pa.field("y", pa.int64())])
    stream = io.BytesIO()
    writer = CSV.open_writer(stream, schema, {})
    writer.write(pa.record_batch([texts, range(len(texts))], schema=schema))
    stream.seek(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "PIECE_BYTES", size)
        table = CSV.read(stream, schema)
    assert table.to_pylist() == [{"x": text, "y": y} for y, text in enumerate(texts)]


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.sampled_from(SUFFIXES))
def test_any_name_and_error_survive(tmp_path_factory, text, suffix):
    output = tmp_path_factory.mktemp("any") / f"r{suffix}"
    record = make_bad_record(text)
    record.error = text or None
    write_tables(output, [record])
    (row,) = read_table(output_paths(output).images, IMAGES).to_pylist()
    assert row["image_path"] == text
    assert row["error"] == (text or None)


@pytest.mark.parametrize("suffix", [".jsonl", ".sqlite", ".json"])
def test_formats_without_nan_have_missing_values(tmp_path, suffix):
    face = make_face(
        prediction=Prediction(30.0, math.nan, math.inf, 0.5), pose=Pose(math.nan, 0.0, 0.0)
    )
    write_tables(tmp_path / f"r{suffix}", [make_record(faces=[face])])
    (row,) = read_table(tmp_path / f"r{suffix}", FACES).to_pylist()
    assert row["age_low"] is None
    assert math.isnan(row["yaw"])
    assert "NaN" not in (tmp_path / f"r{suffix}").read_bytes().decode(errors="ignore")


def test_a_database_is_queried_with_sql(tmp_path):
    path = tmp_path / "r.sqlite"
    write_tables(path, [make_record("a.jpg"), make_record("b.jpg", 1), make_bad_record()])
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(
            "SELECT image_path, count(*), avg(age_years), strftime('%Y', captured_at) "
            "FROM faces JOIN images USING (root, image_path) GROUP BY image_path"
        ).fetchall()
        assert rows == [("a.jpg", 2, 34.56, "2001"), ("b.jpg", 1, 34.56, "2001")]
        assert database.execute("SELECT value FROM scan WHERE key = 'version'").fetchone() == ("1",)
        assert pd.read_sql("SELECT * FROM images", database).status.tolist()[-1] == "unreadable"


def test_coco_is_read_by_its_own_library(tmp_path, capsys):
    path = tmp_path / "r.json"
    write_tables(path, [make_bad_record(), make_record("a.jpg"), make_record("b.jpg", 1)])
    coco = COCO(path)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [
        "bad.jpg", "a.jpg", "b.jpg"
    ]  # fmt: skip
    (face,) = coco.loadAnns(coco.getAnnIds(imgIds=[3]))
    assert face["bbox"] == pytest.approx([1.25, 2.5, 99.85, 199.8])
    assert len(face["keypoints"]) == 3 * len(coco.loadCats([1])[0]["keypoints"])
    assert face["attributes"]["age_years"] == 34.56


@pytest.mark.parametrize(
    ("roots", "common", "names"),
    [
        (["/p/a", "/p/b"], "/p", ["a/1.jpg", "b/1.jpg"]),
        (["/p/a", "/p/ab"], "/p", ["a/1.jpg", "ab/1.jpg"]),
        (["/p", "/p/b"], "/p", ["1.jpg", "b/1.jpg"]),
        (["/a", "/b"], "/", ["a/1.jpg", "b/1.jpg"]),
        (["/", "/b"], "/", ["1.jpg", "b/1.jpg"]),
        (["s3://p/a", "s3://p/b"], "s3://p", ["a/1.jpg", "b/1.jpg"]),
        (["s3://p", "s3://q"], "", ["s3://p/1.jpg", "s3://q/1.jpg"]),
        (["/p", "s3://p"], "", ["/p/1.jpg", "s3://p/1.jpg"]),
    ],
)
def test_no_two_files_of_coco_have_one_name(tmp_path, roots, common, names):
    refs = [ImageRef(Path("1.jpg"), root, "1.jpg") for root in roots]
    write_tables(tmp_path / "r.json", [make_record(ref=ref) for ref in refs])
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["info"]["root"] == common
    assert [image["file_name"] for image in content["images"]] == names
    assert read_table(tmp_path / "r.json", IMAGES)["root"].to_pylist() == roots


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_duckdb_reads_the_tables(tmp_path, suffix):
    write_tables(tmp_path / f"r{suffix}", [make_record("a.jpg"), make_record("b.jpg", 1)])
    query = f"SELECT image_path, count(*) FROM '{tmp_path}/r{suffix}' GROUP BY 1 ORDER BY 1"
    assert duckdb.sql(query).fetchall() == [("a.jpg", 2), ("b.jpg", 1)]


@pytest.mark.parametrize("suffix", [".sqlite", ".json"])
def test_a_file_of_another_kind_is_a_usage_error(tmp_path, suffix):
    path = tmp_path / f"r{suffix}"
    path.write_text('["no", "tables"]')
    with pytest.raises(UsageError, match=r"can't be read as a scan's table"):
        read_columns(path, ["age_years"])
    with pytest.raises(UsageError, match="No such file"):
        read_columns(tmp_path / f"missing{suffix}", ["age_years"])


@pytest.mark.parametrize("suffix", [".parquet", ".sqlite", ".json"])
def test_full_disk_is_one_sentence_and_an_earlier_output_stays(tmp_path, monkeypatch, suffix):
    def full(_):
        raise OSError(28, "No space left on device")

    write_tables(tmp_path / f"r{suffix}", [make_record("first.jpg")])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("batchage.places.folders.os.fsync", full)
    with pytest.raises(OutputError, match=r"r\..*: could not be written \(No space left"):
        write_tables(tmp_path / f"r{suffix}", [make_record()])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_output_that_is_a_folder_or_lies_in_a_file_is_refused(tmp_path):
    (tmp_path / "r.csv").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        write_tables(tmp_path / "r.csv", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another place"):
        write_tables(tmp_path / "file" / "r.csv", [])


def test_unknown_suffix_names_the_known_ones():
    with pytest.raises(
        UsageError, match=r"\.parquet, \.csv, \.jsonl, \.feather, \.sqlite or \.json"
    ):
        output_paths(Path("results.xlsx"))


def test_stream_gets_the_faces_as_csv():
    stream = io.BytesIO()
    sink = StreamSink(stream)
    sink.begin({"model_id": "m"})
    sink.write(make_record(n_faces=3))
    sink.finish()
    lines = stream.getvalue().decode().splitlines()
    assert lines[0].split(",") == FACES.names
    assert len(lines) == 4


def test_every_column_is_documented():
    page = (ROOT / "docs" / "tables.md").read_text()
    for schema in (FACES, IMAGES):
        for field in schema:
            assert f"| `{field.name}` |" in page
            assert field.metadata[b"description"].decode() in page


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_tables_are_read_by_column_name(tmp_path, suffix):
    path = tmp_path / f"r{suffix}"
    write_tables(path, [make_record(n_faces=1)])
    table = read_table(path)
    if suffix == ".parquet":
        names = [*reversed(table.column_names)]
        pq.write_table(table.select(names).append_column("mine", pa.array(["x"])), path)
    else:
        readers = {".csv": pd.read_csv, ".feather": pd.read_feather}
        frame = readers.get(suffix, partial(pd.read_json, lines=True))(path)
        frame = frame[frame.columns[::-1]].assign(mine="x")
        if suffix == ".csv":
            frame.to_csv(path, index=False)
        elif suffix == ".feather":
            frame.to_feather(path)
        else:
            path.write_text(frame.to_json(orient="records", lines=True))
    assert read_table(path).select(["x1", "x2", "age_low"]) == table.select(["x1", "x2", "age_low"])
