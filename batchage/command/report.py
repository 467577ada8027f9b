"""`batchage report`."""

from __future__ import annotations

from dataclasses import dataclass, field

from batchage.command.base import TABLE, Command, make_report
from batchage.options import FILES, OUTPUT, told


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCall:
    """Make a page of a scan's results: charts, a gallery of faces, what could not be read.

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 terminated.
    """

    table: str = field(metadata=TABLE)
    output: str = field(
        default="report",
        metadata=told("Folder for the page.", OUTPUT, short="o", shown="FOLDER"),
    )
    thumbnails: str | None = field(
        default=None,
        metadata=told(
            "Folder of thumbnails; otherwise where the scan wrote them.", FILES, shown="FOLDER"
        ),
    )


def report(call: ReportCall) -> int:
    """Make the page."""
    make_report(call.table, call.output, call.thumbnails, quiet=False)
    return 0


COMMAND = Command(ReportCall, report)
