"""Random changes of training crops: where the face lies, what the light was, what age did to paper.

Pictures are RGB uint8 `(H, W, 3)`; each change takes one and a random generator, and leaves its
size alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from batchage.align import Similarity
from batchage.types import FloatArray, ImageArray

BLUR = (0.004, 0.02)
"""Standard deviations of the blur, as shares of the crop's side."""
JPEG_QUALITY = (20, 70)
LEAST_RESOLUTION = 0.9
"""Share of the crop's side below which a crop counts as shrunk."""

Change = Callable[[ImageArray, np.random.Generator], ImageArray]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of a training crop; shares are probabilities.

    Attributes:
        rotation: Largest turn in degrees.
        zoom: Largest change of scale, 0.1 for ±10 %.
        shift: Largest shift, as a share of the crop's side.
        flip: Share mirrored.
        brightness: Largest change, as a share of 255.
        contrast: Largest relative change.
        grey: Share without colour.
        low_resolution: Share shrunk and enlarged again.
        smallest: Least share of the crop's side that it is shrunk to.
        blur: Share blurred, as by a lens out of focus.
        jpeg: Share compressed once more, at a low quality.
        erase: Share with a rectangle of noise.
        tone: Share in shades of one colour, as of brown or bluish prints.
        fade: Share whose dyes have faded, each channel by itself.
        dark: Share underexposed, with the noise that comes with it.
        grain: Share with grain.
        scratches: Share with scratches, creases and dust.
        halftone: Share printed in dots.
    """

    rotation: float = 12.0
    zoom: float = 0.12
    shift: float = 0.05
    flip: float = 0.5
    brightness: float = 0.15
    contrast: float = 0.25
    grey: float = 0.1
    low_resolution: float = 0.15
    smallest: float = 0.33
    blur: float = 0.0
    jpeg: float = 0.0
    erase: float = 0.2
    tone: float = 0.0
    fade: float = 0.0
    dark: float = 0.0
    grain: float = 0.0
    scratches: float = 0.0
    halftone: float = 0.0


def jitter(
    similarity: Similarity, size: int, how: Augmentation, rng: np.random.Generator
) -> Similarity:
    """The similarity with a random turn, zoom, shift and flip about the crop's middle."""
    angle = math.radians(rng.uniform(-how.rotation, how.rotation))
    scale = math.exp(rng.uniform(-how.zoom, how.zoom))
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    if rng.random() < how.flip:
        linear = linear @ np.diag([-1.0, 1.0])
    middle = np.array([(size - 1) / 2] * 2)
    shift = rng.uniform(-how.shift, how.shift, 2) * size
    matrix = linear @ similarity.matrix
    matrix[:, 2] += middle - linear @ middle + shift
    return Similarity(matrix)


def degrade(crop: ImageArray, how: Augmentation, rng: np.random.Generator) -> ImageArray:
    """The crop with those random changes that leave its outline alone."""
    # In the order of the world: lens and light, the print and its age, the file.
    for share, change in (
        (how.blur, blur),
        (how.low_resolution, lambda c, r: lower_resolution(c, r, how.smallest)),
        (how.dark, darken),
        (how.grey, grey),
        (how.tone, tone),
        (how.fade, fade),
        (how.grain, grain),
        (how.scratches, scratch),
        (how.halftone, halftone),
        (1.0, lambda c, r: expose(c, r, how.brightness, how.contrast)),
        (how.jpeg, compress),
        (how.erase, erase),
    ):
        if rng.random() < share:
            crop = change(crop, rng)
    return crop


def _to_picture(values: NDArray[Any]) -> ImageArray:
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def _luminance(crop: ImageArray) -> FloatArray:
    """From 0 to 1, `(S, S, 1)`."""
    shades = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None]
    return np.asarray(shades / np.float32(255), np.float32)


