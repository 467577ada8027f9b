"""What a scan found, shown at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from batchage.drawing import printable
from batchage.places import AnyPath, without_password
from batchage.results import Sink
from batchage.types import ERROR_STATUSES, Status
from batchage.walk import Skipped

BAR_WIDTH = 30


def show(
    console: Console, sink: Sink, skipped: Skipped, seconds: float, places: Mapping[str, AnyPath]
) -> None:
    """Print the summary.

    Args:
        console: Where to.
        sink: What took the records and counted them.
        skipped: What wasn't looked at.
        seconds: Wall time of this run, loading included.
        places: What was written, by name.
    """
    tally = sink.tally
    table = Table(title="batchage scan", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    rate = sink.scanned / seconds if seconds else 0.0
    table.add_row("photos", f"{tally.files:,}  ({rate:.1f} a second, {seconds:.1f} s in all)")
    if sink.taken_over:
        table.add_row("taken over", f"{sink.taken_over:,}  ({sink.scanned:,} scanned now)")
    if sink.moved:
        table.add_row("moved", f"{sink.moved:,}  (taken over under their new names)")
    if sink.gone:
        table.add_row("gone", f"{sink.gone:,}  (left out)")
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
    for name, text in skipped_rows(skipped):
        table.add_row(name, text)
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


def skipped_rows(skipped: Skipped) -> Iterator[tuple[str, str]]:
    """What a walk left out, by what it is called."""
    if kinds := skipped.by_suffix:
        yield "not read", f"{_counts(kinds)}  (formats that batchage doesn't read)"
    if skipped.hidden:
        yield "hidden", f"{skipped.hidden:,}  (a leading dot; --hidden scans them)"
    if kinds := skipped.derivatives:
        yield "left out", f"{_counts(kinds)}  (folders of derivatives; --derivatives scans them)"
    if skipped.own:
        yield "own pictures", f"{skipped.own.total():,}  (batchage made them)"


def _counts(kinds: Mapping[str, int]) -> str:
    """`.mov 12, .psd 3`, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    return ", ".join(f"{printable(name)} {n:,}" for name, n in ordered)
