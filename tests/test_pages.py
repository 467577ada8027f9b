"""Every page of a file is a photo: in the scan, its tables and all that is made of them."""

import io
import json
import sqlite3
import struct
from datetime import datetime

import numpy as np
import pytest
import tifffile
from PIL import Image

import batchage
from batchage import pipeline as pipeline_module
from batchage.config import ScanConfig
from batchage.decode import DecodePool, decode
from batchage.errors import UsageError
from batchage.evaluation.join import join
from batchage.evaluation.labels import read_csv
from batchage.places import fetch, is_made_name
from batchage.types import ImageRecord, Status
from batchage.write import FACES, IMAGES, output_paths, read_table
from batchage.write.base import suffixes
from tests.builders import pictures_in, write_tables
from tests.command import PHOTOS, run
from tests.fake_scans import fresh_rows, make_photo, rows, run_scan
from tests.results.test_file_sink import unreadable
from tests.results.test_moved import contents, require_fresh
from tests.test_pipeline import model
from tests.test_pipeline import run as scan_alone
from tests.write.test_write import make_record

__all__ = ["model", "scan_alone"]
SIZE = 256

pytestmark = pytest.mark.usefixtures("no_power_cut")


def tiff_of(pictures, kinds=None):
    """A TIFF of pages, RGB uint8, each of a kind as of the tag of subfiles."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for picture, kind in zip(pictures, kinds or [0] * len(pictures), strict=True):
            writer.write(picture, photometric="rgb", subfiletype=kind, metadata=None)
    return stream.getvalue()


def photo(name, size=SIZE):
    picture = Image.open(PHOTOS / name).convert("RGB")
    picture.thumbnail((size, size))
    return np.asarray(picture)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A scan of a file with pages of 0, 1 and 2 faces, of one with one picture, and of a HEIC."""
    folder = tmp_path_factory.mktemp("pages")
    none, one = photo("no-people/coffee.jpg"), photo("portraits/collins.jpg")
    other = photo("portraits/hopper-rotated.jpg")
    height = min(len(one), len(other))
    two = np.hstack([one[:height], other[:height]])
    (folder / "photos").mkdir()
    pages = tiff_of([none, one[::2, ::2], one, two], [0, 1, 0, 0])
    (folder / "photos" / "album.tif").write_bytes(pages)
    (folder / "photos" / "single.tif").write_bytes(tiff_of([one, one[::2, ::2]], [0, 1]))
    Image.fromarray(none).save(
        folder / "photos" / "some.heic", save_all=True, append_images=[Image.fromarray(one)]
    )
    pictures = {"thumbnails": folder / "thumbs", "crops": folder / "crops"}
    batchage.scan(folder / "photos", output=folder / "r.parquet", **pictures)
    return folder


def columns(table, *names):
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def test_every_page_has_a_row_and_a_reduced_copy_has_none(scanned):
    images, faces = (read_table(scanned / f"r{part}.parquet") for part in (".images", ""))
    assert columns(images, "image_path", "page", "n_faces", "status", "error") == [
        ("album.tif", 1, 0, "no_face", None),
        ("album.tif", 2, 1, "ok", None),
        ("album.tif", 3, 2, "ok", None),
        ("single.tif", None, 1, "ok", None),
        ("some.heic", 1, 0, "no_face", None),
        ("some.heic", 2, 1, "ok", None),
    ]
    assert len(set(columns(images, "content_hash")[:3])) == 1
    assert columns(faces, "image_path", "page", "face_index") == [
        ("album.tif", 2, 0),
        ("album.tif", 3, 0),
        ("album.tif", 3, 1),
        ("single.tif", None, 0),
        ("some.heic", 2, 0),
    ]
    alone = faces.slice(3, 1).select(["age_years", "x1", "sharpness"]).to_pylist()
    assert faces.slice(0, 1).select(["age_years", "x1", "sharpness"]).to_pylist() == alone
    for table, column in ((images, "thumbnail"), (faces, "crop")):
        names = sorted(filter(None, table[column].to_pylist()))
        assert names == pictures_in(scanned / {"thumbnail": "thumbs", "crop": "crops"}[column])
        assert len(set(names)) == len(names)
        assert all(map(is_made_name, names))


def test_thumbnails_are_drawn_anew_byte_for_byte(scanned, tmp_path):
    redrawn = batchage.draw_thumbnails(scanned / "r.parquet", tmp_path / "again")
    assert redrawn.not_drawn == []
    assert contents(tmp_path / "again") == contents(scanned / "thumbs")
    (sheet,) = batchage.make_contact_sheets(
        scanned / "r.parquet", tmp_path / "again", tmp_path / "sheet.png"
    )
    assert sheet.is_file()


