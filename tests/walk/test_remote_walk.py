"""Folders elsewhere → files, as the same folders on a disk."""

import functools
import tempfile
import threading
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.config import ScanFilter
from batchage.errors import MissingExtraError, UsageError
from batchage.places import locate
from batchage.places import names as place_names
from batchage.walk import examine, iter_images, iter_listed
from batchage.walk.remote import list_folder
from tests.walk.test_walk import FILTERS, make_files, relatives

names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\r\n", exclude_categories=["Cs"]),
    min_size=1,
    max_size=6,
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".jpg")


def make_both(folder, memory, tree):
    """The same files in a folder and in `memory://photos`."""
    for name in tree:
        path = folder / name
        try:
            make_files(folder, name)
        except OSError:
            # There is a folder or file of that name, or the name is too long.
            continue
        memory.pipe_file(f"/photos/{name}", path.read_bytes())


@given(st.lists(paths, max_size=12), st.booleans())
def test_the_order_is_that_of_a_local_folder(tree, hidden):
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    memory = MemoryFileSystem()
    memory.mkdir("/photos")
    with tempfile.TemporaryDirectory() as folder:
        make_both(Path(folder), memory, tree)
        how = ScanFilter(hidden=hidden)
        here = list(iter_images([folder], how))
    there = list(iter_images(["memory://photos"], how))
    assert relatives(there) == relatives(here)
    assert [ref.size for ref in there] == [ref.size for ref in here]
    assert {ref.root for ref in there} <= {"memory://photos"}
    assert all(memory.exists(ref.path) for ref in there)


def test_the_order_on_s3_is_that_of_a_local_folder(tmp_path, s3_server, s3):
    tree = [
        *("b.jpg", "B.jpg", "a.jpg", "a/b.jpg", "a-b/c.jpg", "a b/c.png", "a0/c.heic", "a/c/d.tif"),
        *("é/ü.jpg", "日本/写真.jpg", "x+y&z=1.jpg", "p%20q.jpg", "b#1.jpg", "c?d.jpg", "e~f!.jpg"),
        *(".hidden/a.jpg", "._b.jpg", "notes.txt", "deep/er/and/deeper/f.webp", "[1]*.jpg"),
    ]
    make_files(tmp_path, *tree)
    (tmp_path / "notes.txt").write_text("no picture")
    s3_server.upload(tmp_path, f"{s3}/photos")
    found = list(iter_images([f"{s3}/photos/"]))
    assert relatives(found) == relatives(iter_images([tmp_path]))
    assert {ref.root for ref in found} == {f"{s3}/photos"}
    assert all(ref.path == f"{ref.root}/{ref.relative}" for ref in found)
    assert all(ref.size == 3 and ref.mtime for ref in found)
    whole = relatives(iter_images([s3]))
    assert whole == [f"photos/{name}" for name in relatives(found)]


def test_folders_of_the_scans_own_pictures_are_left_out(memory):
    for name in ("a.jpg", "thumbs/b.jpg"):
        memory.pipe_file(f"/photos/{name}", b"")
    left_out = [locate("memory://photos/thumbs")]
    assert relatives(iter_images(["memory://photos"], leave_out=left_out)) == ["a.jpg"]


def test_objects_that_stand_for_folders_are_no_files(s3_server, s3):
    for key in ("photos/", "photos/sub/", "photos/sub/a.jpg", "photos/empty.jpg/"):
        s3_server.put(f"{s3}/{key}", b"\xff\xd8\xff" if key.endswith("a.jpg") else b"")
    assert relatives(iter_images([f"{s3}/photos"])) == ["sub/a.jpg"]


def test_a_folder_without_a_name_is_a_row(s3_server, s3):
    s3_server.put(f"{s3}/photos/a.jpg", b"\xff\xd8\xff")
    s3_server.put(f"{s3}/photos//b.jpg", b"\xff\xd8\xff")
    nameless, photo = iter_images([f"{s3}/photos"])
    assert nameless.is_folder
    assert nameless.error == "its name is empty: the folder can't be read"
    assert photo.relative == "a.jpg"


