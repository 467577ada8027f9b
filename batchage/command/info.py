"""`batchage info`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from batchage.command.base import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoCall:
    """Show version, devices, the precisions chosen and why, and the bundles with their hashes."""


def info(_: InfoCall) -> int:
    """Print a table."""
    from importlib.metadata import version

    from rich.console import Console
    from rich.table import Table

    from batchage.networks import (
        choose_compute,
        count_gpus,
        describe,
        has_tensorflow,
        shipped_bundles,
    )
    from batchage.version import __version__

    compute = choose_compute()
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("batchage", __version__)
    table.add_row("python", sys.version.split()[0])
    table.add_row("openvino", version("openvino"))
    table.add_row("tensorflow", "installed" if has_tensorflow() else "not installed")
    table.add_row("GPUs", str(count_gpus()))
    table.add_row("runs on", f"{compute.device} in {compute.precision}: {compute.reason}")
    table.add_row("finds faces in", compute.detect_precision)
    for path in shipped_bundles():
        table.add_row(f"bundle {path.name}", describe(path))
    Console().print(table)
    return 0


COMMAND = Command(InfoCall, info)
