"""Pictures made smaller by whole factors, which is many times as fast as by any others."""

from __future__ import annotations

import cv2
import numpy as np

from batchage.types import ImageArray


def shrink(image: ImageArray, factor: int) -> ImageArray:
    """The means of squares of `factor` pixels: RGB uint8 `(h // factor, w // factor, 3)`.

    What is left over at the right and at the lower edge, less than a square, is left out.
    """
    if factor == 1:
        return image
    height, width = (side // factor for side in image.shape[:2])
    whole = image[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
