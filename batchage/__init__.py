"""Find every face in a folder of photos and write one tidy table of ages and genders.

Names are loaded when first used, so that `import batchage` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchage.errors import BatchageError, BundleError, DecodeError, OutputError, UsageError

if TYPE_CHECKING:
    from batchage.analyzer import Analyzer
    from batchage.api import Scan, ScanResult, scan
    from batchage.compaction import compact
    from batchage.config import DetectorSettings, RaySettings, ScanConfig
    from batchage.contact_sheet import make_contact_sheets
    from batchage.detect import Detector, register_detector
    from batchage.evaluation.run import Evaluation, evaluate
    from batchage.redraw import draw_thumbnails
    from batchage.reporting.make import report
    from batchage.types import Detections
    from batchage.version import __version__
    from batchage.walk import ScanFilter, iter_images

__all__ = [
    "Analyzer",
    "BatchageError",
    "BundleError",
    "DecodeError",
    "Detections",
    "Detector",
    "DetectorSettings",
    "Evaluation",
    "OutputError",
    "RaySettings",
    "Scan",
    "ScanConfig",
    "ScanFilter",
    "ScanResult",
    "UsageError",
    "__version__",
    "compact",
    "draw_thumbnails",
    "evaluate",
    "iter_images",
    "make_contact_sheets",
    "register_detector",
    "report",
    "scan",
]

_LAZY = {
    "Analyzer": "batchage.analyzer",
    "Detections": "batchage.types",
    "Detector": "batchage.detect",
    "DetectorSettings": "batchage.config",
    "Evaluation": "batchage.evaluation.run",
    "RaySettings": "batchage.config",
    "Scan": "batchage.api",
    "ScanConfig": "batchage.config",
    "ScanFilter": "batchage.walk",
    "ScanResult": "batchage.api",
    "__version__": "batchage.version",
    "compact": "batchage.compaction",
    "draw_thumbnails": "batchage.redraw",
    "evaluate": "batchage.evaluation.run",
    "iter_images": "batchage.walk",
    "make_contact_sheets": "batchage.contact_sheet",
    "register_detector": "batchage.detect",
    "report": "batchage.reporting.make",
    "scan": "batchage.api",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'batchage' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
