"""A scan that is watched: progress, a line in the log for each file, a summary at the end.

All of it goes to standard error; standard output is for data.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from batchage.api import Scan, absolute_inputs, count_of
from batchage.command.summary import show
from batchage.config import ScanConfig
from batchage.drawing import printable
from batchage.errors import UsageError
from batchage.places import AnyPath, without_password
from batchage.types import ImageRef
from batchage.walk import Skipped, absolute_input, iter_images, iter_listed, open_list

HOW_TO_GO_ON = "; what was computed is saved, the same command goes on from there"
Walk = Callable[[Skipped | None], Iterator[ImageRef]]
log = logging.getLogger("batchage")


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a scan is shown.

    Attributes:
        quiet: Neither a bar nor a table at the end.
        profile: Where the time went.
        as_json: The summary as JSON on standard output.
    """

    quiet: bool = False
    profile: bool = False
    as_json: bool = False


def run(config: ScanConfig, inputs: list[str], files_from: Path | None, shown: Shown) -> int:
    """Scan with progress and summary.

    Args:
        config: The settings.
        inputs: Files and folders; `-` stands for a list on standard input.
        files_from: A list of further ones, or None.
        shown: What is shown of it.

    Returns:
        The number of files that could not be read.

    Raises:
        BatchageError: The scan can't be carried out.
    """
    started = time.perf_counter()
    named = absolute_inputs([*inputs, *([files_from] if files_from else [])])
    walk, skipped = make_walk(inputs, files_from, config), Skipped()
    for folder in map(absolute_input, map(str, config.picture_folders)):
        if any(folder.startswith(f"{name}/") for name in named):
            log.warning("%s: lies among the photos and is not scanned", folder)
    scan = Scan(walk(skipped), config, named)
    try:
        # What libraries print is no data; the scan itself has the stream already.
        with redirect_stdout(sys.stderr), scan:
            count = _Count(walk)
            count.start()
            n_faces = _watch(scan, count, shown.quiet)
    except KeyboardInterrupt as signalled:
        if scan.sink.can_go_on():
            signalled.args = (HOW_TO_GO_ON,)
        raise
    tally = scan.sink.tally
    if not tally.files:
        log.warning("no photos were found; the table is empty")
    for folder, n in skipped.own.items():
        pictures = count_of(n, "picture")
        log.warning("%s: left out %s that batchage made", printable(folder), pictures)
    places: dict[str, AnyPath] = {}
    if paths := scan.sink.paths:
        places = {"faces table": paths.faces, "images table": paths.images}
    if config.thumbnails:
        places["thumbnails"] = config.thumbnails
    if config.crops:
        places["crops"] = config.crops
    seconds = time.perf_counter() - started
    if not shown.quiet:
        show(Console(stderr=True), scan.sink, skipped, seconds, places)
    if shown.as_json:
        written = {
            name.replace(" ", "_"): without_password(str(path)) for name, path in places.items()
        }
        about = {"seconds": round(seconds, 3), "written": written}
        print(json.dumps({**scan.sink.to_dict(), "skipped": skipped.to_dict(), **about}))
    if shown.profile:
        scan.profile.show(Console(stderr=True), seconds, scan.sink.scanned, n_faces)
    return tally.unread


def make_walk(inputs: list[str], files_from: Path | None, config: ScanConfig) -> Walk:
    """A function that walks the inputs, as often as it is called, and counts what it skips."""
    lists = [Path("-")] if "-" in inputs else []
    if files_from:
        lists.append(files_from)
    plain = [path for path in inputs if path != "-"]
    if not plain and not lists:
        raise UsageError("give a folder or photos to scan, or --files-from a list of them")
    listed = [entry for name in lists for entry in open_list(name)]

    def walk(skipped: Skipped | None) -> Iterator[ImageRef]:
        how = (config.filter, config.picture_folders, skipped)
        return itertools.chain(iter_images(plain, *how), iter_listed(listed, *how))

    return walk


class _Count(threading.Thread):
    """Counts the files while the scan has begun already, for the time left."""

    def __init__(self, walk: Walk) -> None:
        super().__init__(daemon=True)
        self.total: int | None = None
        self._walk = walk

    def run(self) -> None:
        # An input that vanishes is an error of the scan itself; then there is no total.
        with suppress(UsageError, OSError):
            self.total = sum(1 for _ in self._walk(None))


def _watch(scan: Scan, count: _Count, quiet: bool) -> int:
    """Run the scan under a progress bar, with a line in the log for each photo; the faces found."""
    n_files = n_faces = 0
    progress = {"total": count.total, "disable": quiet or None}
    with tqdm(unit=" photos", file=sys.stderr, **progress) as bar:
        for record in scan:
            if scan.sink.scanned == 1 and scan.sink.is_continued:
                tqdm.write("batchage: an interrupted scan goes on", file=sys.stderr)
            n_files += record.is_last
            n_faces += len(record.faces)
            bar.set_postfix_str(f"{n_faces:,} faces", refresh=False)
            # What is taken over takes no time and shall not spoil the time left.
            bar.total, bar.initial = count.total, scan.sink.taken_over
            bar.update(n_files + scan.sink.taken_over - bar.n)
            level = logging.WARNING if record.status.is_error else logging.INFO
            detail = f": {record.error}" if record.error else f", {len(record.faces)} faces"
            with tqdm.external_write_mode(file=sys.stderr):
                line = f"{record.name}: {record.status}{detail}"
                log.log(level, "%s", printable(line))
    return n_faces
