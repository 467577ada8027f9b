"""`batchage thumbnails`."""

from __future__ import annotations

from dataclasses import dataclass, field

from batchage.command.base import (
    CONTACT_SHEET,
    EXIT_UNREAD,
    QUIET,
    TABLE,
    Command,
    say,
    set_up_logging,
)
from batchage.options import FILES, OUTPUT, told


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailsCall:
    """Draw the thumbnails of a scan from its table, without looking for faces again.

    Exit codes: 0 done, 1 failed, 2 usage, 3 done but some photos could not be drawn, 130
    interrupted, 143 terminated.
    """

    table: str = field(metadata=TABLE)
    output: str = field(
        default="thumbs",
        metadata=told("Folder for the thumbnails, or its URL.", OUTPUT, short="o", shown="FOLDER"),
    )
    photos: str | None = field(
        default=None,
        metadata=told(
            "Folder of the photos, or its URL, if they are elsewhere now.", FILES, shown="FOLDER"
        ),
    )
    side: int | None = field(
        default=None,
        metadata=told("Longest side of a thumbnail in pixels; a scan's are 640.", OUTPUT),
    )
    contact_sheet: str | None = field(default=None, metadata=CONTACT_SHEET)
    quiet: bool = field(default=False, metadata=QUIET)


def thumbnails(call: ThumbnailsCall) -> int:
    """Draw thumbnails, and contact sheets where a file for them is named, with progress."""
    set_up_logging()
    from batchage.drawing import (
        THUMBNAIL_SIDE,
        draw_thumbnails,
        make_contact_sheets,
        prepare_sheets,
    )

    if call.contact_sheet:
        prepare_sheets(call.contact_sheet)
    side = THUMBNAIL_SIDE if call.side is None else call.side
    redrawn = draw_thumbnails(call.table, call.output, call.photos, side, call.quiet)
    lines = [redrawn.summary(call.output)]
    if call.contact_sheet:
        sheets = make_contact_sheets(call.table, call.output, call.contact_sheet, call.quiet)
        lines.append(f"contact sheets: {', '.join(map(str, sheets))}")
    if not call.quiet:
        say("\n".join(lines))
    return EXIT_UNREAD if redrawn.not_drawn else 0


COMMAND = Command(ThumbnailsCall, thumbnails)
