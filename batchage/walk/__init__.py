"""Inputs → `ImageRef`: which files there are."""

from batchage.walk.base import as_file_name, photo_path
from batchage.walk.choice import Skipped
from batchage.walk.inputs import absolute_input, disk_of, iter_images, iter_listed
from batchage.walk.lists import open_list, read_list
from batchage.walk.remote import examine

__all__ = [
    "Skipped",
    "absolute_input",
    "as_file_name",
    "disk_of",
    "examine",
    "iter_images",
    "iter_listed",
    "open_list",
    "photo_path",
    "read_list",
]