@pytest.mark.parametrize(("filter_", "expected"), FILTERS)
def test_filters(flaky, memory, filter_, expected):
    for name in ("a.jpg", "sub/b.png", "trash/c.jpg", ".h/d.jpg"):
        memory.pipe_file(f"/photos/{name}", b"\xff\xd8\xff")
    assert relatives(iter_images(["flaky://photos"], filter_)) == expected


def test_folders_that_are_left_out_are_not_asked_for(flaky, memory):
    for name in ("sub/b.png", "trash/c.jpg", ".h/d.jpg"):
        memory.pipe_file(f"/photos/{name}", b"\xff\xd8\xff")
    assert len(list(iter_images(["flaky://photos"], ScanFilter(exclude=("trash",))))) == 1
    listed = {path for verb, path in flaky.requests if verb == "ls"}
    assert listed == {"/photos", "/photos/sub"}


def test_pictures_are_known_by_suffix_without_a_request(flaky, memory):
    for name in ("a.JPG", "no-suffix", "b.txt"):
        memory.pipe_file(f"/photos/{name}", b"\xff\xd8\xff")
    assert relatives(iter_images(["flaky://photos"])) == ["a.JPG"]
    assert {verb for verb, _ in flaky.requests} == {"info", "ls"}
    # One that is named is looked at whatever its name.
    assert relatives(iter_images(["flaky://photos/no-suffix"])) == ["no-suffix"]


def test_given_twice_is_found_once(memory, tmp_path):
    make_files(tmp_path, "a.jpg")
    memory.pipe_file("/photos/sub/b.jpg", b"\xff\xd8\xff")
    places = ["memory://photos/", tmp_path, "memory://photos", "memory://photos/sub/b.jpg"]
    assert relatives(iter_images(places)) == ["sub/b.jpg", "a.jpg"]
    other_way_round = ["memory://photos/sub", "memory://photos"]
    assert relatives(iter_images(other_way_round)) == ["b.jpg"]


def test_a_folder_that_cannot_be_listed_is_a_row(flaky, memory):
    for name in ("a/1.jpg", "b/2.jpg", "c/3.jpg"):
        memory.pipe_file(f"/photos/{name}", b"\xff\xd8\xff")
    flaky.failures = {"/photos/b": [PermissionError("no")]}
    first, locked, last = iter_images(["flaky://photos"])
    assert (first.relative, last.relative) == ("a/1.jpg", "c/3.jpg")
    assert locked.relative == "b"
    assert locked.error == "permission denied: the folder can't be read"
    assert locked.is_folder


def test_listings_that_fail_for_the_moment_are_asked_for_again(flaky, memory):
    memory.pipe_file("/photos/a/1.jpg", b"\xff\xd8\xff")
    flaky.failures = {"/photos": [TimeoutError()] * 2, "/photos/a": [OSError(5, "reset")] * 4}
    assert relatives(iter_images(["flaky://photos"])) == ["a/1.jpg"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("memory://nowhere", r"'memory://nowhere' can't be scanned \(no such file or directory\)"),
        ("s3://no-such-bucket/photos", "check the address and the credentials"),
        ("nothing://host/photos", "no such kind of address"),
    ],
)
def test_missing_inputs_are_refused(memory, s3_server, place, message):
    with pytest.raises(UsageError, match=message):
        iter_images([place])


def test_inputs_that_may_not_be_read_are_refused(flaky, memory):
    memory.pipe_file("/photos/a.jpg", b"\xff\xd8\xff")
    flaky.failures = {"/photos": [PermissionError("Forbidden")]}
    with pytest.raises(UsageError, match=r"\(permission denied\): check the address and the cred"):
        iter_images(["flaky://photos"])


