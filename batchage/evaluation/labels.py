"""Labelled pictures: UTKFace file names, or a CSV file."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from batchage.errors import UsageError
from batchage.evaluation.metrics import OLDEST

UTKFACE_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+.*\.jpe?g", re.IGNORECASE)
UTKFACE = "utkface"
UTKFACE_RACES = ("White", "Black", "Asian", "Indian", "Other")
GENDERS = {
    "0": "male",
    "1": "female",
    "male": "male",
    "female": "female",
    "m": "male",
    "f": "female",
}


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of one picture.

    Attributes:
        path: The picture's file.
        age_min: Age in years, or the lower end of what it may be.
        age_max: The same as `age_min`, or the upper end.
        gender: `male`, `female`, or None where it isn't known.
        group: The data set's own label of a group, such as UTKFace's race, or None.
        written: The path as the label's source has it.
        source: Where the picture comes from, or None where nothing says so.
        split: The split that the labels' file states, or None.
        page: Which of the file's pictures it is, from 1.
    """

    path: Path
    age_min: float
    age_max: float
    gender: str | None = None
    group: str | None = None
    written: str = ""
    source: str | None = None
    split: str | None = None
    page: int = 1


def read_utkface(folder: Path) -> list[Label]:
    """Labels from names `AGE_GENDER_RACE_TIMESTAMP.jpg.chip.jpg`, sorted by path.

    Raises:
        UsageError: No file in the folder is named that way.
    """
    labels = []
    for path in sorted(folder.rglob("*.jp*g")):
        if match := UTKFACE_NAME.fullmatch(path.name):
            age = float(match[1])
            gender, race = GENDERS[match[2]], UTKFACE_RACES[int(match[3])]
            labels.append(Label(path, age, age, gender, race, str(path), UTKFACE))
    if not labels:
        raise UsageError(f"{folder}: no file is named AGE_GENDER_RACE_TIMESTAMP….jpg; give --csv")
    return labels


def _number(text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= OLDEST:
        raise ValueError(f"age {text}, give a number from 0 to {OLDEST}")
    return value


def _parse_row(row: dict[str, str | None], folder: Path, needs_age: bool) -> Label:
    path = (row.get("path") or "").strip()
    if not path:
        raise ValueError("no path")
    age = _number(row.get("age"))
    low = age if age is not None else _number(row.get("age_min"))
    high = age if age is not None else _number(row.get("age_max"))
    if low is None and high is None and needs_age:
        raise ValueError("no age")
    low, high = low or 0.0, OLDEST if high is None else high
    if low > high:
        raise ValueError(f"age_min {low:g} is above age_max {high:g}")
    text = (row.get("gender") or "").strip().lower()
    if text and text not in GENDERS:
        raise ValueError(f"gender {text!r}, give {', '.join(GENDERS)} or nothing")
    return Label(
        folder / path,
        low,
        high,
        GENDERS.get(text),
        _text(row, "group", "race"),
        path,
        _text(row, "source", "part"),
        _text(row, "split"),
        _page(row.get("page")),
    )


def _page(text: str | None) -> int:
    text = (text or "").strip()
    if not text:
        return 1
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise ValueError(f"page {text!r}, give a number from 1 or nothing")
    return int(text)


def _text(row: dict[str, str | None], *names: str) -> str | None:
    """What the first of these columns that isn't empty holds."""
    return next((text for name in names if (text := (row.get(name) or "").strip())), None)


def read_csv(file: Path, needs_age: bool = True) -> list[Label]:
    """Labels from a CSV file with `path` and `age`, or `age_min` and `age_max`.

    `gender` (male, female, 0, 1), `group` (or `race`), `source` (or `part`) and `split` are
    optional, as is `page`, the picture's number in a file with several, 1 where it is empty; an
    empty `age_max` has no upper bound. Paths are relative to the file's folder.

    Args:
        file: The file.
        needs_age: Whether each line must state an age; one without may be of any.

    Raises:
        UsageError: The file or one of its lines can't be used; the message names the line.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            fields = set(reader.fieldnames or ())
            ages = {"age", "age_min", "age_max"}
            if "path" not in fields or not fields & (ages if needs_age else {*ages, "gender"}):
                also = "" if needs_age else " or gender"
                raise UsageError(
                    f"{file}: needs the columns path and age (or age_min, age_max){also}"
                )
            labels = []
            for row in reader:
                try:
                    labels.append(_parse_row(row, file.parent, needs_age))
                except ValueError as error:
                    raise UsageError(f"{file}: line {reader.line_num}: {error}") from None
            return labels
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{file}: can't be read as CSV ({reason}); give a file in UTF-8 with path and age"
        ) from None
