"""RetinaFace with a ResNet-50 trunk, from the PyPI package `retina-face` (extra `resnet50`).

That package downloads its weights when it is first used; choosing this detector asks for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from batchage.config import DetectorSettings
from batchage.errors import BundleError, MissingExtraError
from batchage.networks import Compute
from batchage.types import Detections, ImageArray

# The package names sides as the person sees them; the type here, as the picture shows them.
ORDER = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")


class RetinaFaceResNet50:
    """The optional detector: slower, better on small and turned faces."""

    def __init__(self, settings: DetectorSettings, compute: Compute) -> None:
        """Import the package and load its weights.

        Args:
            settings: How faces are looked for.
            compute: Not heeded: the package chooses for itself.

        Raises:
            MissingExtraError: The package isn't installed.
            BundleError: Its weights can't be had.
        """
        self.settings = settings
        self.detector_id = "retinaface-resnet50"
        # Its TensorFlow backend needs tf-keras and changes which Keras TensorFlow hands out.
        os.environ["DEEPFACE_BACKEND_ENGINE"] = "onnx"
        try:
            from retinaface import RetinaFace
        except (ImportError, ValueError) as error:
            raise MissingExtraError(
                "the detector retinaface-resnet50 needs an extra: "
                f"pip install 'batchage[resnet50]' ({error})"
            ) from None
        self._package = RetinaFace
        try:
            # It prints what it downloads, and standard output may be the table.
            with redirect_stdout(sys.stderr):
                RetinaFace.build_model()
        except Exception as error:
            raise BundleError(
                "retinaface-resnet50: its weights could not be loaded or downloaded "
                f"({str(error).splitlines()[0]}); connect once, or use the default detector"
            ) from None

    def detect(self, images: Sequence[ImageArray]) -> list[Detections]:
        """Faces of each RGB uint8 picture, in that picture's pixels, best score first."""
        return [self._one(image) for image in images]

    def _one(self, image: ImageArray) -> Detections:
        # The package takes BGR, as OpenCV reads it.
        answer = self._package.detect_faces(
            image[..., ::-1].copy(), threshold=self.settings.min_score
        )
        faces: list[Mapping[str, Any]] = list(answer.values()) if isinstance(answer, dict) else []
        if not faces:
            return Detections.empty()
        found = Detections(
            np.array([face["facial_area"] for face in faces], np.float32),
            np.array([[face["landmarks"][k] for k in ORDER] for face in faces], np.float32),
            np.array([face["score"] for face in faces], np.float32),
        )
        return found.select(np.argsort(-found.scores, kind="stable"))
