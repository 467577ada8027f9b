"""The process of a command: the encoding of names, its three streams, its signals and its end."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from batchage.errors import OutputError

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
LOOK_AGAIN = 0.05
"""Seconds after which a signal that came during an import is sent again."""
_IMPORTING = "<frozen importlib._bootstrap>"
_exit_code = 1


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


class _Output(io.FileIO):
    """Standard output, whose failures are sentences, whatever writes to it."""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        """Write to the stream.

        Raises:
            OutputError: It takes no more.
        """
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(
                f"standard output: can't be written ({(error.strerror or str(error)).lower()}); "
                "keep the reading end open, or write to a file"
            ) from None


def begin() -> None:
    """Set up this process for a command; to be called before anything heavy is imported."""
    # What is registered first is called last.
    atexit.register(_leave)
    _use_utf8()
    _open_streams()
    _handle_signals(_stop)


def end(code: int) -> NoReturn:
    """End this process with `code`, once its threads have ended."""
    global _exit_code
    _exit_code = code
    _handle_signals(lambda *_: os._exit(code))
    sys.exit(code)


def _handle_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # Whoever starts a command may want it not to hear a signal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _leave() -> None:
    """Leave without taking the interpreter down.

    A library's thread that is still at work, and reads from a stream of Python's or lets one go,
    aborts a process whose interpreter is on its way down.
    """
    for stream in (sys.stdout, sys.stderr):
        # `command.run` has told of what can't be written.
        with contextlib.suppress(OSError, ValueError, OutputError):
            stream.flush()
    os._exit(_exit_code)


def _use_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale would read names in another encoding."""
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    # For the processes that decode.
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _open_streams() -> None:
    """Make a stream that was closed fail where it is used; what is said on a closed one is lost.

    The next file that is opened would be taken for it otherwise.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    raw = _Output(1, "w", closefd=False)
    errors = sys.stdout.errors if sys.stdout else "strict"
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, line_buffering=raw.isatty()
    )


def _stop(number: int, frame: FrameType | None) -> None:
    """Interrupt the main thread, but no import.

    A library that is stopped half-way says anything but that.
    """
    if _is_importing(frame):
        main = threading.main_thread().ident
        again = threading.Timer(LOOK_AGAIN, signal.pthread_kill, (main, number))
        again.daemon = True
        again.start()
        return
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
