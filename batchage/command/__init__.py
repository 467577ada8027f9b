"""The command line."""

from batchage.command.app import app, main

__all__ = ["app", "main"]
