"""Where a scan's time goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from batchage.machine import cores as usable_cores

DECODE = "decode"
WAIT = "wait for decode"


@dataclass(slots=True)
class StageTime:
    """Seconds of one stage.

    Attributes:
        wall: Passed while the scan's own thread was in it; 0 for what goes on beside it.
        cpu: Spent by processors on it.
    """

    wall: float = 0.0
    cpu: float = 0.0


@dataclass(slots=True)
class Profile:
    """Times of all stages of a scan.

    The processor time of a stage is that of the whole process while it lasts. Decoding goes on in
    other processes meanwhile, which count for themselves.

    Attributes:
        stages: By name, in the order in which they first came.
        fills: How often the queue of decoded photos was looked at.
        fill: Sum of the shares of it that were ready then.
    """

    stages: dict[str, StageTime] = field(default_factory=dict)
    fills: int = 0
    fill: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what goes on inside as the stage `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - wall, time.process_time() - cpu)

    def add(self, name: str, wall: float, cpu: float) -> None:
        """Count seconds."""
        stage = self.stages.setdefault(name, StageTime())
        stage.wall += wall
        stage.cpu += cpu

    def add_fill(self, n_ready: int, n_places: int) -> None:
        """Note how many of the photos that are decoded ahead are ready."""
        self.fills += 1
        self.fill += n_ready / n_places

    def efficiency(self, wall: float, n_cores: int | None = None) -> float:
        """Processor time of all stages, spread over all cores, as a share of the wall time."""
        cores = n_cores or usable_cores()
        return sum(stage.cpu for stage in self.stages.values()) / cores / wall if wall else 0.0

    def show(self, console: Console, wall: float, n_photos: int, n_faces: int) -> None:
        """Print the stages.

        Args:
            console: Where to.
            wall: Seconds of the whole scan.
            n_photos: Photos that were scanned.
            n_faces: Faces that were found in them.
        """
        table = Table(title="where the time went", title_justify="left")
        table.add_column("stage", style="bold")
        for name in ("wall s", "share", "processor s", "processor ms a photo"):
            table.add_column(name, justify="right")
        for name, stage in self.stages.items():
            table.add_row(
                name,
                f"{stage.wall:.2f}" if stage.wall else "beside",
                f"{stage.wall / wall:.0%}" if stage.wall else "",
                f"{stage.cpu:.2f}",
                f"{1000 * stage.cpu / max(n_photos, 1):.1f}",
            )
        rest = wall - sum(stage.wall for stage in self.stages.values())
        table.add_row("everything else", f"{rest:.2f}", f"{rest / wall:.0%}", "", "")
        console.print(table)
        cores = usable_cores()
        lines = [
            f"{n_photos / wall:.1f} photos and {n_faces / wall:.1f} faces a second",
            f"{self.efficiency(wall):.0%} of {cores} cores' time went into these stages",
        ]
        if self.fills:
            lines.append(f"{self.fill / self.fills:.0%} of the photos decoded ahead were ready")
        console.print("\n".join(lines), style="dim")
