"""Where the files of a scan are, by the name of its output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchage.errors import OutputError, UsageError
from batchage.places import AnyPath, Folder, folder_at
from batchage.write.base import check_suffix, table_format

ABOUT = "_scan.json"
_PART = re.compile(r"part-(\d{5,})\.parquet")


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where the files of one scan are.

    Attributes:
        faces: The faces table: a file, or in a dataset a folder of files.
        images: The images table, put into place last; the same file where a format holds both.
        about: JSON of what the scan was made with.
    """

    faces: AnyPath
    images: AnyPath
    about: AnyPath

    def __iter__(self) -> Iterator[AnyPath]:
        return iter(dict.fromkeys((self.faces, self.about, self.images)))

    @property
    def is_dataset(self) -> bool:
        """Whether the tables are folders of files."""
        return self.about.name == ABOUT

    @property
    def output(self) -> AnyPath:
        """What names them all."""
        return self.about.parent if self.is_dataset else self.faces

    def exist(self) -> bool:
        """Whether a table of it is there, whole or not.

        Raises:
            OSError: That can't be seen.
        """
        if self.is_dataset:
            return any(map(part_names, (self.faces, self.images)))
        folder = folder_at(self.faces.parent)
        return any(folder.has(path.name) for path in (self.faces, self.images))


def output_paths(output: AnyPath) -> OutputPaths:
    """`results.parquet` → itself, `results.images.parquet` and `results.parquet.scan.json`.

    What belongs to a link's table is beside the link, or else beside what that leads to.

    `results.sqlite` and `results.json` hold both tables; `results` is a folder that has
    `faces/part-00000.parquet`, `images/part-00000.parquet` and so on, and `_scan.json`.

    Raises:
        UsageError: The suffix is unknown, or the name can't be an output's.
    """
    paths = _paths_at(output)
    if isinstance(output, Path) and output.is_symlink():
        others = (path for path in paths if isinstance(path, Path) and path != output)
        if output.is_dir() or not any(path.exists() for path in others):
            return _paths_at(output.resolve())
    return paths


def _paths_at(output: AnyPath) -> OutputPaths:
    if not check_suffix(output):
        if output.name in ("", ".."):
            raise UsageError(f"{output}: no folder for the tables; name one, such as results")
        return OutputPaths(output / "faces", output / "images", output / ABOUT)
    if output.stem.endswith(".images"):
        raise UsageError(f"{output}: .images is for the second table; choose another name")
    holds_both = table_format(output).holds_both
    if holds_both and not isinstance(output, Path):
        raise UsageError(
            f"{output}: {output.suffix} needs a disk of this machine; choose .parquet, .csv, "
            ".jsonl, .feather or a folder"
        )
    second = output.with_name(f"{output.stem}.images{output.suffix}")
    about = output.with_name(f"{output.name}.scan.json")
    return OutputPaths(output, output if holds_both else second, about)


def part_name(number: int) -> str:
    """A file of a dataset's table."""
    return f"part-{number:05}.parquet"


def part_names(folder: AnyPath) -> list[str]:
    """The files of a dataset's table, in order.

    Raises:
        OSError: They can't be listed.
    """
    found = map(_PART.fullmatch, folder_at(folder).names())
    return [name[0] for name in sorted(filter(None, found), key=lambda name: int(name[1]))]


def files_of(paths: OutputPaths) -> Iterator[AnyPath]:
    """Every file of an output, the images' last.

    Raises:
        OSError: They can't be listed.
    """
    for path in paths:
        if paths.is_dataset and path != paths.about:
            yield from (path / name for name in part_names(path))
        else:
            yield path


def require_place(paths: OutputPaths) -> None:
    """See that an output can be there.

    Raises:
        OSError: There is something else.
        OutputError: There are files that no scan made.
    """
    if not paths.is_dataset:
        if isinstance(paths.faces, Path):
            for path in paths:
                if isinstance(path, Path) and path.is_dir():
                    raise IsADirectoryError(0, f"{path.name}: it is a folder")
        return
    _require_ours(folder_at(paths.output), {"faces/", "images/", ABOUT, f"{ABOUT}.partial"})
    for table in (paths.faces, paths.images):
        _require_ours(folder_at(table), set(part_names(table)))
    # Files are renamed into it from beside it.
    if isinstance(paths.output, Path) and paths.output.is_dir() and paths.output.is_mount():
        raise OSError(0, "it is a disk of its own: name a folder in it")


def _require_ours(folder: Folder, ours: set[str]) -> None:
    # What file managers leave is no result.
    foreign = (name for name in folder.names() if name not in ours and not name.startswith("."))
    if name := next(foreign, None):
        raise OutputError(
            f"{folder.path}: has files that no scan made, such as {name}; choose another output"
        )
