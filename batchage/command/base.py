"""What a command is, and what commands share."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchage.errors import UsageError
from batchage.options import OUTPUT, told

EXIT_UNREAD = 3
TABLE = told("Table or folder that a scan wrote, or its URL.")
CONTACT_SHEET = told(
    "File for all thumbnails with their names, .jpg or .png.", OUTPUT, shown="FILE"
)
QUIET = told("No progress, no summary.", OUTPUT, short="q")
log = logging.getLogger("batchage")


@dataclass(frozen=True, slots=True)
class Command:
    """What a name on the command line stands for.

    Attributes:
        call: The dataclass of its settings; its docstring is the help.
        run: Does it; the exit code.
        loads_networks: Whether it looks at pictures.
    """

    call: type
    run: Callable[[Any], int]
    loads_networks: bool = False

    @property
    def about(self) -> list[str]:
        """The paragraphs of its help."""
        paragraphs = inspect.cleandoc(self.call.__doc__ or "").split("\n\n")
        return [" ".join(paragraph.split()) for paragraph in paragraphs]


def say(text: str) -> None:
    """Print a line on standard error, where all goes that is no data."""
    print(text, file=sys.stderr)


def set_up_logging(verbose: bool = False, quiet: bool = False, file: Path | None = None) -> None:
    """Show the log on standard error, and write it into a file where one is named.

    Raises:
        UsageError: The file can't be written.
    """
    log.setLevel(logging.DEBUG)
    log.handlers.clear()
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    screen.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(screen)
    if file is None:
        return
    try:
        written = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"{file}: the log can't be written ({error.strerror}); choose another place"
        ) from None
    written.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(written)


def make_report(table: str, output: str | Path, thumbnails: str | None, quiet: bool) -> None:
    """Make a page of a scan's results, and say where it is."""
    from batchage.reporting import report

    page = report(table, output, thumbnails)
    if not quiet:
        say(f"open {page} in a browser")
