"""Updates after photos were moved, renamed, copied or deleted: rows and pictures go along."""

import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchage.config import ScanConfig
from batchage.places import locate
from batchage.results.file_sink import FileSink
from batchage.types import ImageRecord, Status
from batchage.walk import iter_images, iter_listed
from tests.builders import pictures_in
from tests.fake_scans import (
    ABOUT,
    LOCAL,
    death_after,
    fresh_rows,
    make_photo,
    parts_of,
    rows,
    run_scan,
)
from tests.results.test_file_sink import unreadable


def contents(folder):
    return {name: (folder / name).read_bytes() for name in pictures_in(folder)}


@pytest.fixture(params=["none", "here", "memory"])
def drawn(request, tmp_path, memory):
    """Settings of scans without pictures, and with pictures here or in a store."""
    if request.param == "none":
        return {}
    names = ("thumbnails", "crops")
    if request.param == "memory":
        for name in names:
            memory.mkdir(f"/{name}")
        return {name: locate(f"memory://{name}") for name in names}
    for name in names:
        (tmp_path / name).mkdir()
    return {name: tmp_path / name for name in names}


def require_fresh(photos, output, drawn, tmp_path):
    """See that tables and pictures are those of a scan from scratch."""
    other = {name: tmp_path / f"fresh {name}" for name in drawn}
    for folder in other.values():
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
    assert rows(output) == fresh_rows(photos, output, **other)
    for name, folder in drawn.items():
        assert contents(folder) == contents(other[name]), name


def test_moved_and_renamed_photos_keep_their_rows(photos, output, drawn, tmp_path):
    run_scan(photos, output, **drawn)
    (photos / "a").rename(photos / "z")
    (photos / "b" / "1.jpg").rename(photos / "b" / "one.jpg")
    (photos / "b" / "3.jpg").unlink()
    make_photo(photos / "new.jpg", "new")
    names, sink = run_scan(photos, output, update=True, **drawn)
    assert names == ["new.jpg"]
    assert (sink.moved, sink.taken_over, sink.gone) == (6, 9, 1)
    assert sink.to_dict()["moved"] == 6
    require_fresh(photos, output, drawn, tmp_path)
    assert run_scan(photos, output, update=True, **drawn)[0] == []
    require_fresh(photos, output, drawn, tmp_path)


def test_photos_that_change_places(photos, tmp_path, drawn):
    """Pictures of a name that another photo has now are drawn anew; rows alone are taken over."""
    output = tmp_path / "r.parquet"
    run_scan(photos, output, **drawn)
    a, b, other = (photos / "a" / name for name in ("0.jpg", "2.jpg", "x"))
    for source, target in ((a, other), (b, a), (other, b)):
        source.rename(target)
    os.utime(a, (1_700_000_000, 1_700_000_000))
    os.utime(b, (1_700_000_001, 1_700_000_001))
    names, sink = run_scan(photos, output, update=True, **drawn)
    assert set(names) <= {"a/0.jpg", "a/2.jpg"}
    assert drawn or names == []
    assert (sink.moved, sink.gone) == (0, 0)
    require_fresh(photos, output, drawn, tmp_path)


def test_pictures_that_a_killed_update_drew_are_not_taken_for_earlier_ones(photos, tmp_path):
    output, drawn = tmp_path / "r.parquet", {"thumbnails": tmp_path / "t", "crops": tmp_path / "c"}
    for folder in drawn.values():
        folder.mkdir()
    run_scan(photos, output, **drawn)
    for number in range(0, 10, 2):
        make_photo(photos / "a" / f"{number}.jpg", f"other {number}", 1_700_000_000)
    assert len(run_scan(photos, output, 5, update=True, **drawn)[0]) == 5
    (photos / "a").rename(tmp_path / "away")
    for number in range(0, 10, 2):
        make_photo(photos / "c" / f"{number}.jpg", f"content {number}")
    run_scan(photos, output, update=True, **drawn)
    require_fresh(photos, output, drawn, tmp_path)


def test_copies_have_their_own_rows(photos, tmp_path, drawn):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, **drawn)
    for name in ("0", "2", "4", "6", "8"):
        make_photo(photos / "c" / f"{name}.jpg", f"content {name}")
        make_photo(photos / "d" / f"{name}.jpg", f"content {name}")
    _, sink = run_scan(photos, output, update=True, **drawn)
    assert (sink.moved, sink.gone) == (0, 0)
    require_fresh(photos, output, drawn, tmp_path)


def test_one_photo_moved_to_two_places_is_one_that_moved(photos, tmp_path, drawn):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, **drawn)
    (photos / "a" / "0.jpg").unlink()
    for name in ("c", "d"):
        make_photo(photos / name / "0.jpg", "content 0")
    names, sink = run_scan(photos, output, update=True, **drawn)
    assert names == []
    assert (sink.moved, sink.gone, sink.taken_over) == (1, 0, 11)
    require_fresh(photos, output, drawn, tmp_path)


