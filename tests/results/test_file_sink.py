"""Interrupted, continued, updated: the tables are those of an undisturbed scan."""

import itertools
import json
import os
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.api import absolute_inputs
from batchage.config import ScanConfig
from batchage.drawing.photo_rows import read_photos
from batchage.errors import OutputError, UsageError
from batchage.places import content_hash
from batchage.results import Sink, compact, file_sink
from batchage.results.file_sink import FileSink
from batchage.results.parts import Parts
from batchage.walk import iter_images, iter_listed
from batchage.write import output_paths
from tests.fake_scans import (
    ABOUT,
    AT_ONCE,
    LOCAL,
    death_after,
    fresh_rows,
    make_photo,
    parts_of,
    rows,
    run_scan,
)

pytestmark = pytest.mark.usefixtures("no_power_cut")


@pytest.mark.parametrize("stop_after", [0, 1, 5, 9])
def test_interrupted_scan_goes_on_and_its_tables_are_the_same(photos, output, stop_after):
    first, _ = run_scan(photos, output, stop_after)
    second, sink = run_scan(photos, output)
    assert len(first) == stop_after
    assert len(first + second) == len(set(first + second)) == 10
    assert sink.taken_over == stop_after
    assert sink.is_continued
    assert rows(output) == fresh_rows(photos, output)
    assert not parts_of(output).exists()
    assert sink.tally.files == 10


def test_finished_output_is_not_overwritten_by_accident(photos, output):
    run_scan(photos, output)
    about = output_paths(output).about
    about.write_bytes(about.read_bytes() + b"\n")
    before = about.read_bytes()
    with pytest.raises(UsageError, match=r"--update .* --overwrite"):
        run_scan(photos, output)
    assert about.read_bytes() == before
    assert not parts_of(output).exists()
    names, _ = run_scan(photos, output, overwrite=True)
    assert len(names) == 10


def test_update_scans_only_what_is_new_or_changed(photos, output):
    run_scan(photos, output)
    make_photo(photos / "a" / "00.jpg", "new")
    make_photo(photos / "b" / "3.jpg", "changed", mtime=1_700_000_000)
    (photos / "a" / "4.jpg").unlink()
    names, sink = run_scan(photos, output, update=True)
    assert names == ["a/00.jpg", "b/3.jpg"]
    assert (sink.taken_over, sink.gone, sink.tally.files) == (8, 1, 10)
    assert rows(output) == fresh_rows(photos, output)


def test_update_of_nothing_is_a_scan(photos, tmp_path):
    names, _ = run_scan(photos, tmp_path / "r.csv", update=True)
    assert len(names) == 10


def test_update_tries_again_what_failed(photos, tmp_path):
    output = tmp_path / "r.csv"
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    run_scan(photos, output)
    names, _ = run_scan(photos, output, update=True)
    assert names == ["gone.jpg"]


def test_interrupted_update_goes_on_and_the_old_output_stays_meanwhile(photos, output):
    run_scan(photos, output)
    before = rows(output)
    for number in range(4):
        make_photo(photos / "c" / f"{number}.jpg", f"new {number}")
    first, _ = run_scan(photos, output, stop_after=2, update=True)
    assert rows(output) == before
    second, sink = run_scan(photos, output, update=True)
    assert first + second == [f"c/{number}.jpg" for number in range(4)]
    assert sink.is_continued
    assert rows(output) == fresh_rows(photos, output)


def test_death_at_any_step_of_an_update_loses_nothing(photos, output, monkeypatch):
    monkeypatch.setattr("batchage.write.tables.PHOTOS_PER_FILE", 4)
    added, removed = photos / "c.jpg", photos / "a" / "0.jpg"
    make_photo(added, "new")
    removed.unlink()
    expected = fresh_rows(photos, output)
    for n_steps in itertools.count():
        added.unlink()
        make_photo(removed, "content 0")
        run_scan(photos, output, overwrite=True, **AT_ONCE)
        make_photo(added, "new")
        removed.unlink()
        with death_after(n_steps, monkeypatch) as has_died:
            run_scan(photos, output, update=True)
        if not has_died():
            break
        run_scan(photos, output, update=True)
        assert rows(output) == expected, n_steps
        assert not parts_of(output).exists()
    assert n_steps > 8


