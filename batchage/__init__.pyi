from .analyzer import Analyzer
from .api import Scan, ScanResult, scan
from .config import DetectorSettings, RaySettings, ScanConfig, ScanFilter
from .detect import Detector, register_detector
from .drawing import draw_thumbnails, make_contact_sheets
from .errors import BatchageError, BundleError, DecodeError, OutputError, UsageError
from .evaluation import Evaluation, evaluate
from .recalibration import Recalibration, calibrate
from .reporting import report
from .results import compact
from .types import Detections
from .version import __version__
from .walk import Skipped, iter_images

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
    "Recalibration",
    "Scan",
    "ScanConfig",
    "ScanFilter",
    "ScanResult",
    "Skipped",
    "UsageError",
    "__version__",
    "calibrate",
    "compact",
    "draw_thumbnails",
    "evaluate",
    "iter_images",
    "make_contact_sheets",
    "register_detector",
    "report",
    "scan",
]