def test_report_shows_each_page_with_its_own_thumbnail(scanned, tmp_path):
    batchage.report(scanned / "r.parquet", tmp_path / "page", scanned / "thumbs")
    text = (tmp_path / "page" / "data.js").read_text()
    data = json.loads(text.removeprefix("const DATA = ").rstrip(";\n"))
    assert data["photos"]["path"] == [
        "album.tif, page 2",
        "album.tif, page 3",
        "single.tif",
        "some.heic, page 2",
    ]
    assert data["faces"]["photo"] == [0, 1, 1, 2, 3]
    assert pictures_in(tmp_path / "page" / "thumbnails") == pictures_in(scanned / "thumbs")


def test_update_computes_nothing_anew(scanned):
    pictures = [f"--{name}={scanned / folder}" for name, folder in
                (("thumbnails", "thumbs"), ("crops", "crops"))]  # fmt: skip
    output = scanned / "r.parquet"
    done = run("scan", scanned / "photos", "-o", output, *pictures, "--update", "--json", "-q")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["photos"], said["taken_over"], said["gone"]) == (6, 3, 0)


def joined(tmp_path, lines, records):
    write_tables(tmp_path / "r.parquet", records)
    (tmp_path / "labels.csv").write_text("\n".join(["path,age,page", *lines]) + "\n")
    labels = read_csv(tmp_path / "labels.csv")
    return join(read_table(tmp_path / "r.parquet", FACES).to_pylist(), labels)


def test_labels_meet_the_first_page_unless_they_name_another(tmp_path):
    records = [*pages_of("a.tif", [0, 1, 1]), *pages_of("b.tif", [1, 1]), make_record("c.jpg", 1)]
    lines = ["a.tif,10,", "a.tif,20,2", "a.tif,30,3", "b.tif,40,", "c.jpg,50,", "c.jpg,60,2"]
    found = joined(tmp_path, lines, records)
    assert found.outcome.age_min.tolist() == [20, 30, 40, 50]
    assert [label.written for label in found.without_face] == ["a.tif", "c.jpg"]
    assert found.unlabelled_photos == 1
    with pytest.raises(UsageError, match="two labels for one photo"):
        joined(tmp_path, ["b.tif,1,", "b.tif,2,1"], records)
    with pytest.raises(UsageError, match="line 2: page '0', give a number from 1"):
        joined(tmp_path, ["b.tif,1,0"], records)


def pages_of(name, n_faces):
    return [
        make_record(name, n, page=number, is_last=number == len(n_faces),
                    status=Status.OK if n else Status.NO_FACE)
        for number, n in enumerate(n_faces, start=1)
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["", *suffixes()])
def test_pages_in_every_format(suffix, tmp_path):
    records = [make_record("0.jpg", 1), *pages_of("a.tif", [0, 2, 1]), make_record("z.jpg", 2)]
    output = tmp_path / f"r{suffix}"
    write_tables(output, records)
    images, faces = (table_of(output, schema) for schema in (IMAGES, FACES))
    assert images["page"].to_pylist() == [None, 1, 2, 3, None]
    assert faces["page"].to_pylist() == [None, 2, 2, 3, None, None]
    if suffix == ".json":
        names = [image["file_name"] for image in json.loads(output.read_text())["images"]]
        assert names == ["0.jpg", "a.tif", "a.tif#page=2", "a.tif#page=3", "z.jpg"]
    if suffix == ".sqlite":
        database = sqlite3.connect(output)
        for table in ("images", "faces"):
            with pytest.raises(sqlite3.IntegrityError):
                database.execute(f"INSERT INTO {table} SELECT * FROM {table}")
        joined = "SELECT count(*) FROM faces JOIN images USING (root, image_path) WHERE "
        assert database.execute(f"{joined} faces.page IS images.page").fetchone() == (6,)
        database.close()


def table_of(output, schema):
    paths = output_paths(output)
    return read_table(paths.images if schema is IMAGES else paths.faces, schema)


@pytest.fixture
def photos(tmp_path):
    """Files of one picture and of three, as stand-ins for scans know them."""
    for number in range(8):
        suffix = "tif" if number % 3 else "jpg"
        make_photo(tmp_path / "photos" / f"{number}.{suffix}", f"content {number}")
    return tmp_path / "photos"


N_PICTURES = 3 + 5 * 3


@pytest.mark.parametrize("save_every", [0, 1e9])
@pytest.mark.parametrize("stop_after", range(1, N_PICTURES))
def test_scan_that_stops_between_pages_goes_on_with_the_file(
    photos, tmp_path, stop_after, save_every
):
    output = tmp_path / "r.parquet"
    names, _ = run_scan(photos, output, stop_after, save_every=save_every)
    assert len(names) == stop_after
    again, sink = run_scan(photos, output)
    assert rows(output) == fresh_rows(photos, output)
    assert sink.tally.files == N_PICTURES
    assert sink.scanned == len(again)
    whole = [name for name in names if "page" not in name or name.endswith("page 3")]
    assert sink.taken_over == len(whole)


