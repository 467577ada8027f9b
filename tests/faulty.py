"""A decoder for worker processes that does what the file's name says."""

import ctypes
import os
import sys
import time

import numpy as np

from batchage.errors import DecodeError, TooLargeError
from batchage.types import DecodedImage


def decode(path, *, max_pixels, reserve, tell_pages, page=1, enough=None, **how):
    name = path.name.partition(".")[0]
    if name == "segfault":
        ctypes.string_at(0)
    if name == "exit":
        os._exit(7)
    if name == "killed":
        os.kill(os.getpid(), 9)
    if name == "hang":
        time.sleep(600)
    if name == "error":
        raise DecodeError("a bad file")
    if name == "large":
        raise TooLargeError("a large file")
    if name == "bug":
        raise RuntimeError("no DecodeError")
    if name == "print":
        print("noise on standard output", flush=True)
        os.write(1, b"more of it")
        sys.stderr.write("and on standard error")
    reserve(48)
    if name == "late":
        ctypes.string_at(0)
    return DecodedImage(np.full((4, 4, 3), 7, np.uint8), 4, 4, "hash", None, None)


def decode_page(path, *, max_pixels, reserve, tell_pages, page=1, **how):
    """A page of three, of which the one in the file's name ends the process."""
    tell_pages(3)
    if int(path.stem[-1]) == page:
        os._exit(7)
    reserve(48)
    return DecodedImage(np.full((4, 4, 3), 7, np.uint8), 4, 4, "hash", None, None)
