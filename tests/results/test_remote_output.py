"""Results in a store: its lock, what it refuses, whole scans to an S3 server by the command."""

import json
import os
import threading

import numpy as np
import pandas as pd
import polars as pl
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

import batchage
from batchage.config import ScanConfig
from batchage.drawing import ThumbnailWriter, Uploads, save_picture
from batchage.drawing.saving import RECORDS_AHEAD
from batchage.errors import OutputError, UsageError
from batchage.places import MARKER, StoreFolder, locate, stores
from batchage.results import lock
from batchage.results.file_sink import FileSink
from batchage.write import FACES, IMAGES, output_paths, read_table
from tests.builders import pictures_in
from tests.command import PHOTOS, run, start
from tests.fake_scans import (
    LOCK_TIMES,
    fresh_rows,
    kill_after_parts,
    parts_of,
    require_lock,
    rows,
    run_scan,
)

OTHER = b'{"owner": "other"}'


@pytest.fixture
def table(memory):
    return locate("memory://bucket/r.parquet")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in LOCK_TIMES.items():
        monkeypatch.setattr(lock, name, seconds)


def lock_of(output):
    return parts_of(output) / "lock"


def test_a_scan_at_work_keeps_others_away(photos, table, caplog):
    first = FileSink(table, ScanConfig())
    first.open()
    with pytest.raises(UsageError, match="another scan is writing there"):
        run_scan(photos, table)
    assert caplog.text.count("waiting up to") == 1
    first.close()
    assert not parts_of(table).exists()
    assert len(run_scan(photos, table)[0]) == 10


@pytest.mark.parametrize("content", [OTHER, b"", b"[]", b"\xff"])
def test_a_lock_that_nobody_renews_is_taken_over(photos, table, content):
    lock_of(table).write_bytes(content)
    assert len(run_scan(photos, table)[0]) == 10
    assert not parts_of(table).exists()


def test_an_old_lock_needs_no_waiting(photos, table, caplog, monkeypatch):
    monkeypatch.setattr(lock, "OLD_AFTER", 0.0)
    lock_of(table).write_bytes(OTHER)
    assert len(run_scan(photos, table)[0]) == 10
    assert "waiting" not in caplog.text


def test_a_lock_that_its_owner_removes_is_taken_at_once(photos, table, monkeypatch):
    monkeypatch.setattr(lock, "OLD_AFTER", 1e9)
    lock_of(table).write_bytes(OTHER)
    timer = threading.Timer(0.2, MemoryFileSystem().rm_file, ["/bucket/r.parquet.parts/lock"])
    timer.start()
    assert len(run_scan(photos, table)[0]) == 10
    timer.join()


def test_a_scan_that_was_taken_for_dead_stops(photos, table, monkeypatch):
    monkeypatch.setattr(lock, "RENEW_EVERY", 1e9)
    sink = FileSink(table, ScanConfig(save_every=0))
    sink.open()
    lock_of(table).write_bytes(OTHER)
    with pytest.raises(OutputError, match="another one has gone on from it"):
        sink.begin({"model_id": "m", "inputs": [], "filter": {}})
    sink.close()
    assert lock_of(table).read_bytes() == OTHER


def test_a_store_without_exclusive_writes_has_a_lock_too(photos, table, monkeypatch):
    pipe = MemoryFileSystem.pipe_file

    def plain(self, path, value, **more):
        if more.get("mode") == "create":
            raise NotImplementedError
        pipe(self, path, value)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", plain)
    require_lock(photos, table)


@pytest.mark.parametrize("address", ["memory://bucket/r", "memory://bucket/r.parquet"])
def test_a_store_that_refuses_keeps_the_parts_and_the_next_scan_goes_on(
    photos, memory, address, monkeypatch
):
    output = locate(address)
    pipe, n_calls = MemoryFileSystem.pipe_file, 0

    def full(*arguments, **more):
        nonlocal n_calls
        n_calls += 1
        if n_calls > 12:
            raise PermissionError("quota exceeded")
        pipe(*arguments, **more)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"bucket/r.*same comman"):
        patch.setattr(MemoryFileSystem, "pipe_file", full)
        run_scan(photos, output)
    names, sink = run_scan(photos, output)
    assert 0 < len(names) < 10
    assert sink.is_continued
    assert rows(output) == fresh_rows(photos, output)


