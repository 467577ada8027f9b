"""Everything that a scan can be told; the one place for each default."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from batchage.errors import UsageError
from batchage.places import AnyPath, without_password

DEFAULT_DETECTOR = "retinaface-mobilenet025"
DEFAULT_MODEL = "vgg16-utkface"
DEFAULT_BATCH_SIZE = 32
"""On a processor, where larger ones bring nothing, and the smallest that is tried on a GPU."""
MAX_PIXELS = 250_000_000
DECODED_BYTES = 512 << 20
"""Pixels that a scan holds decoded at once; one photo that is larger comes alone."""
REPORT_THUMBNAILS = "thumbnails"
"""Where they are in the folder of a report."""
LOCAL, RAY = "local", "ray"
"""Engines: what runs the pipeline."""
DAY = 86_400
RESULTS_VERSION = 4
"""Raised when the same photos and settings give other rows: such tables aren't continued."""


@dataclass(frozen=True, slots=True)
class ScanFilter:
    """Which files of a folder are looked at.

    A pattern is a shell glob, matched with case against the path relative to the scanned folder
    (POSIX form) and against the bare name. `*` also matches `/`; `**/` stands for any number of
    folders, none included. A folder that `exclude` matches is not entered.

    Attributes:
        recursive: Enter subfolders.
        include: Only files that match one of these; empty means all.
        exclude: No file and no folder that matches one of these.
        hidden: Also look at names that start with a dot.
    """

    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False

    def keeps_file(self, relative: str) -> bool:
        """Whether a file at this path, relative to the scanned folder, is looked at."""
        name = relative.rpartition("/")[2]
        if name.startswith(".") and not self.hidden:
            return False
        if _matches(self.exclude, relative, name):
            return False
        return not self.include or _matches(self.include, relative, name)

    def keeps_folder(self, relative: str) -> bool:
        """Whether a folder at this path, relative to the scanned folder, is entered."""
        name = relative.rpartition("/")[2]
        if not self.recursive or (name.startswith(".") and not self.hidden):
            return False
        return not _matches(self.exclude, relative, name, relative + "/")


def _matches(patterns: tuple[str, ...], *candidates: str) -> bool:
    return any(_compiled(pattern).match(text) for pattern in patterns for text in candidates)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # NUL occurs in no path and passes fnmatch.translate unchanged.
    marked = re.sub(r"(?:(?<=/)|^)\*\*/", "\0", pattern.removeprefix("./"))
    return re.compile(fnmatch.translate(marked).replace("\0", "(?:.*/)?"))


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """How faces are looked for.

    Attributes:
        detect_size: Longest side in pixels of the picture that the detector sees; a multiple of 64.
        min_score: Faces with a lower score, 0…1, are left out.
        min_face_size: Faces whose box is smaller than this, in full-size pixels (square root of
            the area), are left out.
    """

    detect_size: int = 960
    min_score: float = 0.5
    min_face_size: float = 0.0

    def __post_init__(self) -> None:
        if self.detect_size < 128 or self.detect_size % 64:
            raise UsageError(
                f"detect size {self.detect_size}: give a multiple of 64, 128 or more, such as 960"
            )
        if not 0 < self.min_score < 1:
            raise UsageError(f"minimal score {self.min_score}: give a number between 0 and 1")


@dataclass(frozen=True, slots=True)
class RaySettings:
    """Of the engine `ray`.

    Attributes:
        address: Of the cluster, such as `auto` or `head:6379`; None is what `RAY_ADDRESS`
            says, or else a cluster on this machine that ends with the scan.
        num_actors: Pipelines at work; None is one a GPU, or one a processor without GPUs.
        gpus_per_actor: GPUs of each, also a fraction; None is 1 where there are any.
        unit_photos: What an actor takes at once: large enough that the ends of units cost little,
            small enough that little is lost with one.
    """

    address: str | None = None
    num_actors: int | None = None
    gpus_per_actor: float | None = None
    unit_photos: int = 32

    def __post_init__(self) -> None:
        if self.num_actors is not None and self.num_actors < 1:
            raise UsageError(f"{self.num_actors} actors: give 1 or more")
        if self.gpus_per_actor is not None and not self.gpus_per_actor >= 0:
            raise UsageError(f"{self.gpus_per_actor} GPUs per actor: give 0 or more")
        if self.unit_photos < 1:
            raise UsageError(f"{self.unit_photos} photos a unit: give 1 or more")


