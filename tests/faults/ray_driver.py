"""A scan by the engine `ray`, for tests that disturb it: python -m tests.faults.ray_driver JSON.

It prints a line for each record, and takes `kill node` on standard input.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import batchage
from batchage.config import DEFAULT_DETECTOR, RaySettings, ScanConfig
from batchage.detect import DETECTORS

KILLER = "killer"
DEADLY = (13, 17)
"""Height and width in pixels of a picture that ends the process that looks at it."""


class _Killer:
    """The usual detector, but for one kind of picture."""

    def __init__(self, settings, compute):
        self._real = DETECTORS.load(DEFAULT_DETECTOR)(settings, compute)
        self.detector_id = self._real.detector_id

    def detect(self, images):
        if any(image.shape[:2] == DEADLY for image in images):
            os.kill(os.getpid(), signal.SIGKILL)
        return self._real.detect(images)


def register():
    """Make it known in a process of Ray's."""
    if KILLER not in DETECTORS:
        batchage.register_detector(KILLER, _Killer)


def start_cluster(n_nodes):
    """A head without processors, and nodes with one each; connects to it."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(n_nodes)]
    ray.init(
        address=cluster.address,
        runtime_env={"worker_process_setup_hook": "tests.faults.ray_driver.register"},
        log_to_driver=False,
    )
    return cluster, nodes


def kill_nodes(cluster, nodes):
    for line in sys.stdin:
        if line.strip() == "kill node":
            cluster.remove_node(nodes.pop(), allow_graceful=False)


def main():
    asked = json.loads(sys.argv[1])
    register()
    if asked.get("nodes"):
        cluster, nodes = start_cluster(asked["nodes"])
        threading.Thread(target=kill_nodes, args=(cluster, nodes), daemon=True).start()
    config = ScanConfig(
        output=Path(asked["output"]),
        detector=asked.get("detector", DEFAULT_DETECTOR),
        detection=batchage.DetectorSettings(detect_size=320),
        save_every=0.3,
        engine="ray",
        ray=RaySettings(num_actors=2, unit_photos=asked.get("unit_photos", 4)),
    )
    photos = asked["photos"]
    with batchage.Scan(batchage.iter_images([photos]), config, [photos]) as scan:
        for record in scan:
            print(record.ref.relative, record.status, flush=True)
    if asked.get("nodes"):
        # Ray's own way out ends with an error where a node is gone.
        os._exit(0)


if __name__ == "__main__":
    main()
