"""Scans whose rows follow from the names and contents of files, without networks."""

import contextlib
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from batchage.config import ScanConfig
from batchage.errors import UsageError
from batchage.places import (
    LocalFolder,
    StoreFolder,
    content_hash,
    crop_name,
    folder_at,
    locate,
    thumbnail_name,
)
from batchage.results import lock
from batchage.results.file_sink import FileSink
from batchage.types import ImageRecord, Status
from batchage.walk import iter_images
from batchage.write import FACES, IMAGES, output_paths, read_table
from batchage.write.base import suffixes
from batchage.write.tables import _OneFile, _OneTable
from tests.write.test_write import make_face

ABOUT = {
    "version": "1",
    "model_id": "m@1",
    "detector_id": "d@1",
    "precision": "float32",
    "settings": {"detect_size": 640},
    "filter": {"recursive": True},
    "inputs": ["photos"],
}
N_PAGES = 3
"""Of each .tif."""
LOCAL = ["r", *(f"r{suffix}" for suffix in suffixes())]
REMOTE = ["memory://bucket/r", "memory://bucket/below/r.parquet", "memory://bucket/r.csv"]
OUTPUTS = LOCAL + REMOTE
LOCK_TIMES = {"RENEW_EVERY": 0.5, "OLD_AFTER": 3.0, "POLL_EVERY": 0.05, "SETTLE": 0.05}
STEPS = {
    **dict.fromkeys((LocalFolder, StoreFolder), ("write", "remove", "take", "begin")),
    **dict.fromkeys((_OneFile, _OneTable), ("finish", "put_into_place")),
}
"""Of writing, before any of which a scan may be killed."""


def make_photo(path, content="x", mtime=1_600_000_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xd8\xff" + content.encode())
    os.utime(path, (mtime, mtime))


def records_of(ref, pictures):
    """What a scan would say of a file, of a .tif page by page: it follows from name and content."""
    if not ref.relative.endswith(".tif"):
        return [record_of(ref, pictures)]
    records = [record_of(ref, pictures, page) for page in range(1, N_PAGES + 1)]
    for record in records:
        record.is_last = record.page == N_PAGES
    return records


def record_of(ref, pictures, page=None):
    """What a scan would say of a picture and, in folders, draw."""
    content = content_hash(ref.path)
    if content is None:
        return ImageRecord(ref, Status.UNREADABLE, "gone", page=page)
    n_faces = int(content[page or 0], 16) % 3
    status = Status.OK if n_faces else Status.NO_FACE
    faces = [make_face(i, score=float(int(content[1:6], 16))) for i in range(n_faces)]
    record = ImageRecord(ref, status, None, 4, 3, content, None, 0.5, None, faces, page)
    if faces and "thumbnails" in pictures:
        record.thumbnail = thumbnail_name(ref.root, ref.relative, page)
        folder_at(pictures["thumbnails"]).write(record.thumbnail, f"{content} {page}".encode())
    if "crops" in pictures:
        record.faces = [
            replace(face, crop=crop_name(ref.root, ref.relative, i, page))
            for i, face in enumerate(faces)
        ]
        for face in record.faces:
            folder_at(pictures["crops"]).write(
                face.crop, f"{content} {page} {face.face_index}".encode()
            )
    return record


AT_ONCE = {"save_every": 1e9}
"""A scan that saves one part."""


def run_scan(folder, output, stop_after=None, about=ABOUT, refs=None, **settings):
    """A scan that may be killed after so many pictures; the names it computed, and its sink."""
    sink = FileSink(output, ScanConfig(**{"save_every": 0, **settings}))
    names = []
    try:
        sink.open()
        sink.begin(about)
        for ref in sink.pending(refs if refs is not None else iter_images([folder])):
            for record in records_of(ref, settings):
                if len(names) == stop_after:
                    return names, sink
                sink.write(record)
                names.append(record.name)
        sink.finish()
    finally:
        sink.close()
    return names, sink


def rows(output):
    paths = output_paths(output)
    tables = (read_table(paths.images, IMAGES), read_table(paths.faces, FACES))
    return tuple(table.to_pylist() for table in tables)


def fresh_rows(folder, output, **settings):
    other = output.with_name(f"fresh{output.suffix}")
    run_scan(folder, other, overwrite=True, **AT_ONCE, **settings)
    return rows(other)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number in range(10):
        make_photo(folder / f"{'ab'[number % 2]}" / f"{number}.jpg", f"content {number}")
    return folder


@pytest.fixture(scope="module")
def no_power_cut():
    """Nothing waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(params=OUTPUTS)
def output(request, tmp_path, memory, monkeypatch, no_power_cut):
    """An output of every kind."""
    for name, seconds in LOCK_TIMES.items():
        monkeypatch.setattr(lock, name, seconds)
    return locate(request.param) if "://" in request.param else tmp_path / request.param


def parts_of(output):
    """The folder of its parts."""
    return output.with_name(f"{output.name}.parts")


@contextmanager
def death_after(n_steps, monkeypatch):
    """Ends a scan in place of one of the steps that write, which are counted; tells whether."""
    taken = []

    def dying(step):
        def step_or_die(*arguments, **more):
            taken.append(step)
            if len(taken) == n_steps + 1:
                raise KeyboardInterrupt
            return step(*arguments, **more)

        return step_or_die

    with monkeypatch.context() as patch:
        for holder, names in STEPS.items():
            for name in names:
                patch.setattr(holder, name, dying(getattr(holder, name)))
        with contextlib.suppress(KeyboardInterrupt):
            yield lambda: len(taken) > n_steps


def require_lock(folder, output):
    """See that a second scan is refused while a first one is at work, and not after it."""
    first = FileSink(output, ScanConfig())
    first.open()
    with pytest.raises(UsageError, match="another scan is writing there"):
        run_scan(folder, output)
    first.close()
    assert len(run_scan(folder, output)[0]) == 10


def kill_after_parts(process, parts):
    """Kill a real scan into a store when two parts are there; its lock stays."""
    while process.poll() is None and "00001.images.parquet" not in parts.names():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert parts.has("lock")