def test_death_after_the_tables_leaves_a_scan_that_only_tidies_up(photos, output, monkeypatch):
    clear = Parts.clear

    def die_at_the_end(parts):
        if parts.about():
            raise KeyboardInterrupt
        clear(parts)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Parts, "clear", die_at_the_end)
        run_scan(photos, output)
    names, _ = run_scan(photos, output)
    assert names == []
    assert not parts_of(output).exists()
    assert rows(output) == fresh_rows(photos, output)


def test_checksum_goes_by_content(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output)
    touched, changed = photos / "a" / "0.jpg", photos / "a" / "2.jpg"
    os.utime(touched, (1_700_000_000, 1_700_000_000))
    stat = changed.stat()
    make_photo(changed, "CONTENT 2", stat.st_mtime)
    assert changed.stat().st_size == stat.st_size
    assert run_scan(photos, output, update=True)[0] == ["a/0.jpg"]
    os.utime(touched, (1_800_000_000, 1_800_000_000))
    assert run_scan(photos, output, update=True, checksum=True)[0] == ["a/2.jpg"]
    assert rows(output) == fresh_rows(photos, output)
    assert run_scan(photos, output, update=True)[0] == []


@pytest.mark.parametrize(
    "change",
    [
        {"model_id": "m@2"},
        {"detector_id": "other"},
        {"precision": "bfloat16"},
        {"settings": {"detect_size": 1024}},
    ],
)
def test_other_settings_are_refused_not_mixed(photos, tmp_path, change):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, stop_after=3)
    with pytest.raises(UsageError, match=r"instead of .*--overwrite"):
        run_scan(photos, output, about={**ABOUT, **change})
    names, _ = run_scan(photos, output)
    assert len(names) == 7
    with pytest.raises(UsageError, match=r"instead of .*--overwrite"):
        run_scan(photos, output, about={**ABOUT, **change}, update=True)
    assert len(run_scan(photos, output, about={**ABOUT, **change}, overwrite=True)[0]) == 10


def test_update_may_have_more_inputs_and_not_fewer(photos, tmp_path):
    output = tmp_path / "r.parquet"
    more = {**ABOUT, "inputs": ["photos", "others"]}
    run_scan(photos, output, stop_after=3)
    with pytest.raises(UsageError, match=r"inputs \['photos'\] instead of"):
        run_scan(photos, output, about=more)
    run_scan(photos, output)
    assert run_scan(photos, output, about=more, update=True)[0] == []
    before = rows(output)
    with pytest.raises(UsageError, match="also had others"):
        run_scan(photos, output, about=ABOUT, update=True)
    assert rows(output) == before


def empty(folder, away):
    """As if the disk of a folder were not connected."""
    folder.rename(away)
    folder.mkdir()


def connect(folder, away):
    folder.rmdir()
    away.rename(folder)


def test_update_that_meets_no_file_leaves_the_table(photos, output, tmp_path):
    run_scan(photos, output)
    before = rows(output)
    empty(photos, tmp_path / "away")
    with pytest.raises(UsageError, match="the disk is connected"):
        run_scan(photos, output, update=True)
    assert rows(output) == before
    connect(photos, tmp_path / "away")
    assert run_scan(photos, output, update=True)[0] == []
    assert rows(output) == before


@pytest.mark.parametrize("settings", [{}, {"overwrite": True}])
def test_what_was_computed_stays_if_no_file_is_met(photos, output, tmp_path, settings):
    first, _ = run_scan(photos, output, stop_after=7, **settings)
    empty(photos, tmp_path / "away")
    with pytest.raises(UsageError, match=r"check that the disk is connected, or (use|remove)"):
        run_scan(photos, output, **settings)
    connect(photos, tmp_path / "away")
    second, _ = run_scan(photos, output, **settings)
    assert (len(first), len(second)) == (7, 3)
    assert rows(output) == fresh_rows(photos, output)