def test_another_content_of_the_same_size_is_another_photo(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output)
    (photos / "a" / "0.jpg").unlink()
    make_photo(photos / "c.jpg", "CONTENT 0")
    names, sink = run_scan(photos, output, update=True)
    assert names == ["c.jpg"]
    assert (sink.moved, sink.gone) == (0, 1)


def test_another_suffix_is_looked_at_anew(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output)
    (photos / "a" / "0.jpg").rename(photos / "a" / "0.nef")
    (photos / "a" / "2.jpg").rename(photos / "a" / "2.JPG")
    names, sink = run_scan(photos, output, update=True)
    assert names == ["a/0.nef"]
    assert (sink.moved, sink.gone) == (1, 1)


def test_what_failed_is_tried_again_under_its_new_name(photos, tmp_path):
    output = tmp_path / "r.parquet"
    sink = FileSink(output, ScanConfig())
    sink.open()
    sink.begin(ABOUT)
    for ref in sink.pending(iter_images([photos])):
        sink.write(ImageRecord(ref, Status.UNREADABLE, "damaged", content_hash="x"))
    sink.finish()
    sink.close()
    (photos / "a").rename(photos / "z")
    names, sink = run_scan(photos, output, update=True)
    assert len(names) == 10
    assert sink.moved == 0


def test_a_photo_whose_pictures_are_gone_is_drawn_anew(photos, tmp_path, drawn):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, **drawn)
    for folder in drawn.values():
        for name in pictures_in(folder):
            (folder / name).unlink()
    (photos / "a").rename(photos / "z")
    run_scan(photos, output, update=True, **drawn)
    unmoved = [row["image_path"] for row in rows(output)[0] if row["image_path"].startswith("b")]
    assert len(unmoved) == 5
    for path in photos.rglob("b/*.jpg"):
        path.unlink()
    run_scan(photos, output, update=True, **drawn)
    require_fresh(photos, output, drawn, tmp_path)


def test_a_longer_list_keeps_its_rows(photos, tmp_path, drawn):
    """Its root may be another one then."""
    output, listed = tmp_path / "r.parquet", sorted(photos.rglob("*.jpg"))
    run_scan(None, output, refs=iter_listed(listed[:5]), **drawn)
    assert {row["root"] for row in rows(output)[0]} == {str(photos / "a")}
    names, sink = run_scan(None, output, refs=iter_listed(listed), update=True, **drawn)
    assert names == [f"b/{number}.jpg" for number in (1, 3, 5, 7, 9)]
    assert (sink.taken_over, sink.gone) == (5, 0)
    require_fresh(photos, output, drawn, tmp_path)


def test_moved_photos_of_a_store(tmp_path, memory, drawn):
    output = tmp_path / "r.parquet"
    for number in range(4):
        memory.pipe_file(f"/photos/{number}.jpg", f"content {number}".encode())

    def scan(**how):
        return run_scan(None, output, refs=iter_images(["memory://photos"]), **how, **drawn)

    assert len(scan()[0]) == 4
    memory.mv("/photos/1.jpg", "/photos/z/1.jpg")
    names, sink = scan(update=True)
    assert names == []
    assert (sink.moved, sink.gone) == (1, 0)
    paths = [row["image_path"] for row in rows(output)[0]]
    assert paths == ["0.jpg", "2.jpg", "3.jpg", "z/1.jpg"]
    for name, folder in drawn.items():
        column = rows(output)[name == "crops"]
        assert set(contents(folder)) == {row[name[:-1]] for row in column} - {None}


def test_a_photo_below_a_folder_that_cannot_be_read_is_not_taken_for_moved(photos, tmp_path):
    output = tmp_path / "r.parquet"
    run_scan(photos, output)
    make_photo(photos / "c.jpg", "content 0")
    with unreadable(photos / "a"):
        _, sink = run_scan(photos, output, update=True)
    assert (sink.moved, sink.gone) == (0, 0)


def test_pictures_of_photos_that_are_gone_go_and_others_stay(photos, output, drawn, tmp_path):
    run_scan(photos, output, **drawn)
    for folder in drawn.values():
        (folder / "mine.jpg").write_bytes(b"mine")
        (folder / "other-0123456789abcdef.jpg").write_bytes(b"of another scan")
    (photos / "a" / "0.jpg").unlink()
    make_photo(photos / "a" / "2.jpg", "changed", 1_700_000_000)
    run_scan(photos, output, update=True, **drawn)
    for folder in drawn.values():
        (folder / "mine.jpg").unlink()
        (folder / "other-0123456789abcdef.jpg").unlink()
    require_fresh(photos, output, drawn, tmp_path)


