"""The scan as a function: what the command line calls too."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from batchage.config import ScanConfig
from batchage.engines import ENGINES, create_engine
from batchage.places import locate
from batchage.profile import Profile
from batchage.results import Sink, make_sink
from batchage.types import Identity, ImageRecord, ImageRef
from batchage.version import __version__
from batchage.walk import Skipped, absolute_input, disk_of, iter_images
from batchage.write import FACES, IMAGES, faces_batch, images_batch, read_table

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike[str]
PATH_SETTINGS = {"output", "thumbnails", "crops"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ScanResult:
    """What a scan found.

    Attributes:
        faces_table: The faces table as Arrow, one row a face.
        images_table: The images table as Arrow, one row a file.
        model_id: The bundle that predicted.
        skipped: What looked like a picture or video and wasn't looked at.
    """

    faces_table: pa.Table
    images_table: pa.Table
    model_id: str
    skipped: Skipped

    def __repr__(self) -> str:
        """For example `<ScanResult: 17 faces in 9 photos>`."""
        faces, photos = self.faces_table.num_rows, self.images_table.num_rows
        return f"<ScanResult: {count_of(faces, 'face')} in {count_of(photos, 'photo')}>"

    @property
    def faces(self) -> pd.DataFrame:
        """The faces table as a pandas data frame."""
        return self.faces_table.to_pandas()

    @property
    def images(self) -> pd.DataFrame:
        """The images table as a pandas data frame."""
        return self.images_table.to_pandas()


class Scan:
    """A scan that runs while it is iterated, once.

        refs = batchage.iter_images(["photos"])
        with batchage.Scan(refs, ScanConfig(output=Path("results.parquet"))) as scan:
            for record in scan:
                print(record.ref.relative, record.status)

    It yields the records that are computed now, in order; rows that are taken over from an
    interrupted scan or an earlier output are in the tables only. The tables are in place once the
    iteration is exhausted. If it is left earlier, or an error ends it, what was computed is kept
    for the next scan with the same output.

    Attributes:
        sink: Where the records go, with its counts.
        profile: Where the time goes.
        model_id: The bundle that predicts; known once the iteration has begun.
    """

    def __init__(
        self, refs: Iterable[ImageRef], config: ScanConfig, inputs: Sequence[str] = ()
    ) -> None:
        """Name what is to be done; nothing is touched.

        Args:
            refs: The files, from `batchage.iter_images`.
            config: The settings.
            inputs: What `refs` came from: an interrupted scan goes on only with the same.

        Raises:
            UsageError: The output's suffix or the engine is unknown.
        """
        self._refs, self._config, self._inputs = refs, config, list(inputs)
        ENGINES.require(config.engine)
        self.sink: Sink = make_sink(config)
        self.profile = Profile()
        self.model_id = ""
        self._running: Generator[ImageRecord] | None = None

    def __enter__(self) -> Self:
        """Reserve the output.

        Raises:
            UsageError: There is a finished one, or another scan is at work on it.
            OutputError: It can't be written.
        """
        try:
            self.sink.open()
        except BaseException:
            self.sink.close()
            raise
        return self

    def __iter__(self) -> Iterator[ImageRecord]:
        """Load the networks, scan, write.

        Raises:
            BatchageError: The scan can't be carried out; a bad file is a row instead.
        """
        self._running = self._run()
        return self._running

    def _run(self) -> Generator[ImageRecord]:
        with self.profile.stage("load networks"):
            loaded = create_engine(self._config, self.profile)
        with closing(loaded) as engine:
            self.model_id = engine.identity.model_id
            self.sink.begin(made_with(engine.identity, self._config, self._inputs))
            with closing(engine.run(self.sink.pending(self._refs))) as found:
                for record in found:
                    with self.profile.stage("write"):
                        self.sink.write(record)
                    yield record
            with self.profile.stage("write"):
                self.sink.finish()

    def __exit__(self, *_: object) -> None:
        """Save what was computed and release the output."""
        try:
            if self._running:
                self._running.close()
        finally:
            self.sink.close()


def count_of(n: int, thing: str) -> str:
    """For example `1 face`, `1,200 faces`."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def made_with(identity: Identity, config: ScanConfig, inputs: Sequence[str]) -> dict[str, Any]:
    """What a scan's rows depend on, JSON-ready."""
    return {
        "version": __version__,
        **asdict(identity),
        "settings": config.results_settings(),
        "filter": asdict(config.filter),
        "inputs": list(inputs),
        "disks": {place: disk_of(place) for place in inputs},
    }


def scan(*inputs: PathLike, config: ScanConfig | None = None, **settings: Any) -> ScanResult:
    """Scan photos and folders.

        import batchage

        result = batchage.scan("photos", output="results.parquet")
        result.faces.groupby("gender").age_years.median()

    Args:
        *inputs: Files and folders.
        config: Settings; the defaults where it is missing.
        **settings: Fields of `ScanConfig` that replace those of `config`.

    Returns:
        The rows, held in memory. For collections that don't fit, iterate over a `batchage.Scan`.

    Raises:
        BatchageError: The scan can't be carried out; a bad file is a row instead.
    """
    for name in PATH_SETTINGS & settings.keys():
        settings[name] = None if settings[name] is None else locate(settings[name])
    chosen = replace(config or ScanConfig(), **settings)
    kept, skipped = [], Skipped()
    refs = iter_images(inputs, chosen.filter, chosen.picture_folders, skipped)
    with Scan(refs, chosen, absolute_inputs(inputs)) as running:
        for record in running:
            if running.sink.paths is None:
                kept.append(record)
    if paths := running.sink.paths:
        faces, images = read_table(paths.faces, FACES), read_table(paths.images, IMAGES)
        return ScanResult(faces, images, running.model_id, skipped)
    return ScanResult(
        pa.Table.from_batches([faces_batch(kept, running.model_id, chosen.age_threshold)]),
        pa.Table.from_batches([images_batch(kept, chosen.age_threshold)]),
        running.model_id,
        skipped,
    )


def absolute_inputs(inputs: Iterable[PathLike]) -> list[str]:
    """What to tell a `Scan` about the files, folders and URLs it scans."""
    return list(map(absolute_input, inputs))
