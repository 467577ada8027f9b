"""What 8-bit arithmetic has to know of a network: how large the values inside it get."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from batchage.bundle import Bundle
from batchage.graph import GraphBuilder
from batchage.inference import run_on_processor
from batchage.predict.network import Architecture, build_graph
from batchage.types import ImageArray

FIRST = "block1_conv1"
"""Stays as it is: it sees the picture, whose values go below 0, and takes little of the time."""
SMALLEST = 1e-4
"""For a convolution that gets nothing but zeros."""


def measure_ranges(bundle: Bundle, batches: Iterable[ImageArray]) -> dict[str, float]:
    """The largest value that goes into each convolution, on average over pictures.

    Larger ones are cut: with the largest of all, the steps between the usual ones would be coarser.

    Args:
        bundle: The bundle.
        batches: Crops, RGB uint8 `(B, S, S, 3)`.
    """
    from openvino import opset13 as ops

    builder = GraphBuilder(bundle.weights)
    architecture = Architecture(**bundle.spec["architecture"])
    outputs = build_graph(builder, architecture, bundle.spec["input_size"])
    largest = {
        name: ops.reduce_max(x, np.array([1, 2, 3]))
        for name, x in builder.inputs.items()
        if name != FIRST
    }
    forward = run_on_processor(builder.build({**outputs, **largest}), "float32")
    found = [forward(batch) for batch in batches]
    means = {name: float(np.concatenate([part[name] for part in found]).mean()) for name in largest}
    return {name: max(round(mean, 4), SMALLEST) for name, mean in means.items()}
