"""A scan's table measured against labels, as a function: what `batchage evaluate` calls."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchage.errors import OutputError, UsageError
from batchage.evaluation.join import COLUMNS, Joined, join
from batchage.evaluation.labels import read_csv
from batchage.evaluation.metrics import all_metrics
from batchage.evaluation.plots import save_plots
from batchage.evaluation.tables import LEGEND, markdown_table, sections
from batchage.places import locate, mark_folder, on_this_machine
from batchage.write import read_columns

RESULTS_FILE = "evaluation.json"
REPORT_FILE = "evaluation.md"


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How a table compares with labels.

    Attributes:
        joined: Labels and predictions of each labelled face, and what was left over.
        metrics: What `batchage.evaluation.metrics.all_metrics` says of them.
        files: What was written.
    """

    joined: Joined
    metrics: dict[str, Any]
    files: list[Path]

    @property
    def counts(self) -> dict[str, int]:
        """What became of labels and photos, by description."""
        return {
            "labels that met a face": len(self.joined.outcome),
            "labels without a face in the table": len(self.joined.without_face),
            "labelled photos with several faces (the central one counts)": self.joined.of_several,
            "photos with faces but without a label": self.joined.unlabelled_photos,
        }


def evaluate(
    table: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Measure a scan's predictions on labelled photos.

        import batchage

        batchage.evaluate("results.parquet", "labels.csv").metrics["all"]["age_mae"]

    Args:
        table: A faces table that a scan wrote, or the folder of a dataset; also URLs.
        labels: A CSV file with `path`, `age` (or `age_min` and `age_max`), and as wanted `gender`
            and `group`; also `page` where a file has several.
        output: Folder for `evaluation.json`, `evaluation.md` and plots; None writes nothing.

    Raises:
        UsageError: Table or labels can't be used, or no label names a photo of the table.
        OutputError: The folder can't be written.
    """
    folder = None if output is None else on_this_machine(output)
    # The labels first: Arrow's threads may abort a command that ends right after they began.
    found = read_csv(Path(labels))
    faces = read_columns(locate(table), COLUMNS, with_optional=True).to_pylist()
    try:
        joined = join(faces, found)
    except UsageError as error:
        raise UsageError(f"{labels}, {table}: {error}") from None
    evaluation = Evaluation(joined, all_metrics(joined.outcome), [])
    if folder is not None:
        try:
            evaluation.files.extend(_save(evaluation, folder))
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(
                f"{folder}: the evaluation can't be written ({reason}); choose another folder"
            ) from None
    return evaluation


def _save(evaluation: Evaluation, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    plots = save_plots(evaluation.joined.outcome, evaluation.metrics, folder)
    mark_folder(folder, [plot.name for plot in plots])
    result = {
        "counts": evaluation.counts,
        "without_face": [label.written for label in evaluation.joined.without_face],
        **evaluation.metrics,
    }
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    (folder / RESULTS_FILE).write_text(text, encoding="utf-8")
    parts = ["# Evaluation", "\n".join(f"- {k}: {n:,}" for k, n in evaluation.counts.items())]
    parts.append(LEGEND)
    parts += [markdown_table(section) for section in sections(evaluation.metrics)]
    parts += [f"![{plot.stem}]({plot.name})" for plot in plots]
    (folder / REPORT_FILE).write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return [folder / RESULTS_FILE, folder / REPORT_FILE, *plots]