@pytest.mark.parametrize("walk", [iter_images, iter_listed])
def test_missing_packages_are_named(monkeypatch, walk):
    monkeypatch.setattr(place_names, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'batchage\[gs\]'"):
        list(walk(["gs://another-bucket/photos"]))


def test_lists_may_have_urls(memory, tmp_path):
    make_files(tmp_path, "here.jpg")
    for name in ("a.jpg", "sub/b.jpg", "sub/c.jpg"):
        memory.pipe_file(f"/photos/{name}", b"\xff\xd8\xff")
    listed = ["memory://photos/a.jpg", str(tmp_path / "here.jpg"), "memory://photos/gone.jpg"]
    listed += ["memory://photos/sub", "nothing://host/x.jpg", f"file://{tmp_path}/here.jpg"]
    found = list(iter_listed(listed))
    expected = ["a.jpg", "here.jpg", "gone.jpg", "sub/b.jpg", "sub/c.jpg", "x.jpg", "here.jpg"]
    assert relatives(found) == expected
    assert [ref.relative for ref in found if ref.error] == ["gone.jpg", "x.jpg"]
    assert found[2].error == "no such file or directory"
    assert found[0].root == "memory://photos"
    assert found[0].size == 3


def test_long_lists_keep_their_order(memory):
    for number in range(200):
        memory.pipe_file(f"/photos/{number}.jpg", bytes(number))
    found = list(iter_listed(f"memory://photos/{number}.jpg" for number in reversed(range(200))))
    assert [ref.size for ref in found] == list(reversed(range(200)))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"LastModified": datetime(2020, 1, 2, tzinfo=UTC)}, 1577923200.0),
        ({"last_modified": datetime(2020, 1, 2)}, 1577923200.0),
        ({"mtime": 1577923200, "created": 1.0}, 1577923200.0),
        ({"updated": "2020-01-02T00:00:00Z"}, 1577923200.0),
        ({"Last-Modified": "Thu, 02 Jan 2020 00:00:00 GMT"}, 1577923200.0),
        ({"updated": "yesterday"}, None),
        ({}, None),
    ],
)
def test_times_have_many_names(flaky, memory, monkeypatch, found, expected):
    memory.pipe_file("/photos/a.jpg", b"\xff\xd8\xff")

    def ls(self, path, detail=True):
        return [{"name": f"{path}/a.jpg", "type": "file", "size": 3, **found}]

    monkeypatch.setattr(flaky, "ls", ls)
    (entry,) = list_folder("flaky://photos")
    assert entry.mtime == expected


def test_links_are_followed_and_other_things_are_rows(flaky, memory, monkeypatch):
    memory.pipe_file("/photos/a.jpg", b"\xff\xd8\xff")

    def ls(self, path, detail=True):
        kinds = {"a.jpg": "link", "gone.jpg": "link", "locked.jpg": "link", "pipe.jpg": "other"}
        return [{"name": f"{path}/{n}", "type": k, "size": 0} for n, k in kinds.items()]

    monkeypatch.setattr(flaky, "ls", ls)
    monkeypatch.setitem(flaky.failures, "/photos/locked.jpg", [PermissionError(13, "Denied")])
    good, gone, locked, pipe = iter_images(["flaky://photos"])
    assert (good.error, good.size) == (None, 3)
    assert gone.error == "the link's target doesn't exist"
    assert locked.error == "permission denied"
    assert pipe.error == "not a regular file"


def test_links_that_lead_back_are_left(flaky, memory, monkeypatch):
    """As on a disk; links to other folders are entered."""
    memory.pipe_file("/photos/a.jpg", b"\xff\xd8\xff")
    memory.pipe_file("/photos/other/b.jpg", b"\xff\xd8\xff")

    def ls(self, path, detail=True):
        kinds = {"a.jpg": "file", "album": "link", "back": "link", "other": "directory"}
        if path.rpartition("/")[2] in ("album", "other"):
            kinds = {"b.jpg": "file", "up": "link"}
        return [{"name": f"{path}/{n}", "type": k, "size": 3} for n, k in kinds.items()]

    def info(self, path):
        return {"name": path, "type": "directory", "size": 3}

    monkeypatch.setattr(flaky, "ls", ls)
    monkeypatch.setattr(flaky, "info", info)
    found = relatives(iter_images(["flaky://photos"]))
    assert found == ["a.jpg", "album/b.jpg", "other/b.jpg"]