@dataclass(frozen=True, slots=True)
class ScanConfig:
    """Settings of a scan.

    Attributes:
        output: Table of faces to write, in the format of its suffix; without one, a folder of
            Parquet files; None writes nothing.
        thumbnails: Folder for annotated thumbnails, or None.
        crops: Folder for the aligned crops, or None.
        filter: Which files of a folder are looked at.
        detector: Name of the detector.
        detection: How faces are looked for.
        model: Name of a shipped bundle, or the path of a bundle's folder.
        batch_size: Crops the network takes at once; None is `DEFAULT_BATCH_SIZE` on a processor and
            what a short search finds on a GPU.
        device: `auto`, `cpu` or `gpu`.
        precision: Of the predictor: `auto`, `float32`, `bfloat16`, `float16` or `int8`.
        detect_precision: Of the default detector: `auto`, `float32` or `int8`.
        tta: Average what the model says of each face and of its mirror image.
        max_pixels: Pictures with more pixels become rows of status `too_large`.
        timeout: Seconds that decoding a file may take; beyond, it is a row of status `timeout`.
        save_every: Seconds after which what was computed is saved, at the latest.
        update: Take over from the finished output the rows of files that have not changed.
        checksum: With `update`, tell by content whether a file has changed, not by size and time.
        overwrite: Replace a finished output by a new scan.
        engine: `local`, or `ray` for many machines.
        ray: Settings of the engine `ray`.
    """

    output: AnyPath | None = None
    thumbnails: AnyPath | None = None
    crops: AnyPath | None = None
    filter: ScanFilter = field(default_factory=ScanFilter)
    detector: str = DEFAULT_DETECTOR
    detection: DetectorSettings = field(default_factory=DetectorSettings)
    model: str = DEFAULT_MODEL
    batch_size: int | None = None
    device: str = "auto"
    precision: str = "auto"
    detect_precision: str = "auto"
    tta: bool = False
    max_pixels: int = MAX_PIXELS
    timeout: float = 60.0
    save_every: float = 30.0
    update: bool = False
    checksum: bool = False
    overwrite: bool = False
    engine: str = LOCAL
    ray: RaySettings = field(default_factory=RaySettings)

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch size {self.batch_size}: give 1 or more")
        if self.max_pixels < 1:
            raise UsageError(f"pixel limit {self.max_pixels}: give 1 or more")
        if not 0 < self.timeout <= DAY:
            raise UsageError(f"timeout {self.timeout}: give seconds, above 0 and up to {DAY}")
        if not self.save_every >= 0:
            raise UsageError(f"save every {self.save_every} seconds: give 0 or more")
        if self.update and self.overwrite:
            raise UsageError("--update and --overwrite contradict each other: give one of them")
        if self.engine == LOCAL and self.ray != RaySettings():
            raise UsageError("addresses and actors are for the cluster: give --engine ray too")
        if self.checksum and not self.update:
            raise UsageError("--checksum tells which files have changed: give --update too")

    @property
    def picture_folders(self) -> list[AnyPath]:
        """Where the scan's own pictures go."""
        return [folder for folder in (self.thumbnails, self.crops) if folder is not None]

    def results_settings(self) -> dict[str, Any]:
        """The settings that decide what the rows say, JSON-ready."""
        return {
            "results_version": RESULTS_VERSION,
            "detector": self.detector,
            **asdict(self.detection),
            "model": self.model,
            "tta": self.tta,
            "max_pixels": self.max_pixels,
            "thumbnails": _as_recorded(self.thumbnails),
            "crops": _as_recorded(self.crops),
        }


def _as_recorded(place: AnyPath | None) -> str | None:
    return without_password(str(place.absolute())) if place else None