def test_update_scans_changed_files_as_a_whole_and_removes_what_is_left(photos, tmp_path):
    drawn = {name: tmp_path / name for name in ("thumbnails", "crops")}
    for folder in drawn.values():
        folder.mkdir()
    output = tmp_path / "r.parquet"
    run_scan(photos, output, **drawn)
    make_photo(photos / "2.tif", "other", mtime=1_700_000_000)
    (photos / "1.tif").unlink()
    (photos / "4.tif").rename(photos / "moved.tif")
    names, sink = run_scan(photos, output, update=True, **drawn)
    assert names == [f"2.tif, page {page}" for page in (1, 2, 3)]
    assert (sink.taken_over, sink.moved, sink.gone) == (6, 1, 1)
    require_fresh(photos, output, drawn, tmp_path)


def test_file_with_a_page_that_failed_is_tried_again_as_a_whole(photos, tmp_path, monkeypatch):
    output = tmp_path / "r.parquet"
    monkeypatch.setattr("tests.fake_scans.record_of", failing_at(2))
    run_scan(photos, output)
    monkeypatch.undo()
    (photos / "1.tif").rename(photos / "moved.tif")
    names, sink = run_scan(photos, output, update=True)
    assert len(names) == 5 * 3
    assert sink.taken_over == 3
    assert rows(output) == fresh_rows(photos, output)


def failing_at(failing):
    from tests.fake_scans import record_of

    def failing_record(ref, pictures, page=None):
        record = record_of(ref, pictures, page)
        if page == failing:
            return ImageRecord(ref, Status.UNREADABLE, "damaged", page=page)
        return record

    return failing_record


def test_folder_that_cannot_be_read_keeps_its_pages(photos, tmp_path):
    (photos / "sub").mkdir()
    for name in ("1.tif", "2.tif", "3.jpg"):
        (photos / name).rename(photos / "sub" / name)
    output = tmp_path / "r.parquet"
    run_scan(photos, output)
    before = rows(output)
    with unreadable(photos / "sub"):
        run_scan(photos, output, update=True)
    kept = [row for row in rows(output)[0] if row["status"] != "unreadable"]
    key = ("image_path", "page")
    assert sorted([row[name] or 0 for name in key] for row in kept) == sorted(
        [row[name] or 0 for name in key] for row in before[0]
    )


PLAIN, NO_FACE = 50, 250


def page(kind=PLAIN, n_faces=1, size=(48, 40)):
    """A picture that the stand-in's detector knows."""
    pixels = np.full((size[1], size[0], 3), kind, np.uint8)
    pixels[:, -1] = n_faces * 20 + 5
    return pixels


def save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def scan_pages(scan_alone, tmp_path, model, monkeypatch):
    """Scan `tmp_path/photos` with the stand-in for a detector; the records in order."""

    def scan(folder=tmp_path / "photos"):
        pipeline = pipeline_module.Pipeline(ScanConfig(model=str(model), batch_size=4))
        try:
            records = list(pipeline.run(batchage.iter_images([folder])))
            assert pipeline._fetcher.n_bytes == 0
            return records
        finally:
            pipeline.close()

    return scan


def outcomes(records):
    return [(record.name, str(record.status), len(record.faces)) for record in records]


def test_files_of_many_pages_wait_for_no_later_photo(scan_pages, tmp_path, monkeypatch):
    """Pages and photos of which two never fit into what may be held at once."""
    monkeypatch.setattr(pipeline_module, "decoded_bytes", lambda: 8000)
    monkeypatch.setattr(pipeline_module, "n_decoders", lambda: 2)
    expected = []
    for number in range(12):
        name = f"{number:02}.tif"
        sizes = [(48 + 4 * i, 40) for i in range(1 + 5 * (number % 3))]
        pages = [page(n_faces=i % 3, size=size) for i, size in enumerate(sizes)]
        save(tmp_path / "photos" / name, tiff_of(pages))
        for i in range(len(pages)):
            shown = f"{name}, page {i + 1}" if len(pages) > 1 else name
            expected.append((shown, "ok" if i % 3 else "no_face", i % 3))
    records = scan_pages()
    assert outcomes(records) == expected
    assert sum(record.is_last for record in records) == 12


