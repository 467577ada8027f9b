"""Annotated thumbnails, crops and contact sheets."""

from batchage.drawing.contact_sheet import make_contact_sheets, prepare_sheets
from batchage.drawing.fonts import load_matplotlib
from batchage.drawing.lettering import printable
from batchage.drawing.redraw import draw_thumbnails
from batchage.drawing.saving import Uploads, prepare_folder, save_picture
from batchage.drawing.thumbnails import (
    LABEL_STYLES,
    THUMBNAIL_SIDE,
    CropWriter,
    ThumbnailWriter,
    draw,
)

__all__ = [
    "LABEL_STYLES",
    "THUMBNAIL_SIDE",
    "CropWriter",
    "ThumbnailWriter",
    "Uploads",
    "draw",
    "draw_thumbnails",
    "load_matplotlib",
    "make_contact_sheets",
    "prepare_folder",
    "prepare_sheets",
    "printable",
    "save_picture",
]