@pytest.mark.parametrize("stop_after", [None, 9])
def test_an_input_whose_disk_is_away_keeps_its_rows(photos, tmp_path, monkeypatch, stop_after):
    output, other = tmp_path / "r.parquet", tmp_path / "other"
    for number in range(3):
        make_photo(other / f"{number}.jpg", f"other {number}")
    monkeypatch.chdir(photos)

    def scan(disk="/", **settings):
        inputs = absolute_inputs(["../other", "."])
        about = {**ABOUT, "inputs": inputs, "disks": {inputs[0]: disk, inputs[1]: "/"}}
        refs = iter_images(["../other", "."])
        return run_scan(None, output, about=about, refs=refs, update=True, **settings)[0]

    assert len(scan(str(other), stop_after=stop_after)) == (stop_after or 13)
    empty(other, tmp_path / "away")
    make_photo(photos / "new.jpg", "new")
    for _ in range(2):
        with pytest.raises(UsageError, match=f"no photos are in {other} any more"):
            scan()
    connect(other, tmp_path / "away")
    scan(str(other))
    assert len(rows(output)[0]) == 14
    assert scan(str(other)) == []
    # Emptied on purpose.
    empty(other, tmp_path / "away")
    assert scan(str(other)) == []
    assert len(rows(output)[0]) == 11


@contextmanager
def unreadable(folder):
    """As if a folder could not be listed."""
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path) == os.fspath(folder):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        yield


def test_rows_in_parts_below_a_folder_that_cannot_be_read_are_kept(photos, output):
    first, _ = run_scan(photos, output, stop_after=7)
    with unreadable(photos / "a"):
        second, sink = run_scan(photos, output)
    assert first[:5] == [f"a/{number}.jpg" for number in range(0, 10, 2)]
    assert sorted(second) == ["a", *(f"b/{number}.jpg" for number in (5, 7, 9))]
    assert sink.taken_over == 7
    unread = [row for row in rows(output)[0] if row["image_path"] == "a"]
    assert [row["status"] for row in unread] == ["unreadable"]
    assert run_scan(photos, output, update=True)[0] == []
    assert rows(output) == fresh_rows(photos, output)


def test_what_a_file_manager_leaves_among_the_parts_does_no_harm(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, stop_after=3)
    (tmp_path / "r.parquet.parts" / ".DS_Store").write_bytes(b"")
    assert len(run_scan(photos, output)[0]) == 7
    assert not (tmp_path / "r.parquet.parts").exists()


def test_files_that_tell_neither_size_nor_time_are_compared_by_content(photos, tmp_path):
    output = tmp_path / "r.parquet"

    def update():
        refs = [replace(ref, size=None, mtime=None) for ref in iter_images([photos])]
        return run_scan(photos, output, refs=refs, update=True)[0]

    assert len(update()) == 10
    make_photo(photos / "a" / "2.jpg", "changed")
    assert update() == ["a/2.jpg"]
    assert update() == []


def test_remote_files_are_compared_several_at_once(tmp_path, memory, monkeypatch):
    for number in range(4):
        memory.pipe_file(f"/photos/{number}.jpg", str(number).encode())
    output, meeting = tmp_path / "r.parquet", threading.Barrier(4)

    def scan(**settings):
        return run_scan(None, output, refs=iter_images(["memory://photos"]), **settings)[0]

    def meet(place):
        meeting.wait(timeout=30)
        return content_hash(place)

    assert len(scan()) == 4
    memory.pipe_file("/photos/2.jpg", b"changed")
    monkeypatch.setattr(file_sink, "content_hash", meet)
    assert scan(update=True, checksum=True) == ["2.jpg"]


def test_rows_below_a_folder_that_cannot_be_read_are_kept(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output)
    before = rows(output)
    with unreadable(photos / "a"):
        names, sink = run_scan(photos, output, update=True)
    assert names == ["a"]
    assert (sink.taken_over, sink.gone) == (10, 0)
    images, faces = rows(output)
    assert [row["image_path"] for row in images if row["status"] != "unreadable"] == [
        row["image_path"] for row in before[0]
    ]
    assert faces == before[1]
    run_scan(photos, output, update=True)
    assert rows(output) == before


