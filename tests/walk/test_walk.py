"""Folders and lists → files, in order, nothing lost."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.config import ScanFilter
from batchage.errors import UsageError
from batchage.walk import disk_of, iter_images, iter_listed
from batchage.walk.base import as_file_name, display_name


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff")


def relatives(refs):
    return [ref.relative for ref in refs]


def test_sorted_recursive_and_only_pictures(tmp_path):
    make_files(
        tmp_path, "b.JPG", "a/z.png", "a/b/c.heic", "c.jpeg", "a.webp", ".hidden.jpg", "._x.jpg"
    )
    (tmp_path / "notes.txt").write_text("no picture")
    found = list(iter_images([tmp_path]))
    assert sorted(relatives(found)) == ["a.webp", "a/b/c.heic", "a/z.png", "b.JPG", "c.jpeg"]
    assert relatives(found) == relatives(iter_images([tmp_path]))
    assert {ref.root for ref in found} == {str(tmp_path)}
    assert all(ref.size == 3 and ref.mtime for ref in found)


def test_pictures_are_known_by_content_too(tmp_path):
    make_files(tmp_path, "no-suffix", "wrong.dat")
    (tmp_path / "data.dat").write_bytes(b"\0" * 64)
    assert sorted(relatives(iter_images([tmp_path]))) == ["no-suffix", "wrong.dat"]


STARTS = [
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x4f\xff\x51", b"8BPS\0\1"),
    *(b"qoif", b"DDS \x7c\0\0\0", b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx "),
]


@pytest.mark.parametrize("start", STARTS)
def test_further_formats_are_known_by_their_first_bytes(tmp_path, start):
    (tmp_path / "photo").write_bytes(start + bytes(40))
    (tmp_path / "other").write_bytes(start[1:] + bytes(40))
    assert relatives(iter_images([tmp_path])) == ["photo"]


FILTERS = [
    (ScanFilter(recursive=False), ["a.jpg"]),
    (ScanFilter(include=("*.png",)), ["sub/b.png"]),
    (ScanFilter(exclude=("sub/**",)), ["a.jpg", "trash/c.jpg"]),
    (ScanFilter(exclude=("trash",)), ["a.jpg", "sub/b.png"]),
    (ScanFilter(hidden=True), [".h/d.jpg", "a.jpg", "sub/b.png", "trash/c.jpg"]),
]
"""Filters, and what they leave of a folder with `a.jpg`, `.h/d.jpg`, `sub/b.png`, `trash/c.jpg`."""


@pytest.mark.parametrize(("filter_", "expected"), FILTERS)
def test_filters(tmp_path, filter_, expected):
    make_files(tmp_path, "a.jpg", "sub/b.png", "trash/c.jpg", ".h/d.jpg")
    assert sorted(relatives(iter_images([tmp_path], filter_))) == expected


def test_folders_of_the_scans_own_pictures_are_left_out(tmp_path):
    make_files(tmp_path, "a.jpg", "sub/thumbs/b.jpg", "sub/c.jpg", "thumbs/d.jpg")
    left_out = [tmp_path / "sub" / "thumbs", f"{tmp_path}/thumbs/"]
    assert relatives(iter_images([tmp_path], leave_out=left_out)) == ["a.jpg", "sub/c.jpg"]
    assert relatives(iter_listed([tmp_path], leave_out=left_out)) == ["a.jpg", "sub/c.jpg"]
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    assert relatives(iter_images([tmp_path / "link"], leave_out=left_out)) == ["c.jpg"]
    for folder in (tmp_path / "sub", tmp_path / "link"):
        with pytest.raises(UsageError, match="own pictures go there: choose another folder"):
            iter_images([folder], leave_out=[tmp_path / "sub"])


def test_a_subfolder_on_a_disk_that_does_not_answer_is_an_entry(tmp_path, monkeypatch):
    make_files(tmp_path, "a.jpg", "disk/b.jpg", "out/c.jpg")
    stat = os.stat

    def refuse(path, **how):
        if os.fspath(path).endswith(("/disk", "/out")):
            raise OSError(107, "Transport endpoint is not connected")
        return stat(path, **how)

    refs = iter_images([tmp_path], ScanFilter(exclude=("out",)))
    monkeypatch.setattr(os, "stat", refuse)
    good, bad = refs
    assert (good.relative, bad.relative) == ("a.jpg", "disk")
    assert bad.error == "transport endpoint is not connected: the folder can't be read"
    assert bad.is_folder


def test_a_disk_is_the_mount_point_above(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    (disk / "photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to(disk / "photos")
    monkeypatch.setattr(os.path, "ismount", lambda path: path in ("/", os.path.realpath(disk)))
    for place in (disk, disk / "photos", disk / "none", tmp_path / "link"):
        assert disk_of(str(place)) == os.path.realpath(disk)
    assert disk_of(str(tmp_path)) == "/"
    assert disk_of("s3://bucket/photos") == ""


def test_given_twice_is_found_once(tmp_path):
    make_files(tmp_path, "a.jpg")
    assert len(list(iter_images([tmp_path, tmp_path, tmp_path / "a.jpg"]))) == 1


def test_symlink_loops_end(tmp_path):
    make_files(tmp_path, "sub/a.jpg")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert relatives(iter_images([tmp_path])) == ["sub/a.jpg"]


def test_dangling_link_and_pipe_are_rows_with_a_reason(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = list(iter_images([tmp_path]))
    assert len(found) == 2
    assert all(ref.error for ref in found)


def test_name_that_is_not_utf8(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(name, "wb") as file:  # noqa: PTH123
        file.write(b"\xff\xd8\xff")
    (ref,) = iter_images([tmp_path])
    assert ref.relative == r"caf\xe9.jpg"
    assert ref.path.read_bytes() == b"\xff\xd8\xff"


@given(st.lists(st.text(st.sampled_from(["a", "\\", "x", "5", "c", "e", "9", "\udce9", "é"]))))
def test_no_two_names_are_shown_alike(names):
    assert len({display_name(name) for name in names}) == len(set(names))
    assert all(as_file_name(display_name(name)) == name for name in names)


def test_unreadable_folder_is_a_row(tmp_path, monkeypatch):
    make_files(tmp_path, "a.jpg", "locked/b.jpg")
    scandir = os.scandir

    def refuse(path):
        if "locked" in os.fspath(path):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = {ref.relative: ref.error for ref in iter_images([tmp_path])}
    assert found["a.jpg"] is None
    assert "permission" in (found["locked"] or "").lower()


def test_missing_input_is_refused_before_anything_is_scanned(tmp_path):
    make_files(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match="nowhere"):
        iter_images([tmp_path, tmp_path / "nowhere"])
