"""Make the pictures in `examples/photos` from public-domain photos that two packages ship.

Run `pip install matplotlib scikit-image pillow pillow-heif`, then
`python examples/make_photos.py`. `examples/photos/README.md` says where each picture comes from.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib import cbook
from PIL import ExifTags, Image, ImageOps
from pillow_heif import register_heif_opener
from skimage import data

PHOTOS = Path(__file__).parent / "photos"
MADE_UP_CAPTURE_TIME = datetime(1999, 7, 23, 18, 31, 0)
STORED_ROTATED = 6


def collins() -> Image.Image:
    """NASA's portrait of Eileen Collins, 512 × 512."""
    return Image.fromarray(data.astronaut())


def hopper() -> Image.Image:
    """The US Navy's portrait of Grace Hopper, 512 × 600."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return Image.open(file).convert("RGB")


def coffee() -> Image.Image:
    """A cup of coffee, without a person."""
    return Image.fromarray(data.coffee())


def sky(width: int = 800, height: int = 450) -> Image.Image:
    """A generated evening sky with soft bands of cloud."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None]
    top, horizon = np.array([38, 70, 130]), np.array([250, 190, 130])
    clouds = np.sin(9 * y + 1.5 * np.sin(5 * x)) * np.sin(23 * y + 2 * x) * 14
    return Image.fromarray(np.clip(top + (horizon - top) * y + clouds, 0, 255).astype(np.uint8))


def contact_sheet() -> Image.Image:
    """Three rows of tiles, eleven faces in three sizes, every second one mirrored."""
    faces = (collins().crop((116, 0, 336, 264)), hopper().crop((60, 0, 460, 480)))
    sheet = Image.new("RGB", (1200, 1008), (236, 232, 224))
    index = 0
    for top, width, height, count in ((24, 360, 432, 2), (480, 240, 288, 3), (792, 160, 192, 6)):
        gap = (sheet.width - count * width) // (count + 1)
        for column in range(count):
            tile = ImageOps.fit(faces[(index + index // 4) % 2], (width, height))
            if index % 2:
                tile = ImageOps.mirror(tile)
            sheet.paste(tile, (gap + column * (width + gap), top))
            index += 1
    return sheet


def stored_rotated(picture: Image.Image, path: Path) -> None:
    """Save as a phone does: turned pixels, the orientation and the capture time in EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = STORED_ROTATED
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = MADE_UP_CAPTURE_TIME.strftime(
        "%Y:%m:%d %H:%M:%S"
    )
    picture.transpose(Image.Transpose.ROTATE_90).save(path, quality=88, exif=exif)


def main() -> None:
    """Write all pictures, replacing those that are there."""
    register_heif_opener()
    for folder in ("portraits", "groups", "no-people"):
        (PHOTOS / folder).mkdir(parents=True, exist_ok=True)
    portraits = PHOTOS / "portraits"
    collins().save(portraits / "collins.jpg", quality=90)
    stored_rotated(hopper(), portraits / "hopper-rotated.jpg")
    collins().crop((96, 0, 352, 256)).save(portraits / "collins-face.png", optimize=True)
    ImageOps.mirror(hopper()).save(portraits / "hopper-mirrored.webp", quality=85, method=6)
    hopper().convert("L").save(portraits / "hopper-grey.jpg", quality=88)
    ImageOps.mirror(collins()).save(portraits / "collins-mirrored.heic", quality=70)
    contact_sheet().save(PHOTOS / "groups" / "contact-sheet.jpg", quality=88)
    coffee().save(PHOTOS / "no-people" / "coffee.jpg", quality=85)
    sky().save(PHOTOS / "no-people" / "sky.jpg", quality=85)


if __name__ == "__main__":
    main()