def test_a_refused_update_leaves_nothing_to_go_on_from(photos, tmp_path):
    run_scan(photos, tmp_path / "r.csv")
    empty(photos, tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="check that the disk is connected"):
        run_scan(photos, tmp_path / "r.csv", update=True)
    assert not (tmp_path / "r.csv.parts").exists()
    with pytest.raises(UsageError, match="a finished scan is there"):
        run_scan(photos, tmp_path / "r.csv")


def test_a_table_of_rows_that_differ_by_version_is_not_updated(photos, tmp_path):
    earlier, now = ({**ABOUT, "settings": {"results_version": n}} for n in (1, 2))
    run_scan(photos, tmp_path / "r.csv", about=earlier)
    with pytest.raises(UsageError, match=r"version of batchage whose rows differ.*--overwrite"):
        run_scan(photos, tmp_path / "r.csv", about=now, update=True)


def test_outputs_of_one_stem_are_strangers(photos, output):
    run_scan(photos, output)
    for other in {*LOCAL} - {output.name}:
        if isinstance(output, Path) or other in ("r", "r.csv"):
            run_scan(photos, output.with_name(other), about={**ABOUT, "model_id": "m@2"})
    with pytest.raises(UsageError, match="m@1' instead of 'm@2"):
        run_scan(photos, output, about={**ABOUT, "model_id": "m@2"}, update=True)
    assert run_scan(photos, output, update=True)[0] == []


@pytest.mark.parametrize("text", ["null", "[]", '"x"', '{"settings": null}', "{", '{"inputs": 3}'])
def test_damaged_description_of_a_finished_scan_is_explained(photos, tmp_path, text):
    output = tmp_path / "r.parquet"
    run_scan(photos, output)
    output_paths(output).about.write_text(text)
    with pytest.raises(UsageError, match="--overwrite"):
        run_scan(photos, output, update=True)


def test_output_behind_a_link_is_updated_in_its_place(photos, tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "r.parquet"
    link.symlink_to("real/table.parquet")
    config = ScanConfig(output=link)
    sink = file_sink.make_sink(config)
    sink.open()
    sink.begin(ABOUT)
    list(sink.pending([]))
    sink.finish()
    sink.close()
    assert link.is_symlink()
    assert read_photos(link) == []
    # As of a store of contents, each table is a link of its own.
    target = output_paths(link.resolve())
    (tmp_path / "stored").write_bytes(target.images.read_bytes())
    for name, path in (("s.parquet", link.resolve()), ("s.images.parquet", tmp_path / "stored")):
        (tmp_path / name).symlink_to(path)
    assert read_photos(tmp_path / "s.parquet") == []
    compact(link, tmp_path / "copy.csv")
    assert rows(tmp_path / "copy.csv") == ([], [])
    assert rows(link.resolve()) == ([], [])
    assert sink.paths == output_paths(link.resolve())
    sink = file_sink.make_sink(ScanConfig(output=link, update=True))
    sink.open()
    sink.begin(ABOUT)
    sink.close()


def test_names_that_cannot_be_outputs_are_refused(tmp_path):
    with pytest.raises(UsageError, match="second table"):
        FileSink(tmp_path / "r.images.parquet", ScanConfig())
    (tmp_path / "r.images.csv").mkdir()
    sink = FileSink(tmp_path / "r.csv", ScanConfig())
    with pytest.raises(OutputError, match=r"r\.images\.csv.*it is a folder"):
        sink.open()


def test_one_path_gives_one_row_even_if_it_changes_while_listed(photos):
    path = photos / "a" / "0.jpg"

    def listed():
        yield path
        make_photo(path, "changed meanwhile", 1_700_000_000)
        yield path

    assert len(list(Sink().pending(iter_listed(listed())))) == 1


def test_jsonl_that_another_program_rewrote_is_explained(photos, tmp_path):
    output = tmp_path / "r.jsonl"
    run_scan(photos, output)
    images = output_paths(output).images
    changed = [
        {**json.loads(line), "modified_at": 1e12} for line in images.read_text().splitlines()
    ]
    images.write_text("".join(json.dumps(row) + "\n" for row in changed))
    with pytest.raises(UsageError, match=r"modified_at is .*--overwrite"):
        run_scan(photos, output, update=True)


def test_a_missing_age_ends_no_update(photos, tmp_path):
    output = tmp_path / "r.jsonl"
    _, before = run_scan(photos, output)
    faces = [json.loads(line) for line in output.read_text().splitlines()]
    faces[0]["age_years"] = None
    output.write_text("".join(json.dumps(face) + "\n" for face in faces))
    _, after = run_scan(photos, output, update=True)
    assert after.tally.faces == before.tally.faces
    assert after.tally.decades.total() == before.tally.decades.total() - 1


def test_scattered_changes_do_not_swell_the_tables(tmp_path):
    """Each slice of a table carries the dictionaries of all of it."""
    folder, output = tmp_path / "photos", tmp_path / "r.parquet"
    for number in range(600):
        make_photo(folder / f"{number:04}.jpg", f"content {number}")
    run_scan(folder, output, **AT_ONCE)
    size = output.stat().st_size
    for number in range(0, 600, 3):
        make_photo(folder / f"{number:04}.jpg", f"content {number}", 1_700_000_000)
    run_scan(folder, output, update=True, **AT_ONCE)
    assert output.stat().st_size < 1.3 * size


def test_a_new_version_alone_does_not_end_a_scan(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, stop_after=3)
    assert len(run_scan(photos, output, about={**ABOUT, "version": "2"})[0]) == 7


def test_overwrite_goes_on_with_its_own_parts_and_drops_others(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, stop_after=3)
    assert len(run_scan(photos, output, stop_after=4, overwrite=True)[0]) == 4
    assert len(run_scan(photos, output, overwrite=True)[0]) == 6
    assert rows(output) == fresh_rows(photos, output)


def test_table_that_was_edited_is_not_updated(photos, tmp_path):
    output = tmp_path / "r.csv"
    run_scan(photos, output)
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join([lines[0], *reversed(lines[1:])]))
    with pytest.raises(UsageError, match=r"order any more.*--overwrite"):
        run_scan(photos, output, update=True)
    output_paths(output).about.unlink()
    with pytest.raises(UsageError, match=r"r\.csv\.scan\.json.*--overwrite"):
        run_scan(photos, output, update=True)


