"""The two-head VGG16.

Simonyan, Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015;
the age branch follows Rothe, Timofte, Van Gool, DEX, 2015: a softmax over years whose expectation
is the age.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batchage.networks import GraphBuilder, Norm

IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)
KIND = "vgg16-age-gender"
MAX_AGE = 100
MAX_UNITS = 65536
TRUNK_DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions of VGG16's blocks."""
EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the layers after the trunk look like.

    Raises:
        ValueError: A value can't be.

    Attributes:
        shared_units: Width of the shared dense layer.
        age_units: Width of the age branch's dense layer.
        gender_units: Width of the gender branch's dense layer.
        dropout: Share of the shared layer's units that training drops.
    """

    shared_units: int = 512
    age_units: int = 256
    gender_units: int = 128
    dropout: float = 0.3

    def __post_init__(self) -> None:
        for name in ("shared_units", "age_units", "gender_units"):
            units = getattr(self, name)
            if not (type(units) is int and 1 <= units <= MAX_UNITS):
                raise ValueError(f"{name} = {units!r}: give 1 to {MAX_UNITS}")
        if not (type(self.dropout) in (int, float) and 0 <= self.dropout < 1):
            raise ValueError(f"dropout = {self.dropout!r}: give a number from 0 to below 1")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def build_network(architecture: Architecture) -> Any:
    """The Keras network for RGB pictures 0…255 `(B, S, S, 3)`, any S of 32 or more.

    Returns:
        A `keras.Model` with outputs `age_distribution` `(B, 101)`, the softmax over whole years;
        `age` `(B, 1)`, its expectation in years; `gender` `(B, 1)`, the probability of female.
    """
    import keras
    from keras import layers

    def dense(x: Any, units: int, name: str) -> Any:
        x = layers.Dense(units, use_bias=False, name=name)(x)
        x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    # --- trunk
    images = keras.Input((None, None, 3), name="images")
    # RGB order throughout: `load_imagenet` reverses the first kernel instead of every picture.
    x = layers.Rescaling(1.0, offset=[-m for m in IMAGENET_MEAN_RGB], dtype="float32")(images)
    trunk = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    x = trunk(x)

    # --- shared layers
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = dense(x, architecture.shared_units, "shared")
    x = layers.Dropout(architecture.dropout, name="dropout")(x)

    # --- age branch
    age = dense(x, architecture.age_units, "age_dense")
    logits = layers.Dense(MAX_AGE + 1, name="age_logits")(age)
    distribution = layers.Softmax(dtype="float32", name="age_distribution")(logits)
    years = layers.Dense(
        1,
        use_bias=False,
        trainable=False,
        dtype="float32",
        kernel_initializer=_years,
        name="age",
    )(distribution)

    # --- gender branch
    gender = dense(x, architecture.gender_units, "gender_dense")
    gender = layers.Dense(1, name="gender_logit")(gender)
    gender = layers.Activation("sigmoid", dtype="float32", name="gender")(gender)
    return keras.Model(
        images,
        {"age_distribution": distribution, "age": years, "gender": gender},
        name="vgg16_age_gender",
    )


def _years(shape: tuple[int, ...], dtype: Any = None) -> Any:
    from keras import ops

    return ops.reshape(ops.arange(shape[0], dtype=dtype), shape)


def build_graph(graph: GraphBuilder, architecture: Architecture, size: int) -> Mapping[str, Any]:
    """The same network for OpenVINO, for pictures of `size` pixels, with the same outputs."""
    from openvino import opset13 as ops

    def dense(x: Any, units: int, name: str) -> Any:
        return ops.relu(graph.dense(x, name, units, Norm(f"{name}_bn", EPSILON)))

    # --- trunk
    x = graph.images((size, size), mean=IMAGENET_MEAN_RGB, scale=1.0)
    for block, n_convolutions in enumerate(TRUNK_DEPTHS, start=1):
        for number in range(1, n_convolutions + 1):
            x = ops.relu(graph.conv(x, f"block{block}_conv{number}", 3))
        x = graph.halve(x)

    # --- shared layers
    x = dense(ops.reduce_mean(x, np.array([2, 3])), architecture.shared_units, "shared")

    # --- age branch
    logits = graph.dense(dense(x, architecture.age_units, "age_dense"), "age_logits", MAX_AGE + 1)
    distribution = ops.softmax(logits, 1)
    years = graph.take("age/kernel", (MAX_AGE + 1, 1))

    # --- gender branch
    logit = graph.dense(dense(x, architecture.gender_units, "gender_dense"), "gender_logit", 1)
    return {
        "age_distribution": distribution,
        "age": ops.matmul(distribution, years, False, False),
        "gender": ops.sigmoid(logit),
    }


def load_imagenet(network: Any, path: str | Path) -> None:
    """Fill the trunk with ImageNet weights.

    Args:
        network: What `build_network` returns.
        path: A Keras weights file of `keras.applications.VGG16(include_top=False)`, or the word
            `imagenet`, which lets Keras download it.
    """
    import keras
    from keras import ops

    name = str(path)
    source = keras.applications.VGG16(
        include_top=False, weights="imagenet" if name == "imagenet" else None
    )
    if name != "imagenet":
        source.load_weights(name)
    trunk = network.get_layer("vgg16")
    for target, origin in zip(trunk.variables, source.variables, strict=True):
        value = ops.convert_to_tensor(origin)
        target.assign(
            ops.flip(value, axis=2) if target.path.endswith("block1_conv1/kernel") else value
        )