def test_folders_without_end_are_left(flaky, memory, monkeypatch):
    memory.mkdir("/photos")

    def ls(self, path, detail=True):
        return [{"name": f"{path}/d", "type": "directory", "size": 0}]

    monkeypatch.setattr(flaky, "ls", ls)
    (deepest,) = iter_images(["flaky://photos"])
    assert deepest.error == "too many folders inside each other: the folder can't be read"


@pytest.fixture
def web(tmp_path):
    """A folder and its URL on a web server."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    make = functools.partial(Handler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_pages_of_links(web):
    folder, url = web
    make_files(folder, "p/a b.jpg", "p/é.jpg", "p/sub/c.jpg", "p/d&e.jpg", "p/f#g.jpg", "q/h.jpg")
    found = list(iter_images([f"{url}/p/"]))
    assert relatives(found) == ["a b.jpg", "d&e.jpg", "f%23g.jpg", "sub/c.jpg", "é.jpg"]
    assert {ref.root for ref in found} == {f"{url}/p"}
    assert relatives(iter_images([f"{url}/p"])) == relatives(found)
    assert {ref.size for ref in found} == {None}


def test_links_that_are_no_utf8_are_told_apart(web):
    folder, url = web
    (folder / "index.html").write_text('<a href="caf%E9.jpg">1</a><a href="caf%E8.jpg">2</a>')
    assert relatives(iter_images([f"{url}/"])) == ["caf%E8.jpg", "caf%E9.jpg"]


def test_only_links_that_lead_below_a_page_count(web):
    folder, url = web
    make_files(folder, "p/a.jpg", "b.jpg")
    page = ["a.jpg", "../b.jpg", "/b.jpg", "/p/a.jpg", "?C=N;O=D", "#top", "x/y.jpg"]
    page.append("http://127.0.0.1:1/p/c.jpg")
    links = "".join(f'<a href="{link}">{link}</a>' for link in page)
    (folder / "p" / "index.html").write_text(f"<html>{links}</html>")
    assert relatives(iter_images([f"{url}/p/"])) == ["a.jpg"]


def test_single_files_of_the_web(web):
    folder, url = web
    make_files(folder, "p/a.jpg")
    (ref,) = iter_images([f"{url}/p/a.jpg"])
    assert (ref.root, ref.relative, ref.size) == (f"{url}/p", "a.jpg", 3)
    assert ref.mtime == pytest.approx((folder / "p" / "a.jpg").stat().st_mtime, abs=1)
    with pytest.raises(UsageError, match="no such file"):
        iter_images([f"{url}/p/b.jpg"])


def test_a_server_that_does_not_answer_is_told_from_a_missing_file(no_waits):
    with pytest.raises(UsageError, match="connect"):
        iter_images(["http://127.0.0.1:9/photos"])


def test_passwords_are_not_shown(flaky, memory):
    memory.pipe_file("/user:secret@host/photos/a.jpg", b"\xff\xd8\xff")
    (ref,) = iter_images(["flaky://user:secret@host/photos"])
    assert ref.root == "flaky://user@host/photos"
    assert ref.path == "flaky://user:secret@host/photos/a.jpg"
    with pytest.raises(UsageError) as refused:
        iter_images(["flaky://user:secret@host/nowhere"])
    assert "secret" not in str(refused.value)


def test_no_listing_is_kept(s3_server, s3):
    s3_server.put(f"{s3}/photos/a.jpg", b"\xff\xd8\xff")
    assert len(list(iter_images([f"{s3}/photos"]))) == 1
    s3_server.put(f"{s3}/photos/b.jpg", b"\xff\xd8\xff")
    assert len(list(iter_images([f"{s3}/photos"]))) == 2
    assert examine(f"{s3}/photos/b.jpg").size == 3
