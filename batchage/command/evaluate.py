"""`batchage evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from batchage.command.base import TABLE, Command, say
from batchage.options import FILES, OUTPUT, told


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateCall:
    """Compare a scan's table with labels: print the errors, save them and their plots.

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 terminated.
    """

    table: str = field(metadata=TABLE)
    labels: Path = field(
        metadata=told(
            "CSV file with path and age (or age_min, age_max); gender, group and page as wanted.",
            FILES,
            read=Path,
            shown="FILE",
        )
    )
    output: str = field(
        default="evaluation",
        metadata=told("Folder for numbers and plots.", OUTPUT, short="o", shown="FOLDER"),
    )


def evaluate(call: EvaluateCall) -> int:
    """Evaluate, print, and say what was saved."""
    from rich.console import Console

    from batchage import evaluation

    found = evaluation.evaluate(call.table, call.labels, call.output)
    for description, n in found.counts.items():
        print(f"{n:,} {description}")
    evaluation.show(Console(), found.metrics)
    say(f"saved in {call.output}: {', '.join(f.name for f in found.files)}")
    return 0


COMMAND = Command(EvaluateCall, evaluate)
