"""The engine of many machines: pipelines on a Ray cluster; needs the extra `ray`."""

from __future__ import annotations

import os
from importlib.util import find_spec

from batchage.config import ScanConfig
from batchage.engines.base import Engine
from batchage.errors import MissingExtraError
from batchage.profile import Profile


def open_engine(config: ScanConfig, profile: Profile) -> Engine:
    """As of `EngineFactory`.

    Raises:
        MissingExtraError: Ray isn't installed.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("--engine ray needs the extra ray: pip install 'batchage[ray]'")
    # Both count only if they are set before Ray is loaded. It would tell its makers of each use,
    # and the user of what it thinks of Ray Data's actors.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    from batchage.engines._ray_data import RayEngine

    return RayEngine(config, profile)
