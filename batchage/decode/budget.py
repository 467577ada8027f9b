"""A bound on the bytes of decoded pictures."""

from __future__ import annotations

import threading

from batchage.config import DECODED_BYTES
from batchage.errors import DecodeError
from batchage.machine import memory


def decoded_bytes() -> int:
    """Bytes of pictures that a scan holds decoded at once: less where a container is small."""
    limit = memory()
    return DECODED_BYTES if limit is None else min(DECODED_BYTES, limit // 8)


class ByteBudget:
    """Bytes that may be held at once.

    They are granted in the order of the turns: what is used first never waits for what is used
    after it. More than the limit is granted to one alone.
    """

    def __init__(self, limit: int) -> None:
        """Grant at most `limit` bytes."""
        self._limit, self._used = limit, 0
        self._next_turn = 0
        self._passed: set[int] = set()
        self._changed = threading.Condition()
        self._is_closed = False

    def acquire(self, turn: int, n_bytes: int) -> None:
        """Wait until all earlier turns have been taken or passed, and there is room.

        Raises:
            DecodeError: The budget was closed meanwhile.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._is_closed
                    or (
                        turn == self._next_turn
                        and (self._used + n_bytes <= self._limit or not self._used)
                    )
                )
            )
            if self._is_closed:
                raise DecodeError("the scan was stopped")
            self._used += n_bytes
        self.pass_turn(turn)

    def pass_turn(self, turn: int) -> None:
        """Let the next ones go on; a turn that was taken has been passed already."""
        with self._changed:
            if turn >= self._next_turn:
                self._passed.add(turn)
            while self._next_turn in self._passed:
                self._passed.remove(self._next_turn)
                self._next_turn += 1
            self._changed.notify_all()

    def release(self, n_bytes: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._used -= n_bytes
            self._changed.notify_all()

    def close(self) -> None:
        """Let nothing wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
