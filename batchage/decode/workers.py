"""Decoding in processes of their own, so that a bad file costs that file and no more.

A process that dies of a file, or is stopped by its alarm, is replaced. Requests and replies are a
length and JSON, pixels follow as they are:

    parent: {"path", "max_pixels", "timeout", "how": further arguments, "size": of the bytes of a
            remote file, which follow, or None}
    worker: {"n_pages"}  where there are several
            {"bytes"}  once the header is read;  parent: {} when there is room;  then
            {"cpu", "shape", "width", …}, the pixels and the colours, or {"cpu", "error", "kind"}
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from batchage import errors
from batchage.errors import DecodeError, DecoderCrashError, DecodeTimeoutError, WorkerError
from batchage.machine import cores, memory
from batchage.types import CaptureTime, DecodedImage, ImageArray

DECODER = "batchage.decode.pictures:decode_next"
_LENGTH = struct.Struct("<I")
_PIPE_BYTES = 1 << 20
DECODER_BYTES = 128 << 20
"""What one such process holds, about; together they may take a quarter of a container's memory."""
N_STARTS = 3
"""Workers that may die before they take a file until it is not chance any more."""
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from batchage.decode.workers import serve; serve(sys.argv[1])"
)


def _send(stream: BinaryIO, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _receive(stream: BinaryIO) -> dict[str, Any]:
    """The next message.

    Raises:
        EOFError: The other side is gone.
    """
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    message: dict[str, Any] = json.loads(_read_exactly(stream, length))
    return message


def _read_exactly(stream: BinaryIO, n_bytes: int) -> bytes:
    data = stream.read(n_bytes)
    if len(data) < n_bytes:
        raise EOFError
    return data


def serve(decoder: str) -> None:
    """Decode what the parent asks for until it goes away: the body of a worker process."""
    requests = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "wb")
    # A parent may have left it ignored or blocked.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    # What a library prints must not get between the replies.
    os.dup2(2, 1)
    with contextlib.suppress(OSError):
        # If memory runs out, the system shall take this process and not the parent.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with contextlib.suppress(OSError, AttributeError):
        for stream in (requests, replies):
            fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    module, _, name = decoder.partition(":")
    decode = getattr(importlib.import_module(module), name)
    with contextlib.suppress(EOFError, BrokenPipeError):
        _send(replies, {"ready": True})
        while True:
            _answer(_receive(requests), decode, requests, replies)


def _answer(
    request: dict[str, Any],
    decode: Callable[..., DecodedImage],
    requests: BinaryIO,
    replies: BinaryIO,
) -> None:
    # The alarm's default action ends the process, even one that is stuck inside a C library.
    def set_alarm(seconds: float) -> float:
        """Set or, with 0, stop it; the seconds that were left."""
        return signal.setitimer(signal.ITIMER_REAL, seconds)[0]

    def reserve(n_bytes: int) -> None:
        rest = set_alarm(0)
        _send(replies, {"bytes": n_bytes})
        _receive(requests)
        set_alarm(rest)

    def tell_pages(n_pages: int) -> None:
        _send(replies, {"n_pages": n_pages})

    path, how, size = request["path"], request["how"], request["size"]
    if size is None:
        path = Path(path)
    else:
        how["data"] = _read_exactly(requests, size)
    started = time.process_time()
    set_alarm(request["timeout"])
    try:
        image = decode(
            path,
            max_pixels=request["max_pixels"],
            reserve=reserve,
            tell_pages=tell_pages,
            **how,
        )
    except DecodeError as error:
        set_alarm(0)
        cpu = time.process_time() - started
        _send(replies, {"cpu": cpu, "error": str(error), "kind": type(error).__name__})
        return
    set_alarm(0)
    reply = {
        "cpu": time.process_time() - started,
        "shape": image.pixels.shape,
        "width": image.width,
        "height": image.height,
        "content_hash": image.content_hash,
        "captured": image.captured and _plain_time(image.captured),
        "warning": image.warning,
        "note": image.note,
        "colours": None if image.colours is None else image.colours.shape,
    }
    _send(replies, reply)
    for array in (image.pixels, image.colours):
        if array is not None:
            replies.write(np.ascontiguousarray(array).data.cast("B"))
    replies.flush()


def _plain_time(captured: CaptureTime) -> dict[str, Any]:
    return {**asdict(captured), "at": captured.at.isoformat()}


def _capture_time(plain: dict[str, Any]) -> CaptureTime:
    return CaptureTime(**{**plain, "at": datetime.fromisoformat(plain["at"])})


