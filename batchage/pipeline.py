"""The orchestrator: the only module that knows the order of the stages."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Collection, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count

from batchage.align import align, estimate_similarity
from batchage.config import ScanConfig
from batchage.decode import (
    CHANGED,
    ByteBudget,
    DecodePool,
    Recropper,
    decoded_ahead,
    decoded_bytes,
    n_decoders,
)
from batchage.detect import create_detector, find_faces
from batchage.drawing import CropWriter, ThumbnailWriter, Uploads
from batchage.errors import (
    BatchageError,
    DecodeError,
    DecoderCrashError,
    DecodeTimeoutError,
    TooLargeError,
)
from batchage.networks import choose_compute, load_bundle
from batchage.places import Fetched, Fetcher, FilesAhead, result_of
from batchage.predict import KIND, Predictor
from batchage.profile import DECODE, WAIT, Profile
from batchage.tiles import reduced_side
from batchage.types import (
    DecodedImage,
    Detections,
    FaceCrop,
    FaceRecord,
    Identity,
    ImageRecord,
    ImageRef,
    Prediction,
    Status,
    box_sizes,
)

DETECT_BATCH = {"cpu": 1, "gpu": 4}
"""Photos detected at once. On a CPU one, which is as fast, and gives a photo the same numbers
whatever its neighbours are."""
LARGEST_SCALE = 1.25
"""Crop pixels a pixel of a reduced picture, above which a face is cut out of the full-size one.
At 1.24 the age error grows by 0.01 years, at 1.96 by 0.13, at 2.5 by 0.23."""
LONGEST_WAIT = 256
"""Photos after which a batch that still isn't full is predicted, so that rows keep coming."""
WAITING_BYTES = 128 << 20
"""Pixels kept for thumbnails after which it is predicted too."""
MAX_PAGES = 1000
"""Pages of a file that are looked at."""
STATUS_OF_ERROR = {
    DecodeError: Status.UNREADABLE,
    TooLargeError: Status.TOO_LARGE,
    DecodeTimeoutError: Status.TIMEOUT,
    DecoderCrashError: Status.FAILED,
}

log = logging.getLogger("batchage")


@dataclass(slots=True, eq=False)
class _Photo:
    """A picture on its way through the stages; it is finished when every crop has a prediction.

    Attributes:
        record: What is known of it so far.
        turn: Its file's among those that are decoded.
        number: Its number among the file's pages.
        n_pages: How many the file has.
        content_hash: The file's, as the pages before it had it.
        next: The file's next page, if it has one.
    """

    record: ImageRecord
    turn: int
    number: int = 1
    n_pages: int = 1
    content_hash: str | None = None
    next: Future[_Photo] | None = None
    fetched: Fetched | None = None
    image: DecodedImage | None = None
    reserved: int = 0
    found: Detections = field(default_factory=Detections.empty)
    crops: list[FaceCrop] = field(default_factory=list)
    small: list[int] = field(default_factory=list)
    better_crops: Future[list[FaceCrop]] | None = None
    predictions: list[Prediction] = field(default_factory=list)

    def is_cropped(self) -> bool:
        """Whether its crops are final, or will be without waiting."""
        return self.better_crops is None or self.better_crops.done()

    def following(self) -> _Photo | None:
        """The next page of its file, which takes over the bytes; None after the last one."""
        if self.number >= min(self.n_pages, MAX_PAGES):
            return None
        following = _Photo(
            ImageRecord(self.record.ref, Status.NO_FACE),
            self.turn,
            self.number + 1,
            self.n_pages,
            self.content_hash or self.record.content_hash,
            fetched=self.fetched,
        )
        self.fetched = None
        return following

    def waits(self) -> int:
        """Faces without a prediction."""
        return len(self.crops) - len(self.predictions)


