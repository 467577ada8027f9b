"""Colours of any space → sRGB, which detector, networks and people's screens expect.

What a profile does to RGB is looked up in a cube of colours, which costs little where it is applied
to what is small: crops and thumbnails. A whole picture is converted where its own values are so far
from sRGB that no face would be found in them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from batchage.pixels import CUBE_SIDE, in_srgb
from batchage.types import ImageArray

DAMAGED = "its colour profile is damaged; its colours were taken as they are stored"
FOREIGN = "its colour profile is for another kind of picture; its colours were taken as stored"
NO_PROFILE = "it is CMYK without a colour profile; its colours are approximate"
_SAME = 3
"""Levels of 255 by which no colour may differ from sRGB's, for a picture to be left as it is."""
_FAR = 24.0
"""Levels by which colours differ on the average where a whole picture is converted."""
_CACHED = 32
"""Profiles that are kept: those of a folder's photos are a few."""
_KINDS = {
    **dict.fromkeys(("RGB", "RGBA", "RGBX", "RGBa", "P", "PA"), "RGB"),
    **dict.fromkeys(("1", "L", "LA", "La", "I", "F"), "GRAY"),
    "CMYK": "CMYK",
}
"""What a profile calls the pixels of Pillow's modes; others have colours of their own."""
_PNG = b"\x89PNG"
_DEVICES = ("scnr", "mntr", "prtr", "spac")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """How the colours of a picture become sRGB.

    Attributes:
        cube: As of `DecodedImage.colours`; None where the values are sRGB already, or no RGB.
        transform: littlecms' own way of the same, for whole pictures.
        is_far: Whether a face may be missed in the values as they are.
        note: What a row says of it.
    """

    cube: ImageArray | None = None
    transform: ImageCms.ImageCmsTransform | None = None
    is_far: bool = False
    note: str | None = None

    def separated(self, image: Image.Image) -> Image.Image:
        """A picture of inks as one of light, in sRGB, if its profile says how; others as is."""
        if image.mode != "CMYK" or self.transform is None:
            return image
        return ImageCms.applyTransform(image, self.transform) or image

    def converted(self, image: Image.Image, later: bool) -> Image.Image:
        """An RGB picture in sRGB; as it is where that can be done later."""
        if self.cube is None or (later and not self.is_far):
            return image
        if self.transform is None:
            return Image.fromarray(in_srgb(np.asarray(image), self.cube))
        return ImageCms.applyTransform(image, self.transform) or image

    def left(self, later: bool) -> ImageArray | None:
        """The cube that is still to be applied."""
        return self.cube if later and not self.is_far else None


def colours_of(mode: str, info: Mapping[Any, Any], data: bytes) -> Colours:
    """What a file says of its colours; nothing is assumed where it says nothing.

    Args:
        mode: Pillow's name for the kind of its pixels.
        info: What Pillow calls the `info` of the picture.
        data: The file.
    """
    profile = info.get("icc_profile")
    # A PNG's code points come before its profile, those of HEIF and AVIF after it.
    code = _code_points(data) if data.startswith(_PNG) or not profile else None
    if code:
        return _by_code_points(*code)
    kind = _KINDS.get(mode.partition(";")[0])
    if isinstance(profile, bytes) and profile and kind:
        return _by_profile(profile, kind)
    if mode == "CMYK":
        return Colours(note=NO_PROFILE)
    gamma, places = info.get("gamma"), info.get("chromaticity")
    # Texts of a PNG may have these names, too.
    if "srgb" in info or not isinstance(gamma, float) or gamma <= 0:
        return Colours()
    return _by_gamma(gamma, places if isinstance(places, tuple) else None)


@lru_cache(maxsize=_CACHED)
def _by_profile(profile: bytes, kind: str) -> Colours:
    """By an ICC profile, of pixels that are RGB, GRAY or CMYK."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space, device = opened.profile.xcolor_space.strip(), opened.profile.device_class
        # Grey pictures may have the profile of the colour picture that they were.
        if device not in _DEVICES or (space != kind and (kind, space) != ("GRAY", "RGB")):
            return Colours(note=FOREIGN)
        transform = ImageCms.buildTransform(
            opened,
            _srgb(),
            {"GRAY": "L"}.get(space, space),
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if space == "CMYK":
            paper_and_black = Image.new("CMYK", (2, 1))
            paper_and_black.putpixel((1, 0), (255, 255, 255, 255))
            seen = np.asarray(ImageCms.applyTransform(paper_and_black, transform))
            return Colours(transform=transform) if _has_contrast(seen) else Colours(note=DAMAGED)
        if space == "GRAY":
            return _judged(_grey_cube(transform))
        grid = Image.fromarray(_IDENTITY.reshape(1, -1, 3))
        changed = np.asarray(ImageCms.applyTransform(grid, transform), np.uint8)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return Colours(note=DAMAGED)
    return _judged(changed.reshape(_IDENTITY.shape), transform)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _grey_cube(transform: ImageCms.ImageCmsTransform) -> ImageArray:
    ramp = Image.fromarray(_LEVELS.reshape(1, -1))
    curve = np.asarray(ImageCms.applyTransform(ramp, transform), np.uint8)[0, :, 1]
    return np.stack(np.meshgrid(curve, curve, curve, indexing="ij")[::-1], axis=-1)


def _judged(cube: ImageArray, transform: ImageCms.ImageCmsTransform | None = None) -> Colours:
    """What is to be done, by how far the cube's colours are from where they were."""
    if not _has_contrast(cube):
        return Colours(note=DAMAGED)
    differences = np.abs(cube.astype(np.int16) - _IDENTITY)
    if differences.max() <= _SAME:
        return Colours()
    return Colours(cube, transform, bool(differences.mean() > _FAR))


