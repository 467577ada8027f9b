"""Files by their names, wherever they are, and what is said where that fails."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from batchage.errors import OutputError
from batchage.places.folders import Folder, LocalFolder
from batchage.places.names import AnyPath, without_password
from batchage.places.patience import reason_of
from batchage.places.stores import StoreFolder

AGAIN = "give the same command again, it goes on where it stopped"
REMEDY = f"free space and {AGAIN}"
STORE_REMEDY = f"see that the store can be reached and {AGAIN}"


@contextlib.contextmanager
def as_output_error(
    place: AnyPath | str, remedy: str | None = None, done: str = "written"
) -> Iterator[None]:
    """Turn an operating system's error into one sentence.

    Args:
        place: What is at stake.
        remedy: What to do; None is what helps whoever runs out of space, or of network.
        done: What could not be done to it.

    Raises:
        OutputError: An `OSError` came from inside.
    """
    try:
        yield
    except OSError as error:
        if isinstance(place, (Path, str)):
            reason = error.strerror or str(error)
            advice = remedy or REMEDY
        else:
            is_missing = isinstance(error, FileNotFoundError)
            reason = "there is no such bucket or folder" if is_missing else reason_of(error)
            advice = remedy or STORE_REMEDY
        shown = without_password(str(place))
        raise OutputError(f"{shown}: could not be {done} ({reason}); {advice}") from None


def folder_at(path: AnyPath) -> Folder:
    """The folder at `path`."""
    return LocalFolder(path) if isinstance(path, Path) else StoreFolder(path)


def read_bytes(path: AnyPath) -> bytes:
    """A file's content.

    Raises:
        OSError: It can't be read.
    """
    return folder_at(path.parent).read(path.name)


def open_input(path: AnyPath) -> BinaryIO:
    """A file to read in any order; one of a store is fetched whole.

    Raises:
        OSError: It can't be read.
    """
    return path.open("rb") if isinstance(path, Path) else io.BytesIO(read_bytes(path))


def write_json(path: AnyPath, value: Any) -> None:
    """Write `value` as JSON, whole or not at all.

    Raises:
        OSError: It can't be written.
    """
    folder_at(path.parent).write_json(path.name, value)


def read_object(path: AnyPath) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: It can't be read.
        ValueError: It holds something else.
    """
    try:
        value = json.loads(read_bytes(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value
