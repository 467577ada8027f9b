"""Which of what a folder holds a walk looks at, and what it counts of the rest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from batchage.config import ScanFilter
from batchage.decode import RAW_SUFFIXES
from batchage.places import is_made_name
from batchage.walk.base import IMAGE_SUFFIXES, display_name
from batchage.walk.derivatives import derivative_kind
from batchage.walk.look_alikes import LOOK_ALIKES

READ_SUFFIXES = IMAGE_SUFFIXES | RAW_SUFFIXES


@dataclass(slots=True)
class Skipped:
    """What a walk has passed over although it looks like pictures.

    What the filter excludes isn't counted: its user knows.

    Attributes:
        by_suffix: Pictures and videos in formats that aren't read, by suffix.
        hidden: Pictures and videos with a leading dot, or in a folder that has one.
        derivatives: Folders of what other programs made of photos, by name.
        own: Pictures that batchage made, by folder.
    """

    by_suffix: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    derivatives: Counter[str] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "by_suffix": dict(sorted(self.by_suffix.items())),
            "hidden": self.hidden,
            "derivatives": dict(sorted(self.derivatives.items())),
            "own": self.own.total(),
        }


class Look(Enum):
    """How a walk looks at a folder."""

    NOT = auto()
    DERIVATIVES = auto()
    TO_COUNT = auto()
    WHOLE = auto()


@dataclass(frozen=True, slots=True)
class Holder:
    """What is to be known of a folder, for choosing among what it holds.

    Attributes:
        name: Its own name.
        shown: What to call it.
        is_hidden: Whether it or one above it has a leading dot, and is looked at only to count.
        listed: Names of pictures that batchage made in it; None if it has made none.
    """

    name: str
    shown: str
    is_hidden: bool = False
    listed: set[str] | None = None

    def is_own(self, name: str) -> bool:
        """Whether batchage made a picture."""
        return self.listed is not None and (name in self.listed or is_made_name(name))


class Choice:
    """What a filter chooses in folders, here and elsewhere."""

    def __init__(self, filter: ScanFilter, skipped: Skipped | None) -> None:
        """Nothing is looked at yet.

        Args:
            filter: What is wanted.
            skipped: Counts what isn't; None spares a walk what is only for counting.
        """
        self._filter, self._skipped = filter, skipped
        # A leading dot is told apart from what the user excludes.
        self._shown = replace(filter, hidden=True)

    def folder(self, name: str, relative: str, above: Holder) -> Look:
        """How to look at a folder, by its path below the one that was given."""
        if not self._shown.keeps_folder(display_name(relative)):
            return Look.NOT
        if not self._filter.derivatives and derivative_kind(name, above.name):
            return Look.DERIVATIVES
        if self.is_hidden(name, above):
            return Look.NOT if self._skipped is None else Look.TO_COUNT
        return Look.WHOLE

    def is_hidden(self, name: str, above: Holder) -> bool:
        """Whether a leading dot keeps it out."""
        return above.is_hidden or (name.startswith(".") and not self._filter.hidden)

    def count_derivatives(self, name: str, above: Holder) -> None:
        """Note that a folder of derivatives was met."""
        if self._skipped and (kind := derivative_kind(name, above.name)):
            self._skipped.derivatives[display_name(kind)] += 1

    def file(
        self, name: str, relative: str, above: Holder, peek: Callable[[], bool] = lambda: False
    ) -> bool:
        """Whether to look at a file; one that isn't and looks like a picture is counted.

        Args:
            name: Its name.
            relative: Its path below the folder that was given.
            above: Its folder.
            peek: Tells by its content whether it is a picture that can be read.
        """
        if not self._shown.keeps_file(display_name(relative)):
            return False
        is_hidden = self.is_hidden(name, above)
        # What Macs keep beside a file on other systems' disks is no picture.
        if is_hidden and (self._skipped is None or name.startswith("._")):
            return False
        suffix = os.path.splitext(name)[1].lower()
        is_read = suffix in READ_SUFFIXES or (not is_hidden and peek())
        if not is_read and suffix not in LOOK_ALIKES:
            return False
        is_own = not self._filter.derivatives and above.is_own(name)
        if not is_own and not is_hidden and is_read:
            return True
        if self._skipped:
            if is_own:
                self._skipped.own[above.shown] += 1
            elif is_hidden:
                self._skipped.hidden += 1
            else:
                self._skipped.by_suffix[suffix] += 1
        return False
