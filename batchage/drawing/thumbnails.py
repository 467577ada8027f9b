"""Small pictures with every face framed and labelled, and the aligned crops as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from batchage.drawing.label_places import LabelPlaces
from batchage.drawing.saving import Uploads, prepare_folder, save_picture
from batchage.pixels import in_srgb
from batchage.places import AnyPath, crop_name, thumbnail_name
from batchage.types import (
    NOT_SURE,
    DecodedImage,
    FaceRecord,
    FloatArray,
    ImageArray,
    ImageRecord,
    ImageRef,
    Prediction,
)

THUMBNAIL_SIDE = 640

MIN_FONT_SIZE = 11
"""In pixels; of large pictures, which are looked at as a whole, `MIN_FONT_SHARE` of the side."""
MIN_FONT_SHARE = 1 / 160
MAX_ENLARGEMENT = 2.0


@dataclass(frozen=True, slots=True)
class LabelStyle:
    """Colours of one gender's frame and label.

    Attributes:
        fill: Frame and label plate, an Okabe-Ito colour.
        contrast: Text on the plate and the thin edge on both sides of the frame.
    """

    fill: str
    contrast: str


LABEL_STYLES = {
    "female": LabelStyle(fill="#E69F00", contrast="#000000"),
    "male": LabelStyle(fill="#0072B2", contrast="#FFFFFF"),
    NOT_SURE: LabelStyle(fill="#999999", contrast="#000000"),
}
"""By gender, as `Prediction` has it."""


def draw(
    image: DecodedImage, faces: Sequence[FaceRecord], side: int = THUMBNAIL_SIDE
) -> ImageArray:
    """The picture in small, with a frame and a label such as `female 34` or `F 34` on each face.

    It is `not sure 34` or `34` where no gender is stated. The longest side becomes `side`, or stays
    smaller where the picture is. Panoramas beyond 4:1 get up to three times that, as their faces
    would vanish. Pictures under half of `side` are enlarged up to twice, which leaves room for the
    labels.

    Args:
        image: The decoded picture, at full size or reduced.
        faces: Its faces, with boxes in full-size pixels.
        side: Longest side of the result in pixels.

    Returns:
        RGB uint8 `(h, w, 3)`.
    """
    factor = _size_factor(image.pixels, side)
    canvas = Image.fromarray(in_srgb(_resized(image.pixels, factor), image.colours))
    if faces:
        boxes = _boxes_on(canvas, image, faces)
        for index in np.argsort(-_areas(boxes), kind="stable"):
            _draw_frame(canvas, boxes[index], _style(faces[index].prediction))
        for label in _placed_labels(boxes, faces, canvas):
            _draw_label(canvas, label)
    return np.array(canvas)


class ThumbnailWriter:
    """Writes one labelled JPEG a photo into a folder.

    Args:
        folder: Where to write; made where it does not exist.
        side: Longest side of a thumbnail in pixels.
        uploads: What takes pictures for a store; None puts each before going on.

    Raises:
        OutputError: The folder can't be made or written.
    """

    def __init__(
        self, folder: AnyPath, side: int = THUMBNAIL_SIDE, uploads: Uploads | None = None
    ) -> None:
        self.folder = folder
        self.side = side
        self._uploads = uploads
        prepare_folder(folder)

    def reduced(self, image: DecodedImage) -> DecodedImage:
        """The picture with no more than its thumbnail needs, in sRGB, for keeping many at hand."""
        factor = min(1.0, _size_factor(image.pixels, self.side))
        pixels = in_srgb(_resized(image.pixels, factor), image.colours)
        return replace(image, pixels=pixels, colours=None)

    def write(self, image: DecodedImage, record: ImageRecord) -> str:
        """Draw and write the thumbnail of one photo, with a frame for each face of `record`.

        Returns:
            The file's name inside the folder.

        Raises:
            OutputError: The file can't be written.
        """
        name = thumbnail_name(record.ref.root, record.ref.relative, record.page)
        pixels = draw(image, record.faces, self.side)
        save_picture(pixels, self.folder / name, self._uploads)
        return name


class CropWriter:
    """Writes one PNG an aligned face into a folder.

    Args:
        folder: Where to write; made where it does not exist.
        uploads: As of `ThumbnailWriter`.

    Raises:
        OutputError: The folder can't be made or written.
    """

    def __init__(self, folder: AnyPath, uploads: Uploads | None = None) -> None:
        self.folder = folder
        self._uploads = uploads
        prepare_folder(folder)

    def write(
        self, ref: ImageRef, face_index: int, pixels: ImageArray, page: int | None = None
    ) -> str:
        """Write one crop.

        Args:
            ref: The file that the face is from.
            face_index: The face's number in its photo.
            pixels: RGB uint8 `(S, S, 3)`.
            page: The photo's number in the file, if that has several.

        Returns:
            The file's name inside the folder.

        Raises:
            OutputError: The file can't be written.
        """
        name = crop_name(ref.root, ref.relative, face_index, page)
        save_picture(pixels, self.folder / name, self._uploads)
        return name


@dataclass(frozen=True, slots=True, eq=False)
class _Label:
    """A label with its place; `plate` is `xyxy` in canvas pixels."""

    text: str
    font: ImageFont.FreeTypeFont
    padding: int
    plate: FloatArray
    style: LabelStyle


def _resized(pixels: ImageArray, factor: float) -> ImageArray:
    height, width = pixels.shape[:2]
    if factor == 1.0:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = cv2.INTER_AREA if factor < 1.0 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)


def _size_factor(pixels: ImageArray, side: int) -> float:
    longest, shortest = int(max(pixels.shape[:2])), int(min(pixels.shape[:2]))
    panorama = min(side / 4 / shortest, 3 * side / longest)
    factor = min(1.0, max(side / longest, panorama))
    if longest * factor < side / 2:
        factor = min(MAX_ENLARGEMENT, side / 2 / longest)
    return factor


def _boxes_on(canvas: Image.Image, image: DecodedImage, faces: Sequence[FaceRecord]) -> FloatArray:
    limits = np.array([canvas.width, canvas.height] * 2, np.float32)
    full_size = np.array([image.width, image.height] * 2, np.float32)
    boxes = np.stack([face.box for face in faces]).astype(np.float32) * (limits / full_size)
    return np.asarray(np.clip(np.round(boxes), 0, limits - 1), np.float32)


def _areas(boxes: FloatArray) -> FloatArray:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def _line_width(box: FloatArray, canvas: Image.Image) -> int:
    usual = max(2, round(max(canvas.size) / 240))
    return max(1, min(usual, int(np.min(box[2:] - box[:2])) // 12))


def _edge_width(line: int) -> int:
    return 1 if line > 1 else 0


def _frame(box: FloatArray, canvas: Image.Image) -> FloatArray:
    """Outer border `xyxy` (last pixels included) of the frame drawn around `box`.

    A frame that would leave the picture is pulled inside, so that all four sides show.
    """
    line = _line_width(box, canvas)
    margin = line + _edge_width(line)
    grown = box + np.array([-margin, -margin, margin, margin], np.float32)
    limits = np.array([canvas.width, canvas.height] * 2, np.float32)
    return np.asarray(np.clip(grown, 0, limits - 1), np.float32)


def _draw_frame(canvas: Image.Image, box: FloatArray, style: LabelStyle) -> None:
    line = _line_width(box, canvas)
    edge = _edge_width(line)
    x1, y1, x2, y2 = (int(value) for value in _frame(box, canvas))
    painter = ImageDraw.Draw(canvas)
    painter.rectangle((x1, y1, x2, y2), outline=style.contrast, width=line + 2 * edge)
    inner = (x1 + edge, y1 + edge, x2 - edge, y2 - edge)
    painter.rectangle(inner, outline=style.fill, width=line)


def _draw_label(canvas: Image.Image, label: _Label) -> None:
    x1, y1, x2, y2 = (int(value) for value in label.plate)
    painter = ImageDraw.Draw(canvas)
    painter.rectangle((x1, y1, x2 - 1, y2 - 1), fill=label.style.fill)
    start = (x1 + label.padding, y2 - label.padding)
    painter.text(start, label.text, fill=label.style.contrast, font=label.font, anchor="ls")


def _placed_labels(
    boxes: FloatArray, faces: Sequence[FaceRecord], canvas: Image.Image
) -> list[_Label]:
    """Labels beside their faces: in words if these fit and no other face is covered, else short.

    The smallest faces choose first, since a large face leaves more room. A label that is larger
    than the whole picture is left out.
    """
    sizes = [_font_size(box, canvas) for box in boxes]
    in_full = all(
        _text_width(_text(face.prediction, full=True), size) <= 1.25 * (box[2] - box[0])
        for face, size, box in zip(faces, sizes, boxes, strict=True)
    )
    limits = np.array(canvas.size, np.float32)
    for is_full in (True, False) if in_full else (False,):
        places = LabelPlaces(boxes, limits)
        labels = []
        for index in np.argsort(_areas(boxes), kind="stable"):
            text = _text(faces[index].prediction, full=is_full)
            font, padding = _font(sizes[index]), _padding(sizes[index])
            letters = (_text_width(text, sizes[index]), _capital_height(font))
            extent = np.array(letters, np.float32) + np.float32(2 * padding)
            if np.any(extent > limits):
                continue
            plate = places.place(int(index), _frame(boxes[index], canvas), extent)
            style = _style(faces[index].prediction)
            labels.append(_Label(text, font, padding, plate, style))
        if not places.covers_face:
            break
    return labels


def _style(prediction: Prediction) -> LabelStyle:
    return LABEL_STYLES[prediction.gender or NOT_SURE]


def _text(prediction: Prediction, full: bool) -> str:
    # As the table has it, from which the same text can be drawn again.
    age = math.floor(max(float(np.float32(prediction.age_years)), 0.0) + 0.5)
    stated = prediction.gender
    if full:
        return f"{stated or NOT_SURE} {age}"
    return f"{stated[0].upper()} {age}" if stated else str(age)


def _font_size(box: FloatArray, canvas: Image.Image) -> int:
    largest = min(max(canvas.size) / 32, min(canvas.size) / 8)
    smallest = max(MIN_FONT_SIZE, round(MIN_FONT_SHARE * max(canvas.size)))
    return max(smallest, round(min(largest, 0.25 * float(box[2] - box[0]))))


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _padding(size: int) -> int:
    return max(2, round(size / 5))


def _text_width(text: str, size: int) -> int:
    return math.ceil(_font(size).getlength(text))


def _capital_height(font: ImageFont.FreeTypeFont) -> int:
    return -int(font.getbbox("Ffl0", anchor="ls")[1])
