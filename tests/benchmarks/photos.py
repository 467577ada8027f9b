"""Photos as cameras make them, for measuring: 12 megapixels, a few megabytes, 0 to 12 faces.

The faces are those of the public-domain portraits in `examples/photos`, at many sizes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PORTRAITS = Path(__file__).resolve().parents[2] / "examples" / "photos" / "portraits"
SIZE = (4000, 3000)
FACES = (1, 2, 0, 3, 1, 5, 2, 12, 1, 0)
"""Faces of the photos, one after the other; as in family albums, most have few."""
HEIGHTS = (160, 1400)
"""Of the heads, in pixels; those of a photo with many are small."""


def portraits() -> list[Image.Image]:
    """Heads with some background, 220 to 400 pixels wide."""
    collins = Image.open(PORTRAITS / "collins.jpg").convert("RGB").crop((116, 0, 336, 264))
    hopper = Image.open(PORTRAITS / "hopper-grey.jpg").convert("RGB").crop((60, 0, 460, 480))
    return [collins, hopper, ImageOps.mirror(collins), ImageOps.mirror(hopper)]


def make_photo(n_faces: int, rng: np.random.Generator) -> Image.Image:
    """A photo with `n_faces` heads that don't overlap, on a soft background, with grain."""
    width, height = SIZE
    coarse = rng.integers(60, 200, (6, 8, 3), np.uint8)
    photo = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
    columns = max(1, int(np.ceil(np.sqrt(n_faces * width / height))))
    rows = max(1, int(np.ceil(n_faces / columns)))
    cell_width, cell_height = width // columns, height // rows
    heads = portraits()
    for number in range(n_faces):
        head = heads[rng.integers(len(heads))]
        largest = min(HEIGHTS[1], cell_height, cell_width * head.height // head.width)
        tall = int(rng.uniform(HEIGHTS[0], largest))
        wide = tall * head.width // head.height
        x = number % columns * cell_width + rng.integers(cell_width - wide + 1)
        y = number // columns * cell_height + rng.integers(cell_height - tall + 1)
        photo.paste(head.resize((wide, tall), Image.Resampling.BICUBIC), (int(x), int(y)))
    grain = rng.normal(0, 5, (height, width, 1)).astype(np.float32)
    pixels = np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def make_photos(folder: Path, count: int, n_different: int = 20) -> int:
    """Write `count` JPEGs; after `n_different`, the same pictures come again under other names.

    Returns:
        How many faces are in them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    files: list[bytes] = []
    for number in range(min(count, n_different)):
        path = folder / f"{number:06}.jpg"
        make_photo(FACES[number % len(FACES)], rng).save(path, quality=90)
        files.append(path.read_bytes())
    for number in range(len(files), count):
        (folder / f"{number:06}.jpg").write_bytes(files[number % len(files)])
    return sum(FACES[number % n_different % len(FACES)] for number in range(count))
