"""One picture whose face is known, looked at with the shipped networks as a scan would.

A runtime that computes nothing gives zeros, which look like photos without faces.

`known_picture.jpg` is NASA's portrait of Eileen Collins, in the public domain, 320 pixels wide.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from batchage.analyzer import Analyzer

PICTURE = Path(__file__).with_name("known_picture.jpg")
BOX = (112, 37, 169, 112)
"""Of the face, `xyxy` in pixels."""
BOX_TOLERANCE = 6
AGES = (22, 45)
"""What may be said of her, 40 years old then. A network of zeros says 0 or 50."""
LEAST_PROB_FEMALE = 0.6


def what_is_wrong() -> str:
    """What networks find that they should not, in words; empty if all is as it should be.

    Raises:
        BatchageError: They can't be loaded.
    """
    # Whatever comes out is looked at below.
    with np.errstate(all="ignore"):
        faces = Analyzer().analyze(PICTURE)
    if len(faces) != 1:
        return f"{len(faces)} faces instead of one"
    face = faces.iloc[0]
    box = face[["x1", "y1", "x2", "y2"]].to_numpy(float)
    # Whatever isn't a number is not within limits.
    if not np.abs(box - BOX).max() <= BOX_TOLERANCE:
        return f"the face at {box.round()} instead of {BOX}"
    low, high = AGES
    if not low <= face.age_years <= high:
        return f"an age of {face.age_years:.0f} instead of {low} to {high}"
    if not face.gender_prob_female >= LEAST_PROB_FEMALE:
        return f"{face.gender_prob_female:.2f} for female instead of {LEAST_PROB_FEMALE} or more"
    return ""
