"""Contact sheets: what is on them, how many, and what they cost."""

import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import batchage
from batchage.drawing import contact_sheet, make_contact_sheets, save_picture
from batchage.drawing.contact_sheet import CELL, COLUMNS, ROWS
from batchage.errors import OutputError, UsageError
from batchage.places import thumbnail_name
from batchage.write import read_table
from tests.builders import pictures_in, write_tables
from tests.command import PHOTOS, refuse, run
from tests.drawing.test_redraw import make_photo, make_record

COLOURS = {"red.jpg": (230, 20, 20), "صورة.jpg": (20, 200, 20), "家族🎉.jpg": (20, 20, 230)}
ROOT = Path("/photos")


def fill_folder(folder, names, size=(320, 240), colour=(90, 90, 90)):
    folder.mkdir(exist_ok=True)
    saved = {}
    for name in names:
        shade, path = COLOURS.get(name, colour), folder / thumbnail_name(str(ROOT), name)
        if shade not in saved:
            save_picture(np.full((size[1], size[0], 3), shade, np.uint8), path)
            saved[shade] = path.read_bytes()
        path.write_bytes(saved[shade])


def write_table(path, names):
    write_tables(path, [make_record(ROOT / name, root=ROOT) for name in names])


def has_colour(pixels, colour):
    return int((np.abs(pixels.astype(int) - colour).max(axis=2) < 8).sum())


@pytest.fixture
def small(tmp_path):
    write_table(tmp_path / "r.parquet", COLOURS)
    fill_folder(tmp_path / "thumbs", COLOURS)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"), [("s.jpg", "JPEG"), ("s.JPEG", "JPEG"), ("s.png", "PNG")]
)
def test_every_thumbnail_is_on_the_sheet_in_full(small, name, kind):
    output = small / "made" / name
    assert make_contact_sheets(small / "r.parquet", small / "thumbs", output) == [output]
    with Image.open(output) as image:
        assert image.format == kind
        assert not image.getexif()
        pixels = np.asarray(image)
    for colour in COLOURS.values():
        assert abs(has_colour(pixels, colour) - 320 * 240) < 320
    assert (pixels[0] == 255).all()


def test_names_are_below_their_pictures(small):
    make_contact_sheets(small / "r.parquet", small / "thumbs", small / "s.png")
    pixels = np.asarray(Image.open(small / "s.png")).astype(int)
    for colour in COLOURS.values():
        rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=2) < 8)
        below = pixels[rows.max() + 3 : rows.max() + 40, columns.min() : columns.max()]
        assert (below < 100).all(axis=2).sum() > 50


