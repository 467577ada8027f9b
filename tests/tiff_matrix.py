"""TIFF files of many layouts, each with the RGB that it should become.

All show one scene, of which no two corners are alike, so that a picture that was turned, mirrored,
inverted, tinted, split into planes or left black is told from the right one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

HEIGHT, WIDTH, TILE = 56, 80, 32
LOSSLESS, LOSSY = 2.0, 8.0
"""Mean difference from the scene that is allowed, of 255."""

PLAIN = ("none", "lzw", "deflate", "packbits", "zstd")
LOSSY_CODECS = ("jpeg", "webp")
PICTURE_CODECS = ("jpeg2000", "jpegxl")
ORIENTATIONS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""What is stored of an upright picture, by the value of the tag."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A file.

    Attributes:
        name: Its traits, put together.
        data: Its bytes.
        expected: The upright picture, RGB uint8 `(h, w, 3)`.
        tolerance: Mean difference from it that is allowed.
        stored: The samples that were written, unless there are several pages or losses.
    """

    name: str
    data: bytes
    expected: NDArray[np.uint8]
    tolerance: float
    stored: NDArray[Any] | None = None


def scene(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float64]:
    """RGB from 0 to 1 `(h, w, 3)`: a skin-like slope, four corners of their own, an edge."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height - 1, width - 1])[:, None, None]
    picture = np.stack([0.35 + 0.5 * x, 0.25 + 0.5 * y, 0.2 + 0.25 * (1 - x) + 0.1 * y], axis=-1)
    h, w = height // 4, width // 4
    picture[:h, :w] = 0.9, 0.1, 0.1
    picture[:h, -w:] = 0.1, 0.8, 0.1
    picture[-h:, :w] = 0.1, 0.1, 0.9
    picture[-h:, -w:] = 1.0, 1.0, 1.0
    picture[h : h + 2, w : w + 4] = 0.0
    return picture


def cases() -> Iterator[Callable[[], Case]]:
    """What makes each of them; the same in every run."""
    yield from _layouts()
    yield from _compressions()
    yield from _orientations()
    yield from _ranges()
    yield from _extra_samples()
    yield from _pages()


BITS: dict[str, tuple[str, ...]] = {
    "grey": ("1", "4", "8", "12", "16", "32", "f16", "f32", "f64"),
    "white": ("1", "4", "8", "12", "16", "32"),
    "rgb": ("4", "8", "12", "16", "32", "f16", "f32", "f64"),
    "rgba": ("8", "16", "f32"),
    "palette": ("8", "16"),
    "cmyk": ("8", "16"),
    "ycbcr": ("8",),
    "lab": ("8", "16"),
}
_PHOTOMETRIC = {
    "grey": "minisblack",
    "white": "miniswhite",
    "rgb": "rgb",
    "rgba": "rgb",
    "palette": "palette",
    "cmyk": "separated",
    "ycbcr": "ycbcr",
    "lab": "cielab",
}
_MANY = ("rgb", "rgba", "cmyk", "ycbcr", "lab")


def _layouts() -> Iterator[Callable[[], Case]]:
    """Without compression: photometric x bits x planes x byte order x BigTIFF x tiles."""
    for photometric, depths in BITS.items():
        for bits, planar, order, is_big, is_tiled in product(
            depths, ("contig", "separate"), "<>", (False, True), (False, True)
        ):
            if planar == "separate" and photometric not in _MANY:
                continue
            if bits in ("4", "12") and is_tiled and photometric == "rgb" and planar == "separate":
                continue
            yield partial(
                make, photometric, bits, planar, order=order, is_big=is_big, is_tiled=is_tiled
            )


def _compressions() -> Iterator[Callable[[], Case]]:
    """Compression x photometric x bits x planes x tiles x predictor."""
    for photometric, depths in BITS.items():
        for bits, planar, is_tiled, compression in product(
            depths,
            ("contig", "separate"),
            (False, True),
            (*PLAIN[1:], *LOSSY_CODECS, *PICTURE_CODECS),
        ):
            if planar == "separate" and photometric not in _MANY:
                continue
            if _is_written(photometric, bits, planar, compression):
                yield partial(make, photometric, bits, planar, compression, is_tiled=is_tiled)
    for is_tiled in (False, True):
        yield partial(make, "ycbcr", "8", "contig", "jpeg", is_tiled=is_tiled, subsampling=(2, 2))
    for photometric, bits, planar, compression, order in product(
        ("grey", "rgb"), ("8", "16", "32", "f32", "f64"), ("contig", "separate"),
        ("lzw", "deflate"), "<>",
    ):  # fmt: skip
        if planar == "contig" or photometric == "rgb":
            yield partial(
                make, photometric, bits, planar, compression, order=order, has_predictor=True
            )


def _is_written(photometric: str, bits: str, planar: str, compression: str) -> bool:
    """Whether there are such files, or tifffile makes them."""
    if bits in ("4", "12") or (bits == "1" and compression not in PLAIN):
        return False
    if compression == "jpeg":
        return bits == "8" and photometric in ("grey", "white", "rgb", "ycbcr", "cmyk")
    if photometric in ("ycbcr", "palette", "white", "lab"):
        return compression in PLAIN
    if compression == "webp":
        return bits == "8" and photometric in ("rgb", "rgba") and planar == "contig"
    if compression == "jpeg2000":
        return bits in ("8", "16")
    if compression == "jpegxl":
        return bits in ("8", "16", "f16", "f32") and photometric != "cmyk"
    return True


def _orientations() -> Iterator[Callable[[], Case]]:
    kinds = [
        ("grey", "8", "contig", "none"), ("grey", "16", "contig", "lzw"),
        ("grey", "f32", "contig", "none"), ("grey", "f64", "contig", "none"),
        ("rgb", "8", "contig", "none"), ("rgb", "8", "contig", "jpeg"),
        ("rgb", "8", "separate", "lzw"), ("rgb", "16", "contig", "deflate"),
        ("rgb", "16", "separate", "none"), ("rgb", "f32", "contig", "none"),
        ("rgb", "f64", "contig", "none"), ("rgba", "8", "contig", "lzw"),
        ("white", "16", "contig", "none"), ("palette", "8", "contig", "none"),
        ("cmyk", "8", "contig", "none"), ("lab", "8", "contig", "none"),
        ("ycbcr", "8", "contig", "jpeg"),
    ]  # fmt: skip
    for kind, orientation, is_tiled in product(kinds, range(2, 9), (False, True)):
        yield partial(make, *kind, orientation=orientation, is_tiled=is_tiled)


def _ranges() -> Iterator[Callable[[], Case]]:
    """Floats and integers whose white is not the largest number that they could have."""
    picture = scene()
    for photometric, bits, white in product(("grey", "rgb"), ("f32", "f64"), (255.0, 65535.0)):
        yield partial(make, photometric, bits, white=white)
    bright = picture.copy()
    bright[HEIGHT // 2, WIDTH // 2] = 3.5
    for photometric, bits, planar in product(("grey", "rgb"), ("f16", "f32", "f64"), _PLANES):
        if planar == "contig" or photometric == "rgb":
            yield partial(
                make, photometric, bits, planar, picture=bright, about="one-sample-above-white"
            )
    undefined = picture.copy()
    undefined[2, 3], undefined[3, 3] = np.nan, np.inf
    for photometric in ("grey", "rgb"):
        yield partial(make, photometric, "f32", picture=undefined, about="nan-and-inf")
    negative = picture.copy()
    negative[2, 3] = -0.5
    yield partial(make, "rgb", "f32", picture=negative, about="negative")


_PLANES = ("contig", "separate")


def _extra_samples() -> Iterator[Callable[[], Case]]:
    """Opacity in its three kinds, and further samples that are none."""
    picture, alpha = scene(), np.ones((HEIGHT, WIDTH, 1))
    alpha[HEIGHT // 2 :, : WIDTH // 2] = 0.25
    on_white = picture * alpha + (1 - alpha)
    grey = _luma(picture)
    for bits, planar in product(("8", "16"), _PLANES):
        for kind, stored, shown in (
            ("unassalpha", picture, on_white),
            ("assocalpha", picture * alpha, on_white),
            ("unspecified", picture, picture),
        ):
            samples = _integers(np.concatenate([stored, alpha], axis=2), bits)
            traits = {"photometric": "rgb", "bits": bits, "planar": planar, "extra": kind}
            yield partial(_case, traits, samples, shown, "rgb", planar, extrasamples=[kind])
        samples = _integers(np.concatenate([grey[..., None], alpha], axis=2), bits)
        traits = {"photometric": "grey", "bits": bits, "planar": planar, "extra": "unassalpha"}
        shown = np.repeat(grey[..., None] * alpha + (1 - alpha), 3, axis=2)
        yield partial(
            _case, traits, samples, shown, "minisblack", planar, extrasamples=["unassalpha"]
        )
        more = np.concatenate([picture, alpha, alpha * 0.5], axis=2)
        traits = {"photometric": "rgb", "bits": bits, "planar": planar, "extra": "two-unspecified"}
        yield partial(_case, traits, _integers(more, bits), picture, "rgb", planar,
            extrasamples=["unspecified", "unspecified"],
        )  # fmt: skip


def _pages() -> Iterator[Callable[[], Case]]:
    """Several pages, of which the first is not always the photo."""
    whole, small = _integers(scene(), "8"), _integers(scene(14, 20), "8")
    mask = np.ones((HEIGHT, WIDTH), bool)
    for order, is_big in product("<>", (False, True)):
        for name, pages in {
            "reduced-first": [(small, 1), (whole, 0)],
            "reduced-after": [(whole, 0), (small, 1)],
            "mask-first": [(mask, 4), (whole, 0)],
            "mask-after": [(whole, 0), (mask, 4)],
            "two-photos": [(whole, 2), (whole[::-1], 2)],
            "only-reduced": [(whole, 1)],
        }.items():
            buffer = io.BytesIO()
            with tifffile.TiffWriter(buffer, bigtiff=is_big, byteorder=order) as writer:
                for samples, kind in pages:
                    photometric = "minisblack" if samples.ndim == 2 else "rgb"
                    writer.write(samples, photometric=photometric, subfiletype=kind, metadata=None)
            traits = {"pages": name, "order": order, "big": is_big}
            yield partial(Case, _name(traits), buffer.getvalue(), whole, LOSSLESS)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(whole, photometric="rgb", subifds=1, metadata=None)
        writer.write(small, photometric="rgb", subfiletype=1, metadata=None)
    traits = {"pages": "reduced-in-sub-directory"}
    yield partial(Case, _name(traits), buffer.getvalue(), whole, LOSSLESS)


def make(
    photometric: str,
    bits: str,
    planar: str = "contig",
    compression: str = "none",
    *,
    order: str = "<",
    is_big: bool = False,
    is_tiled: bool = False,
    orientation: int = 1,
    has_predictor: bool = False,
    subsampling: tuple[int, int] = (1, 1),
    white: float | None = None,
    picture: NDArray[np.float64] | None = None,
    about: str = "",
) -> Case:
    """One file of the scene.

    Args:
        photometric: A key of `BITS`.
        bits: `8` and so on for integers, `f32` and so on for floats.
        planar: `contig` or `separate`.
        compression: As of tifffile.
        order: `<` or `>`.
        is_big: BigTIFF.
        is_tiled: Tiles instead of strips.
        orientation: The tag's value; the picture is stored accordingly.
        has_predictor: Differences are stored.
        subsampling: Of YCbCr: pixels that share a colour, across and down.
        white: The number that is white; None for 1 of floats, the largest one of integers.
        picture: Another scene.
        about: What is special of it.
    """
    picture = scene() if picture is None else picture
    samples, shown, more = _samples(photometric, bits, picture, white)
    turned = np.ascontiguousarray(ORIENTATIONS[orientation](samples))
    if orientation > 1:
        more["extratags"] = [*more.get("extratags", ()), (274, "H", 1, orientation, True)]
    if photometric == "ycbcr":
        more["subsampling"] = subsampling
    if is_tiled:
        more["tile"] = (TILE, TILE)
    else:
        more["rowsperstrip"] = 16
    if has_predictor:
        more["predictor"] = True
    if bits in ("4", "12"):
        more["bitspersample"] = int(bits)
    if bits == "12" and order == ">":
        # tifffile packs the bits of the swapped bytes; swapped before, they come out right.
        turned = turned.byteswap()
    if compression == "jpeg2000":
        more["compressionargs"] = {"level": 0, "reversible": True}
    if compression == "jpegxl":
        more["compressionargs"] = {"lossless": True}
    if compression in LOSSY_CODECS:
        more["compressionargs"] = {"level": 95}
    traits: dict[str, Any] = {"photometric": photometric, "bits": bits, "planar": planar}
    traits |= {"compression": compression, "order": order, "big": is_big, "tiled": is_tiled}
    traits |= {
        "orientation": orientation,
        "predictor": has_predictor,
        "white": white,
        "about": about,
    }
    traits["subsampling"] = "x".join(map(str, subsampling)) if subsampling != (1, 1) else ""
    is_lossy = compression in LOSSY_CODECS or photometric in ("lab", "palette") or bits == "4"
    return _case(
        traits, turned, shown, _PHOTOMETRIC[photometric], planar, is_lossy,
        compression=None if compression == "none" else compression,
        byteorder=order, bigtiff=is_big, **more,
    )  # fmt: skip


def _case(
    traits: dict[str, Any],
    samples: NDArray[Any],
    shown: NDArray[np.float64],
    photometric: str,
    planar: str,
    is_lossy: bool = False,
    **how: Any,
) -> Case:
    """A file of samples `(h, w)` or `(h, w, n)`."""
    if samples.ndim == 3:
        how["planarconfig"] = planar
        if planar == "separate":
            samples = np.ascontiguousarray(np.moveaxis(samples, 2, 0))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric=photometric, metadata=None, **how)
    clean = np.nan_to_num(shown, nan=0.0, posinf=0.0, neginf=0.0)
    expected = np.rint(np.clip(clean, 0, 1) * 255).astype(np.uint8)
    tolerance = LOSSY if is_lossy else LOSSLESS
    is_exact = how.get("compression") not in LOSSY_CODECS and traits.get("bits") != "12"
    return Case(
        _name(traits), buffer.getvalue(), expected, tolerance, samples if is_exact else None
    )


def _name(traits: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in traits.items() if value not in ("", None))


def _luma(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    return picture @ np.array([0.299, 0.587, 0.114])


def _integers(values: NDArray[np.float64], bits: str) -> NDArray[Any]:
    n = int(bits)
    dtype = np.uint8 if n <= 8 else np.uint16 if n <= 16 else np.uint32
    return np.rint(np.clip(values, 0, 1) * (2**n - 1)).astype(dtype)


def _stored(values: NDArray[np.float64], bits: str, white: float | None) -> NDArray[Any]:
    if bits == "1":
        return values > 0.5
    if bits.startswith("f"):
        return (values * (white or 1.0)).astype(f"f{int(bits[1:]) // 8}")
    if white is not None:
        return np.rint(values * white).astype(_integers(values, bits).dtype)
    return _integers(values, bits)


def _samples(
    photometric: str, bits: str, picture: NDArray[np.float64], white: float | None
) -> tuple[NDArray[Any], NDArray[np.float64], dict[str, Any]]:
    """What is stored, what it should look like (RGB), and tags."""
    grey = _luma(picture)
    if photometric in ("grey", "white"):
        stored = _stored(grey if photometric == "grey" else 1 - grey, bits, white)
        shown = (grey > 0.5).astype(float) if bits == "1" else grey
        return stored, np.repeat(shown[..., None], 3, axis=2), {}
    if photometric == "rgb":
        return _stored(picture, bits, white), picture, {}
    if photometric == "rgba":
        opaque = np.concatenate([picture, np.ones((*picture.shape[:2], 1))], axis=2)
        return _stored(opaque, bits, white), picture, {"extrasamples": ["unassalpha"]}
    if photometric == "palette":
        return _palette(picture, bits)
    if photometric == "cmyk":
        black = 1 - picture.max(axis=2, keepdims=True)
        left = np.maximum(1 - black, 1e-9)
        inks = np.concatenate([(1 - picture - black) / left, black], axis=2)
        return _integers(inks, bits), picture, {}
    if photometric == "ycbcr":
        return _ycbcr(picture), picture, {}
    assert photometric == "lab"
    return _lab(picture, bits), picture, {}


def _palette(
    picture: NDArray[np.float64], bits: str
) -> tuple[NDArray[Any], NDArray[np.float64], dict[str, Any]]:
    """6 x 7 x 6 colours, in an order of no meaning."""
    levels = np.array([6, 7, 6])
    steps = np.rint(picture * (levels - 1)).astype(int)
    index = (steps[..., 0] * 7 + steps[..., 1]) * 6 + steps[..., 2]
    shuffled = np.random.default_rng(0).permutation(252)
    colours = np.zeros((3, 1 << int(bits)), np.uint16)
    grid = np.stack(np.unravel_index(np.arange(252), levels)) / (levels[:, None] - 1)
    colours[:, shuffled] = np.rint(grid * 65535)
    stored = shuffled[index].astype(np.uint8 if bits == "8" else np.uint16)
    return stored, steps / (levels - 1), {"colormap": colours}


def _ycbcr(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
    y = _luma(picture)
    blue, red = (picture[..., 2] - y) / 1.772, (picture[..., 0] - y) / 1.402
    both = np.stack([y * 255, blue * 255 + 128, red * 255 + 128], axis=-1)
    return np.clip(np.rint(both), 0, 255).astype(np.uint8)


def _lab(picture: NDArray[np.float64], bits: str) -> NDArray[Any]:
    """CIELab of D50: L unsigned, a and b signed, in one array of unsigned numbers."""
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4360747, 0.3850649, 0.1430804],
            [0.2225045, 0.7168786, 0.0606169],
            [0.0139322, 0.0971045, 0.7141733],
        ]
    )
    ratio = linear @ to_xyz.T / np.array([0.96422, 1.0, 0.82521])
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    light = 116 * root[..., 1] - 16
    a, b = 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])
    if bits == "8":
        chroma = np.clip(np.rint([a, b]), -128, 127).astype(np.int8).view(np.uint8)
        return np.stack([np.rint(light * 2.55).astype(np.uint8), *chroma], axis=-1)
    chroma = np.clip(np.rint([a * 256, b * 256]), -32768, 32767).astype(np.int16).view(np.uint16)
    return np.stack([np.rint(light * 655.35).astype(np.uint16), *chroma], axis=-1)
