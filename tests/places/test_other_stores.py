"""Google Cloud Storage, Azure and sftp: folders there, and whole scans by the command."""

import pickle
import shutil

import numpy as np
import pytest

import batchage
from batchage.config import ScanConfig
from batchage.errors import UsageError
from batchage.places import StoreFolder, connections, locate, patience, stores, without_password
from batchage.results import lock
from batchage.results.file_sink import FileSink
from batchage.walk.remote import list_folder
from batchage.write import FACES, IMAGES, output_paths, read_table
from tests.command import PHOTOS, start
from tests.fake_scans import LOCK_TIMES, kill_after_parts, parts_of
from tests.other_servers import KINDS, running_server

PLACES = ("root", "modified_at", "seconds", "thumbnail")


@pytest.fixture(scope="module", params=KINDS)
def server(request, tmp_path_factory):
    with running_server(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in LOCK_TIMES.items():
        monkeypatch.setattr(lock, name, seconds)


@pytest.fixture
def folder(server):
    folder = StoreFolder(locate(f"{server.place()}/results/deep"))
    folder.make()
    return folder


def test_files_are_written_read_copied_listed_and_removed(folder):
    assert folder.names() == []
    folder.write("a.txt", b"one")
    folder.write("a.txt", b"two")
    folder.write("empty", b"")
    folder.take(folder.path / "a.txt", "b.txt")
    assert folder.names() == ["a.txt", "b.txt", "empty"]
    assert [folder.read(name) for name in folder.names()] == [b"two", b"two", b""]
    assert StoreFolder(folder.path.parent).names() == ["deep/"]
    assert (folder.has("a.txt"), folder.has("c.txt")) == (True, False)
    assert folder.modified("a.txt") is not None
    folder.remove_empty()
    folder.remove(["a.txt", "b.txt", "empty", "gone"])
    assert folder.names() == []
    folder.remove_empty()
    assert "deep/" not in StoreFolder(folder.path.parent).names()
    with pytest.raises(FileNotFoundError):
        folder.read("a.txt")


def test_large_files_appear_when_they_are_whole(folder, monkeypatch):
    monkeypatch.setattr(stores, "UPLOAD_BYTES", 1 << 20)
    partials = StoreFolder(folder.path.parent / "parts")
    partials.make()
    content = np.random.default_rng(0).bytes(5 << 20)

    def begun():
        pending = folder.begin("r.bin", partials, "r.bin.partial")
        for offset in range(0, len(content), 1 << 18):
            pending.stream.write(content[offset : offset + (1 << 18)])
        pending.finish()
        return pending

    pending = begun()
    assert folder.names() == []
    pending.put_into_place()
    assert folder.read("r.bin") == content
    begun().discard()
    assert (folder.names(), partials.names()) == (["r.bin"], [])


def test_a_small_file_is_never_seen_half_written(folder, monkeypatch):
    """What breaks off midway leaves the earlier content."""
    folder.write("a.txt", b"whole")
    opened = type(folder.connect()).open

    def breaks(self, path, mode="rb", *arguments, **more):
        file = opened(self, path, mode, *arguments, **more)
        if "w" in mode:
            file.write(b"ha")
            file.close()
            raise PermissionError("quota exceeded")
        return file

    if not folder.renames:
        pytest.skip("one request puts it")
    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr(type(folder.connect()), "open", breaks)
        folder.write("a.txt", b"other")
    assert folder.read("a.txt") == b"whole"


def test_a_lock_keeps_others_away(folder):
    output = folder.path / "r.parquet"
    first = FileSink(output, ScanConfig())
    first.open()
    with pytest.raises(UsageError, match="another scan is writing there"):
        FileSink(output, ScanConfig()).open()
    first.close()
    assert not StoreFolder(parts_of(output)).names()


def test_a_connection_that_breaks_is_replaced(server, folder, monkeypatch):
    if not folder.renames:
        pytest.skip("each request has a connection of its own")
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)

    def break_all():
        kept = connections._connections[connections._place_of(str(folder.path))]
        assert kept.idle
        for files in kept.idle:
            files.client.close()

    folder.write("a.txt", b"one")
    break_all()
    assert folder.read("a.txt") == b"one"
    break_all()
    folder.write("a.txt", b"two")
    break_all()
    assert [entry.name for entry in list_folder(str(folder.path))] == ["a.txt"]
    assert folder.read("a.txt") == b"two"


