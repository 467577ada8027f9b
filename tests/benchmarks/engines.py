"""The engine `ray` on this machine against the local one, on photos as cameras make them.

python -m tests.benchmarks.engines -o engines.json

Both start anew for each scan. What a further photo costs is the difference between scans of many
and of few; the overhead of units is what units of one photo cost more than large ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import batchage
from batchage.config import RaySettings, ScanConfig
from tests.benchmarks.machine import save
from tests.benchmarks.photos import make_photos


def seconds_of(folder: Path, engine: str, settings: RaySettings) -> float:
    """Wall time of a scan, its start included."""
    config = ScanConfig(output=folder / "r.parquet", overwrite=True, engine=engine, ray=settings)
    started = time.perf_counter()
    photos = str(folder / "photos")
    with batchage.Scan(batchage.iter_images([photos]), config, [photos]) as scan:
        for _ in scan:
            pass
    return time.perf_counter() - started


def measure(few: Path, many: Path, n_further: int, rounds: int) -> list[dict[str, Any]]:
    """Photos a second of each engine, the best of some rounds, in turn."""
    kinds: dict[str, tuple[str, RaySettings]] = {"local": ("local", RaySettings())}
    for unit_photos in (64, 16, 1):
        settings = RaySettings(num_actors=2, unit_photos=unit_photos)
        kinds[f"ray, 2 actors, units of {unit_photos}"] = ("ray", settings)
    best = {name: [float("inf")] * 2 for name in kinds}
    for _ in range(rounds):
        for name, (engine, settings) in kinds.items():
            for place, folder in enumerate((few, many)):
                best[name][place] = min(best[name][place], seconds_of(folder, engine, settings))
    rows: list[dict[str, Any]] = []
    for name, (short, long) in best.items():
        rate = n_further / (long - short)
        row = {"engine": name, "few_s": short, "many_s": long, "photos_a_second": rate}
        row["of_local"] = rate / rows[0]["photos_a_second"] if rows else 1.0
        rows.append(row)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return rows


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--few", type=int, default=64)
    parser.add_argument("--many", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        few, many = Path(place) / "few", Path(place) / "many"
        make_photos(few / "photos", asked.few)
        make_photos(many / "photos", asked.many)
        rows = measure(few, many, asked.many - asked.few, asked.rounds)
    save(asked.output, {"few": asked.few, "many": asked.many, "engines": rows})


if __name__ == "__main__":
    main()
