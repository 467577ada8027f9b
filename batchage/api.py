"""The scan as a function: what the command line calls too."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchage.config import ScanConfig
from batchage.pipeline import Pipeline
from batchage.types import ImageRecord, ImageRef
from batchage.version import __version__
from batchage.walk import iter_images
from batchage.write import ResultWriter
from batchage.write.schema import faces_batch, images_batch

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PathLike = str | os.PathLike[str]
PATH_SETTINGS = {"output", "thumbnails", "crops"}


@dataclass(frozen=True, eq=False)
class ScanResult:
    """What a scan found.

    Attributes:
        records: One a file, in scan order, each with its faces.
        model_id: The bundle that predicted.
    """

    records: list[ImageRecord]
    model_id: str

    @cached_property
    def faces_table(self) -> pa.Table:
        """The faces table as Arrow, one row a face."""
        import pyarrow as pa

        return pa.Table.from_batches([faces_batch(self.records, self.model_id)])

    @cached_property
    def images_table(self) -> pa.Table:
        """The images table as Arrow, one row a file."""
        import pyarrow as pa

        return pa.Table.from_batches([images_batch(self.records)])

    @property
    def faces(self) -> pd.DataFrame:
        """The faces table as a pandas data frame."""
        return self.faces_table.to_pandas()

    @property
    def images(self) -> pd.DataFrame:
        """The images table as a pandas data frame."""
        return self.images_table.to_pandas()


def records(
    refs: Iterable[ImageRef],
    config: ScanConfig,
    on_start: Callable[[Pipeline], None] | None = None,
) -> Iterator[ImageRecord]:
    """Scan files one after the other and write the tables that `config` asks for.

    The tables are in place once the iterator is exhausted; if it is left earlier, or an error
    ends it, nothing is written.

    Args:
        refs: The files, from `batchage.walk.iter_images`.
        config: The settings.
        on_start: Called once the networks are loaded.
    """
    pipeline = Pipeline(config)
    if on_start:
        on_start(pipeline)
    if config.output is None:
        yield from pipeline.run(refs)
        return
    to_stdout = str(config.output) == "-"
    metadata = {
        "version": __version__,
        "model_id": pipeline.predictor.model_id,
        "detector_id": pipeline.detector.detector_id,
        "settings": json.dumps(config.results_settings(), sort_keys=True),
    }
    with ResultWriter(
        None if to_stdout else config.output,
        metadata,
        pipeline.predictor.model_id,
        stream=sys.stdout.buffer if to_stdout else None,
    ) as writer:
        for record in pipeline.run(refs):
            writer.write(record)
            yield record


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
        The rows, held in memory. For collections that don't fit, write with `output` and iterate
        over `batchage.records`.

    Raises:
        BatchageError: The scan can't be carried out; a bad file is a row instead.
    """
    for name in PATH_SETTINGS & settings.keys():
        settings[name] = None if settings[name] is None else Path(settings[name])
    chosen = replace(config or ScanConfig(), **settings)
    model_ids: list[str] = []
    found = list(
        records(
            iter_images(inputs, chosen.filter),
            chosen,
            on_start=lambda pipeline: model_ids.append(pipeline.predictor.model_id),
        )
    )
    return ScanResult(found, model_ids[0])