def test_a_place_is_found_again_by_its_name(server, folder):
    again = pickle.loads(pickle.dumps(folder.path))
    assert locate(str(folder.path / "r.csv")) == again / "r.csv"
    assert str(again.parent) == str(folder.path).removesuffix("/deep")
    assert str(again.with_name("other")).startswith(server.base)


@pytest.mark.parametrize(
    "url",
    [
        "sftp://host/a/b",
        "sftp://user@host:2222/a/b",
        "ssh://user:se%40cret@host/a/b",
        "abfs://box@account.dfs.core.windows.net/a/b",
    ],
)
def test_names_of_places_keep_the_host(url):
    pytest.importorskip("paramiko")
    if url.startswith("abfs"):
        pytest.importorskip("adlfs")
    place = locate(url)
    assert str(place) == url
    assert str(place.parent / "c") == f"{url.removesuffix('b')}c"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection") / "photos"
    shutil.copytree(PHOTOS, folder)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def scan(*arguments):
    return start("scan", *arguments, "-q", "--save-every", "0")


def finished(process):
    _, said = process.communicate(timeout=300)
    assert process.returncode == 3, said
    return said


def rows(output):
    """Both tables without what a place decides."""
    paths = output_paths(output)
    found = read_table(paths.faces, FACES), read_table(paths.images, IMAGES)
    return [
        table.drop_columns([name for name in PLACES if name in table.column_names]).to_pylist()
        for table in found
    ]


@pytest.fixture(scope="module")
def here(photos, tmp_path_factory):
    """A table of the photos on this machine."""
    table = tmp_path_factory.mktemp("tables") / "r.parquet"
    finished(scan(photos, "-o", table, "--thumbnails", table.parent / "thumbs"))
    return table


def test_a_scan_from_a_store_to_it_that_is_killed_goes_on(server, photos, here):
    url = server.place()
    server.upload(photos, f"{url}/photos")
    output = f"{url}/results/"
    arguments = (f"{url}/photos", "-o", output, "--thumbnails", f"{url}/thumbs")
    process = scan(*arguments)
    parts = StoreFolder(parts_of(locate(output)))
    kill_after_parts(process, parts)

    places = {"output": locate(output), "thumbnails": locate(f"{url}/thumbs")}
    refs = batchage.iter_images([f"{url}/photos"])
    inputs = [without_password(f"{url}/photos")]
    with batchage.Scan(refs, ScanConfig(save_every=0.0, **places), inputs) as going_on:
        n_scanned = sum(1 for _ in going_on)
    assert going_on.sink.taken_over > 0
    assert n_scanned + going_on.sink.taken_over == going_on.sink.tally.files
    assert rows(locate(output)) == rows(here)
    assert parts.names() == []
    thumbs = StoreFolder(locate(f"{url}/thumbs"))
    # The names of thumbnails say where the photos are.
    expected = sorted(path.read_bytes() for path in (here.parent / "thumbs").iterdir())
    assert sorted(map(thumbs.read, thumbs.names())) == expected


def test_a_table_in_a_store_is_updated(server, photos, here):
    url = server.place()
    server.upload(PHOTOS / "portraits", f"{url}/photos/portraits")
    arguments = (f"{url}/photos", "-o", f"{url}/r.parquet")
    _, said = scan(*arguments).communicate(timeout=300)
    assert not said
    server.upload(photos, f"{url}/photos")
    finished(scan(*arguments, "--update", "--checksum"))
    assert rows(locate(f"{url}/r.parquet")) == rows(here)


@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_place_that_is_not_there_is_one_sentence(server, tmp_path, kind):
    if kind == "output" and server.base.startswith("sftp"):
        pytest.skip("the folder is made")
    missing = f"{server.base}no-such-place/photos"
    places = (
        (missing, "-o", tmp_path / "r.csv") if kind == "input" else (PHOTOS, "-o", f"{missing}/")
    )
    process = scan(*places)
    _, said = process.communicate(timeout=300)
    assert process.returncode in (1, 2)
    (line,) = said.splitlines()
    assert "no-such-place" in line
    assert "no such" in line
    assert "check the address" in line
    assert "secret" not in line
