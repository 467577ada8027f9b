"""OpenVINO graphs out of the weights of Keras networks, for prediction on processors.

Keras's own layout puts a transposition around every convolution, which takes twice the time of all
convolutions together. So networks are put together here once more, channels first and batch
normalisation folded into the kernels; tests hold both forms to the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batchage.networks.bundle import misfit, read_weights
from batchage.types import FloatArray

LEVELS = 255
"""Steps between the numbers that 8 bits can tell apart."""
Range = tuple[float, float]
"""The smallest value, 0 or below, and the largest, above 0."""


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch normalisation layer.

    Attributes:
        name: Of the layer.
        epsilon: Added to the variance.
    """

    name: str
    epsilon: float


class GraphBuilder:
    """Layers by the names that their weights have; every weight must be taken once.

    Tensors are `(B, C, H, W)` up to the pooling, `(B, C)` from there.

    Attributes:
        inputs: What goes into each convolution, by its name.
    """

    def __init__(self, path: Path, ranges: Mapping[str, Range] | None = None) -> None:
        """Read the weights of a bundle.

        Args:
            path: The weights file.
            ranges: Convolutions that are to run in 8 bits, and the smallest and the largest value
                that goes into each.

        Raises:
            BundleError: The file can't be read.
        """
        from openvino import opset13

        self._ops = opset13
        self._path = path
        self._weights = read_weights(path)
        self._ranges = ranges or {}
        self._images: Any = None
        self.inputs: dict[str, Any] = {}

    def take(self, name: str, shape: tuple[int | None, ...]) -> FloatArray:
        """The weight called `name`.

        Raises:
            BundleError: It is missing, was taken before, or has another shape; None fits any size.
        """
        array = self._weights.pop(name, None)
        if array is None:
            raise misfit(self._path, f"{name} is missing")
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise misfit(self._path, f"{name} has the shape {array.shape} instead of {shape}")
        return array

    def images(self, size: tuple[int, int], mean: Any, scale: float) -> Any:
        """The input, RGB uint8 `(B, H, W, 3)`; the tensor is `(images - mean) * scale`.

        Args:
            size: `(H, W)`, -1 where it may be any.
            mean: What is subtracted, one number or one for each channel.
            scale: Factor.
        """
        ops = self._ops
        self._images = ops.parameter([-1, *size, 3], dtype=np.uint8, name="images")
        x = ops.subtract(ops.convert(self._images, "f32"), np.array(mean, np.float32))
        x = ops.multiply(x, np.array(scale, np.float32))
        return ops.transpose(x, np.array([0, 3, 1, 2]))

    def constant(self, values: FloatArray) -> Any:
        """An array as a tensor.

        An operation that is given the array itself makes a Python list of all its numbers.
        """
        return self._ops.constant(np.ascontiguousarray(values))

    @staticmethod
    def channels(x: Any) -> int:
        """How many channels a tensor has."""
        return int(x.get_output_partial_shape(0)[1].get_length())

    def _norm(self, norm: Norm, channels: int) -> tuple[FloatArray, FloatArray]:
        """Factor and offset `(channels,)` that batch normalisation amounts to."""
        gamma, beta, mean, variance = (
            self.take(f"{norm.name}/{part}", (channels,))
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + np.float32(norm.epsilon))
        return factor, beta - mean * factor

    def conv(
        self,
        x: Any,
        name: str,
        kernel: int,
        norm: Norm | None = None,
        stride: int = 1,
        depthwise: bool = False,
    ) -> Any:
        """A convolution that keeps the size, or halves an even one with a stride of 2.

        Args:
            x: `(B, C, H, W)`.
            name: Of the layer.
            kernel: Side of the kernel.
            norm: The batch normalisation that follows; without, there is a bias.
            stride: 1 or 2.
            depthwise: Each channel has a kernel of its own.
        """
        n_channels = self.channels(x)
        n_outputs = 1 if depthwise else None
        values = self.take(f"{name}/kernel", (kernel, kernel, n_channels, n_outputs))
        # To (outputs, inputs, height, width).
        values = values.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        if norm:
            factor, offset = self._norm(norm, len(values))
            values = values * factor[:, None, None, None]
        else:
            offset = self.take(f"{name}/bias", (len(values),))
        values = values[:, None] if depthwise else values
        convolution = self._ops.group_convolution if depthwise else self._ops.convolution
        before, after = (kernel - stride) // 2, kernel // 2
        self.inputs[name] = x
        if name in self._ranges:
            x, weights = self._in_8_bits(x, values, self._ranges[name])
        else:
            weights = self.constant(values)
        x = convolution(x, weights, [stride] * 2, [before] * 2, [after] * 2, [1, 1])
        return self._ops.add(x, offset[None, :, None, None])

    def _in_8_bits(self, x: Any, kernel: FloatArray, inside: Range) -> tuple[Any, Any]:
        """Both rounded to 8 bits, the kernel `(outputs, …, h, w)` by its largest weights."""
        rounded = self._ops.fake_quantize
        step = (inside[1] - inside[0]) / LEVELS
        # Whole steps from 0, which the borders of a picture and most values after a ReLU are.
        below = round(-inside[0] / step)
        low, high = np.float32(-below * step), np.float32((LEVELS - below) * step)
        axes = tuple(range(1, kernel.ndim))
        most = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True), np.float32(1e-12))
        return (
            rounded(x, low, high, low, high, LEVELS + 1),
            rounded(self.constant(kernel), -most, most, -most, most, LEVELS),
        )

    def dense(self, x: Any, name: str, units: int, norm: Norm | None = None) -> Any:
        """A dense layer `(B, C)` → `(B, units)`, with a bias unless normalisation follows."""
        kernel = self.take(f"{name}/kernel", (self.channels(x), units))
        if norm:
            factor, offset = self._norm(norm, units)
            kernel = kernel * factor
        else:
            offset = self.take(f"{name}/bias", (units,))
        x = self._ops.matmul(x, self.constant(kernel), False, False)
        return self._ops.add(x, offset[None])

    def relu6(self, x: Any) -> Any:
        """Values cut at 0 and 6."""
        return self._ops.clamp(x, 0.0, 6.0)

    def double(self, x: Any) -> Any:
        """Each pixel four times: `(B, C, H, W)` → `(B, C, 2H, 2W)`."""
        return self._ops.interpolate(
            x,
            np.array([2.0, 2.0], np.float32),
            mode="nearest",
            shape_calculation_mode="scales",
            axes=np.array([2, 3]),
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def halve(self, x: Any) -> Any:
        """The largest of each four pixels: `(B, C, H, W)` → `(B, C, H // 2, W // 2)`."""
        # The later operation has a second output: which pixel it was.
        from openvino.opset1 import max_pool

        return max_pool(x, [2, 2], [0, 0], [0, 0], [2, 2])

    def rows(self, x: Any, values: int) -> Any:
        """`values` of the channels in a row: `(B, C, H, W)` → `(B, H * W * C / values, values)`."""
        x = self._ops.transpose(x, np.array([0, 2, 3, 1]))
        return self._ops.reshape(x, np.array([0, -1, values]), True)

    def build(self, outputs: Mapping[str, Any]) -> Any:
        """The `openvino.Model` with named outputs.

        Raises:
            BundleError: A weight was not taken, or a range is of no convolution.
        """
        import openvino as ov

        if self._weights:
            raise misfit(self._path, f"no layer takes {min(self._weights)}")
        if unknown := self._ranges.keys() - self.inputs.keys():
            raise misfit(self._path, f"no convolution is called {min(unknown)}")
        results = []
        for name, node in outputs.items():
            result = self._ops.result(node)
            result.get_output_tensor(0).set_names({name})
            results.append(result)
        return ov.Model(results, [self._images])
