"""Metrics as tables that people read: in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchage.evaluation.metrics import QUALITIES, Metrics
from batchage.types import NOT_SURE

if TYPE_CHECKING:
    from rich.console import Console

ACCURACY = "Accuracy"
LEGEND = (
    "Ages in years. MAE is the mean absolute error; the mean error is predicted less labelled "
    "age; coverage is the share of ages inside their interval, and width how wide that is; stated "
    "is the mean probability that is given with the gender."
)


@dataclass(frozen=True, slots=True)
class Figure:
    """How people read a metric.

    Attributes:
        title: What it is called where it stands by itself, with its unit.
        form: Its format.
        column: What its column is called where `LEGEND` explains it.
    """

    title: str
    form: str
    column: str = ""

    @property
    def is_share(self) -> bool:
        """Whether it is shown in per cent."""
        return self.form.endswith("%}")

    def cell(self, value: float | None) -> str:
        """A value as text; empty where there is none."""
        return "" if value is None else self.form.format(value)


FIGURES = {
    "faces": Figure("faces", "{:,}", "faces"),
    "age_mae": Figure("age MAE, years", "{:.2f}", "age MAE"),
    "age_bias": Figure("mean age error, years", "{:+.2f}", "mean error"),
    "age_in_range": Figure("age in range", "{:.1%}", "age in range"),
    "gender_accuracy": Figure("gender", "{:.1%}", "gender"),
    "gender_stated": Figure("probability stated with the gender", "{:.1%}", "stated"),
    "gender_not_sure": Figure("gender not sure", "{:.1%}", "not sure"),
    "interval_coverage": Figure("interval coverage", "{:.1%}", "coverage"),
    "interval_width": Figure("interval width, years", "{:.1f}", "width"),
    "age_within_5_years": Figure("age within 5 years", "{:.1%}"),
    "age_median_error": Figure("median age error, years", "{:.2f}"),
    "age_distance_to_range": Figure("mean distance to the age range, years", "{:.2f}"),
    "age_ranges_missed": Figure("age intervals that miss the labelled range", "{:.1%}"),
    "gender_calibration_error": Figure(
        "expected calibration error of the gender probability", "{:.3f}"
    ),
}
COLUMNS = [name for name, figure in FIGURES.items() if figure.column]
"""Of every group of faces."""
FACTS = [name for name in FIGURES if name not in COLUMNS]
"""Of all faces."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table with a title; every cell is text."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def group_section(title: str, table: Mapping[str, Metrics], first: str = "") -> Section:
    """Rows of metrics by name; columns that no row has are left out."""
    shown = [k for k in COLUMNS if any(row[k] is not None for row in table.values())]
    rows = [[name, *(FIGURES[k].cell(row[k]) for k in shown)] for name, row in table.items()]
    return Section(title, [first, *(FIGURES[k].column for k in shown)], rows)


def sections(metrics: Mapping[str, Any]) -> Iterator[Section]:
    """The tables of `all_metrics`' answer; those that no label allows are left out."""
    yield group_section(ACCURACY, {"all": metrics["all"], **metrics["subsets"]})
    facts = [
        [FIGURES[name].title, FIGURES[name].cell(metrics[name])]
        for name in FACTS
        if metrics[name] is not None
    ]
    yield Section("In short", ["", "value"], facts)
    if sum(n for row in metrics["gender_confusion"].values() for n in row.values()):
        confusion = metrics["gender_confusion"]
        rows = [[label, *(f"{n:,}" for n in row.values())] for label, row in confusion.items()]
        titles = [name if name == NOT_SURE else f"predicted {name}" for name in confusion["male"]]
        yield Section("Gender", ["labelled", *titles], rows)
    yield group_section("By labelled age", metrics["ages"], "years")
    yield from _under_sections(metrics["under_ages"])
    if metrics["groups"]:
        yield group_section("By the labels' group and gender", metrics["groups"])
    if metrics["groups_by_age"]:
        yield group_section("By group, gender and age", metrics["groups_by_age"])
    for name, table in metrics["quality"].items():
        if len(table) > 1:
            yield group_section(f"By {QUALITIES[name]}, worst first", table)


def _under_sections(under_ages: Mapping[str, Any]) -> Iterator[Section]:
    """What is stated of being younger than some ages, and where rules put faces."""
    if under_ages:
        shares = ("share_under", "stated_share_under")
        rows = [
            [f"under {age}", f"{row['faces']:,}", *(f"{row[share]:.1%}" for share in shares)]
            for age, row in under_ages.items()
        ]
        columns = ["", "faces", "share", "mean stated probability"]
        yield Section("Younger than an age", columns, rows)
    for age, row in under_ages.items():
        if rules := row.get("rules"):
            n_older = row["faces"] - row["faces_under"]
            yield Section(
                f"At {age}, by different rules; no rule makes this an age check",
                [
                    "what decides",
                    f"called {age} or older of {row['faces_under']:,} under {age}",
                    f"called under {age} of {n_older:,} others",
                ],
                [[name, *map(_share, sides.values())] for name, sides in rules.items()],
            )


def _share(share: Mapping[str, float]) -> str:
    return "{value:.1%} ({low:.1%} to {high:.1%})".format(**share)


def markdown_table(section: Section, level: int = 2) -> str:
    """A section in Markdown, under a heading of `level`."""
    rule = "|".join(["---"] * len(section.columns))
    head, *body = (
        f"| {' | '.join(map(_cell, cells))} |" for cells in [section.columns, *section.rows]
    )
    return "\n".join([f"{'#' * level} {section.title}\n", head, f"|{rule}|", *body])


def _cell(text: str) -> str:
    # A label's group is a user's text; a pipe or line break in it would break the table.
    return " ".join(text.replace("|", "\\|").split())


def show(console: Console, metrics: Mapping[str, Any]) -> None:
    """Print the sections, but for the longest."""
    from rich.table import Table
    from rich.text import Text

    console.print(LEGEND)
    for section in sections({**metrics, "groups_by_age": {}}):
        table = Table(title=section.title, title_justify="left")
        for i, name in enumerate(section.columns):
            table.add_column(name, justify="right" if i else "left", no_wrap=not i)
        for row in section.rows:
            table.add_row(*map(Text, row))
        console.print(table)