def damaged_pages(n_pages, damaged):
    """A TIFF of which one page is compressed in a way that is none."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for _ in range(n_pages):
            writer.write(page(), photometric="rgb", compression="zlib", metadata=None)
    data = bytearray(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start, size = (getattr(file.pages[damaged - 1], name)[0]
                       for name in ("dataoffsets", "databytecounts"))  # fmt: skip
    data[start : start + size] = b"\xff" * size
    return bytes(data)


@pytest.mark.parametrize("damaged", [1, 2, 3])
def test_damaged_page_costs_itself(scan_pages, tmp_path, damaged):
    save(tmp_path / "photos" / "a.tif", damaged_pages(3, damaged))
    save(tmp_path / "photos" / "b.tif", tiff_of([page()]))
    found = outcomes(scan_pages())
    statuses = ["unreadable" if number == damaged else "ok" for number in (1, 2, 3)]
    assert [status for _, status, _ in found] == [*statuses, "ok"]
    assert [name for name, _, _ in found[:3]] == [f"a.tif, page {n}" for n in (1, 2, 3)]


def test_page_with_a_damaged_directory_and_what_cannot_be_found_are_told(scan_pages, tmp_path):
    data = tiff_of([page()] * 3)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        starts = [directory.offset for directory in file.pages]
    (n_tags,) = struct.unpack_from("<H", data, starts[1])
    pointer = starts[1] + 2 + 12 * n_tags
    cut = data[:pointer] + struct.pack("<I", len(data) + 1000) + data[pointer + 4 :]
    save(tmp_path / "photos" / "cut.tif", cut)
    circular = data[:pointer] + struct.pack("<I", starts[0]) + data[pointer + 4 :]
    save(tmp_path / "photos" / "round.tif", circular)
    records = scan_pages()
    assert outcomes(records) == [
        (f"{name}.tif, page {number}", "ok", 1) for name in ("cut", "round") for number in (1, 2)
    ]
    assert [record.error for record in records] == [
        None, "the file is damaged: what follows this page can't be found", None, None,
    ]  # fmt: skip


def test_page_that_ends_the_decoder_costs_itself(scan_pages, tmp_path, monkeypatch):
    monkeypatch.setattr(
        pipeline_module, "DecodePool", lambda n: DecodePool(n, "tests.faulty:decode_page")
    )
    for name in ("a-2.tif", "b-1.tif", "c-0.tif"):
        save(tmp_path / "photos" / name, tiff_of([page()]))
    records = scan_pages()
    assert [str(record.status) for record in records] == [
        "no_face", "failed", "no_face", "failed", "no_face", "no_face", "no_face", "no_face",
        "no_face",
    ]  # fmt: skip
    assert [record.page for record in records] == [1, 2, 3] * 3


def test_file_that_changes_between_its_pages_is_no_mixture(scan_pages, tmp_path, monkeypatch):
    place = tmp_path / "photos" / "a.tif"
    save(place, tiff_of([page()] * 3))
    pool_decode = DecodePool.decode

    def decode_and_change(self, *arguments, **how):
        image = pool_decode(self, *arguments, **how)
        if how["page"] == 1:
            place.write_bytes(tiff_of([page(n_faces=2)] * 3))
        return image

    monkeypatch.setattr(DecodePool, "decode", decode_and_change)
    records = scan_pages()
    assert [str(record.status) for record in records] == ["ok", "unreadable", "unreadable"]
    assert "changed during the scan" in records[1].error


def test_pages_beyond_the_bound_are_told(scan_pages, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_module, "MAX_PAGES", 2)
    save(tmp_path / "photos" / "a.tif", tiff_of([page()] * 3))
    records = scan_pages()
    assert [record.error for record in records] == [None, "what follows page 2 was not looked at"]
    assert [record.is_last for record in records] == [False, True]


def test_dates_are_the_pages_own(tmp_path):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for xmp in (packet("2001-02-03"), None, packet("2004-05-06")):
            tags = [(700, 1, len(xmp), xmp, True)] if xmp else []
            writer.write(page(), photometric="rgb", metadata=None, extratags=tags)
    taken = [decode("a.tif", data=stream.getvalue(), page=number).captured for number in (1, 2, 3)]
    assert [moment and moment.at for moment in taken] == [
        datetime(2001, 2, 3), None, datetime(2004, 5, 6),
    ]  # fmt: skip


def packet(date):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreateDate="{date}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def test_remote_files_are_fetched_once(scan_pages, memory, monkeypatch):
    read, asked = fetch.read_remote, []

    def read_and_note(path, *arguments):
        asked.append(path)
        return read(path, *arguments)

    monkeypatch.setattr(fetch, "read_remote", read_and_note)
    memory.pipe("/photos/a.tif", tiff_of([page(n_faces=n) for n in (1, 0, 2)]))
    memory.pipe("/photos/b.tif", tiff_of([page()]))
    found = outcomes(scan_pages("memory://photos"))
    assert found == [
        ("a.tif, page 1", "ok", 1),
        ("a.tif, page 2", "no_face", 0),
        ("a.tif, page 3", "ok", 2),
        ("b.tif", "ok", 1),
    ]
    assert len(asked) == 2