def test_a_failure_that_passes_is_not_noticed(photos, table, monkeypatch):
    monkeypatch.setattr("batchage.places.patience.FIRST_WAIT", 0.01)
    pipe, failed = MemoryFileSystem.pipe_file, set()

    def flaky(self, path, *arguments, **more):
        if path not in failed:
            failed.add(path)
            raise OSError(5, "try again")
        pipe(self, path, *arguments, **more)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", flaky)
    run_scan(photos, table)
    assert len(failed) > 20
    assert rows(table) == fresh_rows(photos, table)


@pytest.mark.parametrize("suffix", [".sqlite", ".json"])
def test_formats_that_need_a_disk_say_so(suffix, memory):
    with pytest.raises(UsageError, match=rf"{suffix} needs a disk of this machine"):
        FileSink(locate(f"memory://bucket/r{suffix}"), ScanConfig())


def test_large_tables_go_piece_by_piece_and_appear_at_the_end(s3, monkeypatch):
    monkeypatch.setattr(stores, "UPLOAD_BYTES", 5 << 20)
    folder = StoreFolder(locate(f"{s3}/tables"))
    content = np.random.default_rng(0).bytes(11 << 20)
    pending = folder.begin("r.bin", folder, "")
    for offset in range(0, len(content), 1 << 20):
        pending.stream.write(content[offset : offset + (1 << 20)])
    pending.finish()
    assert folder.names() == []
    pending.put_into_place()
    assert folder.read("r.bin") == content
    pending = folder.begin("other.bin", folder, "")
    pending.stream.write(content)
    pending.discard()
    del pending
    assert folder.names() == ["r.bin"]


def test_records_wait_for_their_pictures_in_order():
    uploads, gate, put = Uploads(), threading.Event(), []

    def records():
        for number in range(RECORDS_AHEAD + 20):
            if number == 0:
                uploads.add(lambda: put.append(gate.wait(60)))
            if number == RECORDS_AHEAD:
                # No more of them than this may be ahead of the slow one.
                gate.set()
            yield number

    assert list(uploads.in_order(records())) == list(range(RECORDS_AHEAD + 20))
    assert put == [True]
    uploads.close()


def test_a_picture_that_cannot_be_put_ends_the_scan(memory, monkeypatch):
    def fails(*_, **__):
        raise PermissionError("no")

    uploads, folder = Uploads(), locate("memory://bucket/thumbs")
    ThumbnailWriter(folder, uploads=uploads)
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", fails)

    def records():
        save_picture(np.zeros((4, 4, 3), np.uint8), folder / "a.jpg", uploads)
        yield 1

    with pytest.raises(OutputError, match=r"thumbs/a\.jpg .*permission denied.*same command"):
        list(uploads.in_order(records()))
    with pytest.raises(OutputError, match=r"folder memory://bucket/thumbs .*check credentials"):
        ThumbnailWriter(folder)
    uploads.close()


def scan(*arguments, **variables):
    return start("scan", PHOTOS, "-q", *arguments, **variables)


def without_seconds(output):
    paths = output_paths(output)
    images = read_table(paths.images, IMAGES).drop_columns(["seconds"]).to_pylist()
    return images, read_table(paths.faces, FACES).to_pylist()


