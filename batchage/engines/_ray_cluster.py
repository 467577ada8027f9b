"""A Ray cluster: connecting to it, and what each actor gets of it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import warnings
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from batchage.config import ScanConfig
from batchage.errors import UsageError
from batchage.machine import cores
from batchage.networks import silent_stderr

LOCAL_CLUSTER = "local"
ANSWER_SECONDS = 10.0
"""That a cluster may take to answer."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How a cluster is divided among actors.

    Attributes:
        n_actors: How many there are.
        cpus: Processors of each.
        gpus: GPUs of each.
    """

    n_actors: int
    cpus: float
    gpus: float

    @property
    def n_cores(self) -> int:
        """Processors that it keeps busy."""
        return max(1, int(self.cpus))

    def request(self) -> dict[str, Any]:
        """What an actor asks Ray for.

        Half of its processors: where a machine is lost, its actors find place on the others, or
        else their units would wait until it is back.
        """
        half = self.cpus / 2
        cpus = float(int(half)) if half >= 1 else half
        return {"num_cpus": cpus, "num_gpus": self.gpus, "scheduling_strategy": "SPREAD"}


def share_out(config: ScanConfig, n_cpus: float, n_gpus: float) -> Shares:
    """Divide processors and GPUs among actors.

    Args:
        config: What was asked for; by default one actor a GPU, or one a processor without any.
        n_cpus: Processors of the cluster.
        n_gpus: GPUs of the cluster.

    Raises:
        UsageError: There are no GPUs, and they were asked for.
    """
    asked = config.ray
    gpus = asked.gpus_per_actor
    if gpus is None:
        gpus = 1.0 if n_gpus and config.device != "cpu" else 0.0
    if gpus > n_gpus:
        raise UsageError(
            f"--gpus-per-actor {gpus:g}: the cluster has {n_gpus:g} GPUs; give less, or 0"
        )
    most = int(n_gpus / gpus) if gpus else int(n_cpus)
    n_actors = asked.num_actors or max(1, most)
    share = n_cpus / n_actors
    return Shares(n_actors, float(int(share)) if share >= 1 else share, gpus)


def connect(address: str | None) -> None:
    """Connect to `address`, or where Ray's environment variable says, or start a cluster here.

    Raises:
        UsageError: That can't be done.
    """
    place = address or os.environ.get("RAY_ADDRESS") or LOCAL_CLUSTER
    _require_answer(place)
    # What Ray has to say of itself is in its logs.
    warnings.filterwarnings("ignore", module=r"ray\.")
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Ray takes SIGTERM for itself.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with silent_stderr():
            ray.init(
                address=place,
                num_cpus=cores() if place == LOCAL_CLUSTER else None,
                include_dashboard=False if place == LOCAL_CLUSTER else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as error:
        raise UsageError(
            f"no Ray cluster can be used at {place} ({last_line(error)}); check --ray-address, and "
            "RAY_AUTH_TOKEN if the cluster wants one"
        ) from None
    finally:
        with contextlib.suppress(ValueError):
            # Not in the main thread.
            signal.signal(signal.SIGTERM, handler)
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _require_answer(place: str) -> None:
    """Ray itself would try for minutes."""
    if place.startswith("ray://"):
        raise UsageError(
            f"{place}: a scan can't be led from outside of the cluster; submit the command as a "
            "job, or give it on one of the machines with --ray-address auto"
        )
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at {place} ({error}); check --ray-address"
        ) from None


def last_line(error: BaseException) -> str:
    """The last line of what an error of Ray's says, where it is said what went wrong."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
