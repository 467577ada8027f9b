"""`batchage scan`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from batchage.command.base import (
    CONTACT_SHEET,
    EXIT_UNREAD,
    QUIET,
    Command,
    make_report,
    say,
    set_up_logging,
)
from batchage.config import REPORT_THUMBNAILS, ScanConfig
from batchage.errors import UsageError
from batchage.options import FILES, GOING_ON, OUTPUT, SPEED, told
from batchage.places import AnyPath, on_this_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCall:
    """Scan photos and write one row per face and one per file.

    A scan that was stopped goes on with the same command.

    Options may also stand in the table scan of batchage.toml (detect-size = 1280), and in the
    environment (BATCHAGE_SCAN_DETECT_SIZE).

    Exit codes: 0 done, 1 failed, 2 usage, 3 done but some files could not be read, 130 interrupted,
    143 terminated.
    """

    inputs: tuple[str, ...] = field(
        default=(),
        metadata=told("Folders and photos, or URLs of them; - reads a list from standard input."),
    )
    config: ScanConfig = field(default_factory=ScanConfig)
    report: Path | None = field(
        default=None,
        metadata=told(
            "Folder for a page to look at, with its thumbnails.",
            OUTPUT,
            read=on_this_machine,
            shown="FOLDER",
        ),
    )
    contact_sheet: str | None = field(default=None, metadata=CONTACT_SHEET)
    files_from: Path | None = field(
        default=None,
        metadata=told(
            "File with one path a line, or NUL-separated; - for standard input.",
            FILES,
            read=Path,
            shown="FILE",
        ),
    )
    dry_run: bool = field(
        default=False,
        metadata=told(
            "Say what would be scanned and how long it would take, write nothing.", GOING_ON
        ),
    )
    profile: bool = field(default=False, metadata=told("Show where the time went.", SPEED))
    json: bool = field(
        default=False,
        metadata=told("The summary as JSON on standard output, for scripts.", OUTPUT),
    )
    quiet: bool = field(default=False, metadata=QUIET)
    verbose: bool = field(default=False, metadata=told("A line for every file.", OUTPUT, short="v"))
    log_file: Path | None = field(
        default=None,
        metadata=told("Write the log here too.", OUTPUT, read=Path, shown="FILE"),
    )

    def __post_init__(self) -> None:
        is_stream = str(self.config.output) == "-"
        if self.report and is_stream:
            raise UsageError("--report needs a table: give -o a file, not -")
        if self.json and is_stream:
            raise UsageError("--json and -o - both write to standard output: give -o a file")
        if self.contact_sheet and (self.thumbnails is None or is_stream):
            raise UsageError("--contact-sheet needs --thumbnails and a table: give both")

    @property
    def thumbnails(self) -> AnyPath | None:
        """Where they go: a report's are beside it, unless a folder is named."""
        beside = self.report / REPORT_THUMBNAILS if self.report else None
        return self.config.thumbnails or beside


def scan(call: ScanCall) -> int:
    """Scan, and make of the results what was asked for."""
    set_up_logging(call.verbose, call.quiet, call.log_file)
    from batchage.command.progress import Shown, run
    from batchage.drawing import make_contact_sheets, prepare_folder, prepare_sheets

    config = replace(call.config, thumbnails=call.thumbnails)
    inputs, table = list(call.inputs), str(config.output)
    shown = Shown(call.quiet, call.profile, call.json)
    if call.dry_run:
        from batchage.command.forecast import run as forecast

        forecast(config, inputs, call.files_from, shown)
        return 0
    # Before the scan and not after it.
    if call.report:
        prepare_folder(call.report)
    if call.contact_sheet:
        prepare_sheets(call.contact_sheet)
    unread = run(config, inputs, call.files_from, shown)
    if call.contact_sheet:
        thumbnails = str(config.thumbnails)
        sheets = make_contact_sheets(table, thumbnails, call.contact_sheet, call.quiet)
        if not call.quiet:
            say(f"contact sheets: {', '.join(map(str, sheets))}")
    if call.report:
        make_report(table, call.report, str(config.thumbnails), call.quiet)
    return EXIT_UNREAD if unread else 0


COMMAND = Command(ScanCall, scan, loads_networks=True)
