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
    after it. More than the limit is granted to one alone. A turn may acquire again, for a file's
    further pages, and gets what it asks for once nothing up to it holds any more: what comes after
    it holds its bytes until these pages have been used.
    """

    def __init__(self, limit: int) -> None:
        """Grant at most `limit` bytes."""
        self._limit, self._used = limit, 0
        self._held: dict[int, int] = {}
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
                        turn <= self._next_turn
                        and (
                            self._used + n_bytes <= self._limit
                            or turn < min(self._held, default=turn + 1)
                        )
                    )
                )
            )
            if self._is_closed:
                raise DecodeError("the scan was stopped")
            self._used += n_bytes
            self._held[turn] = self._held.get(turn, 0) + n_bytes
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

    def release(self, turn: int, n_bytes: int) -> None:
        """Give bytes of a turn back."""
        with self._changed:
            self._used -= n_bytes
            self._held[turn] = self._held.get(turn, 0) - n_bytes
            if not self._held[turn]:
                del self._held[turn]
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether nothing is granted any more."""
        return self._is_closed

    def close(self) -> None:
        """Let nothing wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
