"""Thumbnails out of a table: the scan's own files, and photos that can't be drawn."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import batchage
from batchage.decode import decode
from batchage.decode.formats import NOT_A_PICTURE
from batchage.drawing import ThumbnailWriter
from batchage.drawing.photo_rows import NUMBERS, PhotoRows, read_photos
from batchage.errors import DecodeError, OutputError, UsageError
from batchage.places import thumbnail_name
from batchage.types import ImageRecord, ImageRef, Status
from batchage.walk import photo_path
from batchage.write import Rows, TablesWriter, output_paths, read_table
from batchage.write.base import suffixes
from tests.builders import make_face, pictures_in, write_tables
from tests.command import PHOTOS, refuse, run, start


def files(folder):
    return {name: (folder / name).read_bytes() for name in pictures_in(folder)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The example photos and a large one, which a scan decodes at a half."""
    folder = tmp_path_factory.mktemp("collection") / "photos"
    shutil.copytree(PHOTOS, folder)
    with Image.open(PHOTOS / "groups" / "contact-sheet.jpg") as image:
        image.resize((3000, 2520)).save(folder / "large.jpg")
        image.resize((140, 118)).crop((0, 0, 70, 59)).save(folder / "small.png")
    return folder


@pytest.fixture(scope="module")
def scanned(photos):
    """A table and the thumbnails that the scan drew."""
    output, thumbnails = photos.parent / "r.parquet", photos.parent / "scan"
    batchage.scan(photos, output=output, thumbnails=thumbnails)
    return output, files(thumbnails)


def copy_table(source, table, only=None):
    """A scan's tables in another place and format; of one photo, if it is named."""
    of_scan, about = output_paths(source), json.loads(Path(f"{source}.scan.json").read_text())
    rows = [read_table(of_scan.images), read_table(of_scan.faces)]
    if only:
        rows = [each.filter(pc.equal(each["image_path"], only)) for each in rows]
    with TablesWriter(output_paths(table), about, table.parent) as writer:
        writer.write(Rows(*rows))
    return table


def make_record(path, boxes=((10, 10, 40, 50),), content_hash=None, root=None, **face):
    root = root or path.parent
    ref = ImageRef(path, str(root), path.relative_to(root).as_posix(), 1, 1.0)
    faces = [
        make_face(box, index, face.get("age", 30.0), face.get("female", 0.9))
        for index, box in enumerate(boxes)
    ]
    return ImageRecord(ref, Status.OK, None, 200, 100, content_hash, None, faces=faces)


def make_photo(path, size=(200, 100)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "grey").save(path)
    return path


@pytest.mark.parametrize("suffix", suffixes())
def test_the_files_are_those_of_the_scan(scanned, tmp_path, suffix):
    table = copy_table(scanned[0], tmp_path / f"r{suffix}")
    batchage.draw_thumbnails(table, tmp_path / "thumbs")
    assert files(tmp_path / "thumbs") == scanned[1]


