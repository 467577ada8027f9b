"""What a walk leaves out though it looks like a picture: counted, and let in by options."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import batchage
from batchage.config import ScanFilter
from batchage.drawing import CropWriter, ThumbnailWriter, prepare_folder, save_picture
from batchage.places import MARKER, crop_name, is_made_name, locate, mark_folder, thumbnail_name
from batchage.types import ImageRef
from batchage.walk import Skipped, iter_images, iter_listed
from batchage.walk.base import IMAGE_SUFFIXES
from batchage.walk.derivatives import derivative_kind
from batchage.walk.look_alikes import LOOK_ALIKES, PICTURES, VIDEOS
from tests.command import PHOTOS, run
from tests.walk.test_walk import make_files, relatives

FILES = [
    *("a.jpg", "b.MOV", "c.mov", "d.x3f", "e.psb", "notes.txt", "clip.mp4", "sub/f.svg"),
    *(".g.jpg", ".h.mov", "._a.jpg", ".i/j.png", ".i/k/l.mp4", ".i/m.txt", ".i/@eaDir/n.jpg"),
    *("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "sub/@eaDir/x.jpg", "$Recycle.Bin/S-1/o.jpg"),
    *(".thumbnails/p.jpg", "L.photoslibrary/originals/q.jpg", "L.photoslibrary/resources/r.jpg"),
    *(
        "Old.photolibrary/Masters/2009/s.jpg",
        "Old.photolibrary/Previews/s.jpg",
        ".Trash-1000/t.jpg",
    ),
    *("originals/u.jpg", "resources/v.jpg"),
]
SCANNED = [
    *("L.photoslibrary/originals/q.jpg", "Old.photolibrary/Masters/2009/s.jpg", "a.jpg"),
    *("originals/u.jpg", "resources/v.jpg"),
]
COUNTED = {
    "by_suffix": {".mov": 2, ".mp4": 1, ".psb": 1, ".svg": 1, ".x3f": 1},
    "hidden": 4,
    "derivatives": {
        "$Recycle.Bin": 1, ".photolibrary/Previews": 1, ".photoslibrary/resources": 1,
        ".thumbnails": 1, ".trash-*": 1, "@eaDir": 3,
    },
    "own": 0,
}  # fmt: skip


@pytest.fixture(params=["here", "elsewhere"])
def place(request, tmp_path, memory):
    """A folder here or in a store, and what makes files in it."""
    if request.param == "here":

        def make(*names):
            for name in names:
                path = tmp_path / "photos" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"\xff\xd8\xff" if name.endswith(("jpg", "png")) else b"?")

        return tmp_path / "photos", make

    def put(*names):
        for name in names:
            memory.pipe_file(f"/photos/{name}", b"?")

    return locate("memory://photos"), put


def test_what_is_not_looked_at_is_counted(place):
    folder, make = place
    make(*FILES)
    for walk in (iter_images, iter_listed):
        skipped = Skipped()
        assert relatives(walk([str(folder)], skipped=skipped)) == SCANNED
        assert skipped.to_dict() == COUNTED
        assert relatives(walk([str(folder)])) == SCANNED


def test_options_let_it_in(place):
    folder, make = place
    make("a.jpg", "@eaDir/b.jpg", ".c/.d.jpg", ".thumbnails/e.jpg", "L.photoslibrary/f/g.jpg")
    every = ScanFilter(derivatives=True, hidden=True)
    skipped = Skipped()
    assert len(list(iter_images([str(folder)], every, skipped=skipped))) == 5
    assert skipped == Skipped()
    derivatives = ScanFilter(derivatives=True)
    found = ["@eaDir/b.jpg", "L.photoslibrary/f/g.jpg", "a.jpg"]
    assert relatives(iter_images([str(folder)], derivatives, skipped=skipped)) == found
    assert skipped == Skipped(hidden=2)


def test_what_the_user_leaves_out_is_not_counted(place):
    folder, make = place
    make("a.jpg", "b.mov", "sub/c.mov", ".d/e.jpg", "f.psb", "@eaDir/g.jpg")
    skipped = Skipped()
    filter_ = ScanFilter(exclude=("*.mov", ".d", "@eaDir"))
    assert relatives(iter_images([str(folder)], filter_, skipped=skipped)) == ["a.jpg"]
    assert skipped == Skipped(by_suffix={".psb": 1})
    skipped = Skipped()
    assert relatives(iter_images([str(folder)], ScanFilter(recursive=False), skipped=skipped))
    assert skipped.by_suffix == {".mov": 1, ".psb": 1}
    assert not skipped.derivatives
    assert not skipped.hidden


def test_a_named_folder_of_derivatives_is_looked_at(place):
    folder, make = place
    make("@eaDir/a.jpg", "L.photoslibrary/resources/b.jpg")
    assert relatives(iter_images([str(folder / "@eaDir")])) == ["a.jpg"]
    assert relatives(iter_images([str(folder / "L.photoslibrary")])) == []


def test_hidden_links_do_not_go_round(tmp_path):
    make_files(tmp_path, "a.jpg", ".h/b.jpg")
    (tmp_path / ".h" / "up").symlink_to(tmp_path)
    skipped = Skipped()
    assert relatives(iter_images([tmp_path], skipped=skipped)) == ["a.jpg"]
    assert skipped.hidden == 1


def test_the_content_of_a_file_decides_before_its_suffix(tmp_path):
    make_files(tmp_path, "really.jxl")
    (tmp_path / "film.mts").write_bytes(b"film")
    skipped = Skipped()
    assert relatives(iter_images([tmp_path], skipped=skipped)) == ["really.jxl"]
    assert skipped.by_suffix == {".mts": 1}


def test_the_tables_of_suffixes_are_well_formed():
    assert not PICTURES & VIDEOS
    for suffix in LOOK_ALIKES | IMAGE_SUFFIXES:
        assert suffix.startswith(".")
        assert suffix == suffix.lower()


def write_pictures(folder):
    """A thumbnail, a crop and a contact sheet in a folder."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    writer = CropWriter(folder)
    writer.write(ImageRef("a.jpg", "/photos", "a.jpg"), 0, pixels)
    ThumbnailWriter(folder)
    save_picture(pixels, folder / thumbnail_name("/photos", "a.jpg"))
    prepare_folder(folder, ["sheet.jpg", "sheet-002.jpg"])
    for name in ("sheet.jpg", "sheet-002.jpg"):
        save_picture(pixels, folder / name)