def _has_contrast(seen: ImageArray) -> bool:
    """Whether anything can be seen in what a profile makes of light and dark."""
    return int(np.ptp(seen)) > 64


def _levels() -> ImageArray:
    return np.rint(np.linspace(0, 255, CUBE_SIDE)).astype(np.uint8)


_LEVELS = _levels()
_IDENTITY = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij")[::-1], axis=-1)

_D65 = (0.3127, 0.329)
_PRIMARIES = {
    1: ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
}
"""Red, green and blue `(x, y)` by code point (ITU-T H.273): BT.709, BT.2020, Display P3."""
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_WHITE_NITS = 203.0
"""What HDR shows white paper with (ITU-R BT.2408)."""
_KNEE = 0.6
"""Light, white paper being 1, above which HDR's highlights are compressed."""


def _from_srgb_curve(values: Floats) -> Floats:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _to_srgb_curve(light: Floats) -> Floats:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _power(exponent: float) -> Callable[[Floats], Floats]:
    return lambda values: np.asarray(values**exponent)


def _from_pq(values: Floats) -> Floats:
    """SMPTE ST 2084."""
    power = values ** (32 / 2523)
    light = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
    return np.asarray(light ** (8192 / 1305) * (10_000 / _WHITE_NITS))


def _from_hlg(values: Floats) -> Floats:
    """ITU-R BT.2100, on a screen of 1,000 nits."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.678, 0.0593])
    return np.asarray(scene * luminance[..., None] ** 0.2 * (1000 / _WHITE_NITS))


_CURVES: dict[int, Callable[[Floats], Floats]] = {
    # The curves of video are those of its cameras: screens show them as they show sRGB.
    **dict.fromkeys((1, 6, 13, 14, 15), _from_srgb_curve),
    4: _power(2.2),
    8: _power(1.0),
    16: _from_pq,
    18: _from_hlg,
}
"""Values → light, by code point."""


def _code_points(data: bytes) -> tuple[int, int] | None:
    """Numbers of primaries and of the curve (CICP), where a PNG, HEIF or AVIF has them.

    None where several pictures inside the file have others.
    """
    if data.startswith(_PNG):
        at = data.find(b"cICP", 0, max(data.find(b"IDAT"), 0))
        return (data[at + 4], data[at + 5]) if at > 0 else None
    if data[4:8] != b"ftyp":
        return None
    found, at = set(), data.find(b"colrnclx")
    while at > 0 and len(data) >= at + 12:
        found.add(struct.unpack_from(">HH", data, at + 8))
        at = data.find(b"colrnclx", at + 8)
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=_CACHED)
def _by_code_points(primaries: int, curve: int) -> Colours:
    if primaries not in _PRIMARIES or curve not in _CURVES:
        return Colours()
    matrix = _to_srgb_light((*_PRIMARIES[primaries], _D65))
    return _judged(_computed_cube(_CURVES[curve], matrix))


@lru_cache(maxsize=_CACHED)
def _by_gamma(gamma: float, chromaticity: tuple[float, ...] | None) -> Colours:
    """By a PNG's exponent and, if it has them, the places of its white, red, green and blue."""
    if not 0.1 <= gamma <= 4:
        return Colours(note=DAMAGED)
    points = [*_PRIMARIES[1], _D65]
    if chromaticity:
        white, *others = zip(chromaticity[::2], chromaticity[1::2], strict=True)
        points = [*others, white]
    try:
        with np.errstate(all="ignore"):
            matrix = _to_srgb_light(tuple(points))
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return Colours(note=DAMAGED)
    if not np.isfinite(matrix).all():
        return Colours(note=DAMAGED)
    # What is written for sRGB is a rounded number for another curve.
    is_srgb = abs(gamma - 1 / 2.2) < 0.01
    return _judged(_computed_cube(_from_srgb_curve if is_srgb else _power(1 / gamma), matrix))


def _computed_cube(curve: Callable[[Floats], Floats], matrix: Floats) -> ImageArray:
    light = curve(_IDENTITY / 255.0) @ matrix.T
    peak = light.max(axis=-1, keepdims=True)
    if peak.max() > 2:
        # HDR: highlights are compressed, all channels alike, which keeps their hue.
        room = 1 - _KNEE
        shown = np.where(peak > _KNEE, 1 - room * np.exp((_KNEE - peak) / room), peak)
        light = light * shown / np.maximum(peak, 1e-9)
    return np.rint(_to_srgb_curve(light) * 255).astype(np.uint8)


def _to_srgb_light(points: tuple[tuple[float, float], ...]) -> Floats:
    """The matrix `(3, 3)` from light in primaries and a white, four points, to that of sRGB."""
    own, srgb = _to_xyz(points), _to_xyz((*_PRIMARIES[1], _D65))
    # Bradford's: the white becomes white.
    cones = np.array(_BRADFORD)
    ratios = (cones @ srgb.sum(axis=1)) / (cones @ own.sum(axis=1))
    adapted = np.linalg.inv(cones) @ np.diag(ratios) @ cones
    return np.asarray(np.linalg.inv(srgb) @ adapted @ own)


def _to_xyz(points: tuple[tuple[float, float], ...]) -> Floats:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in points]).T
    return np.asarray(columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3]))