def test_the_command_says_what_it_drew(scanned, tmp_path):
    result = run("thumbnails", scanned[0], "-o", "thumbs", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert f"{len(scanned[1])} thumbnails in thumbs" in result.stderr
    assert files(tmp_path / "thumbs") == scanned[1]


def test_no_network_is_loaded(scanned, tmp_path):
    code = (
        "import sys; sys.modules.update(openvino=None, tensorflow=None, keras=None);"
        "from batchage.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, "thumbnails", scanned[0], "-o", tmp_path / "thumbs"]
    result = subprocess.run([*command, "-q"], check=False, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert files(tmp_path / "thumbs") == scanned[1]


def test_the_scans_own_detect_size_is_gone_by(photos, tmp_path):
    config = batchage.ScanConfig(
        output=tmp_path / "r.parquet",
        thumbnails=tmp_path / "scan",
        detection=batchage.DetectorSettings(detect_size=320),
    )
    batchage.scan(photos / "large.jpg", config=config)
    batchage.draw_thumbnails(config.output, tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "scan")
    (tmp_path / "r.parquet.scan.json").unlink()
    without = batchage.draw_thumbnails(config.output, tmp_path / "without")
    assert len(without.thumbnails) == 1
    assert files(tmp_path / "without") != files(tmp_path / "scan")


def test_moved_photos_keep_their_thumbnails_names(scanned, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "moved")
    table = tmp_path / "r.parquet"
    for name in ("r.parquet", "r.images.parquet", "r.parquet.scan.json"):
        content = (scanned[0].parent / name).read_bytes()
        (tmp_path / name).write_bytes(content)
    for name in ("r.parquet", "r.images.parquet"):
        rows = pq.read_table(tmp_path / name)
        gone = pa.array(["/gone/photos"] * rows.num_rows).cast(rows.schema.field("root").type)
        index = rows.schema.get_field_index("root")
        pq.write_table(rows.set_column(index, rows.schema.field("root"), gone), tmp_path / name)
    lost = run("thumbnails", table, cwd=tmp_path)
    assert lost.returncode == 3
    assert lost.stderr.count("no such file or directory") == len(scanned[1])
    assert "--photos" in lost.stderr.splitlines()[-1]
    found = run("thumbnails", table, "--photos", "moved", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    names = set(read_table(table)["image_path"].to_pylist())
    assert set(files(tmp_path / "thumbs")) == {thumbnail_name("/gone/photos", n) for n in names}
    assert sorted(files(tmp_path / "thumbs").values()) == sorted(scanned[1].values())


def test_photos_that_cannot_be_drawn_are_named_and_counted(scanned, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "moved")
    (tmp_path / "moved" / "large.jpg").unlink()
    (tmp_path / "moved" / "portraits" / "collins.jpg").write_bytes(b"no picture")
    shutil.copy(
        tmp_path / "moved" / "portraits" / "hopper-grey.jpg",
        tmp_path / "moved" / "groups" / "contact-sheet.jpg",
    )
    result = run("thumbnails", scanned[0], "--photos", "moved", "-q", cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.splitlines() == [
        "groups/contact-sheet.jpg: no thumbnail: "
        "the file has changed since the scan; scan it again",
        "large.jpg: no thumbnail: the file can't be read: no such file or directory",
        f"portraits/collins.jpg: no thumbnail: {NOT_A_PICTURE}",
    ]
    assert len(files(tmp_path / "thumbs")) == len(scanned[1]) - 3


def test_a_photo_of_another_size_has_changed_where_no_hash_is_known(tmp_path):
    path = make_photo(tmp_path / "a.png", (210, 100))
    write_tables(tmp_path / "r.parquet", [make_record(path)])
    redrawn = batchage.draw_thumbnails(tmp_path / "r.parquet", tmp_path / "thumbs")
    assert "changed" in redrawn.not_drawn[0].reason


def test_the_side_can_be_chosen(scanned, tmp_path):
    table = copy_table(scanned[0], tmp_path / "r.parquet", "large.jpg")
    for side in (64, 2048):
        batchage.draw_thumbnails(table, tmp_path / str(side), side=side)
    assert run("thumbnails", table, "--side", "300", "-o", tmp_path / "300").returncode == 0
    for side in (64, 300, 2048):
        (large,) = pictures_in(tmp_path / str(side))
        with Image.open(tmp_path / str(side) / large) as image:
            assert max(image.size) == side


@pytest.mark.parametrize(("age", "female"), [(34.4999999, 0.9), (61.0, 0.49999999), (20.0, 0.5)])
def test_what_the_table_rounds_is_drawn_as_the_scan_drew_it(tmp_path, age, female):
    path = make_photo(tmp_path / "a.png")
    record = make_record(path, age=age, female=female)
    image = decode(path)
    ThumbnailWriter(tmp_path / "scan").write(image, record)
    write_tables(tmp_path / "r.parquet", [record])
    batchage.draw_thumbnails(tmp_path / "r.parquet", tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "scan")


def test_rows_in_another_order_give_the_same_files(scanned, tmp_path):
    rows = read_table(scanned[0])
    shuffled = rows.take(np.random.default_rng(0).permutation(rows.num_rows))
    pq.write_table(shuffled, tmp_path / "r.parquet")
    for name in ("r.images.parquet", "r.parquet.scan.json"):
        shutil.copy(scanned[0].parent / name, tmp_path / name)
    batchage.draw_thumbnails(tmp_path / "r.parquet", tmp_path / "thumbs")
    assert files(tmp_path / "thumbs") == scanned[1]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("column", "value"),
    [("x1", NAN), ("y2", INF), ("x1", 150.0), ("age_years", NAN), ("gender_prob_female", -INF)],
)
def test_rows_that_are_no_faces_cost_their_photo_only(tmp_path, column, value):
    paths = [make_photo(tmp_path / "p" / name) for name in ("a.png", "b.png")]
    write_tables(tmp_path / "r.parquet", [make_record(path) for path in paths])
    rows = pq.read_table(tmp_path / "r.parquet")
    changed = pa.array([rows[column][0].as_py(), value], pa.float32())
    index = rows.schema.get_field_index(column)
    pq.write_table(
        rows.set_column(index, rows.schema.field(column), changed), tmp_path / "r.parquet"
    )
    redrawn = batchage.draw_thumbnails(tmp_path / "r.parquet", tmp_path / "thumbs")
    assert redrawn.thumbnails == [thumbnail_name(str(tmp_path / "p"), "a.png")]
    assert "boxes" in redrawn.not_drawn[0].reason


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=5), numbers)
def test_any_numbers_are_faces_inside_the_photo_or_none(boxes, age):
    rows = np.array([(*box, age, 0.4, 200, 100) for box in boxes], np.float64)
    assert rows.shape[1] == len(NUMBERS)
    photo = PhotoRows("/r", "a.jpg", None, None, rows, ["male"] * len(boxes))
    try:
        faces = photo.faces()
    except ValueError:
        return
    for face in faces:
        x1, y1, x2, y2 = face.box
        assert 0 <= x1 <= x2 <= 200
        assert 0 <= y1 <= y2 <= 100


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../secret.png", ""])
def test_a_table_cannot_lead_out_of_its_folder(tmp_path, name):
    make_photo(tmp_path / "secret.png")
    (tmp_path / "p").mkdir()
    with pytest.raises(DecodeError, match="out of the scanned folder"):
        photo_path(str(tmp_path / "p"), name)
    record = make_record(tmp_path / "p" / "a.png")
    ref = ImageRef(record.ref.path, record.ref.root, name, 1, 1.0)
    write_tables(tmp_path / "r.parquet", [ImageRecord(ref, Status.OK, faces=record.faces,
                                                      width=200, height=100)])  # fmt: skip
    redrawn = batchage.draw_thumbnails(tmp_path / "r.parquet", tmp_path / "thumbs")
    assert redrawn.thumbnails == []
    assert len(redrawn.not_drawn) == 1
    assert files(tmp_path / "thumbs") == {}


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_any_path_of_a_table_stays_below_its_folder(name):
    try:
        path = photo_path("/photos", name)
    except DecodeError:
        return
    assert ".." not in path.parts
    assert path.parts[:2] == ("/", "photos")
    assert len(path.parts) > 2


def test_an_escape_hides_no_slash(tmp_path):
    path = photo_path(str(tmp_path), r"\x2e\x2e\x2fsecret\xe9.png")
    assert os.fsencode(path).endswith(b"\\x2e\\x2e\\x2fsecret\xe9.png")
    assert path.parent == tmp_path


def test_names_that_are_not_utf8_and_names_of_all_scripts_are_drawn(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [os.fsdecode(b"caf\xe9.png"), "صورة.png", "家族.png", "🎉.png", r"back\xslash.png"]
    names.append(r"caf\xe9.png")
    for name in names:
        make_photo(folder / name)
    refs = list(batchage.iter_images([folder]))
    records = [make_record(folder / "x.png") for _ in refs]
    for record, ref in zip(records, refs, strict=True):
        record.ref = ref
    write_tables(tmp_path / "r.parquet", records)
    redrawn = batchage.draw_thumbnails(tmp_path / "r.parquet", tmp_path / "thumbs")
    assert len(redrawn.thumbnails) == len(names)
    assert not redrawn.not_drawn


def test_a_name_cannot_control_the_terminal(tmp_path):
    write_tables(tmp_path / "r.parquet", [make_record(tmp_path / "evil\x1b[31m\n.png")])
    result = run("thumbnails", "r.parquet", cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.splitlines()[0].startswith(r"evil\x1b[31m\n.png: no thumbnail: ")


def test_a_table_without_faces_is_done_at_once(tmp_path):
    write_tables(tmp_path / "r.csv", [make_record(tmp_path / "a.png", [])])
    result = run("thumbnails", "r.csv", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "0 thumbnails in thumbs\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.parquet"], "missing.parquet"),
        (["r.parquet", "--photos", "nowhere"], "nowhere: no such folder"),
        (["r.parquet", "--side", "0"], "side 0: give 64 to 16384"),
        (["r.parquet", "--contact-sheet", "sheet.gif"], "sheet.gif: unknown suffix"),
        (["r.images.parquet"], ".images is for the second table"),
    ],
)
def test_wrong_usage_is_one_sentence(tmp_path, arguments, words):
    write_tables(tmp_path / "r.parquet", [])
    result = refuse("thumbnails", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert words in line
    assert not (tmp_path / "thumbs").exists()


def test_a_folder_that_cannot_be_written_is_an_output_error(scanned, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        batchage.draw_thumbnails(scanned[0], tmp_path / "file" / "thumbs")


def test_photos_of_a_table_are_read_in_its_order(scanned):
    photos = read_photos(scanned[0])
    names = list(dict.fromkeys(read_table(scanned[0])["image_path"].to_pylist()))
    assert [photo.relative for photo in photos] == names
    with pytest.raises(UsageError):
        read_photos(scanned[0].with_name("none.parquet"))


def test_an_interrupted_command_keeps_what_it_drew(tmp_path):
    paths = [make_photo(tmp_path / "p" / "000.jpg", (3000, 2000))]
    for number in range(1, 150):
        paths.append(tmp_path / "p" / f"{number:03d}.jpg")
        paths[-1].hardlink_to(paths[0])
    records = [make_record(path) for path in paths]
    for record in records:
        record.width, record.height = 3000, 2000
    write_tables(tmp_path / "r.parquet", records)
    process = start("thumbnails", "r.parquet", cwd=tmp_path)
    while not (tmp_path / "thumbs").exists() or len(files(tmp_path / "thumbs")) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert shown.splitlines()[-1] == "batchage: interrupted; what was drawn stays"
    drawn = files(tmp_path / "thumbs")
    assert 3 <= len(drawn) < 150
    for name in drawn:
        assert not name.startswith(".")
        with Image.open(tmp_path / "thumbs" / name) as image:
            image.load()
