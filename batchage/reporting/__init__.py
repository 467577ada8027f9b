"""The page of a scan's results."""

from batchage.reporting.make import report

__all__ = ["report"]
