"""Files that appear whole or not at all, and survive a power cut once they have appeared."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batchage.errors import OutputError

REMEDY = "free space and give the same command again, it goes on where it stopped"


@contextlib.contextmanager
def as_output_error(
    place: Path | str, remedy: str = REMEDY, done: str = "written"
) -> Iterator[None]:
    """Turn an operating system's error into one sentence.

    Args:
        place: What is at stake.
        remedy: What to do.
        done: What could not be done to it.

    Raises:
        OutputError: An `OSError` came from inside.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{place}: could not be {done} ({reason}); {remedy}") from None


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` last."""
    # Some network file systems can't; the files are whole all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def put_into_place(partial: Path, path: Path) -> None:
    """Sync a finished file and rename it.

    Raises:
        OSError: That can't be done.
    """
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all.

    Raises:
        OSError: It can't be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    put_into_place(partial, path)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: It can't be read.
        ValueError: It holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value