def blur(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Out of focus."""
    sigma = crop.shape[0] * rng.uniform(*BLUR)
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8)


def lower_resolution(crop: ImageArray, rng: np.random.Generator, smallest: float) -> ImageArray:
    """Shrunk to `smallest` of its side at least, and enlarged again."""
    size = crop.shape[0]
    small = max(1, int(size * rng.uniform(smallest, LEAST_RESOLUTION)))
    shrunk = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def grey(crop: ImageArray, _: np.random.Generator) -> ImageArray:
    """Without colour."""
    shades = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(shades, cv2.COLOR_GRAY2RGB), np.uint8)


def tone(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Shades of one colour between an ink and a paper, as of old monochrome prints."""
    ink = rng.uniform(0, 60) * np.array([1, rng.uniform(0.6, 1), rng.uniform(0.4, 1)])
    warmth = rng.uniform(-0.06, 0.22)
    paper = rng.uniform(175, 255) * np.array([1, 1 - warmth * rng.uniform(0.3, 0.6), 1 - warmth])
    shade = _luminance(crop) ** np.float32(math.exp(rng.uniform(-0.35, 0.35)))
    return _to_picture(ink + shade * (paper - ink))


def fade(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Each channel's dye faded by itself: a cast, lifted blacks, dull whites."""
    gamma = np.exp(rng.uniform(-0.3, 0.3, 3))
    black = rng.uniform(0, 0.3) + rng.uniform(-0.05, 0.08, 3)
    white = rng.uniform(0.7, 1.0) + rng.uniform(-0.1, 0.1, 3)
    shade = (crop / np.float32(255)) ** gamma.astype(np.float32)
    return _to_picture(255 * (black + shade * np.maximum(white - black, 0.2)))


def darken(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Too little light, with a sensor's noise, and part of it corrected again."""
    exposure = rng.uniform(0.15, 0.6)
    light = (crop / np.float32(255)) ** 2.2 * np.float32(exposure)
    light += rng.normal(0, rng.uniform(0.001, 0.01), crop.shape).astype(np.float32)
    gain = exposure ** -rng.uniform(0, 0.8)
    return _to_picture(255 * np.clip(light * gain, 0, 1) ** (1 / 2.2))


def grain(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Film grain or a scanner's noise: of one colour or of three, finer or coarser."""
    channels = int(rng.choice([1, 3]))
    noise = rng.normal(0, 1, (*crop.shape[:2], channels)).astype(np.float32)
    if rng.random() < 0.6:
        soft = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.4, 1.6)).reshape(noise.shape)
        noise = np.asarray(soft / max(float(soft.std()), 1e-6), np.float32)
    return _to_picture(crop + noise * rng.uniform(3, 24))


def scratch(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Scratches, creases and specks of dust, lighter or darker than what they cover."""
    height, width = crop.shape[:2]
    size = max(height, width)
    mask = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 6)):
        start = rng.uniform(-0.2, 1.2, 2) * [width, height]
        angle, bend = rng.uniform(0, 2 * math.pi), rng.uniform(-0.3, 0.3)
        steps = np.linspace(0, rng.uniform(0.2, 1.4) * size, 8)
        turned = angle + bend * steps / size
        points = start + np.stack([steps * np.cos(turned), steps * np.sin(turned)], axis=1)
        line = points.round().astype(np.int32)[None]
        thickness = 1 if rng.random() < 0.75 else 2
        cv2.polylines(mask, line, False, rng.uniform(0.3, 1), thickness, cv2.LINE_AA)
    for _ in range(rng.integers(0, 12)):
        centre = rng.integers(0, [width, height]).tolist()
        cv2.circle(mask, centre, int(rng.integers(1, 3)), rng.uniform(0.3, 1), -1, cv2.LINE_AA)
    cover = rng.choice([rng.uniform(170, 255), rng.uniform(0, 80)], p=[0.7, 0.3])
    return _to_picture(crop + mask[:, :, None] * (cover - crop))


def halftone(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Printed in dots of a turned screen, and softened a little by the scan."""
    height, width = crop.shape[:2]
    angle, period = rng.uniform(0, math.pi / 2), rng.uniform(2.2, 5.0)
    y, x = np.mgrid[:height, :width].astype(np.float32) * np.float32(2 * math.pi / period)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    screen = ((np.cos(u) + np.cos(v)) / 4 + 0.5)[:, :, None].astype(np.float32)
    sharp = rng.uniform(2, 8)
    dots = 1 / (1 + np.exp(-sharp * (crop / np.float32(255) - screen)))
    strength = np.float32(rng.uniform(0.4, 1))
    printed = (strength * dots + (1 - strength) * crop / 255) * 255
    return _to_picture(cv2.GaussianBlur(printed, (0, 0), rng.uniform(0.5, 1.2)))


def expose(
    crop: ImageArray, rng: np.random.Generator, brightness: float, contrast: float
) -> ImageArray:
    """Brighter or darker by `brightness` of 255, flatter or steeper by `contrast`, at most."""
    gain = 1 + rng.uniform(-contrast, contrast)
    offset = 128 * (1 - gain) + 255 * rng.uniform(-brightness, brightness)
    return _to_picture(crop * np.float32(gain) + np.float32(offset))


def compress(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Through a JPEG of low quality."""
    quality = int(rng.integers(*JPEG_QUALITY))
    file = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB), np.uint8)


def erase(crop: ImageArray, rng: np.random.Generator) -> ImageArray:
    """With a rectangle of noise."""
    size = crop.shape[0]
    height, width = (rng.uniform(0.1, 0.4, 2) * size).astype(int)
    y, x = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    crop = crop.copy()
    crop[y : y + height, x : x + width] = rng.integers(0, 256, (height, width, 3), np.uint8)
    return crop
