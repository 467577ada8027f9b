"""Calls made ahead, which nothing has to wait for."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from batchage.places import DaemonThreads, ahead, result_of


def test_results_and_errors_come_as_they_are():
    threads = DaemonThreads(4)
    found = [threads.submit(int, text) for text in ("1", "2", "x")]
    assert [future.result() for future in found[:2]] == [1, 2]
    with pytest.raises(ValueError, match="invalid literal"):
        found[2].result()
    threads.close()


def test_no_more_run_at_once_than_allowed():
    threads, lock, running, most = DaemonThreads(3), threading.Lock(), [], []

    def call():
        with lock:
            running.append(1)
            most.append(len(running))
        time.sleep(0.01)
        with lock:
            running.pop()

    for future in [threads.submit(call) for _ in range(20)]:
        future.result()
    assert max(most) <= 3
    threads.close()


def late_timeout(seconds):
    time.sleep(seconds)
    raise TimeoutError("of the call itself")


def test_a_result_is_waited_for_however_long_it_takes(monkeypatch):
    monkeypatch.setattr(ahead, "LOOK_UP_EVERY", 0.01)
    threads = DaemonThreads(2)
    slow, late = threads.submit(lambda: time.sleep(0.1) or 7), threads.submit(late_timeout, 0.1)
    assert result_of(slow) == result_of(slow) == 7
    with pytest.raises(TimeoutError, match="of the call itself"):
        result_of(late)
    cancelled = threads.submit(time.sleep, 0.1)
    threads.close()
    with pytest.raises(CancelledError):
        result_of(cancelled)


def test_closing_lets_go_of_who_waits_for_a_call_that_hangs():
    threads, goes_on = DaemonThreads(1), threading.Event()
    hanging, queued = threads.submit(goes_on.wait), threads.submit(int, "1")
    threads.close()
    for future in (hanging, queued, threads.submit(int, "1")):
        with pytest.raises(CancelledError):
            future.result()
    goes_on.set()
