"""A file that crashes, hangs or floods the decoder costs that file alone."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchage.decode import ByteBudget, DecodePool
from batchage.errors import (
    DecodeError,
    DecoderCrashError,
    DecodeTimeoutError,
    TooLargeError,
    WorkerError,
)
from tests.command import PHOTOS, ROOT

FAULTY = "tests.faulty:decode"


@pytest.fixture(scope="module")
def pool():
    pool = DecodePool(2, FAULTY)
    yield pool
    pool.close()


def decode(pool, name, timeout=60.0):
    return pool.decode(Path(name), 10**6, timeout, lambda n_bytes: None)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("segfault", DecoderCrashError, "SIGSEGV"),
        ("late", DecoderCrashError, "SIGSEGV"),
        ("exit", DecoderCrashError, "exit code 7"),
        ("killed", DecoderCrashError, "lack of memory"),
        ("bug", DecoderCrashError, "exit code 1"),
        ("error", DecodeError, "a bad file"),
        ("large", TooLargeError, "a large file"),
    ],
)
def test_fault_is_that_files_error_and_the_next_is_decoded(pool, name, kind, message):
    for _ in range(2):
        with pytest.raises(kind, match=message):
            decode(pool, f"{name}.jpg")
        assert (decode(pool, "good.jpg").pixels == 7).all()


def test_hang_ends_at_the_timeout(pool):
    with pytest.raises(DecodeTimeoutError, match=r"0\.3 seconds \(--timeout\)"):
        decode(pool, "hang.jpg", timeout=0.3)
    assert decode(pool, "good.jpg").content_hash == "hash"


def test_bytes_of_remote_files_are_decoded_as_those_of_local_ones():
    path = PHOTOS / "groups" / "contact-sheet.jpg"
    data, url = path.read_bytes(), "s3://bucket/photo.jpg"
    pool = DecodePool(1)
    here = pool.decode(path, 10**7, 60.0, enough=300)
    there = pool.decode(url, 10**7, 60.0, data=data, enough=300)
    assert (there.pixels == here.pixels).all()
    assert there.content_hash == here.content_hash
    for broken in (b"", b"no picture", data[:100]):
        with pytest.raises(DecodeError):
            pool.decode(url, 10**7, 60.0, data=broken)
    with pytest.raises(TooLargeError):
        pool.decode(url, 100, 60.0, data=data)
    assert pool.decode(url, 10**7, 60.0, data=data).pixels.shape == (1008, 1200, 3)
    pool.close()


def test_waiting_for_room_is_not_counted_as_decoding(pool):
    image = pool.decode(Path("good.jpg"), 1, 0.5, lambda n_bytes: time.sleep(1))
    assert image.pixels.shape == (4, 4, 3)


def test_noise_does_not_disturb_replies(pool):
    assert (decode(pool, "print.jpg").pixels == 7).all()


def test_many_threads_and_faults_at_once(pool):
    names = ["good", "segfault", "good", "error", "exit"] * 8

    def outcome(name):
        try:
            return decode(pool, name).content_hash
        except DecodeError as error:
            return type(error).__name__

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(outcome, names))
    expected = ["hash", "DecoderCrashError", "hash", "DecodeError", "DecoderCrashError"]
    assert found == expected * 8


def test_closing_lets_go_of_a_thread_that_waits():
    pool = DecodePool(1, FAULTY)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(decode, pool, "hang.jpg")
        time.sleep(0.2)
        pool.close()
        with pytest.raises((DecodeError, WorkerError)):
            waiting.result(timeout=30)


def test_decoder_that_cannot_start_is_said_once():
    pool = DecodePool(1, "no.such.module:decode")
    with pytest.raises(WorkerError, match="can't be started"):
        decode(pool, "good.jpg")
    pool.close()


def test_worker_whose_answer_never_came_is_replaced(pool):
    """Otherwise it would take the next request for the answer, and be one picture behind."""

    def refuse(n_bytes):
        raise DecodeError("no room")

    for _ in range(4):
        with pytest.raises(DecodeError, match="no room"):
            pool.decode(Path("good.jpg"), 1, 60.0, refuse)
    with pytest.raises(DecodeError, match="a bad file"):
        decode(pool, "error.jpg")
    assert decode(pool, "good.jpg").content_hash == "hash"


def test_worker_that_died_idle_blames_no_file():
    pool = DecodePool(1, FAULTY)
    assert decode(pool, "good.jpg").content_hash == "hash"
    (worker,) = pool._workers
    worker._process.kill()
    worker._process.wait()
    assert decode(pool, "good.jpg").content_hash == "hash"
    pool.close()


def test_process_that_cannot_be_started_is_one_sentence_and_hangs_nothing(monkeypatch):
    pool = DecodePool(1, FAULTY)

    def fails(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("batchage.decode.workers.subprocess.Popen", fails)
    with pytest.raises(DecoderCrashError):
        decode(pool, "exit.jpg")
    for _ in range(3):
        with pytest.raises(WorkerError, match="Cannot allocate memory"):
            decode(pool, "good.jpg")
    pool.close()
    with pytest.raises(WorkerError):
        DecodePool(2, FAULTY)


def test_timeout_works_where_the_parent_ignores_alarms():
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        pool = DecodePool(1, FAULTY)
        with pytest.raises(DecodeTimeoutError):
            decode(pool, "hang.jpg", timeout=0.3)
        pool.close()
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are read from /proc")
def test_workers_end_with_their_parent(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path;"
        "from batchage.decode import DecodePool;"
        "pool = DecodePool(1, 'tests.faulty:decode');"
        "pool.decode(Path('good'), 1, 9, lambda n: None);"
        "print([w._process.pid for w in pool._workers][0], flush=True); os.kill(os.getpid(), 9)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, check=False, timeout=120
    )
    pid = int(result.stdout)
    for _ in range(100):
        if not is_running(pid):
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its parent")


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_pixels_are_those_of_the_decoder_itself(tmp_path):
    from PIL import Image

    from batchage.decode import decode as decode_here

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (500, 700, 3), np.uint8)).save(tmp_path / "p.png")
    pool = DecodePool(1)
    sizes = []
    there = pool.decode(tmp_path / "p.png", 10**6, 60.0, sizes.append)
    pool.close()
    here = decode_here(tmp_path / "p.png")
    assert (there.pixels == here.pixels).all()
    assert there.content_hash == here.content_hash
    assert sizes == [here.pixels.nbytes]


@given(st.lists(st.tuples(st.integers(0, 150), st.floats(0, 2e-3)), min_size=1, max_size=12))
def test_budget_is_kept_and_nothing_waits_for_ever(takers):
    budget = ByteBudget(100)
    sizes = [size for size, _ in takers]
    held, lock, most = [], threading.Lock(), []

    def take(turn):
        time.sleep(takers[turn][1])
        budget.acquire(turn, sizes[turn])
        with lock:
            held.append(sizes[turn])
            most.append((sum(held), len([n for n in held if n])))

    turns = range(len(sizes))
    threads = [threading.Thread(target=take, args=(turn,), daemon=True) for turn in turns]
    for thread in threads:
        thread.start()
    # The consumer uses them strictly in order, as the pipeline does.
    for turn, thread in enumerate(threads):
        thread.join(timeout=20)
        assert not thread.is_alive()
        with lock:
            held.remove(sizes[turn])
        budget.release(turn, sizes[turn])
    assert all(total <= 100 or count == 1 for total, count in most)


def test_closed_budget_lets_go():
    budget = ByteBudget(10)
    budget.acquire(0, 10)
    threading.Timer(0.1, budget.close).start()
    with pytest.raises(DecodeError, match="stopped"):
        budget.acquire(1, 10)


def test_further_pages_get_room_once_all_before_them_was_used():
    budget, granted = ByteBudget(10), threading.Event()
    budget.acquire(0, 8)
    budget.acquire(1, 2)

    def acquire():
        budget.acquire(0, 9)
        granted.set()

    thread = threading.Thread(target=acquire)
    thread.start()
    assert not granted.wait(0.1)
    # What comes later keeps its bytes until this page was used.
    budget.release(0, 8)
    thread.join(60)
    assert granted.is_set()
