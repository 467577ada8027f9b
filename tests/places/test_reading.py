"""The bytes of files here and elsewhere."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchage.errors import DecodeError, TooLargeError
from batchage.places import connections, content_hash, read_local, read_remote, reading

LIMIT = 10**6


def test_remote_bytes_are_those_of_the_file(memory):
    memory.pipe_file("/photos/a.jpg", b"picture")
    assert read_remote("memory://photos/a.jpg", LIMIT) == b"picture"
    assert read_remote("memory://photos/a.jpg", LIMIT, size=7) == b"picture"


def test_a_known_size_spares_a_request(flaky, memory):
    memory.pipe_file("/a.jpg", b"picture")
    read_remote("flaky://a.jpg", LIMIT, size=7)
    assert flaky.requests == [("cat", "/a.jpg")]


@pytest.mark.parametrize("says_size", [True, False])
def test_a_file_that_is_too_large_is_left(flaky, memory, monkeypatch, says_size):
    monkeypatch.setattr(reading, "_SMALL_FILE", 10)
    flaky.says_size = says_size
    memory.pipe_file("/a.jpg", bytes(10))
    memory.pipe_file("/b.jpg", bytes(11))
    assert read_remote("flaky://a.jpg", 1) == bytes(10)
    with pytest.raises(TooLargeError, match=r"11 bytes are more than 1 pixels need \(--max-pixels"):
        read_remote("flaky://b.jpg", 1)
    assert ("cat", "/b.jpg") not in flaky.requests


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        ([FileNotFoundError("a.jpg")], "the file can't be read: no such file or directory"),
        ([PermissionError("Forbidden")], "the file can't be read: permission denied"),
        ([OSError(5, "Slow down")] * 5, "the file can't be read: Slow down"),
        ([RuntimeError("odd\nerror")] * 5, "the file can't be read: odd error"),
    ],
)
def test_what_stays_unreadable_is_explained(flaky, memory, failures, message):
    memory.pipe_file("/a.jpg", b"picture")
    flaky.failures = {"/a.jpg": list(failures)}
    with pytest.raises(DecodeError) as failed:
        read_remote("flaky://a.jpg", LIMIT, size=7)
    assert str(failed.value) == message
    assert flaky.failures == {"/a.jpg": []}


def test_what_fails_for_the_moment_is_tried_again(flaky, memory):
    memory.pipe_file("/a.jpg", b"picture")
    flaky.failures = {"/a.jpg": [TimeoutError(), ConnectionResetError(), OSError(5, "Slow down")]}
    assert read_remote("flaky://a.jpg", LIMIT) == b"picture"


def test_few_connections_serve_many_threads(flaky, memory, monkeypatch):
    """Where a library sends one request at a time on each."""
    made, used, lock = [], [], threading.Lock()

    def cat_file(self, path):
        with lock:
            assert id(self) not in used
            used.append(id(self))
        time.sleep(0.005)
        with lock:
            used.remove(id(self))
        return b"picture"

    begin = flaky.__init__
    monkeypatch.setattr(flaky, "__init__", lambda self, **how: (made.append(1), begin(self))[0])
    monkeypatch.setattr(flaky, "cat_file", cat_file)
    monkeypatch.setattr(connections, "_connections", {})
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: read_remote(f"flaky://h/{n}.jpg", LIMIT, 7), range(64)))
    assert found == [b"picture"] * 64
    assert 1 < len(made) <= connections.N_CONNECTIONS


def test_a_connection_that_broke_is_not_used_again(flaky, memory, monkeypatch):
    memory.pipe_file("/h/a.jpg", b"picture")
    monkeypatch.setattr(connections, "_connections", {})
    used = []
    cat = flaky.cat_file
    monkeypatch.setattr(
        flaky, "cat_file", lambda self, path: (used.append(self), cat(self, path))[1]
    )
    flaky.failures = {"/h/a.jpg": [OSError(5, "Socket is closed")]}
    for _ in range(2):
        assert read_remote("flaky://h/a.jpg", LIMIT, 7) == b"picture"
    assert len(used) == 3
    assert used[0] is not used[1]
    assert used[1] is used[2]


def test_an_address_of_no_kind_is_an_error_of_its_file():
    with pytest.raises(DecodeError, match="no such kind of address"):
        read_remote("nothing://host/a.jpg", LIMIT)


def test_local_files_that_cannot_be_read_are_explained(tmp_path):
    with pytest.raises(DecodeError, match="the file can't be read: no such file or directory"):
        read_local(tmp_path / "gone.jpg", LIMIT, bytes)
    with pytest.raises(DecodeError, match="not a regular file"):
        read_local(tmp_path, LIMIT, bytes)


def test_hashes_are_the_same_here_and_elsewhere(tmp_path, flaky, memory):
    data = b"picture" * 100_000
    (tmp_path / "a.jpg").write_bytes(data)
    memory.pipe_file("/a.jpg", data)
    expected = hashlib.blake2b(data, digest_size=16).hexdigest()
    assert content_hash(tmp_path / "a.jpg") == content_hash("flaky://a.jpg") == expected
    assert content_hash(tmp_path / "b.jpg") is content_hash("flaky://b.jpg") is None
