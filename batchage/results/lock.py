"""Keeps a folder of parts to one scan: by the system's own lock, or in a store by an object.

The object has its owner's name and is written anew every few seconds. One that isn't for a minute
belongs to a scan that is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from batchage.errors import OutputError, UsageError
from batchage.places import Folder, LocalFolder, StoreFolder

NAME = "lock"
TRIES = 1000
RENEW_EVERY, OLD_AFTER, POLL_EVERY, SETTLE = 15.0, 60.0, 1.0, 2.0
"""Seconds."""

log = logging.getLogger("batchage")


class Lock(Protocol):
    """A lock that is held."""

    def check(self) -> None:
        """See that it still is.

        Raises:
            OutputError: It isn't.
            OSError: The store can't be asked.
        """
        ...

    def release(self, with_folder: bool) -> None:
        """Let others; `with_folder` removes the folder, too, where nothing else is in it."""
        ...


def lock_folder(folder: Folder, output: str, check: Callable[[], None]) -> Lock:
    """Make a folder and lock it until `release`, or until this process ends in whatever way.

    Args:
        folder: The folder.
        output: What is written, for messages.
        check: Called when the folder is there, before anything is written into it.

    Raises:
        UsageError: Another scan has it.
        OSError: It can't be made.
    """
    if isinstance(folder, LocalFolder):
        return _lock_local(folder, output, check)
    assert isinstance(folder, StoreFolder)
    check()
    folder.make()
    return _StoreLock(folder, output)


def _taken(output: str) -> UsageError:
    return UsageError(
        f"{output}: another scan is writing there; wait for it or choose another output"
    )


def _lock_local(folder: LocalFolder, output: str, check: Callable[[], None]) -> Lock:
    for _ in range(TRIES):
        # Another scan that ends may remove folder and file at any moment.
        with contextlib.suppress(FileExistsError):
            folder.make()
        with contextlib.suppress(FileNotFoundError):
            check()
            handle = _try_lock(folder, output)
            if handle is not None:
                return _LocalLock(folder, handle)
        if not folder.path.is_dir() and folder.path.exists():
            raise NotADirectoryError(0, f"{folder.path.name} is no folder")
    raise FileNotFoundError(0, "its folder can't be made")


def _try_lock(folder: LocalFolder, output: str) -> int | None:
    """The locked file's handle; None where its last owner has removed it meanwhile."""
    path = folder.path / NAME
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    is_held = False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_held = os.path.samestat(os.fstat(handle), path.stat())
    except BlockingIOError:
        raise _taken(output) from None
    finally:
        if not is_held:
            os.close(handle)
    return handle if is_held else None


class _LocalLock:
    def __init__(self, folder: LocalFolder, handle: int) -> None:
        self._folder, self._handle = folder, handle

    def check(self) -> None:
        """The system keeps it."""

    def release(self, with_folder: bool) -> None:
        try:
            if with_folder:
                (self._folder.path / NAME).unlink(missing_ok=True)
                self._folder.remove_empty()
        finally:
            os.close(self._handle)


class _StoreLock:
    def __init__(self, folder: StoreFolder, output: str) -> None:
        """Wait for the lock, take it, and renew it from now on."""
        self._folder, self._output = folder, output
        self._owner = uuid.uuid4().hex
        self._ended = threading.Event()
        while not self._create():
            if self._wait_for_end():
                self._put()
                time.sleep(SETTLE)
                break
        self._require_ours(_taken(output))
        self._thread = threading.Thread(target=self._renew, name="lock", daemon=True)
        self._thread.start()

    def _content(self) -> bytes:
        now = datetime.now(UTC).isoformat()
        return json.dumps({"owner": self._owner, "renewed_at": now}).encode()

    def _put(self) -> None:
        self._folder.write(NAME, self._content())

    def _create(self) -> bool:
        """Take the lock if nobody has it."""
        try:
            self._folder.write_new(NAME, self._content())
        except FileExistsError:
            # A request whose answer was lost may have been repeated.
            return self._is_ours()
        except NotImplementedError:
            if self._read() is not None:
                return False
            self._put()
            # Whoever did the same wrote by now.
            time.sleep(SETTLE)
        return True

    def _read(self, folder: StoreFolder | None = None) -> bytes | None:
        try:
            return (folder or self._folder).read(NAME)
        except FileNotFoundError:
            return None

    def _is_ours(self, folder: StoreFolder | None = None) -> bool:
        try:
            value: Any = json.loads(self._read(folder) or b"null")
        except ValueError:
            return False
        return isinstance(value, dict) and value.get("owner") == self._owner

    def _require_ours(self, otherwise: UsageError | OutputError) -> None:
        if not self._is_ours():
            raise otherwise

    def _wait_for_end(self) -> bool:
        """Wait until the lock is so old that its owner must be dead; False if it is gone.

        Raises:
            UsageError: It is renewed.
        """
        first = self._read()
        left = OLD_AFTER - self._age()
        if first is not None and left > 0:
            log.warning(
                "%s: another scan was writing there; waiting up to %.0f seconds to see whether it "
                "still does",
                self._output,
                left,
            )
        give_up = time.monotonic() + left
        while True:
            now = self._read()
            if now is None:
                return False
            if now != first:
                raise _taken(self._output)
            if (rest := give_up - time.monotonic()) <= 0:
                return True
            time.sleep(min(POLL_EVERY, rest))

    def _age(self) -> float:
        """Seconds since the lock was written, by the clock of the store; 0 where unknown."""
        probe = f"{NAME}.{self._owner}"
        self._folder.write(probe, b"")
        try:
            now, then = self._folder.modified(probe), self._folder.modified(NAME)
        except FileNotFoundError:
            return 0.0
        finally:
            self._folder.remove([probe])
        return max(0.0, (now - then).total_seconds()) if now and then else 0.0

    def _renew(self) -> None:
        # Connections of some kinds are for one thread.
        folder = StoreFolder(self._folder.path)
        while not self._ended.wait(RENEW_EVERY):
            try:
                if not self._is_ours(folder):
                    return
                folder.write(NAME, self._content())
            except OSError as error:
                log.debug("%s: its lock can't be renewed: %s", self._output, error)

    def check(self) -> None:
        self._require_ours(
            OutputError(
                f"{self._output}: this scan could not be reached for a minute, and another one has "
                "gone on from it; wait for that one"
            )
        )

    def release(self, with_folder: bool) -> None:
        self._ended.set()
        self._thread.join()
        # If it stays, it gets old.
        with contextlib.suppress(OSError):
            if self._is_ours():
                self._folder.remove([NAME])
            if with_folder:
                self._folder.remove_empty()
