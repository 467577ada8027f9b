"""Photoshop files, by the picture of all layers together that most of them have."""

from __future__ import annotations

import io

from PIL import Image, PsdImagePlugin

from batchage.errors import DecodeError

_VERSION_INFO, _EXIF = 1057, 1058
_READ_BITS = (1, 8)
_READ_MODES = {0, 1, 2, 3, 4, 8, 9}


def open_psd(data: bytes) -> Image.Image:
    """The picture, whose header was read.

    Raises:
        DecodeError: There is none, or it is of a kind that isn't read.
    """
    version, bits, mode = (int.from_bytes(data[at : at + 2]) for at in (4, 22, 24))
    if version == 2:
        raise DecodeError("large Photoshop files (PSB) can't be read")
    if bits not in _READ_BITS or mode not in _READ_MODES:
        raise DecodeError(f"Photoshop files of {bits} bits in colour mode {mode} can't be read")
    image = PsdImagePlugin.PsdImageFile(io.BytesIO(data), "")
    resources = {number: content for number, _, content in image.resources}
    version_info = resources.get(_VERSION_INFO, b"")
    if len(version_info) > 4 and not version_info[4]:
        raise DecodeError(
            "the Photoshop file has layers only: save it with 'Maximize Compatibility'"
        )
    if _EXIF in resources:
        image.info["exif"] = resources[_EXIF]
    if image.mode == "RGBA" and not _is_transparent(image, data):
        # The fourth channel is a selection that was kept.
        image._mode, image.tile = "RGB", image.tile[:3]
    return image


def _is_transparent(image: PsdImagePlugin.PsdImageFile, data: bytes) -> bool:
    """Whether the first channel beside the colours is opacity: the number of layers is negative."""
    position = image._layers_position
    return position is not None and int.from_bytes(data[position : position + 2], signed=True) < 0
