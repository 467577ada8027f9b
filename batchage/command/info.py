"""`batchage info`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from batchage.command.base import Command, say
from batchage.errors import BatchageError


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoCall:
    """Show version, devices, precisions and bundles, and try the networks on a known picture.

    Exit codes: 0 done, 1 failed or the networks don't find what they should, 2 usage,
    130 interrupted, 143 terminated.
    """


def info(_: InfoCall) -> int:
    """Print a table; say what is wrong."""
    from importlib.metadata import version

    from rich.console import Console
    from rich.table import Table

    from batchage.command.known_picture import what_is_wrong
    from batchage.machine import cores
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
    table.add_row("processors", str(cores()))
    table.add_row("GPUs", str(count_gpus()))
    table.add_row("runs on", f"{compute.device} in {compute.precision}: {compute.reason}")
    table.add_row("finds faces in", compute.detect_precision)
    for path in shipped_bundles():
        table.add_row(f"bundle {path.name}", describe(path))
    try:
        wrong = what_is_wrong()
    except BatchageError as error:
        wrong = f"nothing ({error})"
    table.add_row("known picture", f"wrong: {wrong}" if wrong else "as it should be")
    Console().print(table)
    if wrong:
        say(
            f"batchage: in a known picture the networks find {wrong}, so what a scan says here "
            "would be wrong too; install batchage and openvino again"
        )
    return 1 if wrong else 0


COMMAND = Command(InfoCall, info, loads_networks=True)