def test_own_pictures_among_photos_are_left_out(place):
    folder, make = place
    make("a.jpg", "thumbs/mine.jpg", "thumbs/sheet-003.jpg", f"other/{thumbnail_name('/', 'x')}")
    write_pictures(folder)
    write_pictures(folder / "thumbs")
    skipped = Skipped()
    found = [
        "a.jpg",
        f"other/{thumbnail_name('/', 'x')}",
        "thumbs/mine.jpg",
        "thumbs/sheet-003.jpg",
    ]
    assert relatives(iter_images([str(folder)], skipped=skipped)) == found
    assert skipped.own == {str(folder): 4, f"{folder}/thumbs": 4}
    assert len(list(iter_images([str(folder)], ScanFilter(derivatives=True)))) == 12
    # A file that is named is looked at.
    assert relatives(iter_images([str(folder / "sheet.jpg")])) == ["sheet.jpg"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"pictures": 3}', b"\xff", b"[" * 9999]
)
def test_a_damaged_marker_is_a_marker(tmp_path, content):
    write_pictures(tmp_path)
    (tmp_path / MARKER).write_bytes(content)
    assert relatives(iter_images([tmp_path])) == ["sheet-002.jpg", "sheet.jpg"]
    mark_folder(tmp_path, ["sheet.jpg"])
    mark_folder(tmp_path, ["sheet-002.jpg"])
    mark_folder(tmp_path)
    assert relatives(iter_images([tmp_path])) == []
    assert json.loads((tmp_path / MARKER).read_text())["pictures"] == ["sheet-002.jpg", "sheet.jpg"]


@given(st.text(), st.text(), st.integers(0, 5000))
def test_names_of_own_pictures_are_known(root, relative, index):
    assert is_made_name(thumbnail_name(root, relative))
    assert is_made_name(crop_name(root, relative, index))


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg", "a-0123456789abcdef.jpeg", "a-0123456789ABCDEF.jpg", "a b-0123456789abcdef.jpg",
        "-0123456789abcdef.jpg", "../a-0123456789abcdef.jpg", "a-0123456789abcdef.jpg\n",
        "a-0123456789abcdef-face1.png", "/a-0123456789abcdef-face001.png",
    ],
)  # fmt: skip
def test_names_of_other_pictures_are_told_apart(name):
    assert not is_made_name(name)


@given(st.text(), st.text())
def test_any_name_is_of_a_kind_or_of_none(name, parent):
    assert derivative_kind(name, parent) != ""


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A folder of photos, and of what an earlier scan made among them."""
    folder = tmp_path_factory.mktemp("among") / "photos"
    folder.mkdir()
    shutil.copy(next(PHOTOS.glob("portraits/collins*.jpg")), folder)
    done = run(
        "scan", "photos", "-o", "r.csv", "--thumbnails", "photos/thumbs", "--crops", "photos/crops",
        "--contact-sheet", "photos/sheet.jpg", "-q", cwd=folder.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "thumbs").rename(folder / "renamed")
    (folder / "film.mov").write_bytes(b"film")
    (folder / ".hidden.jpg").write_bytes(b"?")
    return folder.parent


def test_the_command_says_what_it_left_out(scanned):
    done = run("scan", "photos", "-o", "again.csv", "--json", cwd=scanned)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["photos"] == 1
    assert summary["skipped"] == {
        "by_suffix": {".mov": 1}, "hidden": 1, "derivatives": {}, "own": 3
    }  # fmt: skip
    assert f"{scanned}/photos/renamed: left out 1 picture that batchage made" in done.stderr
    for row in ("not read", ".mov 1", "hidden", "own pictures"):
        assert row in done.stderr
    dry = run("scan", "photos", "-o", "dry.csv", "--dry-run", "--json", cwd=scanned)
    assert json.loads(dry.stdout)["skipped"] == summary["skipped"]
    assert ".mov 1" in dry.stderr


def test_the_function_says_what_it_left_out(tmp_path):
    make_files(tmp_path, "@eaDir/a.jpg")
    (tmp_path / "film.mov").write_bytes(b"film")
    skipped = batchage.scan(tmp_path).skipped
    assert skipped == batchage.Skipped(by_suffix={".mov": 1}, derivatives={"@eaDir": 1})
