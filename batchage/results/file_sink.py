"""Files as a scan's sink: what is done already, what is still to do, and the finished tables."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchage.config import ScanConfig
from batchage.errors import UsageError
from batchage.places import (
    N_REQUESTS,
    AnyPath,
    DaemonThreads,
    as_output_error,
    content_hash,
    each_ahead,
    read_object,
    result_of,
)
from batchage.results.left_behind import LeftBehind
from batchage.results.made_with import require_same
from batchage.results.moved import MovedRows
from batchage.results.parts import PLACE_REMEDY, STORE_REMEDY, Parts, read_rows
from batchage.results.rows import Cursor, keys_below, stretches, with_times
from batchage.results.sink import (
    KEY_COLUMNS,
    PATH_BYTES,
    Sink,
    StreamSink,
    ref_key,
    row_keys,
)
from batchage.types import ERROR_STATUSES, ImageRecord, ImageRef
from batchage.write import Rows, TablesWriter, output_paths, require_place

PART_PHOTOS = 1000
IN_PARTS, IN_BASE, MOVED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Known:
    """A row of the earlier output: its file's signature, and the hash of its content."""

    signature: bytes
    content_hash: str | None


class FileSink(Sink):
    """Saves parts while the scan runs, and puts the finished tables together from them.

    A file's rows are taken over from the parts of an interrupted scan, or from the finished output
    that is being updated, if its path, size and modification time are the same.
    """

    def __init__(self, output: AnyPath, config: ScanConfig) -> None:
        """Name the places; nothing is touched.

        Raises:
            UsageError: The suffix is unknown.
        """
        super().__init__()
        self._config = config
        self.paths = self._paths = output_paths(output)
        self._parts = Parts(self._paths.output)
        self._about: dict[str, Any] = {}
        self._sources = bytearray()
        self._roots: set[str] = set()
        self._met_roots: set[str] = set()
        self._disks: dict[str, str] = {}
        self._stale_images: pa.Table | None = None
        self._stale: set[bytes] = set()
        self._base: Rows | None = None
        self._known: dict[bytes, _Known] = {}
        self._from_base: set[bytes] = set()
        self._touched: dict[bytes, bytes] = {}
        self._content: Future[str | None] | None = None
        self._moved: MovedRows | None = None
        self._waiting: list[ImageRecord] = []
        self._n_whole = 0
        self._saved_at = time.monotonic()

    def open(self) -> None:
        """Lock the output.

        Raises:
            UsageError: A finished scan is there and no flag says what to do with it, or another
                scan is at work.
            OutputError: The folder can't be written.
        """
        remedy = PLACE_REMEDY if isinstance(self._paths.output, Path) else STORE_REMEDY
        with as_output_error(self._paths.output, remedy):
            require_place(self._paths)
        self._parts.lock()
        self._refuse_finished()

    def _refuse_finished(self) -> None:
        if self._parts.about() is None and self._is_finished() and not self._may_replace():
            raise UsageError(
                f"{self._paths.output}: a finished scan is there; use --update to scan only new "
                "and changed files, or --overwrite to scan anew"
            )

    def _is_finished(self) -> bool:
        with as_output_error(self._paths.output, "make it readable", "read"):
            return self._paths.exist()

    def _may_replace(self) -> bool:
        return self._config.update or self._config.overwrite

    def look(self, about: dict[str, Any]) -> None:
        """Learn what is done already.

        Raises:
            UsageError: As of `open` and `begin`.
        """
        self._refuse_finished()
        self._recall(about)

    def begin(self, about: dict[str, Any]) -> None:
        """Go on with an interrupted scan, or start one.

        Raises:
            UsageError: What is there was made with other settings, or can't be read.
        """
        self._recall(about)
        if not self.is_continued:
            base = self._paths if self._base is not None else None
            # The earlier ones, until no photo was missed.
            disks = {**self._disks_now(), **self._disks}
            mode = self._mode(base is not None)
            self._parts.begin({**self._about, "mode": mode, "disks": disks}, base)
        self._saved_at = time.monotonic()

    def _mode(self, is_update: bool) -> str:
        return "update" if is_update else "overwrite" if self._config.overwrite else "scan"

    def _recall(self, about: dict[str, Any]) -> None:
        """Learn the rows of an interrupted scan, and of an output that is to be updated."""
        # In the types of what is read back, for comparing.
        self._about = about = json.loads(json.dumps(about))
        earlier = self._parts.about()
        if earlier and self._config.overwrite:
            same = {**about, "mode": self._mode(False), "disks": None}
            if same != {**earlier, "disks": None}:
                earlier = None
        elif earlier:
            require_same(self._paths.output, earlier, about, "an interrupted scan")
        if earlier:
            self.is_continued = True
            self._learn_disks(earlier)
            if earlier.get("mode") == "update":
                self._learn_base(read_rows(self._parts.base), self._parts.begun())
            for rows in self._parts:
                self._stale.update(row_keys(rows.images))
                self._roots.update(pc.unique(rows.images["root"]).to_pylist())
        elif self._config.update and self._is_finished():
            require_same(self._paths.output, self._read_about(), about, "the earlier scan")
            self._learn_base(read_rows(self._paths))

    def _read_about(self) -> dict[str, Any]:
        """What the finished scan was made with, as far as an update must be made with the same."""
        path = self._paths.about
        try:
            about = read_object(path)
        except (OSError, ValueError):
            raise UsageError(
                f"{path}: it tells what the earlier scan was made with and can't be read; use "
                "--overwrite to scan anew"
            ) from None
        self._learn_disks(about)
        inputs, now = about.get("inputs"), self._about["inputs"]
        missing = [name for name in inputs if name not in now] if isinstance(inputs, list) else []
        if missing:
            raise UsageError(
                f"{self._paths.output}: the earlier scan also had {missing[0]}, whose rows would "
                "be left out; give it too, or use --overwrite to scan anew"
            )
        return {**about, "inputs": now, "filter": self._about["filter"]}

    def _learn_disks(self, about: dict[str, Any]) -> None:
        disks = about.get("disks")
        if isinstance(disks, dict):
            self._disks = disks

    def _disks_now(self) -> dict[str, str]:
        return dict(self._about.get("disks", {}))

    def _learn_base(self, rows: Rows, begun: float = math.inf) -> None:
        self._base, self._moved = rows, MovedRows(rows, self._config, begun)
        self._roots.update(pc.unique(rows.images["root"]).to_pylist())
        columns = (rows.images["status"].to_pylist(), rows.images["content_hash"].to_pylist())
        for key, status, content in zip(row_keys(rows.images), *columns, strict=True):
            path, signature = key[:PATH_BYTES], key[PATH_BYTES:]
            # What failed is tried again, and all pages of its file with it.
            earlier = self._known.get(path)
            has_failed = status in ERROR_STATUSES or (earlier and not earlier.signature)
            self._known[path] = _Known(b"" if has_failed else signature, content)
        self.gone = len(self._known)

    def pending(self, refs: Iterable[ImageRef]) -> Iterator[ImageRef]:
        """The files that are to be scanned; remote ones that are compared are read ahead."""
        with closing(DaemonThreads(N_REQUESTS)) as threads:

            def read(ref: ImageRef) -> Future[str | None] | None:
                is_asked = isinstance(ref.path, str) and self._needs_content(ref)
                return threads.submit(content_hash, ref.path) if is_asked else None

            yield from super().pending(self._with_content(each_ahead(refs, read, N_REQUESTS)))
        if self._moved:
            # Those that are still where they were have been copied.
            n_moved = len(self._moved.paths() - self._seen)
            self.moved, self.gone = n_moved, self.gone - n_moved

    def _needs_content(self, ref: ImageRef) -> bool:
        """Whether it says if the file is one that is known."""
        key = ref_key(ref)
        known = self._known.get(key[:PATH_BYTES])
        if key in self._stale or ref.error is not None:
            return False
        if known and known.signature and self._goes_by_content(ref):
            return True
        is_same = known and known.signature == key[PATH_BYTES:]
        return not is_same and self._moved is not None and self._moved.may_have(ref)

    def _with_content(
        self, refs: Iterable[tuple[ImageRef, Future[str | None] | None]]
    ) -> Iterator[ImageRef]:
        """The files one by one, of which the last one's content may be on its way."""
        for ref, self._content in refs:
            yield ref

    def _goes_by_content(self, ref: ImageRef) -> bool:
        # A page of links tells neither sizes nor times.
        return self._config.checksum or (ref.size is None and ref.mtime is None)

    def _takes_over(self, ref: ImageRef, key: bytes) -> bool:
        self._met_roots.add(ref.root)
        content = cache(partial(self._content_of, ref))
        path, signature = key[:PATH_BYTES], key[PATH_BYTES:]
        known = self._known.get(path)
        self.gone -= known is not None
        if key in self._stale:
            self._stale.remove(key)
            self._sources.append(IN_PARTS)
            is_done = True
        else:
            is_done = True
            if known and self._is_unchanged(ref, known, signature, content):
                self._sources.append(IN_BASE)
                self._from_base.add(key)
                if known.signature != signature:
                    self._touched[path + known.signature] = key
            elif self._moved and self._moved.take(ref, content):
                self._sources.append(MOVED)
            else:
                is_done = False
                self._sources.append(IN_PARTS)
        self.taken_over += is_done
        if ref.is_folder:
            self._keep_below(ref)
        return is_done

    def _content_of(self, ref: ImageRef) -> str | None:
        return result_of(self._content) if self._content else content_hash(ref.path)

    def _is_unchanged(
        self, ref: ImageRef, known: _Known, signature: bytes, content: Callable[[], str | None]
    ) -> bool:
        if not known.signature:
            return False
        if self._goes_by_content(ref) and ref.error is None:
            return (now := content()) is not None and now == known.content_hash
        return known.signature == signature

    def _keep_below(self, folder: ImageRef) -> None:
        """Take over what was in a folder that can't be read now: its files may still be there."""
        found: dict[bytes, tuple[int, bytes]] = {}
        if self._base is not None:
            for key in keys_below(folder, self._base.images):
                found[key[:PATH_BYTES]] = (IN_BASE, key)
        if self._stale:
            if self._stale_images is None:
                images = [rows.images.select(KEY_COLUMNS) for rows in self._parts]
                self._stale_images = pa.concat_tables(images)
            for key in keys_below(folder, self._stale_images):
                if key in self._stale:
                    found[key[:PATH_BYTES]] = (IN_PARTS, key)
        for path, (source, key) in found.items():
            if path in self._seen:
                continue
            self._seen.add(path)
            if source == IN_BASE:
                self._from_base.add(key)
            else:
                self._stale.remove(key)
            self._sources.append(source)
            self.taken_over += 1
            self.gone -= path in self._known

    def write(self, record: ImageRecord) -> None:
        """Take a picture's record; save a part where it is time and a file ends.

        Raises:
            OutputError: It can't be saved.
        """
        super().write(record)
        self._waiting.append(record)
        if not record.is_last:
            return
        self._n_whole = len(self._waiting)
        due = time.monotonic() - self._saved_at >= self._config.save_every
        if due or self._n_whole >= PART_PHOTOS:
            self._save()

    def _save(self) -> None:
        """Save what waits, up to the last file whose pages are all there."""
        if self._n_whole:
            self._parts.write(self._waiting[: self._n_whole], self._about)
            del self._waiting[: self._n_whole]
            self._n_whole = 0
        self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Save the last part, write both tables, remove the parts.

        Rows are in the order of the walk; files that were met by no scan before the one that
        continues come after those that were.

        Raises:
            OutputError: A table can't be written; the parts stay.
            UsageError: No photo of an input is there any more.
        """
        self._save()
        self._refuse_unmet()
        with as_output_error(self._paths.output):
            self._parts.check()
        left = LeftBehind(self._config)
        cursors = {
            IN_PARTS: Cursor(self._live_parts(left)),
            IN_BASE: Cursor(self._live_base(left)),
        }
        if self._moved:
            self._moved.bring_pictures()
            cursors[MOVED] = Cursor(self._moved.rows())
        with TablesWriter(self._paths, self._about, self._parts.folder.path) as tables:
            for source, run in groupby(self._sources):
                for rows in cursors[source].take(sum(1 for _ in run)):
                    self.tally.add(rows.images, rows.faces)
                    tables.write(rows)
                    left.keep(rows)
            for cursor in cursors.values():
                cursor.end()
        left.remove()
        self._parts.clear()

    def _refuse_unmet(self) -> None:
        """See that no input has lost all its photos with its disk."""
        unmet = self._roots - self._met_roots
        lost = [
            place
            for place, disk in self._disks_now().items()
            if place in unmet and self._disks.get(place, disk) != disk
        ]
        if not lost and (self._met_roots or not self._roots):
            return
        if not self._parts.has_any():
            self._parts.clear()
        remedy = (
            f"remove {self._parts.folder.path}" if self._config.overwrite else "use --overwrite"
        )
        raise UsageError(
            f"{self._paths.output}: no photos are {f'in {lost[0]}' if lost else 'there'} any "
            f"more, and an earlier scan found some; check that the disk is connected, or {remedy}"
        )

    def _live_parts(self, left: LeftBehind) -> Iterator[Rows]:
        """Rows of the parts, less those of files that are gone or have changed since."""
        for rows in self._parts:
            is_live = [key not in self._stale for key in row_keys(rows.images)]
            for start, stop in stretches(is_live):
                yield rows.slice(start, stop)
            for start, stop in stretches(not live for live in is_live):
                left.drop(rows.slice(start, stop))

    def _live_base(self, left: LeftBehind) -> Iterator[Rows]:
        """Rows of the earlier output that are taken over where they were."""
        rows = self._base
        if rows is None:
            return
        keys = [self._touched.get(key, key) for key in row_keys(rows.images)]
        for start, stop in stretches(key not in self._from_base for key in keys):
            left.drop(rows.slice(start, stop))
        for start, stop in stretches(key in self._from_base for key in keys):
            taken = rows.slice(start, stop)
            yield with_times(taken, keys[start:stop]) if self._touched else taken

    def close(self) -> None:
        """Save what was computed, but a file's first pages, and let go of the output."""
        try:
            self._save()
        finally:
            self._parts.unlock()

    def can_go_on(self) -> bool:
        """Whether there are parts that the same scan would go on from."""
        return self._parts.has_any()


def make_sink(config: ScanConfig) -> Sink:
    """Where `config` says that the records go.

    Raises:
        UsageError: The output's suffix is unknown.
    """
    if config.output is None:
        return Sink()
    return StreamSink() if str(config.output) == "-" else FileSink(config.output, config)
