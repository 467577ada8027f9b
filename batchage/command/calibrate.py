"""`batchage calibrate`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batchage.command.base import QUIET, Command, say, set_up_logging
from batchage.config import DEFAULT_MODEL, ScanConfig
from batchage.options import FACES, FILES, OUTPUT, told

if TYPE_CHECKING:
    from batchage.recalibration import Recalibration


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateCall:
    """Fit a bundle's intervals, probabilities and, where it helps, ages to labelled photos.

    It takes minutes and trains nothing. The gain is measured by cross-validation: each face is
    judged by what was fitted on others.

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 terminated.
    """

    photos: str = field(metadata=told("Folder of the photos."))
    labels: Path = field(
        metadata=told(
            "CSV file with path and age, gender or both; 50 photos or more, each of one person or "
            "with the labelled one nearest its middle.",
            FILES,
            read=Path,
            shown="FILE",
        )
    )
    output: str = field(
        metadata=told("Folder of the new bundle.", OUTPUT, short="o", shown="FOLDER")
    )
    model: str = field(
        default=DEFAULT_MODEL,
        metadata=told("Bundle to start from: a name, or a folder.", FACES, shown="NAME"),
    )
    quiet: bool = field(default=False, metadata=QUIET)


def calibrate(call: CalibrateCall) -> int:
    """Fit, and print what that gains."""
    set_up_logging()
    from batchage import recalibration

    config = ScanConfig(model=call.model)
    found = recalibration.calibrate(call.photos, call.labels, call.output, config, call.quiet)
    if not call.quiet:
        _show(found)
    return 0


def _show(found: Recalibration) -> None:
    from rich.console import Console
    from rich.table import Table

    from batchage.evaluation import FIGURES

    print(
        f"{found.n_faces:,} labelled faces, {found.n_exact:,} with an exact age, "
        f"{found.n_genders:,} with a gender"
    )
    if found.without_face:
        print(f"{len(found.without_face):,} labels without a face, such as {found.without_face[0]}")
    table = Table(title="Cross-validated", title_justify="left")
    for number, title in enumerate(["", "before", "after"]):
        table.add_column(title, justify="right" if number else "left")
    before, after = asdict(found.before), asdict(found.after)
    for name in before:
        cells = [FIGURES[name].cell(values[name]) for values in (before, after)]
        if any(cells):
            table.add_row(FIGURES[name].title, *cells)
    Console().print(table)
    if found.gain is None:
        print("Ages and intervals stay as they were: too few ages are known.")
    elif found.fits_ages:
        gain = found.gain
        print(
            f"Ages are corrected, too: their error falls by {gain.years:.2f} ± {gain.margin:.2f}."
        )
    else:
        print("Ages stay as they were: correcting them gained no more than chance would.")
    say(f"{found.bundle.model_id}: scan with --model {found.bundle.path}")


COMMAND = Command(CalibrateCall, calibrate, loads_networks=True)
