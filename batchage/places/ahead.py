"""Calls that wait for other machines, made ahead in threads; and waiting for what threads do."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")
LOOK_UP_EVERY = 0.5
"""Seconds that a wait lasts before it looks whether the user wants to stop."""


def result_of(future: Future[T]) -> T:
    """The result, however long it takes; Ctrl-C ends the wait.

    Where asyncio has handled signals, as in a notebook, one does not interrupt a wait: Python sees
    it only when that is over.
    """
    while not future.done():
        # The call's own TimeoutError comes below.
        with suppress(TimeoutError):
            return future.result(LOOK_UP_EVERY)
    return future.result()


def each_ahead(
    items: Iterable[S], ask: Callable[[S], Future[T] | None], n_ahead: int
) -> Iterator[tuple[S, Future[T] | None]]:
    """Items in order, each with what was asked for when it was up to `n_ahead` items away.

    Where nothing is asked for an item, it is handed on at once, with those before it.
    """
    waiting: deque[tuple[S, Future[T] | None]] = deque()
    for item in items:
        asked = ask(item)
        waiting.append((item, asked))
        while len(waiting) > (n_ahead if asked else 0):
            yield waiting.popleft()
    yield from waiting


class DaemonThreads:
    """Threads that are no reason for the program to stay, whatever they wait for.

    Those of a `ThreadPoolExecutor` are waited for when the program ends.
    """

    def __init__(self, n_threads: int) -> None:
        """Nothing is started before it is needed."""
        self._n_threads = n_threads
        self._threads: list[threading.Thread] = []
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._open: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """What `call` will give; may be called from any thread."""
        future: Future[T] = Future()

        def run() -> None:
            if future.cancelled():
                return
            # A cancelled one takes no result.
            with suppress(InvalidStateError):
                try:
                    future.set_result(call(*arguments))
                except BaseException as error:
                    future.set_exception(error)
            with self._lock:
                self._open.discard(future)

        with self._lock:
            if self._is_closed:
                future.cancel()
                return future
            self._open.add(future)
            if len(self._threads) < min(self._n_threads, len(self._open)):
                thread = threading.Thread(target=self._work, daemon=True, name="ahead")
                self._threads.append(thread)
                thread.start()
        self._calls.put(run)
        return future

    def _work(self) -> None:
        while call := self._calls.get():
            call()

    def close(self) -> None:
        """Cancel what is not finished: who waits for it gets a `CancelledError` at once."""
        with self._lock:
            self._is_closed = True
            unfinished = list(self._open)
            self._open.clear()
        for future in unfinished:
            # Futures that are never said to run can be cancelled at any time.
            future.cancel()
        for _ in self._threads:
            self._calls.put(None)