def test_file_that_comes_while_a_scan_rests_is_scanned_too(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, stop_after=5)
    make_photo(photos / "a" / "00.jpg", "new")
    run_scan(photos, output)
    names = [row["image_path"] for row in rows(output)[0]]
    assert names[:6] == [*(f"a/{number}.jpg" for number in range(0, 10, 2)), "a/00.jpg"]
    assert sorted(names) == sorted(row["image_path"] for row in fresh_rows(photos, output)[0])


def test_files_listed_twice_are_scanned_once(photos):
    paths = [photos / "a" / "0.jpg"] * 2 + [photos / "b" / "1.jpg"]
    assert len(list(Sink().pending(iter_listed(paths)))) == 2


names_ = st.sampled_from(["a.jpg", "b.jpg", "c/a.jpg", "c/b.jpg", "d.jpg"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names_, st.integers(0, 99)),
        st.tuples(st.just("delete"), names_, st.just(0)),
        st.tuples(st.just("scan"), st.none(), st.integers(0, 5)),
        st.tuples(st.just("update"), st.none(), st.integers(0, 5)),
        st.tuples(st.just("finish"), st.none(), st.just(0)),
    ),
    max_size=14,
)


@given(steps, st.sampled_from(LOCAL))
def test_whatever_happens_the_end_is_a_fresh_scans(actions, name):
    with tempfile.TemporaryDirectory() as place:
        folder, output = Path(place) / "photos", Path(place) / name
        # An update that meets no file at all is refused: there is always one.
        make_photo(folder / "always.jpg", "x")
        for time, (action, name, number) in enumerate(actions):
            if action == "write":
                make_photo(folder / name, str(number), mtime=1_600_000_000 + time)
            elif action == "delete":
                (folder / name).unlink(missing_ok=True)
            else:
                stop_after = None if action == "finish" else number
                run_scan(folder, output, stop_after, update=True)
        run_scan(folder, output, update=True)
        found, expected = rows(output), fresh_rows(folder, output)
        for mine, theirs in zip(found, expected, strict=True):
            assert sorted(map(str, mine)) == sorted(map(str, theirs))
