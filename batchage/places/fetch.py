"""Remote files, fetched while earlier ones are decoded.

Threads fetch, many at once, as most of their time is waiting. The bytes are held in memory,
bounded, until the picture is decoded and no face is to be cut out of it any more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from batchage.errors import DecodeError
from batchage.places.ahead import DaemonThreads
from batchage.places.connections import N_REQUESTS
from batchage.places.reading import largest_file, read_remote

if TYPE_CHECKING:
    from batchage.types import ImageRef

FETCHED_BYTES = 256 << 20
"""Of files that are held or on their way; one that is larger comes alone."""
UNKNOWN_BYTES = 8 << 20
"""What a file counts as while its size is unknown."""
FILES_AHEAD = 2 * N_REQUESTS


class Fetched:
    """The bytes of a file, which are there or will be."""

    def __init__(self, fetcher: Fetcher, ref: ImageRef) -> None:
        """Begin to fetch a file."""
        self._fetcher, self._ref = fetcher, ref
        self._n_bytes = 0
        self._count(fetcher.size(ref))
        self._future: Future[bytes] | None = fetcher.threads.submit(self._fetch)

    def _fetch(self) -> bytes:
        data = read_remote(str(self._ref.path), self._fetcher.max_pixels, self._ref.size)
        self._count(len(data))
        return data

    def _count(self, n_bytes: int) -> None:
        self._fetcher.add(n_bytes - self._n_bytes)
        self._n_bytes = n_bytes

    def data(self) -> bytes:
        """The bytes, waited for.

        Raises:
            DecodeError: They can't be had.
        """
        assert self._future, "it was released"
        try:
            return self._future.result()
        except CancelledError:
            raise DecodeError("the scan was stopped") from None

    def release(self) -> None:
        """Forget the bytes, once they are there or have failed to come."""
        self._future = None
        self._count(0)


class Fetcher:
    """Fetches files in threads.

    Attributes:
        max_pixels: As of `batchage.decode.pictures.decode`.
        threads: Where that goes on.
        n_bytes: Of files that are held or on their way.
    """

    def __init__(self, max_pixels: int) -> None:
        """Nothing is started before the first file."""
        self.max_pixels = max_pixels
        self.threads = DaemonThreads(N_REQUESTS)
        self.n_bytes = 0
        self._lock = threading.Lock()

    def add(self, n_bytes: int) -> None:
        """Count bytes that are held; negative ones are not any more."""
        with self._lock:
            self.n_bytes += n_bytes

    def size(self, ref: ImageRef) -> int:
        """What a file counts as before it is there."""
        size = UNKNOWN_BYTES if ref.size is None else ref.size
        # A larger one isn't fetched.
        return size if size <= largest_file(self.max_pixels) else 0

    def has_room(self, ref: ImageRef) -> bool:
        """Whether a file can be held beside the others."""
        return not self.n_bytes or self.n_bytes + self.size(ref) <= FETCHED_BYTES

    def close(self) -> None:
        """Fetch no more; who waits for a file gets a `DecodeError`."""
        self.threads.close()


class FilesAhead:
    """Files in order, of which remote ones are fetched ahead."""

    def __init__(self, refs: Iterable[ImageRef], fetcher: Fetcher) -> None:
        """Nothing is fetched before it is asked for.

        Args:
            refs: The files, local and remote ones.
            fetcher: Where they are fetched.
        """
        self._refs, self._fetcher = iter(refs), fetcher
        self._next: ImageRef | None = None
        self._waiting: deque[tuple[ImageRef, Fetched | None]] = deque()
        self._is_remote = False

    def take(self, n: int, is_idle: bool) -> Iterator[tuple[ImageRef, Fetched | None]]:
        """The next files, with their bytes where they are remote and can be fetched.

        There may be none for now: bytes that are held must be released first.

        Args:
            n: At most so many.
            is_idle: Whether no file that was taken will release bytes; then there is one at least,
                as long as there are any.
        """
        self._fill(n, is_idle)
        for _ in range(min(n, len(self._waiting))):
            yield self._waiting.popleft()

    def _fill(self, n: int, is_idle: bool) -> None:
        # Local files are not looked for ahead.
        while len(self._waiting) < (FILES_AHEAD if self._is_remote else n):
            ref = self._next or next(self._refs, None)
            if ref is None:
                return
            fetched = None
            self._is_remote = isinstance(ref.path, str)
            if self._is_remote and ref.error is None:
                self._next = ref
                if not self._fetcher.has_room(ref) and (self._waiting or not is_idle):
                    return
                fetched = Fetched(self._fetcher, ref)
            self._next = None
            self._waiting.append((ref, fetched))
