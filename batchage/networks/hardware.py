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

from batchage.config import DETECT_PRECISIONS, DEVICES, PRECISIONS
from batchage.errors import MissingExtraError, UsageError
from batchage.machine import cores, has_quota, require_addresses

GPU_DRIVER = "libcuda.so.1"
GPU_EXTRA = "pip install 'batchage[gpu]'"


@dataclass(frozen=True, slots=True)
class Compute:
    """What networks will run on: OpenVINO on a `cpu`, TensorFlow on a `gpu`.

    Attributes:
        device: `cpu` or `gpu`.
        precision: Of the predictor: `float32`, `bfloat16`, `float16` or, on a `cpu`, `int8`.
        reason: Why, in words for `batchage info`.
        n_threads: Of a processor; 0 stands for one a core.
        detect_precision: Of the detector: `float32` or, on a `cpu`, `int8`.
    """

    device: str
    precision: str
    reason: str
    n_threads: int = 0
    detect_precision: str = "float32"

    @property
    def keras_policy(self) -> str:
        """Name of the Keras dtype policy."""
        return self.precision if self.precision == "float32" else f"mixed_{self.precision}"


@dataclass(frozen=True, slots=True)
class Processor:
    """What the processor says of itself.

    Attributes:
        vendor: For example `GenuineIntel`; empty where the system doesn't tell.
        flags: Its instruction sets, as Linux calls them.
    """

    vendor: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def has_fast_bfloat16(self) -> bool:
        """Whether bfloat16 takes about half the time of float32.

        On an Intel processor with avx512_bf16 but without AMX it took twice the time.
        """
        return "amx_bf16" in self.flags or (
            "avx512_bf16" in self.flags and self.vendor == "AuthenticAMD"
        )

    @property
    def has_fast_int8(self) -> bool:
        """Whether 8-bit numbers are multiplied and summed up in one instruction."""
        return bool(self.flags & {"avx512_vnni", "avx_vnni", "amx_int8"})

    @property
    def has_float16(self) -> bool:
        """Whether there is float16 arithmetic; without, OpenVINO may take bfloat16 instead."""
        return bool(self.flags & {"avx512_fp16", "amx_fp16"})


def processor() -> Processor:
    """The processor of this machine, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Processor()
    lines = (row.partition(":") for row in text.partition("\n\n")[0].splitlines())
    said = {key.strip(): value.strip() for key, _, value in lines}
    return Processor(said.get("vendor_id", ""), frozenset(said.get("flags", "").split()))


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
    with _no_ipv6(), silent_stderr():
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
def silent_stderr() -> Iterator[None]:
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


def choose_compute(
    device: str = "auto", precision: str = "auto", detect_precision: str = "auto"
) -> Compute:
    """Resolve `auto`: a GPU if there is one; on a CPU what it multiplies fast.

    For the predictor that is bfloat16, never int8: it is as accurate on the whole, but ages differ
    by tenths of a year. The detector's int8 finds the same faces.

    Raises:
        UsageError: An unknown word, a GPU was asked for and none can be used, or the device has no
            such arithmetic.
        MemoryLimitError: The system grants this process too little memory.
    """
    if device not in DEVICES:
        raise UsageError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if detect_precision not in DETECT_PRECISIONS:
        raise UsageError(
            f"detect precision {detect_precision!r}: choose one of {', '.join(DETECT_PRECISIONS)}"
        )
    require_addresses(with_networks=True)
    why_no_gpu = "as asked for" if device == "cpu" else _find_gpu(is_wanted=device == "gpu")
    if not why_no_gpu:
        if "int8" in (precision, detect_precision):
            raise UsageError("int8 runs on processors only; give --device cpu too")
        chosen = "float16" if precision == "auto" else precision
        return Compute("gpu", chosen, "GPUs run float16 fastest")
    here = processor()
    if precision == "float16" and not here.has_float16:
        raise UsageError(
            "float16: this processor has no arithmetic for it; choose bfloat16 or float32"
        )
    fastest = "bfloat16" if here.has_fast_bfloat16 else "float32"
    has = "has" if here.has_fast_bfloat16 else "has no"
    reason = f"{why_no_gpu}; the processor {has} fast bfloat16"
    fastest_detector = "int8" if here.has_fast_int8 else "float32"
    return Compute(
        "cpu",
        fastest if precision == "auto" else precision,
        reason,
        n_threads=cores() if has_quota() else 0,
        detect_precision=fastest_detector if detect_precision == "auto" else detect_precision,
    )
