"""A scan's tables in other formats and places."""

import itertools

import pytest

import batchage
from batchage.errors import OutputError, UsageError
from batchage.places import locate
from tests.fake_scans import OUTPUTS, make_photo, parts_of, rows, run_scan


def at(name, tmp_path):
    return locate(name) if "://" in name else tmp_path / name


@pytest.fixture
def table(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("batchage.write.tables.PHOTOS_PER_FILE", 3)
    run_scan(photos, tmp_path / "results")
    return tmp_path / "results"


def test_every_format_becomes_every_other(table, tmp_path, memory):
    expected = rows(table)
    for before, after in itertools.permutations(OUTPUTS, 2):
        source = at(f"{before.replace('/r', '/of')}", tmp_path / "of")
        target = at(f"{after.replace('/r', '/to')}", tmp_path / "to")
        batchage.compact(table, source, overwrite=True)
        paths = batchage.compact(source, target, overwrite=True)
        assert rows(target) == expected, (before, after)
        assert paths.output == target
        assert not parts_of(target).exists()


def test_what_is_written_can_be_updated(table, photos, tmp_path):
    batchage.compact(table, tmp_path / "one.parquet")
    make_photo(photos / "new.jpg", "new")
    assert run_scan(photos, tmp_path / "one.parquet", update=True)[0] == ["new.jpg"]


def test_what_is_there_stays(table, tmp_path):
    target = tmp_path / "one.csv"
    batchage.compact(table, target)
    before = target.read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        batchage.compact(table, target)
    with pytest.raises(UsageError, match="choose another output"):
        batchage.compact(target, target, overwrite=True)
    assert target.read_bytes() == before


def test_an_interrupted_scan_is_not_overwritten(table, photos, tmp_path):
    run_scan(photos, tmp_path / "one.csv", stop_after=3)
    with pytest.raises(UsageError, match="interrupted scan"):
        batchage.compact(table, tmp_path / "one.csv", overwrite=True)
    assert len(run_scan(photos, tmp_path / "one.csv")[0]) == 7


def test_tables_that_do_not_belong_together_leave_nothing(table, tmp_path):
    batchage.compact(table, tmp_path / "one.csv")
    lines = (tmp_path / "one.csv").read_text().splitlines(keepends=True)
    for damaged in ([lines[0], *reversed(lines[1:])], lines[:-1], [*lines, lines[-1]]):
        (tmp_path / "one.csv").write_text("".join(damaged))
        with pytest.raises(UsageError, match=r"one\.csv: can't be read as a scan's tables"):
            batchage.compact(tmp_path / "one.csv", tmp_path / "two.parquet")
    assert not list(tmp_path.glob("two*"))


def test_what_is_no_table_is_explained(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        batchage.compact(tmp_path / "gone", tmp_path / "one.csv")


def test_a_place_that_cannot_be_written_is_explained(table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another place"):
        batchage.compact(table, tmp_path / "file" / "one.csv")
