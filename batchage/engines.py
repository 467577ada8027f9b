"""What runs the pipeline over a scan's photos, and which engines there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from batchage.config import LOCAL, RAY, ScanConfig
from batchage.errors import MissingExtraError
from batchage.profile import Profile
from batchage.types import ImageRecord, ImageRef


@dataclass(frozen=True, slots=True)
class Identity:
    """What the numbers in the rows depend on, besides the settings.

    Attributes:
        model_id: Bundle that predicts.
        detector_id: What finds the faces, and in which arithmetic.
        precision: Arithmetic of the predictor.
    """

    model_id: str
    detector_id: str
    precision: str


class Engine(Protocol):
    """Runs the pipeline: here, or on many machines."""

    @property
    def identity(self) -> Identity:
        """What it was loaded with."""
        ...

    def run(self, refs: Iterable[ImageRef]) -> Generator[ImageRecord]:
        """Finished records, in the order of `refs`, which are taken as they are needed."""
        ...

    def close(self) -> None:
        """Let go of all that it holds; what runs is stopped."""
        ...


def _local(config: ScanConfig, profile: Profile) -> Engine:
    from batchage.pipeline import Pipeline

    return Pipeline(config, profile)


def _ray(config: ScanConfig, profile: Profile) -> Engine:
    if find_spec("ray") is None:
        raise MissingExtraError("--engine ray needs the extra ray: pip install 'batchage[ray]'")
    # Both count only if they are set before Ray is loaded. It would tell its makers of each use,
    # and the user of what it thinks of Ray Data's actors.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    from batchage.ray_engine import RayEngine

    return RayEngine(config, profile)


ENGINES: dict[str, Callable[[ScanConfig, Profile], Engine]] = {LOCAL: _local, RAY: _ray}


def create_engine(config: ScanConfig, profile: Profile) -> Engine:
    """The engine that `config` names, with its networks loaded.

    Args:
        config: The settings of the scan.
        profile: Where its stages' times are counted.

    Raises:
        BatchageError: A bundle, device or folder can't be used, or an extra isn't installed.
    """
    return ENGINES[config.engine](config, profile)
