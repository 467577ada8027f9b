"""Tables against labels."""

from batchage.evaluation.join import central_face, outcome_of
from batchage.evaluation.labels import Label, read_csv, read_utkface
from batchage.evaluation.metrics import (
    LABELS_BEHIND,
    OLDEST,
    QUALITIES,
    Metrics,
    all_metrics,
    calibration_error,
    group_metrics,
    margin,
)
from batchage.evaluation.outcome import Outcome, distance_to_range
from batchage.evaluation.plots import save_plots
from batchage.evaluation.run import Evaluation, evaluate
from batchage.evaluation.tables import (
    FIGURES,
    LEGEND,
    Section,
    group_section,
    markdown_table,
    sections,
    show,
)

__all__ = [
    "FIGURES",
    "LABELS_BEHIND",
    "LEGEND",
    "OLDEST",
    "QUALITIES",
    "Evaluation",
    "Label",
    "Metrics",
    "Outcome",
    "Section",
    "all_metrics",
    "calibration_error",
    "central_face",
    "distance_to_range",
    "evaluate",
    "group_metrics",
    "group_section",
    "margin",
    "markdown_table",
    "outcome_of",
    "read_csv",
    "read_utkface",
    "save_plots",
    "sections",
    "show",
]
