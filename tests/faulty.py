"""A decoder for worker processes that does what the file's name says."""

import ctypes
import os
import sys
import time

import numpy as np

from batchage.errors import DecodeError, TooLargeError
from batchage.types import DecodedImage


def decode(path, *, max_pixels, reserve, enough=None, colours_later=False, tiles=False):
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
