"""A scan's results as SVG pictures in the colours of the page that they stand in."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from batchage.drawing import LABEL_STYLES, load_matplotlib
from batchage.predict import COVERAGE
from batchage.types import NOT_SURE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

YEARS_PER_BAR = 5
OLDEST = 100
YEAR_LABEL = "year of the photo (EXIF)"
INK = "#123456"
"""Stands for the page's text colour, which differs by day and night."""


def _ages(axes: Axes, faces: pd.DataFrame) -> None:
    edges = [float(edge) for edge in range(0, OLDEST + YEARS_PER_BAR, YEARS_PER_BAR)]
    stated = faces.gender.astype("object").fillna(NOT_SURE)
    shown = [gender for gender in LABEL_STYLES if gender != NOT_SURE or (stated == gender).any()]
    parts = [faces.age_years[stated == gender] for gender in shown]
    colours = [LABEL_STYLES[gender].fill for gender in shown]
    axes.hist(parts, edges, stacked=True, color=colours, label=shown, rwidth=0.92)
    axes.set(xlabel="estimated age (years)", ylabel="faces", title="Ages by gender")
    axes.legend(frameon=False, labelcolor=INK)


def _mark_whole_years(axes: Axes, years: pd.Index) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(years.min() - 1, years.max() + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _photos_over_time(axes: Axes, faces: pd.DataFrame) -> None:
    photos = faces.dropna(subset="captured_at").drop_duplicates(["root", "image_path"])
    years = photos.captured_at.dt.year.value_counts().sort_index()
    axes.bar(years.index, years.to_numpy(), color=LABEL_STYLES["male"].fill)
    axes.set(xlabel=YEAR_LABEL, ylabel="photos with faces", title="Photos over time")
    _mark_whole_years(axes, years.index)


def _ages_over_time(axes: Axes, faces: pd.DataFrame) -> None:
    dated = faces.dropna(subset="captured_at")
    years = dated.groupby(dated.captured_at.dt.year).age_years
    low, middle, high = (years.quantile(q) for q in (0.25, 0.5, 0.75))
    axes.vlines(middle.index, low, high, color=LABEL_STYLES["female"].fill, linewidth=4)
    axes.plot(middle.index, middle, "o", color=LABEL_STYLES["male"].fill)
    axes.set(
        xlabel=YEAR_LABEL,
        ylabel="estimated age (years)",
        title="Ages over time: median and middle half",
        ylim=(0, None),
    )
    _mark_whole_years(axes, middle.index)


def _uncertainty(axes: Axes, faces: pd.DataFrame) -> None:
    width = faces.age_high - faces.age_low
    decade = (faces.age_years // 10 * 10).astype(int)
    spread = width.groupby(decade).quantile([0.25, 0.5, 0.75]).unstack()
    names = [f"{start}–{start + 9}" for start in spread.index]
    axes.bar(names, spread[0.5], color=LABEL_STYLES["female"].fill)
    axes.vlines(names, spread[0.25], spread[0.75], color=INK)
    axes.set(
        xlabel="estimated age (years)",
        ylabel=f"width of the {COVERAGE:.0%} interval (years)",
        title="Uncertainty of the age: median and middle half",
    )


def _svg(draw: Callable[[Axes, pd.DataFrame], None], faces: pd.DataFrame) -> str:
    matplotlib = load_matplotlib()
    from matplotlib.figure import Figure

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    # A fixed salt keeps the ids of one picture's parts the same from run to run.
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": draw.__name__,
        **dict.fromkeys(ink, INK),
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, faces)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    title = axes.get_title()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{title}" ', text, count=1)


def draw_plots(faces: pd.DataFrame) -> list[str]:
    """SVG elements; those over time only where photos have dates.

    Args:
        faces: The faces table with its photos' `captured_at`.
    """
    faces = faces[faces.age_years.between(0, OLDEST * 2)]
    if faces.empty:
        return []
    dated = [_photos_over_time, _ages_over_time] if faces.captured_at.notna().any() else []
    return [_svg(draw, faces) for draw in (_ages, *dated, _uncertainty)]
