"""A folder of Parquet files as an output: what opens it, what is in it, what is refused."""

import json

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from batchage.errors import OutputError, UsageError
from batchage.write import FACES, IMAGES, output_paths, read_columns, read_table
from tests.builders import write_tables
from tests.fake_scans import fresh_rows, make_photo, parts_of, rows, run_scan
from tests.write.test_write import make_record


@pytest.fixture
def dataset(photos, tmp_path, monkeypatch):
    """Of ten photos, in files of at most four."""
    monkeypatch.setattr("batchage.write.tables.PHOTOS_PER_FILE", 4)
    run_scan(photos, tmp_path / "results")
    return tmp_path / "results"


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_files_are_bounded_and_those_of_one_number_belong_together(dataset, photos, tmp_path):
    numbers = range(3)
    assert names_in(dataset) == [
        "_scan.json",
        *(f"{table}/part-{n:05}.parquet" for table in ("faces", "images") for n in numbers),
    ]
    assert rows(dataset) == fresh_rows(photos, tmp_path / "other.parquet")
    for n in numbers:
        images = pl.read_parquet(dataset / "images" / f"part-{n:05}.parquet")
        faces = pl.read_parquet(dataset / "faces" / f"part-{n:05}.parquet")
        assert images.height == (4, 4, 2)[n]
        assert set(faces["image_path"]) <= set(images["image_path"])
        assert images["n_faces"].sum() == faces.height


def test_others_open_it(dataset):
    faces = read_table(dataset / "faces").to_pandas()
    assert len(faces)
    mean = pytest.approx(faces.age_years.mean())
    query = f"SELECT avg(age_years), count(*) FROM read_parquet('{dataset}/faces/*.parquet')"
    assert duckdb.sql(query).fetchall() == [(mean, len(faces))]
    assert pl.read_parquet(dataset / "faces")["age_years"].mean() == mean
    assert pl.scan_parquet(dataset / "faces" / "*.parquet").collect().height == len(faces)
    assert pd.read_parquet(dataset / "faces").image_path.tolist() == faces.image_path.tolist()
    assert ds.dataset(dataset / "images").count_rows() == 10


def test_it_is_read_by_its_name_and_by_those_of_its_tables(dataset):
    paths = output_paths(dataset)
    assert read_table(dataset, FACES) == read_table(paths.faces)
    assert read_table(dataset, IMAGES) == read_table(paths.images)
    assert read_columns(dataset, ["status"]).num_rows == 10
    assert read_table(paths.images).schema.equals(IMAGES)


def test_files_of_a_longer_dataset_go(dataset, photos):
    for number in range(8):
        (photos / "ab"[number % 2] / f"{number}.jpg").unlink()
    assert run_scan(photos, dataset, update=True)[0] == []
    assert names_in(dataset) == [
        "_scan.json", "faces/part-00000.parquet", "images/part-00000.parquet"
    ]  # fmt: skip


def test_no_photos_still_give_a_file_of_each_table(tmp_path):
    write_tables(tmp_path / "results", [])
    assert read_table(tmp_path / "results", FACES).num_rows == 0
    assert read_table(tmp_path / "results", IMAGES).num_rows == 0


def test_an_empty_folder_and_what_file_managers_leave_are_no_obstacle(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".DS_Store").write_text("")
    write_tables(tmp_path / "results", [make_record()])
    assert read_table(tmp_path / "results", FACES).num_rows == 2


@pytest.mark.parametrize("name", ["thesis.txt", "faces/mine.parquet", "images/a/b.parquet"])
def test_a_folder_with_other_files_is_refused_whole(dataset, photos, name):
    (dataset / name).parent.mkdir(exist_ok=True)
    (dataset / name).write_text("years of work")
    before = names_in(dataset)
    with pytest.raises(OutputError, match="files that no scan made, such as"):
        run_scan(photos, dataset, overwrite=True)
    assert names_in(dataset) == before
    assert not parts_of(dataset).exists()


def test_a_file_in_its_place_is_refused(photos, tmp_path):
    (tmp_path / "results").write_text("x")
    with pytest.raises(OutputError, match=r"results: could not be written.*another place"):
        run_scan(photos, tmp_path / "results")


def test_without_its_description_it_is_unfinished(dataset, photos):
    (dataset / "_scan.json").unlink()
    with pytest.raises(UsageError, match=r"_scan\.json is missing"):
        read_columns(dataset, ["age_years"])
    with pytest.raises(UsageError, match="--overwrite"):
        run_scan(photos, dataset)
    with pytest.raises(UsageError, match="--overwrite"):
        run_scan(photos, dataset, update=True)
    run_scan(photos, dataset, overwrite=True)
    assert read_columns(dataset, ["status"]).num_rows == 10


def test_a_file_that_is_gone_is_noticed(dataset, photos):
    make_photo(photos / "new.jpg", "new")
    (dataset / "faces" / "part-00001.parquet").unlink()
    with pytest.raises(UsageError, match="files of it are missing"):
        read_columns(dataset, ["age_years"])
    with pytest.raises(UsageError, match=r"files of it are missing.*--overwrite"):
        run_scan(photos, dataset, update=True)


def test_its_description_says_what_it_was_made_with(dataset):
    assert json.loads((dataset / "_scan.json").read_text())["model_id"] == "m@1"
    metadata = ds.dataset(dataset / "faces").schema.metadata
    assert metadata[b"batchage.model_id"] == b"m@1"


@pytest.mark.parametrize("name", [".", "..", "/", "s3://bucket", "memory://"])
def test_what_names_no_new_folder_is_refused(name):
    from batchage.places import locate

    with pytest.raises(UsageError, match="name one, such as results"):
        output_paths(locate(name))