def test_large_thumbnails_are_made_smaller_and_small_ones_kept(small):
    fill_folder(small / "thumbs", ["red.jpg"], (1920, 480))
    make_contact_sheets(small / "r.parquet", small / "thumbs", small / "s.png")
    pixels = np.asarray(Image.open(small / "s.png"))
    assert abs(has_colour(pixels, COLOURS["red.jpg"]) - CELL * CELL // 4) < CELL
    assert abs(has_colour(pixels, COLOURS["صورة.jpg"]) - 320 * 240) < 320


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_same_thumbnails_give_the_same_bytes(small, suffix):
    for name in ("a", "b"):
        make_contact_sheets(small / "r.parquet", small / "thumbs", small / f"{name}{suffix}")
    first, second = ((small / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_missing_or_damaged_thumbnail_keeps_an_empty_place(small):
    made = [small / "whole.png", small / "gaps.png"]
    make_contact_sheets(small / "r.parquet", small / "thumbs", made[0])
    (small / "thumbs" / thumbnail_name("/photos", "red.jpg")).unlink()
    (small / "thumbs" / thumbnail_name("/photos", "صورة.jpg")).write_bytes(b"\xff\xd8\xff")
    make_contact_sheets(small / "r.parquet", small / "thumbs", made[1])
    whole, gaps = (np.asarray(Image.open(path)) for path in made)
    assert has_colour(gaps, COLOURS["red.jpg"]) == has_colour(gaps, COLOURS["صورة.jpg"]) == 0
    assert has_colour(gaps, COLOURS["家族🎉.jpg"]) == has_colour(whole, COLOURS["家族🎉.jpg"])
    assert has_colour(gaps, (0xEE, 0xEE, 0xEE)) > 2 * CELL * CELL // 3


def test_many_photos_take_several_sheets_of_bounded_size(tmp_path):
    names = [f"{index:03d}.jpg" for index in range(2 * COLUMNS * ROWS + 1)]
    write_table(tmp_path / "r.parquet", names)
    fill_folder(tmp_path / "thumbs", names, (CELL, CELL))
    sheets = make_contact_sheets(tmp_path / "r.parquet", tmp_path / "thumbs", tmp_path / "s.png")
    assert [sheet.name for sheet in sheets] == ["s.png", "s-002.png", "s-003.png"]
    areas = []
    for sheet in sheets:
        with Image.open(sheet) as image:
            assert max(image.size) <= 4000
            areas.append(has_colour(np.asarray(image), (90, 90, 90)))
    one = CELL * CELL
    assert [round(area / one) for area in areas] == [COLUMNS * ROWS, COLUMNS * ROWS, 1]


def test_no_more_than_one_sheets_pictures_are_held(tmp_path, monkeypatch):
    names = [f"{index:03d}.jpg" for index in range(3 * COLUMNS * ROWS)]
    write_table(tmp_path / "r.parquet", names)
    fill_folder(tmp_path / "thumbs", names, (60, 40))
    held, most, lock = weakref.WeakSet(), 0, threading.Lock()
    make_tile = contact_sheet._Tile

    class Tile(make_tile):
        __slots__ = ("__weakref__",)

        def __init__(self, *arguments):
            nonlocal most
            super().__init__(*arguments)
            with lock:
                held.add(self)
                most = max(most, len(held))

    monkeypatch.setattr(contact_sheet, "_Tile", Tile)
    make_contact_sheets(tmp_path / "r.parquet", tmp_path / "thumbs", tmp_path / "s.jpg")
    assert most == COLUMNS * ROWS


def test_sheets_of_an_earlier_run_are_named(small, caplog):
    (small / "s-002.jpg").write_bytes(b"")
    make_contact_sheets(small / "r.parquet", small / "thumbs", small / "s.jpg")
    assert "s-002.jpg: is left of earlier" in caplog.text
    assert (small / "s-002.jpg").exists()


def test_a_table_without_faces_gives_a_sheet_that_says_so(tmp_path):
    write_tables(tmp_path / "r.parquet", [])
    (sheet,) = make_contact_sheets(tmp_path / "r.parquet", tmp_path, tmp_path / "s.png")
    pixels = np.asarray(Image.open(sheet))
    assert (pixels < 128).any()


def test_wrong_places_are_refused(small):
    with pytest.raises(UsageError, match=r"sheet\.gif: unknown suffix; use \.jpg"):
        make_contact_sheets(small / "r.parquet", small / "thumbs", small / "sheet.gif")
    with pytest.raises(OutputError, match="choose another folder"):
        make_contact_sheets(small / "r.parquet", small / "thumbs", small / "r.parquet" / "s.jpg")


def test_the_commands_make_the_same_sheet(tmp_path):
    scan = run(
        "scan", PHOTOS / "portraits", "-o", "r.parquet", "--thumbnails", "scan",
        "--contact-sheet", "a.jpg", "-q", cwd=tmp_path,
    )  # fmt: skip
    assert (scan.returncode, scan.stderr) == (0, "")
    again = run("thumbnails", "r.parquet", "--contact-sheet", "b.jpg", cwd=tmp_path)
    assert again.returncode == 0
    assert again.stderr.splitlines()[-1] == "contact sheets: b.jpg"
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    n = len(set(read_table(tmp_path / "r.parquet")["image_path"].to_pylist()))
    assert len(pictures_in(tmp_path / "thumbs")) == n


def test_a_photo_that_cannot_be_drawn_is_on_the_sheet_all_the_same(tmp_path):
    there, gone = make_photo(tmp_path / "p" / "a.png"), tmp_path / "p" / "b.png"
    write_tables(tmp_path / "r.parquet", [make_record(there), make_record(gone)])
    result = run("thumbnails", "r.parquet", "--contact-sheet", "s.png", "-q", cwd=tmp_path)
    assert result.returncode == 3
    pixels = np.asarray(Image.open(tmp_path / "s.png"))
    assert has_colour(pixels, (0xEE, 0xEE, 0xEE)) > CELL * CELL // 3


@pytest.mark.parametrize("arguments", [["-o", "r.parquet"], ["-o", "-", "--thumbnails", "thumbs"]])
def test_a_scan_without_thumbnails_or_table_has_no_sheet(tmp_path, arguments):
    result = refuse("scan", PHOTOS, *arguments, "--contact-sheet", "s.jpg", cwd=tmp_path)
    assert result.returncode == 2
    assert "--contact-sheet needs --thumbnails" in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_functions_are_public():
    assert batchage.make_contact_sheets is make_contact_sheets
    assert batchage.draw_thumbnails.__module__ == "batchage.drawing.redraw"
