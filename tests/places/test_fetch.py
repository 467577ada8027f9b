"""Remote files come in order, ahead of their use, and bounded in bytes."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.errors import DecodeError, TooLargeError
from batchage.places import N_REQUESTS, Fetcher, FilesAhead, fetch
from batchage.places.fetch import FILES_AHEAD
from batchage.types import ImageRef
from batchage.walk import iter_images

MAX_PIXELS = 10**7


@pytest.fixture
def fetcher():
    made = Fetcher(MAX_PIXELS)
    yield made
    made.close()


def put(memory, sizes):
    for number, size in enumerate(sizes):
        memory.pipe_file(f"/photos/{number:04}.jpg", bytes([number % 256]) * size)
    return iter_images(["memory://photos"])


def drain(files):
    """All files' bytes in order; each is released before the next is taken."""
    while taken := list(files.take(1, is_idle=True)):
        ((ref, fetched),) = taken
        yield ref, fetched.data()
        fetched.release()


def test_files_come_in_order_with_their_bytes(memory, fetcher):
    found = list(drain(FilesAhead(put(memory, range(200)), fetcher)))
    assert [ref.relative for ref, _ in found] == [f"{number:04}.jpg" for number in range(200)]
    assert [data for _, data in found] == [bytes([n]) * n for n in range(200)]


def test_many_are_fetched_ahead_at_once(flaky, memory, fetcher, monkeypatch):
    """All requests must be under way before the first one is answered."""
    monkeypatch.setattr(flaky, "async_impl", True)
    together = threading.Barrier(N_REQUESTS, timeout=60)
    cat = flaky.cat_file
    monkeypatch.setattr(flaky, "cat_file", lambda self, path: (together.wait(), cat(self, path))[1])
    put(memory, [10] * N_REQUESTS)
    found = list(drain(FilesAhead(iter_images(["flaky://photos"]), fetcher)))
    assert len(found) == N_REQUESTS


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 5), st.booleans())
def test_no_more_bytes_are_held_than_allowed(sizes, at_once, is_known):
    limit, held, most = 1000, [0], [0]
    refs = [
        ImageRef(f"memory://{n}", "", str(n), size if is_known else None)
        for n, size in enumerate(sizes)
    ]

    class Counted(Fetcher):
        def add(self, n_bytes):
            super().add(n_bytes)
            held[0] += n_bytes
            most[0] = max(most[0], held[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "FETCHED_BYTES", limit)
        patch.setattr(fetch, "UNKNOWN_BYTES", 400)
        patch.setattr(
            fetch, "read_remote", lambda url, *_: bytes(sizes[int(url.removeprefix("memory://"))])
        )
        fetcher = Counted(MAX_PIXELS)
        files, taken, seen = FilesAhead(refs, fetcher), [], []
        while True:
            taken.extend(files.take(at_once - len(taken), is_idle=not taken))
            if not taken:
                break
            ref, fetched = taken.pop(0)
            assert len(fetched.data()) == sizes[int(ref.relative)]
            seen.append(ref)
            fetched.release()
        fetcher.close()
    assert seen == refs
    assert most[0] <= limit
    assert held[0] == 0


def test_one_that_is_larger_than_the_bound_comes_alone(memory, fetcher, monkeypatch):
    monkeypatch.setattr(fetch, "FETCHED_BYTES", 100)
    files = FilesAhead(put(memory, [60, 500, 30]), fetcher)
    ((_, first),) = files.take(5, is_idle=True)
    assert list(files.take(5, is_idle=False)) == []
    first.data()
    first.release()
    ((_, large),) = files.take(5, is_idle=False)
    assert len(large.data()) == 500
    assert list(files.take(5, is_idle=False)) == []
    # What holds bytes may be waited for after other files only.
    ((_, last),) = files.take(5, is_idle=True)
    assert len(last.data()) == 30


def test_local_files_are_neither_fetched_nor_looked_for_ahead(tmp_path, fetcher):
    taken = []

    def refs():
        for number in range(100):
            taken.append(number)
            yield ImageRef(tmp_path / f"{number}.jpg", str(tmp_path), f"{number}.jpg")

    files = FilesAhead(refs(), fetcher)
    assert [fetched for _, fetched in files.take(3, is_idle=True)] == [None] * 3
    assert len(taken) == 3


def test_local_and_remote_files_keep_their_order(tmp_path, memory, fetcher):
    local = [ImageRef(tmp_path / f"{n}.jpg", str(tmp_path), f"{n}.jpg") for n in range(10)]
    remote = list(put(memory, range(1, 11)))
    mixed = [ref for pair in zip(local, remote, strict=True) for ref in pair]
    files, found = FilesAhead(mixed, fetcher), []
    while taken := list(files.take(2, is_idle=True)):
        for ref, fetched in taken:
            found.append(ref)
            assert (fetched is None) == (ref in local)
            if fetched:
                fetched.release()
    assert found == mixed


def test_what_cannot_be_fetched_is_said_when_it_is_asked_for(flaky, memory, fetcher):
    put(memory, [10, 10, 10])
    flaky.failures = {"/photos/0001.jpg": [FileNotFoundError()]}
    files = FilesAhead(iter_images(["flaky://photos"]), fetcher)
    first, second, third = (fetched for _, fetched in files.take(3, is_idle=True))
    assert len(first.data()) == len(third.data()) == 10
    with pytest.raises(DecodeError, match="no such file or directory"):
        second.data()


def test_what_is_too_large_takes_no_room_and_no_request(flaky, fetcher):
    huge = ImageRef("flaky://photos/huge.jpg", "flaky://photos", "huge.jpg", 10**12)
    ((_, fetched),) = FilesAhead([huge], fetcher).take(1, is_idle=True)
    assert fetcher.has_room(huge)
    with pytest.raises(TooLargeError):
        fetched.data()
    assert flaky.requests == []


def test_rows_that_are_errors_already_are_not_fetched(fetcher, flaky):
    refs = [ImageRef(f"flaky://{n}.jpg", "flaky:", f"{n}.jpg", error="gone") for n in range(200)]
    files = FilesAhead(iter(refs), fetcher)
    taken = list(files.take(200, is_idle=True)) + list(files.take(200, is_idle=True))
    assert [ref for ref, _ in taken][:FILES_AHEAD] == refs[:FILES_AHEAD]
    assert all(fetched is None for _, fetched in taken)
    assert flaky.requests == []


def test_closing_lets_go_of_who_waits(flaky, memory, monkeypatch):
    goes_on = threading.Event()
    monkeypatch.setattr(flaky, "cat_file", lambda self, path: goes_on.wait())
    put(memory, [10])
    fetcher = Fetcher(MAX_PIXELS)
    ((_, fetched),) = FilesAhead(iter_images(["flaky://photos"]), fetcher).take(1, is_idle=True)
    fetcher.close()
    with pytest.raises(DecodeError, match="stopped"):
        fetched.data()
    goes_on.set()
