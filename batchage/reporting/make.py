"""Tables and thumbnails → a folder with a page that opens from disk."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchage.config import REPORT_THUMBNAILS
from batchage.errors import OutputError, UsageError
from batchage.places import (
    AnyPath,
    folder_at,
    is_url,
    locate,
    mark_folder,
    on_this_machine,
    read_bytes,
    read_object,
    reason_of,
    thumbnail_name,
)
from batchage.reporting.data import (
    FACE_COLUMNS,
    IMAGE_COLUMNS,
    KEY,
    as_script,
    page_data,
    read_script,
)
from batchage.types import Status, page_name
from batchage.version import __version__
from batchage.write import output_paths, read_columns

DOWNLOADS = 16
"""Thumbnails that come from a store at once."""
PAGE, DATA = "index.html", "data.js"
TEMPLATES = Path(__file__).parent / "page"

log = logging.getLogger("batchage")


def report(
    table: str | os.PathLike[str],
    output: str | os.PathLike[str],
    thumbnails: str | os.PathLike[str] | None = None,
) -> Path:
    """Make a page of a scan's results.

        import batchage

        batchage.report("results.parquet", "report")

    Args:
        table: A faces table that a scan wrote, or the folder of a dataset; also URLs.
        output: Folder for the page; made where it is missing, files of an earlier report replaced.
        thumbnails: Folder of thumbnails that the scan or `draw_thumbnails` wrote, or its URL; None
            takes the one of the scan, if it is on this machine.

    Returns:
        The page.

    Raises:
        UsageError: The tables can't be used, or `output` is a URL.
        OutputError: The folder can't be written.
    """
    paths, folder = output_paths(locate(table)), on_this_machine(output)
    faces = read_columns(paths.faces, FACE_COLUMNS)
    images = read_columns(paths.images, IMAGE_COLUMNS)
    about: dict[str, Any] = {}
    # A table without it can be shown all the same.
    with contextlib.suppress(OSError, ValueError):
        about = read_object(paths.about)
    source = _recorded_thumbnails(about) if thumbnails is None else locate(thumbnails)
    if isinstance(source, Path) and not source.is_dir():
        raise UsageError(f"{source}: no such folder of thumbnails")
    data = page_data(faces, images)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _bring_thumbnails(data, source, folder / REPORT_THUMBNAILS)
        (folder / DATA).write_text(as_script(data), encoding="utf-8")
        (folder / PAGE).write_text(_page(faces, images, about, paths.output.name), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{folder}: the report can't be written ({error.strerror or error}); "
            "choose another folder or free space"
        ) from None
    return folder / PAGE


def _recorded_thumbnails(about: dict[str, Any]) -> Path | None:
    settings = about.get("settings")
    recorded = settings.get("thumbnails") if isinstance(settings, dict) else None
    if not isinstance(recorded, str):
        return None
    if is_url(recorded):
        # A table may come from elsewhere: what it names is not asked.
        log.warning("%s: has the scan's thumbnails; give --thumbnails to show them", recorded)
        return None
    return Path(recorded) if Path(recorded).is_dir() else None


def _bring_thumbnails(data: dict[str, Any], source: AnyPath | None, target: Path) -> None:
    """Link or copy what the page shows, so that the folder is whole.

    A table may come from elsewhere and name any file: what it says of thumbnails is not asked.
    """
    photos = data["photos"]
    there = _thumbnails_in(source) if source else set()
    pages = photos.pop("page")
    names = map(thumbnail_name, photos.pop("root"), photos["path"], pages)
    photos["thumbnail"] = [name if name in there else None for name in names]
    photos["path"] = list(map(page_name, photos["path"], pages))
    target.mkdir(exist_ok=True)
    mark_folder(target)
    if source is None or (isinstance(source, Path) and source.samefile(target)):
        return
    brought = set(filter(None, photos["thumbnail"]))
    for name in _brought_before(target.parent) - brought:
        (target / name).unlink(missing_ok=True)
    with ThreadPoolExecutor(DOWNLOADS, "bring") as threads:
        for _ in threads.map(lambda name: _bring(source / name, target / name), brought):
            pass


def _thumbnails_in(folder: AnyPath) -> set[str]:
    if isinstance(folder, Path):
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    try:
        return set(folder_at(folder).names())
    except OSError as error:
        raise UsageError(
            f"{folder}: the thumbnails can't be read ({reason_of(error)}); check the address"
        ) from None


def _bring(source: AnyPath, target: Path) -> None:
    target.unlink(missing_ok=True)
    if not isinstance(source, Path):
        target.write_bytes(read_bytes(source))
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _brought_before(folder: Path) -> set[str]:
    """Thumbnails of the report that is in the folder already."""
    try:
        earlier = read_script((folder / DATA).read_text(encoding="utf-8"))
        return {name for name in earlier["photos"]["thumbnail"] if Path(name or "/").name == name}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _page(faces: pa.Table, images: pa.Table, about: dict[str, Any], title: str) -> str:
    import jinja2

    from batchage.reporting.plots import draw_plots

    frame, photos = faces.to_pandas(), images.to_pandas()
    for table in (frame, photos):
        table["page"] = table["page"].fillna(0).astype(int)
    with_dates = frame.merge(photos[[*KEY, "captured_at"]], on=KEY, how="left")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    statuses = photos.status.value_counts()
    not_sure = frame.gender.isna()
    return environment.get_template("page.html").render(
        title=title,
        version=__version__,
        model=str(about.get("model_id", "")),
        age_interval=_said_of_intervals(about),
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=f"sha256-{digest}",
        plots=draw_plots(with_dates),
        headline=[
            ("photos", f"{len(photos):,}"),
            ("faces", f"{len(frame):,}"),
            ("photos without a face", f"{statuses.get(Status.NO_FACE, 0):,}"),
            ("median age", f"{frame.age_years.median():.0f}" if len(frame) else "–"),
            ("female", _share(frame.gender == "female")),
            *([("gender not sure", _share(not_sure))] if not_sure.any() else []),
        ],
    )


def _said_of_intervals(about: dict[str, Any]) -> str:
    """The level of the age intervals, and what they were measured to hold elsewhere."""
    try:
        interval = about["age_interval"]
        states = f"{interval['states']:.0%}"
        held = [f"{share:.0%} of {source}" for source, share in interval["held"].items()]
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""
    if not held:
        return f"Age intervals state {states}."
    return (
        f"Age intervals state {states}. Fitted without a source, they held {' and '.join(held)}: "
        "on other photos expect no more."
    )


def _share(chosen: Any) -> str:
    """The share of a column of booleans that is true."""
    return f"{chosen.mean():.0%}" if len(chosen) else "–"
