"""The command line: one file a command."""

from batchage.command.app import COMMANDS, main
from batchage.command.base import Command

__all__ = ["COMMANDS", "Command", "main"]
