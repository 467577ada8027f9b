"""The engine of one machine: the pipeline itself."""

from __future__ import annotations

from batchage.config import ScanConfig
from batchage.engines.base import Engine
from batchage.pipeline import Pipeline
from batchage.profile import Profile


def open_engine(config: ScanConfig, profile: Profile) -> Engine:
    """As of `EngineFactory`."""
    return Pipeline(config, profile)
