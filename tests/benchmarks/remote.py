"""What it costs that photos are on S3: on this machine, and with a delay before each answer.

python -m tests.benchmarks.remote -o remote.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from batchage.config import MAX_PIXELS
from tests.benchmarks.machine import save
from tests.benchmarks.photos import make_photos
from tests.benchmarks.stages import scan
from tests.s3_server import running_proxy, running_s3

A_FOLDER = 20
FETCH = "from tests.benchmarks.remote import fetch_all; print(fetch_all({url!r}))"


def measure_scans(url: str, folder: Path, count: int) -> float:
    """Photos a second, the start taken off."""
    start = scan(f"{url}/000/000000.jpg", folder / "r.parquet")
    return (count - 1) / (scan(url, folder / "r.parquet") - start)


def measure_fetching(url: str) -> dict[str, float]:
    """Files a second that come one after the other, and ahead of their use."""
    # A process of its own, as connections are kept.
    command = [sys.executable, "-c", FETCH.format(url=url)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    one_by_one, ahead = json.loads(out)
    return {"one_by_one_files_s": one_by_one, "ahead_files_s": ahead}


def fetch_all(url: str) -> list[float]:
    """Files a second: ten one after the other, and all ahead."""
    from batchage.places import Fetcher, FilesAhead, read_remote
    from batchage.walk import iter_images

    refs = list(iter_images([url]))
    few = refs[:10]
    began = time.perf_counter()
    for ref in few:
        read_remote(str(ref.path), MAX_PIXELS, ref.size)
    one_by_one = len(few) / (time.perf_counter() - began)
    began = time.perf_counter()
    fetcher = Fetcher(MAX_PIXELS)
    files = FilesAhead(iter_images([url]), fetcher)
    while taken := list(files.take(1, is_idle=True)):
        for _, fetched in taken:
            if fetched:
                fetched.data()
                fetched.release()
    fetcher.close()
    return [one_by_one, len(refs) / (time.perf_counter() - began)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--delay", type=float, default=0.1, help="Seconds before each answer.")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"photos": arguments.photos, "delay_s": arguments.delay}
    with tempfile.TemporaryDirectory() as name, running_s3() as server:
        folder = Path(name)
        for number in range(0, arguments.photos, 20):
            make_photos(
                folder / "photos" / f"{number // 20:03}", min(20, arguments.photos - number)
            )
        url = server.bucket()
        server.upload(folder / "photos", url)
        results["local_photos_s"] = measure_scans(str(folder / "photos"), folder, arguments.photos)
        for delay in (0.0, arguments.delay):
            with running_proxy(server.endpoint, delay=delay) as proxy:
                os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
                results[f"delay_{delay:g}_s"] = {
                    "scan_photos_s": measure_scans(url, folder, arguments.photos),
                    **measure_fetching(url),
                }
    save(arguments.output, results)


if __name__ == "__main__":
    main()
