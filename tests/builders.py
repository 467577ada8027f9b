"""Things that several test modules make."""

from dataclasses import asdict
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchage.align import CHIP_SIDE, TEMPLATE
from batchage.config import ScanConfig
from batchage.networks import network_weights, save_bundle
from batchage.places import MARKER
from batchage.predict import KIND, Architecture, Calibration, build_network
from batchage.results.file_sink import FileSink
from batchage.types import FaceRecord, Pose, Prediction
from train.manifest import SCHEMA

TINY = Architecture(shared_units=8, age_units=8, gender_units=8)


@cache
def tiny_weights():
    """Of a random tiny network."""
    return network_weights(build_network(TINY), "float16")


def make_bundle(folder, **changes):
    """A bundle of a random tiny network for crops of 32 pixels."""
    spec = {
        "description": "Random",
        "input_size": 32,
        "architecture": TINY.to_dict(),
        "calibration": asdict(Calibration(age_knots=(30.0, 40.0), age_scales=(1.0, 1.2))),
        **changes,
    }
    return save_bundle(folder, KIND, tiny_weights(), spec)


def make_face(box, index=0, age=34.2, prob_female=0.9):
    """A face as it comes out of the pipeline, at a box `xyxy`."""
    return FaceRecord(
        face_index=index,
        box=np.array(box, np.float32),
        landmarks=np.zeros((5, 2), np.float32),
        score=0.9,
        sharpness=100.0,
        pose=Pose(0.0, 0.0, 0.0),
        prediction=Prediction(age, age - 5, age + 5, prob_female),
    )


def pictures_in(folder):
    """Names of what a folder or store of batchage's pictures holds, besides its marker."""
    return sorted({path.name for path in folder.iterdir()} - {MARKER})


def write_tables(output, records, **settings):
    """Both tables, of records that no scan made."""
    sink = FileSink(output, ScanConfig(overwrite=True))
    try:
        sink.open()
        sink.begin({"version": "1", "model_id": "model@1", "settings": settings, "inputs": []})
        refs = [record.ref for record in records if record.is_last]
        assert len(list(sink.pending(refs))) == len(refs)
        for record in records:
            sink.write(record)
        sink.finish()
    finally:
        sink.close()


def manifest_row(path, age_min, **more):
    """A row of a training manifest; `age_max` is `age_min` unless it is given."""
    landmarks = (TEMPLATE * 64 / CHIP_SIDE).ravel().tolist()
    return {
        "path": str(path), "source": "drawn", "age_min": age_min, "age_max": age_min,
        "gender": None, "group": None, "landmarks": landmarks, "detection_score": 0.9,
        "n_faces": 1, "framing": "face", "hash": bytes(32), "crop_hash": bytes(32),
        "split": "train", "duplicate_group": 0, **more,
    }  # fmt: skip


def write_manifest(path, rows):
    """A training manifest of rows from `manifest_row`."""
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    return path
