"""The command line: one file a command."""

from batchage.command.app import COMMANDS, run
from batchage.command.base import Command

__all__ = ["COMMANDS", "Command", "run"]
