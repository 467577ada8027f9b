"""What a scan costs the process that leads it: memory and time for each file, without any photo.

python -m tests.benchmarks.driver -o driver.json

Files and faces are made up. They go through the sink of a real scan into parts and a folder of
Parquet files: this is all that the driver of a cluster does besides waiting.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from batchage.config import ScanConfig
from batchage.results.file_sink import FileSink
from batchage.types import ImageRecord, ImageRef, Status
from batchage.walk import iter_images
from tests.benchmarks.machine import save
from tests.builders import make_face

FILES_A_FOLDER = 1000
ABOUT = {"version": "1", "model_id": "model@1", "settings": {}, "inputs": []}


class MadeUpFolders(AbstractFileSystem):
    """Folders of empty photos that only a listing has."""

    protocol = "madeup"
    n_files = 0

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """All is a folder."""
        return {"name": path, "type": "directory", "size": 0}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[dict[str, Any]]:
        """A thousand photos in each folder."""
        if path.strip("/").count("/") > 1:
            return [
                {"name": f"{path}/{n:06}.jpg", "type": "file", "size": 4_000_000 + n, "mtime": n}
                for n in range(FILES_A_FOLDER)
            ]
        n_folders = self.n_files // FILES_A_FOLDER
        return [{"name": f"{path}/{n:06}", "type": "directory"} for n in range(n_folders)]


def resident_mb() -> float:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def records_of(refs: Iterator[ImageRef]) -> Iterator[ImageRecord]:
    """One face in each."""
    face = make_face((1.0, 2.0, 3.0, 4.0))
    for ref in refs:
        yield ImageRecord(ref, Status.OK, None, 4, 3, "0" * 32, None, 0.1, None, [face])


def measure(folder: Path, n_files: int) -> dict[str, float]:
    """Walk alone, then a scan, then a scan that goes on from all parts."""
    MadeUpFolders.n_files = n_files
    fsspec.register_implementation("madeup", MadeUpFolders, clobber=True)
    before = resident_mb()
    start = time.perf_counter()
    assert sum(1 for _ in iter_images(["madeup://bucket/photos"])) == n_files
    found = {"files": n_files, "walk_files_a_s": n_files / (time.perf_counter() - start)}
    found["walk_mb"] = resident_mb() - before
    for name in ("scan", "go_on"):
        sink = FileSink(folder / "results", ScanConfig(save_every=1e9))
        sink.open()
        start = time.perf_counter()
        try:
            sink.begin(ABOUT)
            for record in records_of(sink.pending(iter_images(["madeup://bucket/photos"]))):
                sink.write(record)
            found[f"{name}_files_a_s"] = n_files / (time.perf_counter() - start)
            found[f"{name}_mb"] = resident_mb() - before
            if name == "go_on":
                found["parts"] = len(list((folder / "results.parts").glob("*.images.parquet")))
                start = time.perf_counter()
                sink.finish()
                found["finish_s"] = time.perf_counter() - start
                found["finish_mb"] = resident_mb() - before
        finally:
            sink.close()
        print(found, flush=True)
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--files", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(Path(folder), asked.files)]
    save(asked.output, {"driver": rows})


if __name__ == "__main__":
    main()