class Pipeline:
    """Loaded networks and the way of a photo through them."""

    def __init__(
        self, config: ScanConfig, profile: Profile | None = None, n_cores: int | None = None
    ) -> None:
        """Load detector and model, make the output folders, start the decoders.

        Args:
            config: The settings.
            profile: Where the stages' times are counted.
            n_cores: As many as it may keep busy; all where it is missing.

        Raises:
            BatchageError: A bundle, device or folder can't be used.
        """
        self.config = config
        self._n_threads = n_cores
        self._n_decoders = n_cores or n_decoders()
        self._n_ahead = decoded_ahead(self._n_decoders)
        self._profile = profile or Profile()
        self._fetcher = Fetcher(config.max_pixels)
        self._uploads = Uploads()
        # First, since they start while the networks are loaded.
        self._pool = DecodePool(self._n_decoders)
        n_recroppers = max(1, self._n_decoders // 4)
        self._recropper = Recropper(config.max_pixels, config.timeout, n_recroppers)
        try:
            self._load(config)
        except BaseException:
            self.close()
            raise

    def _load(self, config: ScanConfig) -> None:
        compute = choose_compute(config.device, config.precision, config.detect_precision)
        self.compute = replace(compute, n_threads=self._n_threads or compute.n_threads)
        self._detect_batch = DETECT_BATCH[self.compute.device]
        bundle = load_bundle(config.model, KIND)
        self._thumbnails = self._crops = None
        if config.thumbnails:
            self._thumbnails = ThumbnailWriter(config.thumbnails, uploads=self._uploads)
        if config.crops:
            self._crops = CropWriter(config.crops, self._uploads)
        self.detector = create_detector(config.detector, config.detection, self.compute)
        self.predictor = Predictor(
            bundle,
            self.compute,
            config.batch_size,
            config.tta,
            config.min_gender_confidence,
            config.age_threshold,
        )

    @property
    def identity(self) -> Identity:
        """What the numbers depend on."""
        return Identity(
            self.predictor.model_id,
            self.detector.detector_id,
            self.compute.precision,
            self.predictor.age_interval,
        )

    def run(self, refs: Iterable[ImageRef]) -> Generator[ImageRecord]:
        """Finished records, in the order of `refs`; batches are filled across photos."""
        return self._uploads.in_order(self._records(refs))

    def _records(self, refs: Iterable[ImageRef]) -> Generator[ImageRecord]:
        aligned: deque[_Photo] = deque()
        waiting: deque[_Photo] = deque()
        # Closed here, and not when it is collected: a failing stage must stop the decoders at once.
        with contextlib.closing(self._decoded(refs)) as groups:
            for group in groups:
                self._find_faces(group)
                aligned.extend(group)
                while aligned and (aligned[0].is_cropped() or len(aligned) > self._n_ahead):
                    waiting.append(self._take_crops(aligned.popleft()))
                if sum(photo.waits() for photo in waiting) >= self.predictor.batch_size:
                    self._predict(waiting, whole_batches=True)
                elif self._is_long(waiting):
                    self._predict(waiting, whole_batches=False)
                while waiting and not waiting[0].waits():
                    yield self._finish(waiting.popleft())
        waiting.extend(self._take_crops(photo) for photo in aligned)
        self._predict(waiting, whole_batches=False)
        while waiting:
            yield self._finish(waiting.popleft())

    @staticmethod
    def _is_long(waiting: Collection[_Photo]) -> bool:
        held = sum(photo.image.pixels.nbytes for photo in waiting if photo.image)
        return len(waiting) >= LONGEST_WAIT or held >= WAITING_BYTES

    def _decoded(self, refs: Iterable[ImageRef]) -> Generator[list[_Photo]]:
        """Groups of photos in order, decoded ahead, bounded in number and in bytes."""
        source, turns = FilesAhead(refs, self._fetcher), count()
        budget = self._budget = ByteBudget(decoded_bytes())
        with ThreadPoolExecutor(self._n_decoders, "decode") as threads:
            ahead: deque[Future[_Photo]] = deque()
            is_done = False
            try:
                while True:
                    for ref, fetched in source.take(self._n_ahead - len(ahead), not ahead):
                        record = ImageRecord(ref, Status.NO_FACE)
                        photo = _Photo(record, next(turns), fetched=fetched)
                        ahead.append(Future())
                        threads.submit(self._decode_pages, photo, ahead[-1])
                    if not ahead:
                        is_done = True
                        return
                    self._profile.add_fill(sum(f.done() for f in ahead), self._n_ahead)
                    with self._profile.stage(WAIT):
                        group = [_next_of(ahead)]
                    # Waiting for a second one, which may wait for the first one's bytes, would
                    # never end.
                    while len(group) < self._detect_batch and ahead and ahead[0].done():
                        group.append(_next_of(ahead))
                    yield group
            finally:
                # First, so that no thread waits for what comes no more.
                budget.close()
                if not is_done:
                    self._fetcher.close()
                    self._pool.close()
                threads.shutdown(cancel_futures=True)

    def _decode_pages(self, photo: _Photo, promise: Future[_Photo]) -> None:
        """Decode a file's pictures, one after the other."""
        while True:
            try:
                self._decode(photo)
            except BaseException as error:
                promise.set_exception(error)
                return
            following = None if self._budget.is_closed else photo.following()
            photo.record.page = photo.number if photo.n_pages > 1 else None
            photo.record.is_last = following is None
            if following is None:
                promise.set_result(photo)
                return
            promise_of_next = photo.next = Future()
            promise.set_result(photo)
            photo, promise = following, promise_of_next

    def _decode(self, photo: _Photo) -> None:
        record, ref, turn = photo.record, photo.record.ref, photo.turn
        if ref.error is not None:
            self._budget.pass_turn(turn)
            record.status, record.error = Status.UNREADABLE, ref.error
            return

        def reserve(n_bytes: int) -> None:
            self._budget.acquire(turn, n_bytes)
            photo.reserved = n_bytes

        def tell_pages(n_pages: int) -> None:
            if photo.number == 1:
                photo.n_pages = n_pages

        started = time.perf_counter()
        try:
            data = photo.fetched.data() if photo.fetched else None
            # What others wait for too is not the photo's own time.
            started = time.perf_counter()
            image = photo.image = self._pool.decode(
                ref.path,
                self.config.max_pixels,
                self.config.timeout,
                reserve,
                data,
                tell_pages,
                page=photo.number,
                enough=reduced_side(self.config.detection.detect_size),
                tiles=self.config.detection.tiles,
                colours_later=True,
            )
            if photo.content_hash not in (None, image.content_hash):
                raise DecodeError(CHANGED)
            record.width, record.height = image.width, image.height
            record.content_hash, record.captured = image.content_hash, image.captured
            record.error = "; ".join(filter(None, (image.warning, image.note))) or None
            if image.warning:
                record.status = Status.TRUNCATED
        except DecodeError as error:
            self._give_up(photo, error)
        finally:
            self._budget.pass_turn(turn)
        if photo.number == MAX_PAGES < photo.n_pages:
            record.add_error(f"what follows page {MAX_PAGES:,} was not looked at")
        record.seconds = time.perf_counter() - started

    def _drop_pixels(self, photo: _Photo, kept: DecodedImage | None = None) -> None:
        """Keep no more of the file than `kept`, and make room for others."""
        photo.image = kept
        self._budget.release(photo.turn, photo.reserved)
        photo.reserved = 0
        if photo.fetched:
            photo.fetched.release()
            photo.fetched = None

    def _find_faces(self, group: list[_Photo]) -> None:
        """Detect and align; a photo that fails takes no other with it."""
        readable = [photo for photo in group if photo.image is not None]
        images = [photo.image for photo in readable if photo.image]
        started = time.perf_counter()
        try:
            with self._profile.stage("detect"):
                found = find_faces(self.detector, images, self.config.detection)
        except Exception as error:
            if len(readable) == 1:
                self._fail(readable[0], "face detection", error)
                return
            for photo in readable:
                self._find_faces([photo])
            return
        for photo, faces in zip(readable, found, strict=True):
            try:
                with self._profile.stage("align"):
                    self._align(photo, faces)
            except BatchageError:
                raise
            except Exception as error:
                self._fail(photo, "alignment", error)
        for photo in readable:
            photo.record.seconds += (time.perf_counter() - started) / len(readable)

    def _align(self, photo: _Photo, faces: Detections) -> None:
        image, size = photo.image, self.predictor.input_size
        assert image is not None
        found = image.in_full_size(faces)
        is_wanted = box_sizes(found.boxes) >= self.config.detection.min_face_size
        faces, photo.found = faces.select(is_wanted), found.select(is_wanted)
        photo.crops = [
            align(image.pixels, points, size, image.colours) for points in faces.landmarks
        ]
        if image.scale < 1:
            scales = [estimate_similarity(points, size).scale for points in faces.landmarks]
            photo.small = [i for i, scale in enumerate(scales) if scale > LARGEST_SCALE]
        if photo.small:
            points = photo.found.landmarks[photo.small]
            path, content_hash = photo.record.ref.path, image.content_hash
            photo.better_crops = self._recropper.submit(
                path, content_hash, points, size, photo.fetched
            )
            photo.fetched = None
        # Photos wait here until their batch is full: keep no more pixels than are needed.
        thumbnails = self._thumbnails if len(faces) else None
        self._drop_pixels(photo, thumbnails.reduced(image) if thumbnails else None)

    def _take_crops(self, photo: _Photo) -> _Photo:
        """The photo, with small faces' crops from the full-size picture."""
        if photo.better_crops is None:
            return photo
        try:
            with self._profile.stage("wait for full size"):
                crops = result_of(photo.better_crops)
            for index, crop in zip(photo.small, crops, strict=True):
                photo.crops[index] = crop
        except (DecodeTimeoutError, DecoderCrashError) as error:
            # What was seen in the reduced picture is there all the same.
            why = f"small faces were cut out of a reduced picture: {error}"
            photo.record.add_error(why)
        except DecodeError as error:
            self._give_up(photo, error)
        except BatchageError:
            raise
        except Exception as error:
            self._fail(photo, "alignment", error)
        return photo

    def _give_up(self, photo: _Photo, error: DecodeError) -> None:
        photo.record.status, photo.record.error = STATUS_OF_ERROR[type(error)], str(error)
        self._empty(photo)

    def _fail(self, photo: _Photo, stage: str, error: Exception) -> None:
        log.debug("%s: %s", photo.record.name, stage, exc_info=error)
        photo.record.status = Status.FAILED
        photo.record.error = f"{stage} failed on this picture ({type(error).__name__})"
        self._empty(photo)

    def _empty(self, photo: _Photo) -> None:
        photo.found, photo.crops, photo.predictions = Detections.empty(), [], []
        photo.small, photo.better_crops = [], None
        self._drop_pixels(photo)

    def _predict(self, photos: Iterable[_Photo], whole_batches: bool) -> None:
        """Predict waiting faces, oldest first; leave an unfilled batch for later if asked to."""
        owners = [photo for photo in photos for _ in range(photo.waits())]
        if whole_batches:
            size = self.predictor.batch_size
            owners = owners[: len(owners) // size * size]
        counts = Counter(owners)
        crops = [
            crop.pixels
            for photo, count in counts.items()
            for crop in photo.crops[len(photo.predictions) :][:count]
        ]
        started = time.perf_counter()
        try:
            with self._profile.stage("predict"):
                predictions = self.predictor.predict(crops)
        except Exception as error:
            if len(counts) == 1:
                self._fail(owners[0], "prediction", error)
                return
            for photo in counts:
                self._predict([photo], whole_batches=False)
            return
        seconds = (time.perf_counter() - started) / max(len(owners), 1)
        for photo, prediction in zip(owners, predictions, strict=True):
            photo.predictions.append(prediction)
            photo.record.seconds += seconds

    def _finish(self, photo: _Photo) -> ImageRecord:
        """The photo's record, after its thumbnail and crops are written."""
        try:
            with self._profile.stage("thumbnails, crops"):
                self._complete(photo)
        except BatchageError:
            raise
        except Exception as error:
            photo.record.faces.clear()
            self._fail(photo, "drawing", error)
        return photo.record

    def _complete(self, photo: _Photo) -> None:
        record, found = photo.record, photo.found
        for index, (crop, prediction) in enumerate(
            zip(photo.crops, photo.predictions, strict=True)
        ):
            name = None
            if self._crops:
                name = self._crops.write(record.ref, index, crop.pixels, record.page)
            record.faces.append(FaceRecord.of(found, index, crop, prediction, name))
        if record.faces and record.status is Status.NO_FACE:
            record.status = Status.OK
        if self._thumbnails and photo.image is not None:
            record.thumbnail = self._thumbnails.write(photo.image, record)

    def close(self) -> None:
        """Stop the decoders and count their time."""
        self._fetcher.close()
        self._uploads.close()
        pools = (self._pool, self._recropper)
        self._profile.add(DECODE, 0.0, sum(pool.take_cpu_seconds() for pool in pools))
        for pool in pools:
            pool.close()


def _next_of(ahead: deque[Future[_Photo]]) -> _Photo:
    """The next picture, waited for; its file's next page comes after it."""
    photo = result_of(ahead.popleft())
    if photo.next is not None:
        ahead.appendleft(photo.next)
        photo.next = None
    return photo
