"""What a scan found, counted while it runs, and shown at its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from batchage.storage import without_password
from batchage.types import ERROR_STATUSES, Status

if TYPE_CHECKING:
    from batchage.storage import AnyPath

BAR_WIDTH = 30


@dataclass(slots=True)
class Tally:
    """Counts of a scan, in bounded memory.

    Attributes:
        statuses: Files by status.
        genders: Faces by gender.
        decades: Faces by decade of the estimated age; 0 stands for ages 0 to 9.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    genders: Counter[str] = field(default_factory=Counter)
    decades: Counter[int] = field(default_factory=Counter)

    def add(self, images: pa.Table | pa.RecordBatch, faces: pa.Table | pa.RecordBatch) -> None:
        """Count rows of both tables."""
        self.statuses.update(images["status"].to_pylist())
        self.genders.update(faces["gender"].to_pylist())
        # Of a table that another program wrote, an age may be missing.
        ages = filter(math.isfinite, faces["age_years"].to_pylist())
        self.decades.update(int(age // 10) * 10 for age in ages)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "photos": self.files,
            "faces": self.faces,
            "could_not_be_read": self.unread,
            "statuses": dict(sorted(self.statuses.items())),
            "genders": dict(sorted(self.genders.items())),
            "decades": {str(decade): n for decade, n in sorted(self.decades.items())},
        }

    @property
    def files(self) -> int:
        """Files looked at."""
        return self.statuses.total()

    @property
    def faces(self) -> int:
        """Faces found."""
        return self.genders.total()

    @property
    def unread(self) -> int:
        """Files that gave no result."""
        return sum(n for status, n in self.statuses.items() if status in ERROR_STATUSES)


def show(
    console: Console,
    tally: Tally,
    seconds: float,
    places: Mapping[str, AnyPath],
    taken_over: int = 0,
    gone: int = 0,
) -> None:
    """Print the summary.

    Args:
        console: Where to.
        tally: What was counted.
        seconds: Wall time of this run, loading included.
        places: What was written, by name.
        taken_over: Files whose rows were there before.
        gone: Files of the earlier table that are not there any more.
    """
    table = Table(title="batchage scan", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    scanned = tally.files - taken_over
    rate = scanned / seconds if seconds else 0.0
    table.add_row("photos", f"{tally.files:,}  ({rate:.1f} a second, {seconds:.1f} s in all)")
    if taken_over:
        table.add_row("taken over", f"{taken_over:,}  ({scanned:,} scanned now)")
    if gone:
        table.add_row("gone", f"{gone:,}  (left out)")
    without = tally.statuses[Status.NO_FACE]
    table.add_row(
        "faces", f"{tally.faces:,}" + (f"  ({without:,} photos without)" if without else "")
    )
    if truncated := tally.statuses[Status.TRUNCATED]:
        table.add_row("truncated", f"{truncated:,}  (the visible part was used)")
    reasons = ", ".join(
        f"{s} {n:,}" for s, n in sorted(tally.statuses.items()) if s in ERROR_STATUSES
    )
    table.add_row("could not be read", reasons or "0", style="red" if tally.unread else None)
    if tally.faces:
        table.add_section()
        genders = sorted(tally.genders.items())
        table.add_row(
            "gender", ", ".join(f"{name} {n:,} ({n / tally.faces:.0%})" for name, n in genders)
        )
        most = max(tally.decades.values())
        for decade in range(min(tally.decades), max(tally.decades) + 10, 10):
            n = tally.decades[decade]
            bar = "█" * round(BAR_WIDTH * n / most) or ("▏" if n else "")
            table.add_row(f"age {decade}–{decade + 9}", f"{bar} {n:,}")
    if places:
        table.add_section()
        names: dict[AnyPath, list[str]] = {}
        for name, path in places.items():
            names.setdefault(path, []).append(name)
        for path, called in names.items():
            table.add_row(", ".join(called), without_password(str(path)))
    console.print(table)
