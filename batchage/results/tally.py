"""What a scan found, counted while it runs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from batchage.types import ERROR_STATUSES, NOT_SURE


@dataclass(slots=True)
class Tally:
    """Counts of a scan, in bounded memory.

    Attributes:
        statuses: Pictures by status.
        genders: Faces by gender, `not sure` where none is stated.
        decades: Faces by decade of the estimated age; 0 stands for ages 0 to 9.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    genders: Counter[str] = field(default_factory=Counter)
    decades: Counter[int] = field(default_factory=Counter)

    def add(self, images: pa.Table | pa.RecordBatch, faces: pa.Table | pa.RecordBatch) -> None:
        """Count rows of both tables."""
        self.statuses.update(images["status"].to_pylist())
        self.genders.update(gender or NOT_SURE for gender in faces["gender"].to_pylist())
        # Of a table that another program wrote, an age may be missing.
        ages = filter(math.isfinite, faces["age_years"].to_pylist())
        self.decades.update(int(age // 10) * 10 for age in ages)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "photos": self.files,
            "faces": self.faces,
            "could_not_be_read": self.unread,
            "statuses": dict(sorted(self.statuses.items())),
            "genders": dict(sorted(self.genders.items())),
            "decades": {str(decade): n for decade, n in sorted(self.decades.items())},
        }

    @property
    def files(self) -> int:
        """Pictures looked at: files, or their pages where they have several."""
        return self.statuses.total()

    @property
    def faces(self) -> int:
        """Faces found."""
        return self.genders.total()

    @property
    def unread(self) -> int:
        """Pictures that gave no result."""
        return sum(n for status, n in self.statuses.items() if status in ERROR_STATUSES)
