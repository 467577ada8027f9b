"""The model card of a bundle, in Markdown, generated from its evaluation."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from batchage.evaluation import (
    FIGURES,
    LABELS_BEHIND,
    LEGEND,
    Metrics,
    Section,
    group_section,
    markdown_table,
    sections,
)
from batchage.networks import Bundle

ENOUGH_FACES = 50
PLOT_NAMES = {
    "age": "predicted against labelled age",
    "age_error": "error by labelled age",
    "interval_coverage": "coverage of the age interval",
    "gender_calibration": "reliability of the gender probability",
    "gender_confusion": "gender confusion",
    "groups": "by group and gender",
    "quality": "by quality of the face",
}

MEANING = """## What it means, and what it can't mean

`gender` is what the data sets' labels call it: an annotator's reading of a face as male or female.
It says nothing of a person's identity, and there is no third answer where one is due. Ages are
apparent ages: most labels were themselves estimated. `age_low` to `age_high` holds the labelled age
as often as stated in pictures like the validation split; on other photos it may hold fewer.
Group names are the data sets' own labels.

**Don't use it** to decide anything about a person: not for access or age checks, hiring, policing,
border control, pricing, advertising to one person, or identification. Don't use it to claim
somebody's gender. Don't compare groups of people by it without the error tables above: a gap
between groups may be the model's. It is made for statistics over collections of photos.
"""


def file_name_of(source: str) -> str:
    """A source's name, fit for files."""
    return re.sub(r"[^\w.-]+", "_", source)


def gaps(groups: Mapping[str, Metrics]) -> list[str]:
    """A sentence for each metric about the best and the worst group of enough faces."""
    kinds: dict[str, tuple[str, str, Any]] = {
        "age_mae": ("Age error", "{:.2f} years", min),
        "age_in_range": ("Age inside the range", "{:.1%}", max),
        "gender_accuracy": ("Gender accuracy", "{:.1%}", max),
    }
    said = []
    for key, (name, form, better) in kinds.items():
        rows = {
            group: float(value)
            for group, row in groups.items()
            if (value := row[key]) is not None and (row[LABELS_BEHIND[key]] or 0) >= ENOUGH_FACES
        }
        if len(rows) > 1:
            best = better(rows, key=lambda group: rows[group])
            worst = (max if better is min else min)(rows, key=lambda group: rows[group])
            said.append(
                f"{name}: {form.format(rows[worst])} for {worst}, "
                f"against {form.format(rows[best])} for {best}."
            )
    return said


def _summary(sets: Mapping[str, Mapping[str, Any]]) -> Section:
    """The sets beside each other, with what chance leaves each figure."""
    shown = ("age_mae", "age_in_range", "gender_accuracy", "interval_coverage")
    columns = {name: FIGURES[name] for name in shown}
    rows = []
    for name, metrics in sets.items():
        cells = [name, f"{metrics['all']['faces']:,}"]
        for key, figure in columns.items():
            value, margin = metrics["all"][key], metrics["margins"][key]
            known = value is not None and margin is not None
            cells.append(f"{figure.cell(value)} ± {figure.cell(margin)}" if known else "")
        rows.append(cells)
    titles = [figure.title for figure in columns.values()]
    return Section("The test sets, with 95 % intervals", ["", "faces", *titles], rows)


def held_without(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each source about what intervals hold that were fitted without it."""
    return [
        f"Fitted without {source}, the interval holds {row['interval_coverage']:.1%} of its "
        f"{row['faces']:,} test faces, {row['interval_width']:.1f} years wide on average."
        for source, row in rows.items()
    ]


def _left_out(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """What intervals hold of a source that the calibration didn't see."""
    said = "\n".join(f"- {sentence}" for sentence in held_without(rows))
    return f"""## Intervals on a source that the calibration didn't see

Training saw it, so that this is the most to expect of photos from elsewhere.

{said}
"""


def _set(name: str, metrics: Mapping[str, Any], plots: Collection[str]) -> str:
    tables = "\n\n".join(markdown_table(section, 3) for section in sections(metrics))
    pictures = "\n".join(
        f"![{text}](plots/{file_name_of(name)}-{plot}.png)"
        for plot, text in PLOT_NAMES.items()
        if f"{file_name_of(name)}-{plot}.png" in plots
    )
    named = "\n".join(f"- {sentence}" for sentence in gaps(metrics["groups"]))
    return f"""## Test split of {name}

{metrics["all"]["faces"]:,} pictures; in {metrics["no_face_detected"]} of them no face was detected,
they are framed as a whole and counted. Near-duplicates within the set never cross its splits.

{tables}

### Gaps between groups

Between groups of {ENOUGH_FACES} faces or more, the widest are:

{named or "- The labels name no groups."}

{pictures}
"""


def model_card(bundle: Bundle, results: Mapping[str, Any], plots: Collection[str]) -> str:
    """The whole card.

    Args:
        bundle: The bundle.
        results: What `train.evaluate` writes into `evaluation.json`.
        plots: Names of the files in `plots/`.
    """
    spec = bundle.spec
    side = spec["input_size"]
    tta = ", with `--tta`" if results["tta"] else ""
    parts = [
        f"""# {bundle.name}

{spec["description"]}. Input {side}×{side} px, aligned by five landmarks.
Weights SHA-256 `{bundle.sha256}`. Terms: see NOTICE.

Measured by `train.evaluate` with this bundle through detection, alignment and prediction as in a
scan{tta}, faces found in {results["detect_precision"]}, ages and genders predicted in
{results["precision"]}. Of the age interval, the stated coverage is
{spec["calibration"]["coverage"]:.0%}. A predicted age lies in a labelled range if it does in
completed years. {LEGEND}
"""
    ]
    parts.append(markdown_table(_summary(results["sets"])) + "\n")
    if left_out := spec.get("training", {}).get("coverage_when_left_out"):
        parts.append(_left_out(left_out))
    parts += [_set(name, metrics, plots) for name, metrics in results["sets"].items()]
    if "sweep" in results:
        first = next(iter(results["sets"]))
        table = group_section("", results["sweep"])
        missed = [f"{row['no_face_detected']:,}" for row in results["sweep"].values()]
        whole = Section(
            f"Degraded pictures of {first}",
            [*table.columns, "no face detected"],
            [[*row, n] for row, n in zip(table.rows, missed, strict=True)],
        )
        parts.append(
            markdown_table(whole, 2) + "\n\nWhere no face was detected, a scan gives no row; here "
            "the whole picture was taken.\n"
        )
    return "\n".join([*parts, MEANING])
