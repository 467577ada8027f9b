"""What measurements share: the machine in words, the shortest of several runs, the results."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from batchage.networks.hardware import processor
from batchage.version import __version__

PACKAGES = ("openvino", "numpy", "opencv-python-headless", "pillow")
VECTORS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16")


def describe() -> dict[str, Any]:
    """Processor, cores, memory, versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "vectors": [flag for flag in VECTORS if flag in processor().flags],
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "batchage": __version__,
        "packages": {name: version(name) for name in PACKAGES},
    }


def shortest(action: Callable[[], Any], seconds: float = 3.0, least: int = 3) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    action()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def save(path: Path, results: dict[str, Any]) -> None:
    """Write results with the machine's description, and show them."""
    text = json.dumps({"machine": describe(), **results}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)
