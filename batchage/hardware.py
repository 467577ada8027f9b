"""Which device and which arithmetic: looked at, not guessed."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchage.errors import MissingExtraError, UsageError

DEVICES = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
FAST_BFLOAT16 = "amx_bf16"
"""The flag of processors that multiply bfloat16 fast. avx512_bf16 alone is not enough: on an Intel
processor with it but without AMX, bfloat16 convolutions took twice the time of float32."""
GPU_DRIVER = "libcuda.so.1"
GPU_EXTRA = "pip install 'batchage[gpu]'"


@dataclass(frozen=True, slots=True)
class Compute:
    """What networks will run on: OpenVINO on a `cpu`, TensorFlow on a `gpu`.

    Attributes:
        device: `cpu` or `gpu`.
        precision: `float32`, `bfloat16` or `float16`.
        reason: Why, in words for `batchage info`.
    """

    device: str
    precision: str
    reason: str

    @property
    def keras_policy(self) -> str:
        """Name of the Keras dtype policy."""
        return self.precision if self.precision == "float32" else f"mixed_{self.precision}"


def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the processor; empty where the system doesn't tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    line = next((row for row in text.splitlines() if row.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


def count_gpus() -> int:
    """How many GPUs NVIDIA's driver sees; TensorFlow, asked only then, takes seconds to load."""
    try:
        driver = ctypes.CDLL(GPU_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed."""
    return importlib.util.find_spec("tensorflow") is not None


def load_tensorflow() -> Any:
    """TensorFlow, after it has looked at the devices, without what its C++ code says of that."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _no_ipv6(), _silent_stderr():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        tf.zeros(())
    return tf


@contextlib.contextmanager
def _no_ipv6() -> Iterator[None]:
    """Keep urllib3, which comes with TensorFlow, from opening a socket to see if there is IPv6."""
    has_ipv6, socket.has_ipv6 = socket.has_ipv6, False
    try:
        yield
    finally:
        socket.has_ipv6 = has_ipv6


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Throw away what is written to the file descriptor 2."""
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _find_gpu(is_wanted: bool) -> str:
    """Why the GPU can't be used; empty if it can.

    Raises:
        UsageError: A GPU is wanted, and none can be used.
    """
    if not count_gpus():
        if is_wanted:
            raise UsageError("no GPU was found; install NVIDIA's driver, or use --device cpu")
        return "there is no GPU"
    if not has_tensorflow():
        reason = f"the GPU needs TensorFlow: {GPU_EXTRA}"
        if is_wanted:
            raise MissingExtraError(f"{reason}, or use --device cpu")
        return reason
    with contextlib.suppress(ImportError):
        if load_tensorflow().config.list_physical_devices("GPU"):
            return ""
    reason = f"TensorFlow can't use the GPU: {GPU_EXTRA}"
    if is_wanted:
        raise UsageError(f"{reason}, or use --device cpu")
    return reason


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve `auto`: a GPU if there is one; on a CPU bfloat16 if it multiplies that fast.

    Raises:
        UsageError: An unknown word, or a GPU was asked for and none can be used.
    """
    if device not in DEVICES:
        raise UsageError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    why_no_gpu = "as asked for" if device == "cpu" else _find_gpu(is_wanted=device == "gpu")
    if not why_no_gpu:
        chosen = "float16" if precision == "auto" else precision
        return Compute("gpu", chosen, "GPUs run float16 fastest")
    flags = cpu_flags()
    fastest = "bfloat16" if FAST_BFLOAT16 in flags else "float32"
    has = "has" if FAST_BFLOAT16 in flags else "has no"
    reason = f"{why_no_gpu}; the processor {has} {FAST_BFLOAT16}"
    return Compute("cpu", fastest if precision == "auto" else precision, reason)
