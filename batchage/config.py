"""Everything that a scan can be told: each setting's name, default, check and description."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any
from unicodedata import normalize

from batchage.errors import UsageError
from batchage.options import (
    CLUSTER,
    FACES,
    FILES,
    GOING_ON,
    ONE_OR_MORE,
    OUTPUT,
    SPEED,
    ZERO_OR_MORE,
    Check,
    check_fields,
    documented,
    noted,
    one_of,
    told,
)
from batchage.places import AnyPath, locate, without_password

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
DEVICES = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")
DETECT_PRECISIONS = ("auto", "float32", "int8")
DAY = 86_400
RESULTS_VERSION = 6
"""Raised when the same photos and settings give other rows: such tables aren't continued."""


@documented
@dataclass(frozen=True, slots=True)
class ScanFilter:
    """Which files of a folder are looked at.

    A pattern is a shell glob, matched with case against the path relative to the scanned folder
    (POSIX form) and against the bare name, however Unicode spells them. `*` also matches `/`; `**/`
    stands for any number of folders, none included. A folder that `exclude` matches is not entered.
    """

    recursive: bool = field(default=True, metadata=told("Look into folders inside folders.", FILES))
    include: tuple[str, ...] = field(
        default=(), metadata=told("Only files matching this glob.", FILES, shown="GLOB")
    )
    exclude: tuple[str, ...] = field(
        default=(), metadata=told("No files matching this glob.", FILES, shown="GLOB")
    )
    hidden: bool = field(
        default=False,
        metadata=told("Also files and folders whose names start with a dot.", FILES),
    )
    derivatives: bool = field(
        default=False,
        metadata=told(
            "Also what was made of photos: folders such as @eaDir, #recycle and the inside of a "
            ".photoslibrary, and batchage's own thumbnails, crops and contact sheets.",
            FILES,
        ),
    )

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
    texts = [normalize("NFC", text) for text in candidates] if patterns else []
    return any(_compiled(pattern).match(text) for pattern in patterns for text in texts)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # NUL occurs in no path and passes fnmatch.translate unchanged.
    marked = re.sub(r"(?:(?<=/)|^)\*\*/", "\0", normalize("NFC", pattern).removeprefix("./"))
    return re.compile(fnmatch.translate(marked).replace("\0", "(?:.*/)?"))


