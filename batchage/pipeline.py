"""The orchestrator: the only module that knows the order of the stages."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from batchage.align import align
from batchage.bundle import load_bundle
from batchage.config import ScanConfig
from batchage.decode import decode
from batchage.detect import create_detector
from batchage.errors import DecodeError, TooLargeError
from batchage.predict.hardware import choose_compute
from batchage.predict.network import KIND
from batchage.predict.predictor import Predictor
from batchage.thumbnails import CropWriter, ThumbnailWriter
from batchage.types import (
    DecodedImage,
    Detections,
    FaceCrop,
    FaceRecord,
    ImageRecord,
    ImageRef,
    Prediction,
    Status,
)

DETECT_BATCH = 4
DECODED_AHEAD = 8
LONGEST_WAIT = 256
"""Photos after which a batch that still isn't full is predicted, so that rows keep coming."""


@dataclass(slots=True, eq=False)
class _Photo:
    """One file on its way through the stages; it is finished when every crop has a prediction."""

    record: ImageRecord
    image: DecodedImage | None = None
    found: Detections = field(default_factory=Detections.empty)
    crops: list[FaceCrop] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)

    def waits(self) -> int:
        """Faces without a prediction."""
        return len(self.crops) - len(self.predictions)


class Pipeline:
    """Loaded networks and the way of a photo through them."""

    def __init__(self, config: ScanConfig) -> None:
        """Load detector and model, make the output folders.

        Raises:
            BatchageError: A bundle, device or folder can't be used.
        """
        self.config = config
        self.compute = choose_compute(config.device, config.precision)
        bundle = load_bundle(config.model, KIND)
        self._thumbnails = ThumbnailWriter(config.thumbnails) if config.thumbnails else None
        self._crops = CropWriter(config.crops) if config.crops else None
        self.detector = create_detector(config.detector, config.detection)
        self.predictor = Predictor(bundle, self.compute, config.batch_size, config.tta)

    def run(self, refs: Iterable[ImageRef]) -> Iterator[ImageRecord]:
        """Finished records, in the order of `refs`; batches are filled across photos."""
        waiting: deque[_Photo] = deque()
        decoded = self._decoded(refs)
        while group := list(islice(decoded, DETECT_BATCH)):
            self._find_faces(group)
            waiting.extend(group)
            if sum(photo.waits() for photo in waiting) >= self.config.batch_size:
                self._predict(waiting, whole_batches=True)
            elif len(waiting) >= LONGEST_WAIT:
                self._predict(waiting, whole_batches=False)
            while waiting and not waiting[0].waits():
                yield self._finish(waiting.popleft())
        self._predict(waiting, whole_batches=False)
        while waiting:
            yield self._finish(waiting.popleft())

    def _decoded(self, refs: Iterable[ImageRef]) -> Iterator[_Photo]:
        """Photos in order, decoded ahead by threads, a bounded number at a time."""
        source = iter(refs)
        with ThreadPoolExecutor(os.cpu_count() or 1, "decode") as pool:
            ahead: deque[Future[_Photo]] = deque()
            try:
                while True:
                    for ref in islice(source, DECODED_AHEAD - len(ahead)):
                        ahead.append(pool.submit(self._decode, ref))
                    if not ahead:
                        return
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _decode(self, ref: ImageRef) -> _Photo:
        record = ImageRecord(ref, Status.NO_FACE)
        if ref.error is not None:
            record.status, record.error = Status.UNREADABLE, ref.error
            return _Photo(record)
        started = time.perf_counter()
        image = None
        try:
            image = decode(ref.path, max_pixels=self.config.max_pixels)
            record.width, record.height = image.width, image.height
            record.content_hash, record.captured_at = image.content_hash, image.captured_at
            if image.warning:
                record.status, record.error = Status.TRUNCATED, image.warning
        except TooLargeError as error:
            record.status, record.error = Status.TOO_LARGE, str(error)
        except DecodeError as error:
            record.status, record.error = Status.UNREADABLE, str(error)
        record.seconds = time.perf_counter() - started
        return _Photo(record, image)

    def _find_faces(self, group: list[_Photo]) -> None:
        """Detect and align; a photo that fails takes no other with it."""
        readable = [photo for photo in group if photo.image is not None]
        started = time.perf_counter()
        try:
            found = self.detector.detect([p.image.pixels for p in readable if p.image])
        except Exception:
            if len(group) == 1:
                self._fail(readable[0])
                return
            for photo in readable:
                self._find_faces([photo])
            return
        for photo, faces in zip(readable, found, strict=True):
            assert photo.image is not None
            photo.crops = [
                align(photo.image.pixels, points, self.predictor.input_size)
                for points in faces.landmarks
            ]
            photo.found = faces.transformed(1 / photo.image.scale)
            # Photos wait here until their batch is full: keep no more pixels than are needed.
            thumbnails = self._thumbnails if len(faces) else None
            photo.image = thumbnails.reduced(photo.image) if thumbnails else None
        for photo in readable:
            photo.record.seconds += (time.perf_counter() - started) / len(readable)

    def _fail(self, photo: _Photo) -> None:
        photo.record.status = Status.FAILED
        photo.record.error = "face detection failed on this picture"
        photo.image = None

    def _predict(self, photos: Iterable[_Photo], whole_batches: bool) -> None:
        """Predict waiting faces, oldest first; leave an unfilled batch for later if asked to."""
        owners = [photo for photo in photos for _ in range(photo.waits())]
        if whole_batches:
            owners = owners[: len(owners) // self.config.batch_size * self.config.batch_size]
        taken: dict[int, int] = {}
        crops = []
        for photo in owners:
            index = taken.get(id(photo), len(photo.predictions))
            crops.append(photo.crops[index].pixels)
            taken[id(photo)] = index + 1
        started = time.perf_counter()
        predictions = self.predictor.predict(crops)
        seconds = (time.perf_counter() - started) / max(len(owners), 1)
        for photo, prediction in zip(owners, predictions, strict=True):
            photo.predictions.append(prediction)
            photo.record.seconds += seconds

    def _finish(self, photo: _Photo) -> ImageRecord:
        record, found = photo.record, photo.found
        for index, (crop, prediction) in enumerate(
            zip(photo.crops, photo.predictions, strict=True)
        ):
            name = self._crops.write(record.ref, index, crop.pixels) if self._crops else None
            record.faces.append(
                FaceRecord(
                    face_index=index,
                    box=found.boxes[index],
                    landmarks=found.landmarks[index],
                    score=float(found.scores[index]),
                    sharpness=crop.sharpness,
                    pose=crop.pose,
                    prediction=prediction,
                    crop=name,
                )
            )
        if record.faces and record.status is Status.NO_FACE:
            record.status = Status.OK
        if self._thumbnails and photo.image is not None:
            record.thumbnail = self._thumbnails.write(photo.image, record)
        return record