def test_pictures_of_photos_that_went_while_a_scan_rested_go(photos, tmp_path, drawn):
    output = tmp_path / "r.parquet"
    run_scan(photos, output, stop_after=6, **drawn)
    (photos / "a" / "0.jpg").unlink()
    make_photo(photos / "a" / "2.jpg", "changed", 1_700_000_000)
    run_scan(photos, output, **drawn)
    for name, folder in drawn.items():
        column = rows(output)[name == "crops"]
        assert set(contents(folder)) == {row[name[:-1]] for row in column} - {None}


def test_nothing_but_own_pictures_is_removed_whatever_a_table_says(photos, tmp_path):
    output, thumbs = tmp_path / "r.jsonl", tmp_path / "thumbs"
    thumbs.mkdir()
    run_scan(photos, output, thumbnails=thumbs)
    images = tmp_path / "r.images.jsonl"
    (tmp_path / "precious.jpg").write_bytes(b"mine")
    (thumbs / "precious.jpg").write_bytes(b"mine")
    names = itertools.cycle(["../precious.jpg", "precious.jpg", str(tmp_path / "precious.jpg")])
    lines = [
        line.replace(row["thumbnail"], next(names)) if row["thumbnail"] else line
        for line, row in zip(images.read_text().splitlines(), rows(output)[0], strict=True)
    ]
    images.write_text("\n".join(lines))
    for path in photos.rglob("a/*.jpg"):
        path.unlink()
    run_scan(photos, output, update=True, thumbnails=thumbs)
    assert (tmp_path / "precious.jpg").exists()
    assert (thumbs / "precious.jpg").exists()


@pytest.mark.parametrize("name", ["r.parquet", "r.json"])
def test_death_at_any_step_loses_neither_rows_nor_pictures(photos, tmp_path, monkeypatch, name):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    output = tmp_path / name
    drawn = {kind: tmp_path / kind for kind in ("thumbnails", "crops")}
    for folder in drawn.values():
        folder.mkdir()
    for n_steps in itertools.count():
        run_scan(photos, output, overwrite=True, **drawn)
        (photos / "a").rename(photos / "z")
        (photos / "b" / "1.jpg").rename(tmp_path / "away.jpg")
        with death_after(n_steps, monkeypatch) as has_died:
            run_scan(photos, output, update=True, **drawn)
        if has_died():
            run_scan(photos, output, update=True, **drawn)
        require_fresh(photos, output, drawn, tmp_path)
        assert not parts_of(output).exists()
        if not has_died():
            break
        (photos / "z").rename(photos / "a")
        (tmp_path / "away.jpg").rename(photos / "b" / "1.jpg")
        for folder in drawn.values():
            for path in folder.iterdir():
                path.unlink()
    assert n_steps > 8


names_ = st.sampled_from(["a.jpg", "b.jpg", "c/a.jpg", "c/b.jpg", "d.jpg"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names_, st.integers(0, 9)),
        st.tuples(st.just("move"), names_, names_),
        st.tuples(st.just("delete"), names_, st.just(0)),
        st.tuples(st.just("update"), st.none(), st.integers(0, 5)),
        st.tuples(st.just("finish"), st.none(), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=40)
@given(steps, st.sampled_from(LOCAL), st.booleans())
def test_however_photos_are_moved_the_end_is_a_fresh_scans(actions, name, draws):
    with tempfile.TemporaryDirectory() as place:
        folder, output = Path(place) / "photos", Path(place) / name
        drawn = {kind: Path(place) / kind for kind in ("thumbnails", "crops") if draws}
        for pictures in drawn.values():
            pictures.mkdir()
        make_photo(folder / "always.jpg", "x")
        for time, (action, name, number) in enumerate(actions):
            if action == "write":
                make_photo(folder / name, str(number), mtime=1_600_000_000 + time)
            elif action == "delete":
                (folder / name).unlink(missing_ok=True)
            elif action == "move":
                if (folder / name).exists():
                    (folder / number).parent.mkdir(exist_ok=True)
                    (folder / name).rename(folder / number)
                    os.utime(folder / number, (1_600_000_000 + time,) * 2)
            else:
                stop_after = None if action == "finish" else number
                run_scan(folder, output, stop_after, update=True, **drawn)
        run_scan(folder, output, update=True, **drawn)
        other = {kind: Path(place) / f"fresh {kind}" for kind in drawn}
        for pictures in other.values():
            pictures.mkdir()
        found, expected = rows(output), fresh_rows(folder, output, **other)
        for mine, theirs in zip(found, expected, strict=True):
            assert sorted(map(str, mine)) == sorted(map(str, theirs))
        for kind, pictures in other.items():
            there = contents(drawn[kind])
            assert {name: there[name] for name in contents(pictures)} == contents(pictures)
