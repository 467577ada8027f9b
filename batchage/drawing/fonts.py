"""matplotlib, without its list of the machine's fonts in the user's home."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache
from typing import Any

FOLDER = "MPLCONFIGDIR"
"""Variable that names the folder where matplotlib keeps what it found out."""


@cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    """One that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="batchage-")


def load_matplotlib() -> Any:
    """matplotlib, which keeps things where the user's environment says so, or nowhere."""
    if FOLDER in os.environ or "matplotlib" in sys.modules:
        import matplotlib

        return matplotlib
    os.environ[FOLDER] = _own_folder().name
    try:
        import matplotlib

        # It looks once, and remembers.
        matplotlib.get_configdir()
        matplotlib.get_cachedir()
    finally:
        del os.environ[FOLDER]
    return matplotlib
