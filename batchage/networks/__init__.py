"""Bundles, and networks as functions of batches on whatever they run on."""

import sys

from batchage.networks.bundle import (
    RANGES,
    SPEC_FILE,
    Bundle,
    assign_weights,
    derive_bundle,
    describe,
    load_bundle,
    models_folder,
    network_weights,
    read_weights,
    save_bundle,
    shipped_bundles,
    write_weights,
)
from batchage.networks.graph import LEVELS, GraphBuilder, Norm, Range
from batchage.networks.hardware import (
    Compute,
    choose_compute,
    count_gpus,
    has_tensorflow,
    load_tensorflow,
    silent_stderr,
)
from batchage.networks.inference import Forward, Graph, load_forward, run_on_processor

# OpenVINO tells its makers of each import by this package, unless it is missing. Whatever imports
# OpenVINO has come through this door before.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__all__ = [
    "LEVELS",
    "RANGES",
    "SPEC_FILE",
    "Bundle",
    "Compute",
    "Forward",
    "Graph",
    "GraphBuilder",
    "Norm",
    "Range",
    "assign_weights",
    "choose_compute",
    "count_gpus",
    "derive_bundle",
    "describe",
    "has_tensorflow",
    "load_bundle",
    "load_forward",
    "load_tensorflow",
    "models_folder",
    "network_weights",
    "read_weights",
    "run_on_processor",
    "save_bundle",
    "shipped_bundles",
    "silent_stderr",
    "write_weights",
]
