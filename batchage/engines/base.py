"""What runs the pipeline over a scan's photos, and which engines there are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Protocol

from batchage.config import LOCAL, RAY, ScanConfig
from batchage.plugins import Registry
from batchage.profile import Profile
from batchage.types import Identity, ImageRecord, ImageRef


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


EngineFactory = Callable[[ScanConfig, Profile], Engine]
"""Makes an engine with its networks loaded, from a scan's settings and where times are counted."""
ENGINES: Registry[EngineFactory] = Registry(
    "engine",
    {LOCAL: "batchage.engines.local:open_engine", RAY: "batchage.engines.ray:open_engine"},
)


def create_engine(config: ScanConfig, profile: Profile) -> Engine:
    """The engine that `config` names, with its networks loaded.

    Args:
        config: The settings of the scan.
        profile: Where its stages' times are counted.

    Raises:
        BatchageError: A bundle, device or folder can't be used, or an extra isn't installed.
    """
    return ENGINES.load(config.engine)(config, profile)
