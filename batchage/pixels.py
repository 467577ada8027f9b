"""What is done to the pixels of whole pictures and of small ones alike."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageFilter

from batchage.types import ImageArray

CUBE_SIDE = 33
"""Colours along each edge of a cube of colours."""


def shrink(image: ImageArray, factor: int) -> ImageArray:
    """The means of squares of `factor` pixels: RGB uint8 `(h // factor, w // factor, 3)`.

    Whole factors are many times as fast as any others. What is left over at the right and at the
    lower edge, less than a square, is left out.
    """
    if factor == 1:
        return image
    height, width = (side // factor for side in image.shape[:2])
    whole = image[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def in_srgb(image: ImageArray, colours: ImageArray | None) -> ImageArray:
    """RGB uint8 `(h, w, 3)` in sRGB.

    Args:
        image: RGB uint8 `(h, w, 3)`.
        colours: As of `DecodedImage`: a cube, between whose colours it is interpolated; None where
            the picture is in sRGB already.
    """
    if colours is None:
        return image
    table = (colours.reshape(-1) / np.float32(255)).astype(np.float32)
    cube = ImageFilter.Color3DLUT(len(colours), table)
    return np.array(Image.fromarray(image).filter(cube), np.uint8)