def test_a_scan_to_a_bucket_that_is_killed_goes_on(s3, tmp_path):
    output, thumbs = f"{s3}/deep/results/", f"{s3}/thumbs"
    arguments = ("-o", output, "--thumbnails", thumbs, "--save-every", "0")
    process = scan(*arguments)
    parts = StoreFolder(parts_of(locate(output)))
    kill_after_parts(process, parts)
    saved = sum(name.endswith(".images.parquet") for name in parts.names())
    assert saved > 0

    settings = {"output": output, "thumbnails": thumbs, "save_every": 0.0}
    with batchage.Scan(
        batchage.iter_images([PHOTOS]),
        ScanConfig(**{**settings, "output": locate(output), "thumbnails": locate(thumbs)}),
        [str(PHOTOS)],
    ) as going_on:
        n_scanned = sum(1 for _ in going_on)
    assert going_on.sink.taken_over >= saved
    assert n_scanned + going_on.sink.taken_over == going_on.sink.tally.files
    assert parts.names() == []

    batchage.scan(PHOTOS, output=tmp_path / "here", thumbnails=tmp_path / "thumbs")
    assert without_seconds(locate(output)) == without_seconds(tmp_path / "here")
    pictures = StoreFolder(locate(thumbs))
    assert pictures.names() == sorted(path.name for path in (tmp_path / "thumbs").iterdir())
    for path in (tmp_path / "thumbs").iterdir():
        assert pictures.read(path.name) == path.read_bytes()


@pytest.fixture(scope="module")
def scanned(s3_server):
    """The URL of a table of the example photos, and of their thumbnails and crops."""
    url = s3_server.bucket()
    process = scan(
        "-o", f"{url}/r.parquet", "--thumbnails", f"{url}/thumbs", "--crops", f"{url}/crops"
    )
    _, said = process.communicate()
    assert process.returncode == 0, said
    return url


def test_tables_in_a_bucket_are_used_as_local_ones(scanned, tmp_path):
    table = f"{scanned}/r.parquet"
    faces = pd.read_parquet(table)
    assert len(faces) == pl.read_parquet(
        table, storage_options={"aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"],
                                "aws_allow_http": "true"},
    ).height  # fmt: skip
    crops = StoreFolder(locate(f"{scanned}/crops"))
    assert set(crops.names()) == {*faces.crop, MARKER}
    page = batchage.report(table, tmp_path / "page")
    assert not pictures_in(page.parent / "thumbnails")
    batchage.report(table, tmp_path / "page", f"{scanned}/thumbs")
    thumbs = StoreFolder(locate(f"{scanned}/thumbs"))
    assert sorted(path.name for path in (page.parent / "thumbnails").iterdir()) == thumbs.names()
    (sheet,) = batchage.make_contact_sheets(table, f"{scanned}/thumbs", tmp_path / "sheet.jpg")
    local = tmp_path / "thumbs"
    drawn = batchage.draw_thumbnails(table, local).thumbnails
    assert {name: (local / name).read_bytes() for name in drawn} == {
        name: thumbs.read(name) for name in drawn
    }
    (other,) = batchage.make_contact_sheets(table, local, tmp_path / "other.jpg")
    assert sheet.read_bytes() == other.read_bytes()
    with Image.open(sheet) as image:
        assert image.width > 1000
    batchage.draw_thumbnails(table, f"{scanned}/again")
    assert StoreFolder(locate(f"{scanned}/again")).names() == thumbs.names()


def test_a_table_in_a_bucket_is_evaluated_and_compacted(scanned, tmp_path):
    table = f"{scanned}/r.parquet"
    faces = pd.read_parquet(table)
    labels = tmp_path / "labels.csv"
    labels.write_text(f"path,age\n{faces.image_path[0]},30\n")
    assert batchage.evaluate(table, labels).counts["labels that met a face"] == 1
    batchage.compact(table, f"{scanned}/dataset")
    assert batchage.evaluate(f"{scanned}/dataset", labels).counts["labels that met a face"] == 1
    batchage.compact(f"{scanned}/dataset", tmp_path / "r.csv")
    assert len(pd.read_csv(tmp_path / "r.csv")) == len(faces)


def test_a_bucket_that_is_not_there_is_one_sentence_before_networks_are_loaded(s3_server):
    process = scan("-o", "s3://no-such-bucket/results/")
    _, said = process.communicate()
    assert process.returncode == 1
    assert said.splitlines() == [
        "batchage: s3://no-such-bucket/results: could not be written (there is no such bucket or "
        "folder); check the address and the credentials"
    ]


def test_a_summary_names_places_in_a_bucket(s3):
    done = run("scan", PHOTOS / "portraits", "-o", f"{s3}/r.csv", "--json", "-q")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"]["faces_table"] == f"{s3}/r.csv"
