"""What a scan found, shown at its end."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from batchage.places import AnyPath, without_password
from batchage.results import Tally
from batchage.types import ERROR_STATUSES, Status

BAR_WIDTH = 30


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
