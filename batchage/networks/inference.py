"""Networks as functions of batches, on whatever they run on.

On a processor that is OpenVINO, which takes a third of TensorFlow's time for the detector, the same
for the predictor, and a fraction of a second to load; on a GPU it is the Keras network itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batchage.errors import BundleError
from batchage.networks.bundle import RANGES, Bundle, assign_weights
from batchage.networks.hardware import Compute, load_tensorflow
from batchage.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from batchage.networks.graph import GraphBuilder

NO_MEMORY = "Failed to allocate"
"""What OpenVINO says then; it has no type for it."""
Forward = Callable[[ImageArray], Mapping[str, FloatArray]]
"""Outputs by name for RGB uint8 pictures `(B, H, W, 3)`, or a MemoryError for want of memory."""
Network = Callable[[], Any]
"""Makes the Keras network, without weights."""
Graph = Callable[["GraphBuilder"], Mapping[str, Any]]
"""Puts the same network together in a `GraphBuilder`; gives its outputs by name."""


def load_forward(
    compute: Compute, bundle: Bundle, network: Network, graph: Graph, few_shapes: bool = False
) -> Forward:
    """A network with its weights, on the device and in the precision chosen.

    Args:
        compute: Device, precision and threads.
        bundle: Has the weights, and for int8 the ranges.
        network: For a GPU.
        graph: For a processor.
        few_shapes: Pictures will come in few shapes. OpenVINO then takes them one by one, which is
            as fast as in batches, and compiles each shape for itself, unless in int8.

    Raises:
        BundleError: The weights don't fit the network, or there are no ranges for int8.
    """
    if compute.device == "gpu":
        return _keras_forward(network, bundle.weights, compute.keras_policy)
    from batchage.networks.graph import GraphBuilder

    in_8_bits = compute.precision == "int8"
    ranges = bundle.activation_ranges if in_8_bits else {}
    if in_8_bits and not ranges:
        raise BundleError(
            f"{bundle.path}: model.json has no {RANGES}, which int8 needs; export it again, or "
            "choose another precision"
        )
    builder = GraphBuilder(bundle.weights, ranges)
    return run_on_processor(
        builder.build(graph(builder)), compute.precision, few_shapes, compute.n_threads
    )


@lru_cache(maxsize=1)
def _core() -> Any:
    """OpenVINO's core, one for the process.

    When the last one goes, its plugins are unloaded, under the feet of threads that still end.
    """
    import openvino as ov

    return ov.Core()


def run_on_processor(
    model: Any, precision: str, few_shapes: bool = False, n_threads: int = 0
) -> Forward:
    """An `openvino.Model` as a function; `few_shapes` and `n_threads` as of `load_forward`."""
    import openvino as ov

    types = {"bfloat16": ov.Type.bf16, "float16": ov.Type.f16}
    settings = {
        # What isn't in 8 bits is in float32.
        "INFERENCE_PRECISION_HINT": types.get(precision, ov.Type.f32),
        "PERFORMANCE_HINT": "LATENCY",
    }
    if n_threads:
        # Several processes that pin their threads would all do so to the first cores.
        settings |= {"INFERENCE_NUM_THREADS": n_threads, "ENABLE_CPU_PINNING": False}
    # In int8 that takes 0.4 s each, and one graph for all shapes is hardly slower.
    is_each_compiled = few_shapes and precision != "int8"
    requests: dict[tuple[int, ...], Any] = {}

    def infer(batch: ImageArray) -> Mapping[str, FloatArray]:
        shape = batch.shape if is_each_compiled else ()
        try:
            if shape not in requests:
                if is_each_compiled:
                    model.reshape(list(shape))
                requests[shape] = (
                    _core().compile_model(model, "CPU", settings).create_infer_request()
                )
            found = requests[shape].infer([np.ascontiguousarray(batch)], share_inputs=True)
        except RuntimeError as error:
            if NO_MEMORY in str(error):
                raise MemoryError(NO_MEMORY) from error
            raise
        return {output.get_any_name(): values for output, values in found.items()}

    def one_by_one(batch: ImageArray) -> Mapping[str, FloatArray]:
        rows = [infer(batch[i : i + 1]) for i in range(len(batch))]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return one_by_one if few_shapes else infer


def _keras_forward(network: Network, weights: Path, policy: str) -> Forward:
    tf = load_tensorflow()
    import keras

    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = network()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assign_weights(model, weights)
    # One signature, so that no new shape or batch size is traced again.
    traced = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
    )

    def forward(batch: ImageArray) -> Mapping[str, FloatArray]:
        try:
            found = traced(tf.constant(batch))
            return {name: tensor.numpy() for name, tensor in found.items()}
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(str(error)) from error

    return forward
