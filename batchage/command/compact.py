"""`batchage compact`."""

from __future__ import annotations

from dataclasses import dataclass, field

from batchage.command.base import TABLE, Command, say
from batchage.options import GOING_ON, OUTPUT, told
from batchage.places import without_password


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactCall:
    """Write a scan's tables in another format or place, such as a folder of files as one.

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 terminated.
    """

    table: str = field(metadata=TABLE)
    output: str = field(
        metadata=told(
            "What to write, a path or URL, as of batchage scan.", OUTPUT, short="o", shown="PLACE"
        )
    )
    overwrite: bool = field(default=False, metadata=told("Replace a finished output.", GOING_ON))


def compact(call: CompactCall) -> int:
    """Write, and say what."""
    from batchage import results

    paths = results.compact(call.table, call.output, call.overwrite)
    say(f"written: {without_password(', '.join(map(str, paths)))}")
    return 0


COMMAND = Command(CompactCall, compact)
