"""An outcome as PNG pictures; colours of Okabe and Ito, which colour-blind people tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batchage.drawing import load_matplotlib
from batchage.evaluation.metrics import LABELS_BEHIND, QUALITIES, Metrics, reliability
from batchage.evaluation.outcome import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, RED, GREY = "#0072B2", "#E69F00", "#D55E00", "#999999"
DPI = 100
ERROR_LABEL = "mean absolute error (years)"


def _age(axes: Axes, outcome: Outcome) -> None:
    exact = outcome.exact
    middle = (outcome.age_min + outcome.age_max) / 2
    rng = np.random.default_rng(0)
    spread = rng.uniform(-0.4, 0.4, len(outcome)) * np.maximum(outcome.age_max - outcome.age_min, 1)
    axes.scatter(middle + spread, outcome.age, s=6, alpha=0.3, color=BLUE, linewidths=0)
    axes.plot([0, 100], [0, 100], color=RED, linewidth=1)
    axes.set(
        xlabel="labelled age (years)" if exact.all() else "labelled age, spread over its range",
        ylabel="predicted age (years)",
        title="Predicted against labelled age",
        xlim=(0, max(100, float(middle.max()) + 2)),
        ylim=(0, 100),
    )


def _with(table: Mapping[str, Metrics], key: str) -> dict[str, Metrics]:
    """The rows that have a metric."""
    return {name: row for name, row in table.items() if row[key] is not None}


def _bars(axes: Axes, table: Mapping[str, Metrics], key: str) -> None:
    """One bar for each row that has the metric, with the number of labels behind it on top."""
    rows = _with(table, key)
    axes.bar(list(rows), [float(row[key] or 0) for row in rows.values()], color=BLUE)
    for i, row in enumerate(rows.values()):
        count = row[LABELS_BEHIND[key]]
        axes.text(i, float(row[key] or 0), f"{count:,}", ha="center", va="bottom", size=8)
    axes.margins(y=0.1)
    if max(map(len, rows), default=0) > 6:
        for tick in axes.get_xticklabels():
            tick.set(rotation=35, ha="right", rotation_mode="anchor", size=8)


def _age_error(axes: Axes, metrics: Mapping[str, Any]) -> None:
    ages = metrics["ages"]
    key, label = _lead(ages)
    _bars(axes, ages, key)
    if key == "age_mae" and (stated := _with(ages, "interval_width")):
        half = [float(row["interval_width"] or 0) / 2 for row in stated.values()]
        axes.plot(list(stated), half, "o", color=ORANGE, label="half the mean interval")
        axes.legend()
    axes.set(
        ylabel=label,
        xlabel="labelled age (years); number of faces on top",
        title="By labelled age",
    )


def _coverage(axes: Axes, metrics: Mapping[str, Any], stated: float | None) -> None:
    _bars(axes, metrics["ages"], "interval_coverage")
    if stated is not None:
        axes.axhline(stated, color=RED, linewidth=1)
    axes.set(
        xlabel="labelled age (years); number of faces on top",
        ylabel="labels inside the age interval (share)",
        title="Coverage of the age interval",
        ylim=(0, 1.08),
    )


def _calibration(axes: Axes, outcome: Outcome) -> None:
    known = outcome.gender_known
    bins = reliability(outcome.prob_female[known], outcome.female[known])
    axes.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=1)
    axes.plot([b.stated for b in bins], [b.right for b in bins], "o-", color=BLUE)
    for b in bins:
        axes.annotate(
            f"{b.share:.0%}", (b.stated, b.right), (5, -10), textcoords="offset points", size=8
        )
    axes.set(
        xlabel="stated probability of the more probable gender; share of faces beside",
        ylabel="how often it is the label",
        title="Reliability of the gender probability",
        xlim=(0.48, 1.04),
        ylim=(0.35, 1.04),
    )


def _confusion(axes: Axes, metrics: Mapping[str, Any]) -> None:
    table = metrics["gender_confusion"]
    names, columns = list(table), list(table["male"])
    counts = np.array([[table[row][column] for column in columns] for row in names])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), n in np.ndenumerate(counts):
        colour = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, f"{n:,}\n{shares[i, j]:.1%}", ha="center", va="center", color=colour)
    axes.set(xlabel="predicted", ylabel="labelled", title="Gender")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(names)), names)


def _lead(table: Mapping[str, Metrics]) -> tuple[str, str]:
    """The age metric that a table's labels allow, and its axis label."""
    if _with(table, "age_mae"):
        return "age_mae", ERROR_LABEL
    return "age_in_range", "predicted age inside the range (share)"


def _groups(axes: Axes, metrics: Mapping[str, Any]) -> None:
    key, label = _lead(metrics["groups"])
    _bars(axes, metrics["groups"], key)
    axes.set(ylabel=label, title="By the labels' group and gender; number of faces on top")


def _quality(panels: Any, metrics: Mapping[str, Any]) -> None:
    for axes, (name, table) in zip(panels, metrics["quality"].items(), strict=False):
        key, label = _lead(table)
        _bars(axes, table, key)
        axes.set(title=f"{QUALITIES[name]}, worst first", ylabel=label)
        axes.yaxis.label.set_size(8)


def save_plots(
    outcome: Outcome,
    metrics: Mapping[str, Any],
    folder: Path,
    prefix: str = "",
    coverage: float | None = None,
) -> list[Path]:
    """Write the plots that the labels allow, as PNG files.

    Args:
        outcome: Labels and predictions.
        metrics: What `all_metrics` says of them.
        folder: Where to; made where it is missing.
        prefix: Of every file's name.
        coverage: What the model states of its age interval, if that is known.

    Returns:
        The files' paths.
    """
    matplotlib = load_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    # A label's group is a user's text; dollar signs in it are no formula.
    with matplotlib.rc_context({"text.parse_math": False}):
        saved = []
        for name, figure in _figures(outcome, metrics, coverage):
            saved.append(folder / f"{prefix}{name}.png")
            figure.savefig(saved[-1], dpi=DPI)
    return saved


def _figures(
    outcome: Outcome, metrics: Mapping[str, Any], coverage: float | None
) -> Iterator[tuple[str, Any]]:
    """Names and figures, drawn one at a time."""
    from matplotlib.figure import Figure

    def single(name: str, width: float, height: float, draw: Any, *arguments: Any) -> Any:
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots(), *arguments)
        return name, figure

    yield single("age", 6, 6, _age, outcome)
    yield single("age_error", 7, 4.5, _age_error, metrics)
    if metrics["all"]["interval_coverage"] is not None:
        yield single("interval_coverage", 7, 4.5, _coverage, metrics, coverage)
    if outcome.gender_known.any():
        yield single("gender_calibration", 6, 6, _calibration, outcome)
        yield single("gender_confusion", 4.5, 4.5, _confusion, metrics)
    if metrics["groups"]:
        yield single("groups", 9, 5, _groups, metrics)
    if metrics["quality"]:
        count = len(metrics["quality"])
        rows = -(-count // 3)
        figure = Figure(figsize=(11, 3.4 * rows), layout="constrained")
        panels = figure.subplots(rows, min(count, 3), squeeze=False).ravel()
        for spare in panels[count:]:
            spare.remove()
        _quality(panels, metrics)
        yield "quality", figure
