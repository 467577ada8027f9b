"""Inputs → `ImageRef`: which files there are."""

from batchage.walk.inputs import absolute_input, disk_of, iter_images, iter_listed
from batchage.walk.lists import read_list
from batchage.walk.remote import examine

__all__ = ["absolute_input", "disk_of", "examine", "iter_images", "iter_listed", "read_list"]
