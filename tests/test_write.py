"""The two tables in every format: what is written is what is read, whole or not at all."""

import io
import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage import write
from batchage.errors import OutputError, UsageError
from batchage.sink import StreamSink
from batchage.types import FaceRecord, ImageRecord, ImageRef, Pose, Prediction, Status
from batchage.write import output_paths, read_table, unescape_cell
from batchage.write.csv import RISKY, escape_cell
from batchage.write.schema import FACES, IMAGES, faces_batch, images_batch
from tests.builders import write_tables

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = [".parquet", ".csv", ".jsonl", ".feather"]
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
        "captured_at": datetime(2001, 2, 3, 4, 5, 6),
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
    monkeypatch.setattr(write, "ROWS_PER_BATCH", 3)
    write_tables(output, records)
    paths = output_paths(output)
    faces, images = read_table(paths.faces), read_table(paths.images)
    assert faces.schema.equals(FACES)
    assert images.schema.equals(IMAGES)
    assert faces.to_pylist() == pa.Table.from_batches([faces_batch(records, "model@1")]).to_pylist()
    assert images.to_pylist() == pa.Table.from_batches([images_batch(records)]).to_pylist()
    assert sorted(path.name for path in output.parent.iterdir()) == sorted(
        path.name for path in paths
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_still_give_readable_tables(tmp_path, suffix):
    output = tmp_path / f"results{suffix}"
    write_tables(output, [])
    assert read_table(output).num_rows == 0
    assert read_table(output_paths(output).images).num_rows == 0


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


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.sampled_from(SUFFIXES))
def test_any_name_and_error_survive(tmp_path_factory, text, suffix):
    output = tmp_path_factory.mktemp("any") / f"r{suffix}"
    record = make_bad_record(text)
    record.error = text or None
    write_tables(output, [record])
    (row,) = read_table(output_paths(output).images).to_pylist()
    assert row["image_path"] == text
    assert row["error"] == (text or None)


def test_jsonl_never_holds_nan(tmp_path):
    face = make_face(prediction=Prediction(30.0, float("nan"), float("nan"), 0.5))
    write_tables(tmp_path / "r.jsonl", [make_record(faces=[face])])
    row = json.loads((tmp_path / "r.jsonl").read_text())
    assert row["age_low"] is None


def test_full_disk_is_one_sentence_and_an_earlier_output_stays(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    write_tables(tmp_path / "r.parquet", [make_record("first.jpg")])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("batchage.write.files.os.fsync", full)
    with pytest.raises(OutputError, match=r"r\.parquet.*: could not be written \(No space left"):
        write_tables(tmp_path / "r.parquet", [make_record()])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_output_that_is_a_folder_or_lies_in_a_file_is_refused(tmp_path):
    (tmp_path / "r.csv").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        write_tables(tmp_path / "r.csv", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another place"):
        write_tables(tmp_path / "file" / "r.csv", [])


def test_unknown_suffix_names_the_known_ones():
    with pytest.raises(UsageError, match=r"\.parquet, \.csv, \.jsonl or \.feather"):
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


@pytest.mark.parametrize("suffix", SUFFIXES)
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