class _Worker:
    """One process.

    Attributes:
        cpu_seconds: Processor time of decoding.
        is_in_step: Whether it waits for a request, and not for an answer in vain.
    """

    def __init__(self, decoder: str) -> None:
        # The parent's sys.path, so that both run the same code; a group of its own, so that Ctrl-C
        # reaches the parent alone.
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, decoder, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerError(
                f"a process that decodes photos can't be started ({error.strerror}); end other "
                "programs and give the same command again"
            ) from None
        assert self._process.stdin
        assert self._process.stdout
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._replies: BinaryIO = self._process.stdout  # type: ignore[assignment]
        self._is_ready = False
        self.cpu_seconds = 0.0
        self.is_in_step = True

    def wait_until_ready(self) -> bool:
        """Whether it has started and still lives."""
        if not self._is_ready:
            with contextlib.suppress(EOFError):
                self._is_ready = bool(_receive(self._replies))
        return self._is_ready and self._process.poll() is None

    def decode(
        self,
        path: Path | str,
        max_pixels: int,
        timeout: float,
        reserve: Callable[[int], None],
        tell_pages: Callable[[int], None],
        data: bytes | None,
        how: dict[str, Any],
    ) -> DecodedImage:
        """The decoder's answer.

        Raises:
            EOFError: The process is gone.
            DecodeError: The file gives no picture.
        """
        self.is_in_step = False
        request = {
            "path": os.fspath(path),
            "max_pixels": max_pixels,
            "timeout": timeout,
            "how": how,
            "size": None if data is None else len(data),
        }
        try:
            _send(self._requests, request)
            if data is not None:
                self._requests.write(data)
                self._requests.flush()
            reply = _receive(self._replies)
            while "cpu" not in reply:
                if "n_pages" in reply:
                    tell_pages(reply["n_pages"])
                else:
                    reserve(reply["bytes"])
                    _send(self._requests, {})
                reply = _receive(self._replies)
        except BrokenPipeError:
            raise EOFError from None
        self.cpu_seconds += reply["cpu"]
        if "error" in reply:
            self.is_in_step = True
            raise getattr(errors, reply["kind"])(reply["error"])
        pixels = self._read_array(reply["shape"])
        colours = self._read_array(reply["colours"]) if reply["colours"] else None
        self.is_in_step = True
        captured = reply["captured"]
        return DecodedImage(
            pixels=pixels,
            width=reply["width"],
            height=reply["height"],
            content_hash=reply["content_hash"],
            captured=captured and _capture_time(captured),
            warning=reply["warning"],
            note=reply["note"],
            colours=colours,
        )

    def _read_array(self, shape: Sequence[int]) -> ImageArray:
        array = np.empty(shape, np.uint8)
        # A buffered reader fills the whole array, or as much as comes before the end.
        if self._replies.readinto(array.data.cast("B")) < array.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        return array

    def end(self) -> str:
        """Wait for a process that is gone or going; how it ended, in words."""
        code = self._process.wait()
        for stream in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                stream.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """Stop it at once."""
        self._process.kill()

    def stop(self) -> str:
        """Kill it, if it still lives, and wait; how it ended, in words."""
        self.kill()
        return self.end()


class DecodePool:
    """Worker processes, each taken by one thread at a time."""

    def __init__(self, n_workers: int, decoder: str = DECODER) -> None:
        """Start the processes; they load their libraries while the caller goes on.

        Args:
            n_workers: How many.
            decoder: `module:function` that they run, with the signature of `decode`.

        Raises:
            WorkerError: They can't be started.
        """
        self._decoder = decoder
        self._workers: set[_Worker] = set()
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._cpu_seconds = 0.0
        try:
            for _ in range(n_workers):
                worker = _Worker(decoder)
                self._workers.add(worker)
                self._idle.put(worker)
        except WorkerError:
            self.close()
            raise

    def take_cpu_seconds(self) -> float:
        """Processor time of decoding, since it was last asked."""
        with self._lock:
            total = self._cpu_seconds + sum(worker.cpu_seconds for worker in self._workers)
            self._cpu_seconds = 0.0
            for worker in self._workers:
                worker.cpu_seconds = 0.0
            return total

    def decode(
        self,
        path: Path | str,
        max_pixels: int,
        timeout: float,
        reserve: Callable[[int], None] = lambda n_bytes: None,
        data: bytes | None = None,
        tell_pages: Callable[[int], None] = lambda n_pages: None,
        **how: Any,
    ) -> DecodedImage:
        """Decode one file; may be called from as many threads as there are workers.

        Args:
            path: The file.
            max_pixels: As in `batchage.decode.pictures.decode`.
            timeout: Seconds that the decoder may take, waiting in `reserve` apart.
            reserve: Called with the bytes of the pixels before they are decoded; may wait.
            data: The bytes of a remote file.
            tell_pages: As of the decoder; called also if what comes then is an error.
            **how: Further arguments of the decoder, JSON-ready.

        Raises:
            DecodeError: The file gives no picture, or crashed the decoder, or took too long.
            WorkerError: The processes can't be started.
        """
        worker = self._idle.get()
        try:
            worker = self._living(worker)
            return worker.decode(path, max_pixels, timeout, reserve, tell_pages, data, how)
        except EOFError:
            ended = worker.end()
            if ended == "SIGALRM":
                message = f"decoding took more than {timeout:g} seconds (--timeout)"
                raise DecodeTimeoutError(message) from None
            lack = ", perhaps for lack of memory" if ended == "SIGKILL" else ""
            message = f"the decoder crashed on this file ({ended}{lack})"
            raise DecoderCrashError(message) from None
        except MemoryError:
            raise DecodeError("there is not enough memory for the picture") from None
        finally:
            if not worker.is_in_step:
                worker.stop()
            self._idle.put(worker)

    def _living(self, worker: _Worker) -> _Worker:
        """The worker, or another one in its place if it died of the file before, or idle."""
        for _ in range(N_STARTS):
            if worker.wait_until_ready():
                return worker
            ended = worker.stop()
            with self._lock:
                if self._is_closed:
                    raise DecodeError("the scan was stopped")
                successor = _Worker(self._decoder)
                self._workers.discard(worker)
                self._workers.add(successor)
                self._cpu_seconds += worker.cpu_seconds
                worker = successor
        raise WorkerError(
            f"the process that decodes photos can't be started ({ended}); install batchage again"
        )

    def close(self) -> None:
        """Stop the processes; a thread that waits for one gets a `DecodeError`."""
        with self._lock:
            self._is_closed = True
            workers = list(self._workers)
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.end()


def n_decoders() -> int:
    """Processes that decode photos: one a processor, fewer where memory is short."""
    limit = memory()
    return cores() if limit is None else max(1, min(cores(), limit // (4 * DECODER_BYTES)))


def decoded_ahead(n_decoders: int) -> int:
    """Photos that are decoded, or about to be, before they are needed."""
    return max(8, 2 * n_decoders)
