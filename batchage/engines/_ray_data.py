"""The pipeline on many machines, by Ray Data.

The scan itself stays in this process: it walks, and writes what comes back, in order. Photos go out
in units through a Ray Data pipeline of two steps: reading units, and a pool of actors that each
hold a pipeline. Ray starts lost actors again, elsewhere if their machine is gone, and gives them
the units that they had; a unit that is scanned twice gives the same rows.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, Datasource, ReadTask
from ray.data.block import BlockMetadata
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from batchage.config import DEFAULT_BATCH_SIZE, ScanConfig
from batchage.detect import create_detector
from batchage.engines._ray_cluster import connect, last_line, share_out
from batchage.errors import BatchageError, EngineError
from batchage.networks import Compute, choose_compute, load_bundle
from batchage.pipeline import Pipeline
from batchage.predict import KIND, age_interval_of
from batchage.profile import Profile
from batchage.types import Identity, ImageRecord, ImageRef, Status
from batchage.version import __version__

UNITS_AHEAD = 4
"""Units under way, for each actor."""
DEATHS = 3
"""Of actors at a photo, after which it is given up."""
WHOLE = -1
WAIT = "wait for actors"

log = logging.getLogger("batchage")


class _Units:
    """The units that are under way, and where actors died: an actor beside the driver.

    It keeps a unit until the driver has its records, so that it can be scanned again. What is asked
    of it may be carried out in another order.
    """

    def __init__(self) -> None:
        self._units: dict[int, list[ImageRef]] = {}
        self._n_done = 0
        self._end: int | None = None
        self._at: dict[int, int] = {}
        self._deaths: dict[int, Counter[int]] = {}
        self._news = asyncio.Condition()

    async def put(self, number: int, refs: list[ImageRef]) -> None:
        """Offer a unit."""
        async with self._news:
            self._units[number] = refs
            self._news.notify_all()

    async def end(self, n_units: int) -> None:
        """Say how many there are."""
        async with self._news:
            self._end = n_units
            self._news.notify_all()

    async def get(self, number: int) -> list[ImageRef] | None:
        """A unit, once it is there; empty if its records have come already, None after the last."""
        async with self._news:
            await self._news.wait_for(lambda: number in self._units or self._is_over(number))
        return self._units.get(number, [] if number < self._n_done else None)

    def _is_over(self, number: int) -> bool:
        return number < self._n_done or (self._end is not None and number >= self._end)

    async def begin(self, number: int) -> dict[int, int]:
        """Note that an actor takes a unit; how many died at each photo of it, and at the whole."""
        if number not in self._units:
            return {}
        deaths = self._deaths.setdefault(number, Counter())
        if number in self._at:
            deaths[self._at[number]] += 1
        self._at[number] = WHOLE
        return dict(deaths)

    async def is_at(self, number: int, index: int) -> None:
        """Note the photo that an actor is about to take alone."""
        self._at[number] = index

    async def drop(self, number: int) -> None:
        """Forget a unit whose records have come, as all before it have."""
        self._n_done = max(self._n_done, number + 1)
        for known in (self._units, self._at, self._deaths):
            known.pop(number, None)


class _UnitSource(Datasource):  # type: ignore[misc]
    """Units as Ray Data reads them: one row a block."""

    def __init__(self, units: Any) -> None:
        super().__init__()
        self._units = units

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        units = self._units

        def read() -> Iterator[pa.Table]:
            for number in itertools.count():
                # Read again from the start if it died.
                if ray.get(units.get.remote(number)) is None:
                    return
                yield pa.table({"unit": [number]})

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown)]


class _Scanner:
    """One actor of the pool."""

    def __init__(self, config: ScanConfig, units: Any, identity: Identity, n_cores: int) -> None:
        # Several may share a GPU.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        self._units = units
        self._pipeline: Pipeline | None = None
        self._problem: BatchageError | None = None
        # An error of a constructor would be tried again and again.
        try:
            self._pipeline = Pipeline(config, n_cores=n_cores)
            if self._pipeline.identity != identity:
                raise EngineError(
                    f"a machine of the cluster has {self._pipeline.identity}, another one "
                    f"{identity}; install the same everywhere"
                )
        except BatchageError as error:
            self._problem = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        number = int(batch["unit"][0])
        found = np.empty(1, object)
        try:
            found[0] = self._scan(number)
        except BatchageError as error:
            found[0] = error
        return {"unit": batch["unit"], "found": found}

    def _scan(self, number: int) -> list[ImageRecord]:
        if self._problem:
            raise self._problem
        assert self._pipeline
        refs: list[ImageRef] = ray.get(self._units.get.remote(number))
        deaths = ray.get(self._units.begin.remote(number))
        if not deaths:
            return list(self._pipeline.run(refs))
        # One of them may be what it died of.
        records = []
        for index, ref in enumerate(refs):
            if deaths.get(WHOLE, 0) + deaths.get(index, 0) >= DEATHS and index in deaths:
                why = f"the process that scanned it died {DEATHS} times"
                records.append(ImageRecord(ref, Status.FAILED, why))
                continue
            ray.get(self._units.is_at.remote(number, index))
            records.extend(self._pipeline.run([ref]))
        return records


@dataclass(frozen=True, slots=True)
class _Loadable:
    """What a pipeline on a machine of Ray's would be."""

    identity: Identity
    compute: Compute


