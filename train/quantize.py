"""8-bit arithmetic: how large the values inside a network get, and training that rounds like it.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, 2018. What is rounded, and how, is `GraphBuilder`'s: a test holds both to the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from batchage.networks import LEVELS, Graph, GraphBuilder, Range, run_on_processor
from batchage.types import ImageArray
from train.backend import keras, ops

SMALLEST = 1e-4
"""For a convolution that gets nothing but zeros."""
NOT_IN_8_BITS = ("block1_conv1",)
"""It sees the picture itself, and takes little of the time."""
WEIGHT_STEPS = LEVELS // 2
"""Steps to either side of 0 in which weights are told apart."""


def measure_ranges(
    weights: Path, graph: Graph, batches: Iterable[ImageArray], without: Collection[str] = ()
) -> dict[str, Range]:
    """The smallest and largest value that go into each convolution, on average over pictures.

    What lies beyond is cut: with the largest of all, the usual ones would be told apart less well.

    Args:
        weights: The network's weights, as `write_weights` writes them.
        graph: Puts the network together.
        batches: Pictures, RGB uint8 `(B, H, W, 3)`.
        without: Convolutions that are to stay as they are.
    """
    from openvino import opset13

    builder = GraphBuilder(weights)
    outputs = dict(graph(builder))
    inputs = {name: x for name, x in builder.inputs.items() if name not in without}
    for name, x in inputs.items():
        outputs[f"{name} low"] = opset13.reduce_min(x, np.array([1, 2, 3]))
        outputs[f"{name} high"] = opset13.reduce_max(x, np.array([1, 2, 3]))
    forward = run_on_processor(builder.build(outputs), "float32", few_shapes=True)
    found = [forward(batch) for batch in batches]

    def mean(name: str) -> float:
        return round(float(np.concatenate([part[name] for part in found]).mean()), 4)

    return {
        name: (min(mean(f"{name} low"), 0.0), max(mean(f"{name} high"), SMALLEST))
        for name in inputs
    }


class RoundedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution that rounds input and kernel to 8 bits; gradients pass as if it didn't.

    It multiplies whole numbers, which bfloat16 holds exactly, and scales what comes out.
    """

    def __init__(self, *arguments: Any, inside: Range = (0.0, 1.0), **settings: Any) -> None:
        """Take Conv2D's arguments, and the range of what goes in."""
        super().__init__(*arguments, **settings)
        self._step = (inside[1] - inside[0]) / LEVELS
        self._below = round(-inside[0] / self._step)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution of the rounded input by the rounded kernel."""
        x = ops.clip(inputs / self._step, -self._below, LEVELS - self._below)
        most = ops.maximum(ops.max(ops.abs(kernel), axis=(0, 1, 2)), 1e-12)
        most = ops.stop_gradient(most)
        whole = super().convolution_op(_round(x), _round(kernel * (WEIGHT_STEPS / most)))
        return whole * (most * (self._step / WEIGHT_STEPS))


def _round(x: Any) -> Any:
    return x + ops.stop_gradient(ops.round(x) - x)


def in_8_bits(network: Any, ranges: Mapping[str, Range]) -> Any:
    """The network with the convolutions that `ranges` names rounding to 8 bits.

    All other layers are those of `network` itself. The rounding ones have no weights yet, at the
    same paths and of the same shapes.
    """

    def clone(layer: Any) -> Any:
        if layer.name in ranges:
            return RoundedConv2D(**layer.get_config(), inside=ranges[layer.name])
        return layer

    return keras.models.clone_model(network, clone_function=clone, recursive=True)
