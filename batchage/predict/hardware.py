"""Which device and which arithmetic: looked at, not guessed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchage.errors import UsageError

DEVICES = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
FAST_BFLOAT16 = "amx_bf16"
"""The flag of processors that multiply bfloat16 fast. avx512_bf16 alone is not enough: on an Intel
processor with it but without AMX, bfloat16 convolutions took twice the time of float32."""


@dataclass(frozen=True, slots=True)
class Compute:
    """What a network will run on.

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


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve `auto`: a GPU if there is one, bfloat16 where the processor has instructions for it.

    Raises:
        UsageError: An unknown word, or a GPU was asked for and none is there.
    """
    import tensorflow as tf

    if device not in DEVICES:
        raise UsageError(f"device {device!r}: choose one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if device == "gpu" and not has_gpu:
        raise UsageError(
            "no GPU is visible to TensorFlow; install the gpu extra (pip install 'batchage[gpu]') "
            "and the driver, or use --device cpu"
        )
    chosen = "gpu" if has_gpu and device != "cpu" else "cpu"
    if precision != "auto":
        return Compute(chosen, precision, "as asked for")
    if chosen == "gpu":
        return Compute(chosen, "float16", "GPUs run float16 fastest")
    if FAST_BFLOAT16 in cpu_flags():
        return Compute(chosen, "bfloat16", f"the processor has {FAST_BFLOAT16}")
    return Compute(chosen, "float32", f"the processor has no {FAST_BFLOAT16}")