def _identify(config: ScanConfig) -> tuple[str, _Loadable] | BatchageError:
    """The version there, and what a pipeline would be, without loading all of it."""
    try:
        compute = choose_compute(config.device, config.precision, config.detect_precision)
        detector = create_detector(config.detector, config.detection, compute)
        bundle = load_bundle(config.model, KIND)
    except BatchageError as error:
        return error
    identity = Identity(
        bundle.model_id, detector.detector_id, compute.precision, age_interval_of(bundle)
    )
    return __version__, _Loadable(identity, compute)


class RayEngine:
    """See the module."""

    def __init__(self, config: ScanConfig, profile: Profile) -> None:
        """Connect to a cluster, or start one on this machine.

        Args:
            config: The settings; paths must be the same on all machines.
            profile: Where waiting is counted.

        Raises:
            UsageError: There is no such cluster, or it has not what is asked for.
            BatchageError: A bundle or device can't be used there.
        """
        self._profile = profile
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            connect(config.ray.address)
        try:
            self._prepare(config)
        except BaseException:
            self.close()
            raise

    def _prepare(self, config: ScanConfig) -> None:
        resources = ray.cluster_resources()
        self._shares = share_out(config, resources.get("CPU", 0.0), resources.get("GPU", 0.0))
        device = config.device
        if device == "auto":
            device = "gpu" if self._shares.gpus else "cpu"
        config = replace(_with_absolute_paths(config), device=device)
        try:
            answer = ray.get(ray.remote(_identify).options(**self._shares.request()).remote(config))
        except RayError as error:
            raise EngineError(
                f"Ray's workers can't load batchage ({last_line(error)}); install batchage "
                f"{__version__} on every machine of the cluster"
            ) from None
        if isinstance(answer, BatchageError):
            raise answer
        version, found = answer
        if version != __version__:
            raise EngineError(
                f"the cluster has batchage {version}, and this is {__version__}; install the same"
            )
        self.identity = found.identity
        self._config = replace(
            config,
            precision=found.compute.precision,
            detect_precision=found.compute.detect_precision,
            # A unit has fewer faces than a search may find, and actors may share a GPU.
            batch_size=config.batch_size or DEFAULT_BATCH_SIZE,
        )

    def run(self, refs: Iterable[ImageRef]) -> Generator[ImageRecord]:
        """Finished records, in the order of `refs`; units are scanned in any order."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        units = ray.remote(_Units).options(num_cpus=0, scheduling_strategy=here).remote()
        source = iter(refs)
        under_way: deque[int] = deque()
        n_out = 0
        is_all = False
        with closing(self._results(units)) as results:
            while True:
                while not is_all and len(under_way) < UNITS_AHEAD * self._shares.n_actors:
                    unit = list(itertools.islice(source, self._config.ray.unit_photos))
                    if unit:
                        units.put.remote(n_out, unit)
                        under_way.append(len(unit))
                        n_out += 1
                    else:
                        is_all = True
                        units.end.remote(n_out)
                if not under_way:
                    return
                with self._profile.stage(WAIT):
                    found = next(results, [])
                if sum(record.is_last for record in found) != under_way.popleft():
                    raise EngineError(
                        "Ray lost some photos of this scan; give the same command again, it goes "
                        "on where it stopped"
                    )
                yield from found

    def _results(self, units: Any) -> Generator[Sequence[ImageRecord]]:
        """Records of unit after unit, in order."""
        scanned = ray.data.read_datasource(
            _UnitSource(units), override_num_blocks=1, num_cpus=0
        ).map_batches(
            _Scanner,
            batch_size=None,
            compute=ActorPoolStrategy(size=self._shares.n_actors),
            fn_constructor_args=(self._config, units, self.identity, self._shares.n_cores),
            **self._shares.request(),
        )
        # Of this pipeline only: the caller may have others.
        context = scanned.context
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        # Units are handed on one by one.
        context.target_max_block_size = 1
        try:
            for batch in scanned.iter_batches(batch_size=None, prefetch_batches=0):
                found = batch["found"][0]
                if isinstance(found, BatchageError):
                    raise found
                units.drop.remote(int(batch["unit"][0]))
                yield list(found)
        except RayError as error:
            raise EngineError(
                f"Ray ended the scan ({last_line(error)}); see that the cluster is well and give "
                "the same command again, it goes on where it stopped"
            ) from None

    def close(self) -> None:
        """Let go of the cluster; one that was started here ends."""
        if self._is_ours:
            ray.shutdown()


def _with_absolute_paths(config: ScanConfig) -> ScanConfig:
    """The settings as they mean the same in another folder."""
    model = Path(config.model)
    return replace(
        config,
        output=None,
        thumbnails=config.thumbnails and config.thumbnails.absolute(),
        crops=config.crops and config.crops.absolute(),
        model=str(model.absolute()) if model.is_dir() else config.model,
    )
