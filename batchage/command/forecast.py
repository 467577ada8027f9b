"""What a scan would do, and how long it would take, by scanning a few of its photos."""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from tqdm import tqdm

from batchage.api import absolute_inputs, made_with
from batchage.command.progress import Shown, make_walk
from batchage.command.summary import skipped_rows
from batchage.config import LOCAL, ScanConfig
from batchage.errors import UsageError
from batchage.pipeline import Pipeline
from batchage.results import make_sink
from batchage.types import ImageRef
from batchage.walk import Skipped

SAMPLE = 32
"""Photos that are scanned to see how long it takes."""
SAMPLE_SECONDS = 20.0
"""After which it is known well enough."""
MINUTE, HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a scan would do.

    Attributes:
        photos: Files that it would look at.
        bytes: Their size.
        taken_over: Of them, files whose rows are there already.
        tried: Files that were scanned for the forecast.
        faces_per_photo: Of those.
        photos_per_second: Of those.
        seconds: That the scan would take, about.
        skipped: What it would not look at, as of `Skipped`.
    """

    photos: int
    bytes: int
    taken_over: int
    tried: int
    faces_per_photo: float
    photos_per_second: float
    seconds: float
    skipped: dict[str, Any]


def run(config: ScanConfig, inputs: list[str], files_from: Path | None, shown: Shown) -> Forecast:
    """Look at what there is, scan a sample without keeping anything, and print the forecast.

    Args:
        config: The settings.
        inputs: Files and folders; `-` stands for a list on standard input.
        files_from: A list of further ones, or None.
        shown: How it is shown.

    Raises:
        BatchageError: The scan couldn't be carried out, or is not for this machine.
    """
    if config.engine != LOCAL:
        raise UsageError("--dry-run tries photos on this machine: give it without --engine")
    started = time.perf_counter()
    named = absolute_inputs([*inputs, *([files_from] if files_from else [])])
    skipped = Skipped()
    refs = make_walk(inputs, files_from, config)(skipped)
    sink = make_sink(config)
    with tempfile.TemporaryDirectory() as folder:
        thumbnails = Path(folder) / "thumbnails" if config.thumbnails else None
        crops = Path(folder) / "crops" if config.crops else None
        trial = replace(config, thumbnails=thumbnails, crops=crops)
        with closing(Pipeline(trial)) as pipeline:
            loading = time.perf_counter() - started
            sink.look(made_with(pipeline.identity, config, named))
            sample = random.Random(0)
            chosen: list[ImageRef] = []
            pending = n_bytes = 0
            walk = tqdm(
                sink.pending(refs), unit=" photos", file=sys.stderr, disable=shown.quiet or None
            )
            for ref in walk:
                pending += 1
                n_bytes += ref.size or 0
                # Each has the same chance, however many there are.
                place = len(chosen) if len(chosen) < SAMPLE else sample.randrange(pending)
                if place < SAMPLE:
                    chosen[place : place + 1] = [ref]
            began, tried, faces = time.perf_counter(), 0, 0
            with closing(pipeline.run(chosen)) as found:
                for record in found:
                    tried += record.is_last
                    faces += len(record.faces)
                    if time.perf_counter() - began > SAMPLE_SECONDS:
                        break
            rate = tried / (time.perf_counter() - began)
    forecast = Forecast(
        photos=pending + sink.taken_over,
        bytes=n_bytes,
        taken_over=sink.taken_over,
        tried=tried,
        faces_per_photo=faces / max(tried, 1),
        photos_per_second=rate,
        seconds=loading + (pending / rate if tried else 0.0),
        skipped=skipped.to_dict(),
    )
    if not shown.quiet:
        _show(Console(stderr=True), forecast, skipped, sink.is_continued)
    if shown.as_json:
        print(json.dumps(asdict(forecast)))
    return forecast


def _show(console: Console, forecast: Forecast, skipped: Skipped, is_continued: bool) -> None:
    table = Table(title="batchage scan --dry-run", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    table.add_row("photos", f"{forecast.photos:,}")
    if forecast.taken_over:
        why = "an interrupted scan goes on" if is_continued else "they have not changed"
        table.add_row("taken over", f"{forecast.taken_over:,}  ({why})")
    to_scan = forecast.photos - forecast.taken_over
    table.add_row("to scan", f"{to_scan:,}  ({decimal(forecast.bytes)})")
    if forecast.tried:
        table.add_row(
            "about",
            f"{_duration(forecast.seconds)}, {to_scan * forecast.faces_per_photo:,.0f} faces",
        )
        table.add_row(
            "tried",
            f"{forecast.tried:,} photos: {forecast.photos_per_second:.1f} a second, "
            f"{forecast.faces_per_photo:.1f} faces a photo",
        )
    for name, text in skipped_rows(skipped):
        table.add_row(name, text)
    console.print(table)
    console.print("nothing was written")


def _duration(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} seconds"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} minutes"
    return f"{seconds / HOUR:.1f} hours"
