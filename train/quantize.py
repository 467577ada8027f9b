"""What 8-bit arithmetic has to know of a network: how large the values inside it get."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from batchage.bundle import Bundle
from batchage.graph import GraphBuilder, Range
from batchage.inference import Graph, run_on_processor
from batchage.types import ImageArray

SMALLEST = 1e-4
"""For a convolution that gets nothing but zeros."""


def measure_ranges(
    bundle: Bundle, graph: Graph, batches: Iterable[ImageArray], without: Collection[str] = ()
) -> dict[str, Range]:
    """The smallest and largest value that go into each convolution, on average over pictures.

    What lies beyond is cut: with the largest of all, the usual ones would be told apart less well.

    Args:
        bundle: Has the weights.
        graph: Puts the network together.
        batches: Pictures, RGB uint8 `(B, H, W, 3)`.
        without: Convolutions that are to stay as they are.
    """
    from openvino import opset13 as ops

    builder = GraphBuilder(bundle.weights)
    outputs = dict(graph(builder))
    inputs = {name: x for name, x in builder.inputs.items() if name not in without}
    for name, x in inputs.items():
        outputs[f"{name} low"] = ops.reduce_min(x, np.array([1, 2, 3]))
        outputs[f"{name} high"] = ops.reduce_max(x, np.array([1, 2, 3]))
    forward = run_on_processor(builder.build(outputs), "float32", few_shapes=True)
    found = [forward(batch) for batch in batches]

    def mean(name: str) -> float:
        return round(float(np.concatenate([part[name] for part in found]).mean()), 4)

    return {
        name: (min(mean(f"{name} low"), 0.0), max(mean(f"{name} high"), SMALLEST))
        for name in inputs
    }
