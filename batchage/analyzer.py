"""Detector and model, loaded once, for single pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageOps

from batchage.align import align
from batchage.config import ScanConfig
from batchage.decode import decode, to_srgb
from batchage.detect import create_detector, find_faces
from batchage.errors import DecodeError, UsageError
from batchage.networks import choose_compute, load_bundle
from batchage.predict import KIND, Predictor
from batchage.types import DecodedImage, FaceRecord, ImageArray, box_sizes
from batchage.write import face_values, tables_with

Picture = NDArray[Any] | Image.Image | str | os.PathLike[str]
NOT_OF_A_FACE = {
    "image_path",
    "root",
    "page",
    "image_width",
    "image_height",
    "thumbnail",
    "crop",
    "model_id",
}


class Analyzer:
    """Detector and model, loaded once, for pictures in memory and single files.

        analyzer = batchage.Analyzer()
        faces = analyzer.analyze("photo.jpg")
        faces = analyzer.analyze([array, PIL.Image.open("photo.jpg")])

    Attributes:
        model_id: Name and hash of the bundle.
    """

    def __init__(self, config: ScanConfig | None = None) -> None:
        """Load both networks.

        Args:
            config: Detector, model, batch size, device, precisions, `tta`,
                `min_gender_confidence` and `age_threshold` are taken from it; the defaults where
                it is missing.

        Raises:
            BatchageError: A bundle or device can't be used.
        """
        self._config = config or ScanConfig()
        compute = choose_compute(
            self._config.device, self._config.precision, self._config.detect_precision
        )
        bundle = load_bundle(self._config.model, KIND)
        self._detector = create_detector(self._config.detector, self._config.detection, compute)
        self._predictor = Predictor(
            bundle,
            compute,
            self._config.batch_size,
            self._config.tta,
            self._config.min_gender_confidence,
            self._config.age_threshold,
        )
        columns = tables_with(self._config.age_threshold)["faces"].names
        self._columns = ["image_index", *(name for name in columns if name not in NOT_OF_A_FACE)]
        self.model_id = self._predictor.model_id

    def analyze(self, images: Picture | Iterable[Picture]) -> pd.DataFrame:
        """Find the faces of one picture or many, and estimate ages and genders.

        Args:
            images: RGB uint8 arrays `(h, w, 3)`, upright; PIL pictures, which are turned upright
                by their EXIF; or paths of files.

        Returns:
            One row a face: `image_index`, the picture's place in `images`, and the columns of the
            faces table that speak of the face itself, in pixels of the upright picture.

        Raises:
            UsageError: An array is none of a picture.
            DecodeError: A file can't be read.
            BundleError: The model gives no number for a face.
        """
        if isinstance(images, (str, os.PathLike, Image.Image)) or _is_one_array(images):
            images = [cast("Picture", images)]
        size = self._predictor.input_size
        owners, found, crops = [], [], []
        for index, image in enumerate(images):
            pixels, colours = _pixels(image, index, self._config.max_pixels)
            picture = DecodedImage(pixels, pixels.shape[1], pixels.shape[0], content_hash="")
            (faces,) = find_faces(self._detector, [picture], self._config.detection)
            faces = faces.select(box_sizes(faces.boxes) >= self._config.detection.min_face_size)
            crops += [align(pixels, points, size, colours) for points in faces.landmarks]
            owners += [index] * len(faces)
            found += [(faces, number) for number in range(len(faces))]
        predictions = self._predictor.predict([crop.pixels for crop in crops])
        records = [
            FaceRecord.of(*face, crop, prediction)
            for face, crop, prediction in zip(found, crops, predictions, strict=True)
        ]
        rows = [
            {"image_index": index, **face_values(record)}
            for index, record in zip(owners, records, strict=True)
        ]
        return pd.DataFrame(rows, columns=self._columns)


def _is_one_array(images: object) -> bool:
    """Whether it is a picture, or a wrong one, and not a batch of them `(n, h, w, 3)`."""
    return isinstance(images, np.ndarray) and images.ndim < 4


def _pixels(image: Picture, index: int, max_pixels: int) -> tuple[ImageArray, ImageArray | None]:
    """A picture, RGB uint8 `(h, w, 3)`, and its colours, as of `DecodedImage`."""
    if isinstance(image, (str, os.PathLike)):
        try:
            decoded = decode(Path(image), max_pixels=max_pixels, colours_later=True)
            return decoded.pixels, decoded.colours
        except DecodeError as error:
            raise type(error)(f"{os.fspath(image)}: {error}") from None
    if isinstance(image, Image.Image):
        return np.asarray(to_srgb(ImageOps.exif_transpose(image)), np.uint8), None
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UsageError(
            f"picture {index} is an array of {pixels.dtype} {pixels.shape}; give RGB as uint8 "
            "(height, width, 3), or a PIL picture"
        )
    return pixels, None