@documented
@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """How faces are looked for."""

    detect_size: int = field(
        default=960,
        metadata=told(
            "Longest side in pixels of what the detector sees; larger finds smaller faces.",
            FACES,
            check=Check(
                lambda n: n >= 128 and n % 64 == 0, "a multiple of 64, 128 or more, such as 960"
            ),
        ),
    )
    tiles: bool = field(
        default=False,
        metadata=told(
            "Look at pictures above 50 megapixels in tiles: finds smaller faces, takes longer. "
            "Panoramas always are.",
            FACES,
        ),
    )
    min_score: float = field(
        default=0.5,
        metadata=told(
            "Leave out faces with a lower detection score.",
            FACES,
            check=Check(lambda x: 0 < x < 1, "a number between 0 and 1"),
        ),
    )
    min_face_size: float = field(
        default=0.0,
        metadata=told(
            "Leave out faces smaller than this, in pixels of the photo.", FACES, check=ZERO_OR_MORE
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)


@documented
@dataclass(frozen=True, slots=True)
class RaySettings:
    """Of the engine `ray`."""

    address: str | None = field(
        default=None,
        metadata=told(
            "Ray cluster, such as auto or head:6379; otherwise RAY_ADDRESS, or a cluster that is "
            "started here.",
            CLUSTER,
            flag="ray-address",
            shown="ADDRESS",
        ),
    )
    num_actors: int | None = field(
        default=None,
        metadata=told(
            "Pipelines on the cluster; otherwise one per GPU, or per processor without GPUs.",
            CLUSTER,
            check=ONE_OR_MORE,
        ),
    )
    gpus_per_actor: float | None = field(
        default=None,
        metadata=told(
            "GPUs of each pipeline on the cluster, also 0.5 and so on.",
            CLUSTER,
            check=ZERO_OR_MORE,
        ),
    )
    unit_photos: int = field(
        default=32,
        metadata=noted(
            "What an actor takes at once: large enough that the ends of units cost little, small "
            "enough that little is lost with one."
        ),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.unit_photos < 1:
            raise UsageError(f"{self.unit_photos} photos a unit: give 1 or more")


@documented
@dataclass(frozen=True, slots=True)
class ScanConfig:
    """Settings of a scan."""

    output: AnyPath | None = field(
        default=None,
        metadata=told(
            "Table to write, a path or URL: .parquet, .csv, .jsonl, .feather, .sqlite or .json "
            "(COCO), no suffix for a folder of Parquet files; - for CSV on standard output.",
            OUTPUT,
            short="o",
            read=locate,
            shown="PLACE",
            otherwise="results.parquet",
        ),
    )
    thumbnails: AnyPath | None = field(
        default=None,
        metadata=told("Folder for annotated thumbnails.", OUTPUT, read=locate, shown="FOLDER"),
    )
    crops: AnyPath | None = field(
        default=None,
        metadata=told("Folder for the aligned crops.", OUTPUT, read=locate, shown="FOLDER"),
    )
    filter: ScanFilter = field(
        default_factory=ScanFilter, metadata=noted("Which files of a folder are looked at.")
    )
    detector: str = field(
        default=DEFAULT_DETECTOR,
        metadata=told(
            "retinaface-mobilenet025 or retinaface-resnet50, or one of another package.",
            FACES,
            shown="NAME",
            choices=lambda: (DEFAULT_DETECTOR, "retinaface-resnet50"),
        ),
    )
    detection: DetectorSettings = field(
        default_factory=DetectorSettings, metadata=noted("How faces are looked for.")
    )
    model: str = field(
        default=DEFAULT_MODEL,
        metadata=told("Name of a shipped bundle, or a bundle's folder.", FACES, shown="NAME"),
    )
    tta: bool = field(
        default=False,
        metadata=told("Average each face with its mirror image: a little better, slower.", FACES),
    )
    min_gender_confidence: float = field(
        default=0.5,
        metadata=told(
            "Leave the gender empty where its probability is lower, such as 0.8; 0.5 states all.",
            FACES,
            check=Check(lambda x: 0.5 <= x < 1, "0.5 or more, below 1"),
        ),
    )
    age_threshold: tuple[int, ...] = field(
        default=(),
        metadata=told(
            "Add the probability of being younger than this, such as 18. It is no age check.",
            FACES,
            shown="AGE",
            check=Check(lambda age: 1 <= age <= 100, "a whole number of years, 1 to 100"),
        ),
    )
    batch_size: int | None = field(
        default=None,
        metadata=told(
            f"Faces predicted at once; otherwise {DEFAULT_BATCH_SIZE}, or what suits a GPU.",
            SPEED,
            check=ONE_OR_MORE,
        ),
    )
    device: str = field(default="auto", metadata=one_of(DEVICES, SPEED))
    precision: str = field(default="auto", metadata=one_of(PRECISIONS, SPEED))
    detect_precision: str = field(
        default="auto", metadata=one_of(DETECT_PRECISIONS, SPEED, "Of the default detector: ")
    )
    max_pixels: int = field(
        default=MAX_PIXELS,
        metadata=told("Photos with more pixels are not decoded.", SPEED, check=ONE_OR_MORE),
    )
    timeout: float = field(
        default=60.0,
        metadata=told(
            "Seconds that decoding one file may take.",
            SPEED,
            check=Check(lambda s: 0 < s <= DAY, f"a number of seconds above 0, up to {DAY}"),
        ),
    )
    save_every: float = field(
        default=30.0,
        metadata=told(
            "Save what was computed every so many seconds.", GOING_ON, check=ZERO_OR_MORE
        ),
    )
    update: bool = field(
        default=False,
        metadata=told("Scan only new and changed files, keep other rows.", GOING_ON),
    )
    checksum: bool = field(
        default=False,
        metadata=told("With --update: tell changed files by their content.", GOING_ON),
    )
    overwrite: bool = field(
        default=False, metadata=told("Scan anew, replace a finished output.", GOING_ON)
    )
    engine: str = field(
        default=LOCAL,
        metadata=told(
            "local, or ray to scan on the machines of a Ray cluster.",
            CLUSTER,
            shown="NAME",
            choices=lambda: (LOCAL, RAY),
        ),
    )
    ray: RaySettings = field(
        default_factory=RaySettings, metadata=noted("Settings of the engine `ray`.")
    )

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "age_threshold", tuple(sorted({*self.age_threshold})))
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
            "min_gender_confidence": self.min_gender_confidence,
            "age_threshold": self.age_threshold,
            "max_pixels": self.max_pixels,
            "thumbnails": _as_recorded(self.thumbnails),
            "crops": _as_recorded(self.crops),
        }


def _as_recorded(place: AnyPath | None) -> str | None:
    return without_password(str(place.absolute())) if place else None
