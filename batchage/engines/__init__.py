"""What runs pipelines: one here, or a pool of them on a cluster."""

from batchage.engines.base import ENGINES, Engine, EngineFactory, create_engine

__all__ = ["ENGINES", "Engine", "EngineFactory", "create_engine"]
