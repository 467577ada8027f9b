r"""Two bundles side by side on the same test faces, with the uncertainty of their difference.

    python -m train.compare models/vgg16-utkface models/mine --manifest runs/mine.parquet

Both see each picture by the way of a scan. An interval around a difference is one of 95 %, from the
differences face by face: one that holds 0 says that chance may have made it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from batchage.config import DETECT_PRECISIONS, PRECISIONS
from batchage.evaluation import FIGURES, Outcome, margin
from batchage.networks import choose_compute, load_bundle
from batchage.predict import KIND
from train.command import explain_errors
from train.evaluate import Evaluator
from train.manifest import by_source, read_manifests


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of two bundles.

    Attributes:
        name: What it is, with its unit.
        faces: How many faces it is a mean over.
        before: Of the first bundle.
        after: Of the second.
        margin: Half the width of the 95 % interval around `after - before`.
        is_share: Whether it is a share, shown in per cent.
    """

    name: str
    faces: int
    before: float
    after: float
    margin: float
    is_share: bool

    def cells(self) -> list[str]:
        """Name, count, both figures and their difference, as text."""
        form = "{:.1%}" if self.is_share else "{:.2f}"
        change = self.after - self.before
        factor, unit = (100, " points") if self.is_share else (1, "")
        said = f"{factor * change:+.2f} ± {factor * self.margin:.2f}{unit}"
        both = (form.format(value) for value in (self.before, self.after))
        return [self.name, f"{self.faces:,}", *both, said]


def difference(
    name: str, before: NDArray[Any], after: NDArray[Any], is_share: bool = False
) -> Difference:
    """The difference of two means over the same n faces, from `(n,)` each."""
    half = margin(after.astype(float) - before)
    means = float(before.mean()), float(after.mean())
    return Difference(name, len(before), *means, math.nan if half is None else half, is_share)


def differences(before: Outcome, after: Outcome) -> list[Difference]:
    """What differs between two bundles' outcomes on the same labels."""
    exact, known = before.exact, before.gender_known
    ranged = ~exact

    def pair(figure: Callable[[Outcome], NDArray[Any]]) -> list[NDArray[Any]]:
        return [figure(outcome) for outcome in (before, after)]

    values = {
        "age_mae": pair(lambda o: o.age_error[exact]),
        "interval_coverage": pair(lambda o: o.covered[exact]),
        "interval_width": pair(lambda o: (o.high - o.low)[exact]),
        "age_in_range": pair(lambda o: o.age_in_range[ranged]),
        "gender_accuracy": pair(lambda o: o.gender_right[known]),
    }
    return [
        difference(FIGURES[name].title, old, new, FIGURES[name].is_share)
        for name, (old, new) in values.items()
        if len(old)
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Set two bundles side by side.")
    parser.add_argument("before", help="a bundle's folder, or the name of a shipped one")
    parser.add_argument("after", help="the other one")
    parser.add_argument("--manifest", type=Path, action="append", required=True)
    parser.add_argument("--tta", action="store_true", help="average with mirror images")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    parser.add_argument("--detect-precision", default="auto", choices=DETECT_PRECISIONS)
    arguments = parser.parse_args()
    with explain_errors("compare"):
        compute = choose_compute("auto", arguments.precision, arguments.detect_precision)
        bundles = [load_bundle(name, KIND) for name in (arguments.before, arguments.after)]
        sets = by_source(read_manifests(arguments.manifest, "test"))
        evaluator = Evaluator(bundles, compute, arguments.tta)
        console = Console()
        for name, rows in sets.items():
            table = Table(title=f"{name}, {compute.precision}", title_justify="left")
            for number, column in enumerate(
                ["", "faces", *(bundle.model_id for bundle in bundles), "difference"]
            ):
                table.add_column(column, justify="right" if number else "left")
            before, after = evaluator.run(rows)
            for found in differences(before.outcome, after.outcome):
                table.add_row(*found.cells())
            console.print(table)


if __name__ == "__main__":
    main()
