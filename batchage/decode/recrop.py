"""Crops of faces that are too small in a reduced picture, out of the full-size one.

The full-size picture stays in the process that decodes it: only the crops come out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from batchage.align import Similarity, estimate_similarity, judge, warp
from batchage.decode.budget import ByteBudget, decoded_bytes
from batchage.decode.pictures import decode
from batchage.decode.workers import DecodePool
from batchage.errors import DecodeError
from batchage.pixels import in_srgb
from batchage.places import Fetched
from batchage.types import DecodedImage, FaceCrop, FloatArray

CHANGED = "the file was changed during the scan; scan it again"
CROPPER = "batchage.decode.recrop:decode_crops"


def decode_crops(
    path: Path | str,
    *,
    max_pixels: int,
    reserve: Callable[[int], None],
    tell_pages: Callable[[int], None],
    matrices: Sequence[Sequence[Sequence[float]]],
    size: int,
    data: bytes | None = None,
) -> DecodedImage:
    """`decode` at full size, of which crops are kept: the body of a worker process.

    Args:
        path: The file.
        max_pixels: As of `decode`.
        reserve: As of `decode`.
        tell_pages: As of `decode`; only files of one picture are reduced, and looked at twice.
        matrices: `(n, 2, 3)`, the faces' similarities, full-size pixels → crop pixels.
        size: Side of the crops in pixels.
        data: As of `decode`.

    Returns:
        The picture with crops in sRGB instead of its pixels, one below the other:
        `(n * size, size, 3)`.
    """
    image = decode(
        path,
        max_pixels=max_pixels,
        reserve=reserve,
        tell_pages=tell_pages,
        data=data,
        colours_later=True,
    )
    similarities = [Similarity(np.array(matrix, np.float64)) for matrix in matrices]
    strip = np.concatenate([warp(image.pixels, each, size) for each in similarities])
    return replace(image, pixels=in_srgb(strip, image.colours), colours=None)


class Recropper:
    """Cuts crops out of full-size pictures, beside everything else.

    Its workers are not those that decode: these wait for room that only finished photos make.
    """

    def __init__(self, max_pixels: int, timeout: float, n_workers: int) -> None:
        """Nothing is started before the first picture.

        Args:
            max_pixels: As of `decode`.
            timeout: Seconds that a picture may take.
            n_workers: Pictures at once.
        """
        self._max_pixels, self._timeout = max_pixels, timeout
        self._n_workers = n_workers
        self._budget, self._turns = ByteBudget(decoded_bytes()), itertools.count()
        self._pool: DecodePool | None = None
        self._threads = ThreadPoolExecutor(n_workers, "recrop")

    def submit(
        self,
        path: Path | str,
        content_hash: str,
        landmarks: FloatArray,
        size: int,
        fetched: Fetched | None = None,
    ) -> Future[list[FaceCrop]]:
        """The crops of the faces of a picture that was decoded before, once they are there.

        Args:
            path: The file.
            content_hash: What it must still be.
            landmarks: float32 `(n, 5, 2)` in full-size pixels.
            size: Side of the crops in pixels.
            fetched: The bytes of a remote file, which are released after that.

        Returns:
            Its result may raise a `DecodeError`.
        """
        self._pool = self._pool or DecodePool(self._n_workers, CROPPER)
        pool, turn = self._pool, next(self._turns)
        return self._threads.submit(
            self._crop, pool, turn, path, content_hash, landmarks, size, fetched
        )

    def _crop(
        self,
        pool: DecodePool,
        turn: int,
        path: Path | str,
        content_hash: str,
        landmarks: FloatArray,
        size: int,
        fetched: Fetched | None,
    ) -> list[FaceCrop]:
        reserved = []

        def reserve(n_bytes: int) -> None:
            self._budget.acquire(turn, n_bytes)
            reserved.append(n_bytes)

        try:
            matrices = [estimate_similarity(points, size).matrix.tolist() for points in landmarks]
            image = pool.decode(
                path,
                self._max_pixels,
                self._timeout,
                reserve,
                data=fetched.data() if fetched else None,
                matrices=matrices,
                size=size,
            )
        finally:
            if fetched:
                fetched.release()
            self._budget.pass_turn(turn)
            self._budget.release(turn, sum(reserved))
        if image.content_hash != content_hash:
            raise DecodeError(CHANGED)
        crops = image.pixels.reshape(-1, size, size, 3)
        return [judge(crop, points) for crop, points in zip(crops, landmarks, strict=True)]

    def take_cpu_seconds(self) -> float:
        """Processor time of decoding, since it was last asked."""
        return self._pool.take_cpu_seconds() if self._pool else 0.0

    def close(self) -> None:
        """Stop the processes; what is still waited for ends with an error."""
        self._budget.close()
        if self._pool:
            self._pool.close()
        self._threads.shutdown(cancel_futures=True)
