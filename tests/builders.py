"""Things that several test modules make."""

from dataclasses import asdict

import numpy as np

from batchage.bundle import network_weights, save_bundle
from batchage.config import ScanConfig
from batchage.predict.network import KIND, Architecture, build_network
from batchage.predict.predictor import Calibration
from batchage.store import FileSink
from batchage.types import FaceRecord, Pose, Prediction

TINY = Architecture(shared_units=8, age_units=8, gender_units=8)


def make_bundle(folder, **changes):
    """A bundle of a random tiny network for crops of 32 pixels."""
    spec = {
        "description": "Random",
        "input_size": 32,
        "architecture": TINY.to_dict(),
        "calibration": asdict(Calibration(age_edges=(30.0,), age_scales=(1.0, 1.2))),
        **changes,
    }
    return save_bundle(folder, KIND, network_weights(build_network(TINY), "float16"), spec)


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


def write_tables(output, records):
    """Both tables, of records that no scan made."""
    sink = FileSink(output, ScanConfig(overwrite=True))
    try:
        sink.open()
        sink.begin({"version": "1", "model_id": "model@1", "settings": {}, "inputs": []})
        assert len(list(sink.pending(record.ref for record in records))) == len(records)
        for record in records:
            sink.write(record)
        sink.finish()
    finally:
        sink.close()
