"""Tables and thumbnails → a folder with a page that opens from disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchage.errors import OutputError, UsageError
from batchage.reporting.data import FACE_COLUMNS, IMAGE_COLUMNS, as_script, page_data
from batchage.version import __version__
from batchage.write import output_paths, read_columns
from batchage.write.files import read_object

PAGE, DATA, THUMBNAILS = "index.html", "data.js", "thumbnails"
TEMPLATES = Path(__file__).parent / "page"


def report(
    table: str | os.PathLike[str],
    output: str | os.PathLike[str],
    thumbnails: str | os.PathLike[str] | None = None,
) -> Path:
    """Make a page of a scan's results.

        import batchage

        batchage.report("results.parquet", "report")

    Args:
        table: A faces table that a scan wrote.
        output: Folder for the page; made where it is missing, files of an earlier report replaced.
        thumbnails: Folder of the scan's thumbnails; None takes the one that the scan wrote to.

    Returns:
        The page.

    Raises:
        UsageError: The tables can't be used.
        OutputError: The folder can't be written.
    """
    paths, folder = output_paths(Path(table)), Path(output)
    faces = read_columns(paths.faces, FACE_COLUMNS)
    images = read_columns(paths.images, IMAGE_COLUMNS)
    about: dict[str, Any] = {}
    # A table without it can be shown all the same.
    with contextlib.suppress(OSError, ValueError):
        about = read_object(paths.about)
    source = Path(thumbnails) if thumbnails is not None else _recorded_thumbnails(about)
    if thumbnails is not None and not Path(thumbnails).is_dir():
        raise UsageError(f"{thumbnails}: no such folder of thumbnails")
    data = page_data(faces, images)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _bring_thumbnails(data, source, folder / THUMBNAILS)
        (folder / DATA).write_text(as_script(data), encoding="utf-8")
        (folder / PAGE).write_text(_page(faces, images, about, paths.faces), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{folder}: the report can't be written ({error.strerror or error}); "
            "choose another folder or free space"
        ) from None
    return folder / PAGE


def _recorded_thumbnails(about: dict[str, Any]) -> Path | None:
    settings = about.get("settings")
    recorded = settings.get("thumbnails") if isinstance(settings, dict) else None
    return Path(recorded) if isinstance(recorded, str) and Path(recorded).is_dir() else None


def _bring_thumbnails(data: dict[str, Any], source: Path | None, target: Path) -> None:
    """Link or copy what the page shows, so that the folder is whole; forget what isn't there."""
    names = data["photos"]["thumbnail"]
    target.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        # A table may come from elsewhere: a name with a path in it is no thumbnail.
        if source is None or not name or Path(name).name != name or not (source / name).is_file():
            names[index] = None
            continue
        place = target / name
        if place.exists() and place.samefile(source / name):
            continue
        place.unlink(missing_ok=True)
        try:
            os.link(source / name, place)
        except OSError:
            shutil.copyfile(source / name, place)


def _page(faces: pa.Table, images: pa.Table, about: dict[str, Any], table: Path) -> str:
    import jinja2

    from batchage.reporting.plots import draw_plots

    frame, photos = faces.to_pandas(), images.to_pandas()
    dates = photos[["root", "image_path", "captured_at"]]
    with_dates = frame.merge(dates, on=["root", "image_path"], how="left")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    n_photos = len(photos)
    statuses = photos.status.value_counts()
    return environment.get_template("page.html").render(
        title=table.name,
        version=__version__,
        model=str(about.get("model_id", "")),
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        plots=draw_plots(with_dates),
        headline=[
            ("photos", f"{n_photos:,}"),
            ("faces", f"{len(frame):,}"),
            ("photos without a face", f"{statuses.get('no_face', 0):,}"),
            ("median age", f"{frame.age_years.median():.0f}" if len(frame) else "–"),
            ("female", f"{(frame.gender == 'female').mean():.0%}" if len(frame) else "–"),
        ],
    )
