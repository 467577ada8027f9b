"""Keras, without what TensorFlow's C++ code prints as it is loaded."""

from __future__ import annotations

from batchage.networks import load_tensorflow

load_tensorflow()

import keras  # noqa: E402
from keras import ops  # noqa: E402

__all__ = ["keras", "ops"]
