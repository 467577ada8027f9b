"""The version, from the installed package's metadata."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("batchage")
except PackageNotFoundError:
    __version__ = "0+unknown"
