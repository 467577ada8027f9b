"""The folder of parts: its lock, what is not its own, what is damaged."""

import fcntl
import os
from pathlib import Path

import pytest

from batchage.config import ScanConfig
from batchage.errors import OutputError, UsageError
from batchage.places import LocalFolder
from batchage.results import file_sink
from batchage.results.file_sink import FileSink
from tests.fake_scans import fresh_rows, parts_of, require_lock, rows, run_scan


def test_parts_are_bounded_by_photos_and_by_seconds(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(file_sink, "PART_PHOTOS", 3)
    run_scan(photos, tmp_path / "r.csv", stop_after=7, save_every=1e9)
    parts = sorted(path.name for path in (tmp_path / "r.csv.parts").glob("*.images.parquet"))
    # Two full parts, and what the orderly end saved.
    assert parts == [f"0000{n}.images.parquet" for n in range(3)]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_place_where_no_folder_can_be_made_is_refused(photos):
    # There, making a folder says that its parent is missing, however often it is tried.
    with pytest.raises(OutputError, match="choose another place"):
        run_scan(photos, Path("/proc/none/r.csv"))


def test_a_link_to_a_disk_that_is_not_there_is_refused(photos, tmp_path):
    (tmp_path / "disk").symlink_to(tmp_path / "not mounted" / "disk")
    with pytest.raises(OutputError, match="its folder can't be made"):
        run_scan(photos, tmp_path / "disk" / "r.csv")


def test_folder_of_parts_with_other_files_is_not_touched(photos, tmp_path):
    folder = tmp_path / "r.parquet.parts"
    (folder / "mine").mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="files that no scan made"):
        run_scan(photos, tmp_path / "r.parquet")
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert (folder / "mine").is_dir()


def test_unreadable_or_damaged_description_of_parts_deletes_nothing(photos, tmp_path, monkeypatch):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, stop_after=4)
    about = tmp_path / "r.parquet.parts" / "scan.json"
    whole = about.read_bytes()
    parts = {path.name for path in about.parent.glob("0*")}
    assert len(parts) == 8
    for damaged in (b"null", b"[]", b'"x"', b"{", b""):
        about.write_bytes(damaged)
        with pytest.raises(OutputError, match="damaged"):
            run_scan(photos, output)
    about.write_bytes(whole)

    def fails(path):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="could not be read"):
        patch.setattr("batchage.results.parts.read_object", fails)
        run_scan(photos, output)
    assert {path.name for path in about.parent.glob("0*")} == parts
    assert len(run_scan(photos, output)[0]) == 6


def test_second_scan_on_one_output_is_refused(photos, tmp_path):
    output = tmp_path / "r.parquet"
    require_lock(photos, output)


def test_lock_left_by_a_dead_process_does_not_block(photos, tmp_path):
    folder = tmp_path / "r.parquet.parts"
    folder.mkdir()
    (folder / "lock").write_text("")
    assert len(run_scan(photos, tmp_path / "r.parquet")[0]) == 10


def test_lock_file_that_its_owner_removed_is_no_lock(photos, tmp_path, monkeypatch):
    """The first scan ends between our opening of its lock file and our locking it."""
    first = FileSink(tmp_path / "r.parquet", ScanConfig())
    first.open()
    flock = fcntl.flock

    def late(handle, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        first.close()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    second = FileSink(tmp_path / "r.parquet", ScanConfig())
    second.open()
    assert (tmp_path / "r.parquet.parts" / "lock").exists()
    with pytest.raises(UsageError, match="another scan"):
        FileSink(tmp_path / "r.parquet", ScanConfig()).open()
    second.close()


def test_damaged_part_is_scanned_again(photos, output, caplog):
    run_scan(photos, output, stop_after=6)
    damaged = parts_of(output) / "00002.images.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    names, _ = run_scan(photos, output)
    assert len(names) == 5
    assert "is damaged" in caplog.text
    assert sorted(map(str, rows(output)[0])) == sorted(map(str, fresh_rows(photos, output)[0]))


def test_full_disk_keeps_the_parts_and_names_the_remedy(photos, tmp_path, monkeypatch):
    output = tmp_path / "r.parquet"
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 20:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr("batchage.places.folders.os.fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device.*same command again"):
        run_scan(photos, output)
    monkeypatch.setattr("batchage.places.folders.os.fsync", real)
    names, sink = run_scan(photos, output)
    assert 0 < len(names) < 10
    assert sink.is_continued
    assert rows(output) == fresh_rows(photos, output)


def test_saving_a_part_lists_no_others(photos, tmp_path, monkeypatch):
    listings = []
    names = LocalFolder.names
    monkeypatch.setattr(LocalFolder, "names", lambda self: listings.append(0) or names(self))
    n_listings = []
    for count in (2, 8):
        listings.clear()
        run_scan(photos, tmp_path / f"{count}.csv", stop_after=count)
        assert len(list((tmp_path / f"{count}.csv.parts").glob("*.images.parquet"))) == count
        n_listings.append(len(listings))
    assert n_listings[0] == n_listings[1]
