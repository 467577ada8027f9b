"""The command line: parses, builds a `ScanConfig`, calls the API, maps errors to exit codes.

Exit codes: 0 done; 1 failed; 2 usage; 3 done, but some files could not be read; 130 interrupted;
143 terminated.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from batchage.command.settings import DEFAULT_FILE, read_options, unknown_variables
from batchage.config import (
    DEFAULT_BATCH_SIZE,
    REPORT_THUMBNAILS,
    DetectorSettings,
    RaySettings,
    ScanConfig,
    ScanFilter,
)
from batchage.errors import BatchageError, UsageError
from batchage.places import locate, on_this_machine, without_password

EXIT_UNREAD = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
DEFAULTS = ScanConfig()
log = logging.getLogger("batchage")

ContactSheet = Annotated[
    str | None, typer.Option(help="File for all thumbnails with their names, .jpg or .png.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary.")]


class _Commands(TyperGroup):
    """Help without the names of environment variables, which follow from those of the flags."""

    def __init__(self, **settings: Any) -> None:
        """Let no variable ask for the version."""
        super().__init__(**settings)
        version: Any = next(param for param in self.params if param.name == "version")
        version.allow_from_autoenv = False

    def get_command(self, *arguments: Any, **more: Any) -> Any:
        """The command of a name."""
        command: Any = super().get_command(*arguments, **more)
        for param in command.params if command else ():
            param.show_envvar = False
        return command


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    # BATCHAGE_SCAN_DETECT_SIZE is --detect-size of scan.
    context_settings={"auto_envvar_prefix": "BATCHAGE"},
    pretty_exceptions_enable=False,
    help="Find every face in a folder of photos and write one tidy table of ages and genders.",
)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"batchage: {without_password(message)}", err=True)
    raise typer.Exit(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def _terminate(*_: object) -> NoReturn:
    raise _Terminated


@contextmanager
def _errors_to_exit_codes() -> Iterator[None]:
    """Turn errors and signals into a sentence and an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except BatchageError as error:
        _fail(str(error), error.exit_code)
    except _Terminated as signalled:
        _fail(f"terminated{signalled}", EXIT_TERMINATED)
    except KeyboardInterrupt as signalled:
        _fail(f"interrupted{signalled}", EXIT_INTERRUPTED)


def _set_up_logging(verbose: bool, quiet: bool, log_file: Path | None) -> None:
    log.setLevel(logging.DEBUG)
    log.handlers.clear()
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    screen.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(screen)
    if log_file:
        try:
            file = logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UsageError(
                f"{log_file}: the log can't be written ({error.strerror}); choose another place"
            ) from None
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(file)


@app.command()
def scan(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders and photos, or URLs of them; - reads a list from standard input."
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Table to write, a path or URL: .parquet, .csv, .jsonl, .feather, .sqlite or "
            ".json (COCO), no suffix for a folder of Parquet files; - for CSV on standard output.",
        ),
    ] = "results.parquet",
    thumbnails: Annotated[str | None, typer.Option(help="Folder for annotated thumbnails.")] = None,
    crops: Annotated[str | None, typer.Option(help="Folder for the aligned crops.")] = None,
    report: Annotated[
        str | None, typer.Option(help="Folder for a page to look at, with its thumbnails.")
    ] = None,
    contact_sheet: ContactSheet = None,
    files_from: Annotated[
        Path | None,
        typer.Option(help="File with one path a line, or NUL-separated; - for standard input."),
    ] = None,
    recursive: Annotated[bool, typer.Option(help="Look into folders inside folders.")] = True,
    include: Annotated[
        list[str] | None, typer.Option(help="Only files matching this glob.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No files matching this glob.")] = None,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Also files and folders whose names start with a dot.")
    ] = False,
    detector: Annotated[
        str, typer.Option(help="retinaface-mobilenet025 or retinaface-resnet50.")
    ] = DEFAULTS.detector,
    detect_size: Annotated[
        int,
        typer.Option(
            help="Longest side in pixels of what the detector sees; larger finds smaller faces."
        ),
    ] = DEFAULTS.detection.detect_size,
    min_score: Annotated[
        float,
        typer.Option(help="Leave out faces with a lower detection score, above 0 and below 1."),
    ] = DEFAULTS.detection.min_score,
    min_face_size: Annotated[
        float, typer.Option(help="Leave out faces smaller than this, in pixels of the photo.")
    ] = DEFAULTS.detection.min_face_size,
    model: Annotated[
        str, typer.Option(help="Name of a shipped bundle, or a bundle's folder.")
    ] = DEFAULTS.model,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help=f"Faces predicted at once; otherwise {DEFAULT_BATCH_SIZE}, or what suits a GPU."
        ),
    ] = DEFAULTS.batch_size,
    device: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = DEFAULTS.device,
    precision: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16 or int8.")
    ] = DEFAULTS.precision,
    detect_precision: Annotated[
        str, typer.Option(help="Of the default detector: auto, float32 or int8.")
    ] = DEFAULTS.detect_precision,
    tta: Annotated[
        bool,
        typer.Option(
            "--tta", help="Average each face with its mirror image: a little better, slower."
        ),
    ] = DEFAULTS.tta,
    max_pixels: Annotated[
        int, typer.Option(help="Photos with more pixels are not decoded.")
    ] = DEFAULTS.max_pixels,
    timeout: Annotated[
        float, typer.Option(help="Seconds that decoding one file may take.")
    ] = DEFAULTS.timeout,
    save_every: Annotated[
        float, typer.Option(help="Save what was computed every so many seconds.")
    ] = DEFAULTS.save_every,
    update: Annotated[
        bool, typer.Option("--update", help="Scan only new and changed files, keep other rows.")
    ] = DEFAULTS.update,
    checksum: Annotated[
        bool,
        typer.Option("--checksum", help="With --update: tell changed files by their content."),
    ] = DEFAULTS.checksum,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Scan anew, replace a finished output.")
    ] = DEFAULTS.overwrite,
    engine: Annotated[
        str, typer.Option(help="local, or ray to scan on the machines of a Ray cluster.")
    ] = DEFAULTS.engine,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray cluster, such as auto or head:6379; none starts one here."),
    ] = None,
    num_actors: Annotated[
        int | None,
        typer.Option(help="Pipelines on the cluster; one a GPU, or one a processor without GPUs."),
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(help="GPUs of each pipeline on the cluster, also 0.5 and so on.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be scanned and how long it would take, write nothing."
        ),
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time went.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="The summary as JSON on standard output, for scripts.")
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="A line for every file.")
    ] = False,
    log_file: Annotated[Path | None, typer.Option(help="Write the log here too.")] = None,
) -> None:
    """Scan photos and write one row a face, and one row a file.

    A scan that was stopped goes on with the same command.

    Options may also stand in the table scan of batchage.toml (detect-size = 1280), and in the
    environment (BATCHAGE_SCAN_DETECT_SIZE).

    Exit codes: 0 done, 1 failed, 2 usage, 3 done but some files could not be read, 130 interrupted,
    143 terminated.
    """
    with _errors_to_exit_codes():
        _set_up_logging(verbose, quiet, log_file)
        table = locate(output)
        if report and output == "-":
            raise UsageError("--report needs a table: give -o a file, not -")
        if json and output == "-":
            raise UsageError("--json and -o - both write to standard output: give -o a file")
        page = on_this_machine(report) if report else None
        config = ScanConfig(
            output=table,
            thumbnails=locate(thumbnails) if thumbnails else page and page / REPORT_THUMBNAILS,
            crops=locate(crops) if crops else None,
            filter=ScanFilter(recursive, tuple(include or ()), tuple(exclude or ()), hidden),
            detector=detector,
            detection=DetectorSettings(detect_size, min_score, min_face_size),
            model=model,
            batch_size=batch_size,
            device=device,
            precision=precision,
            detect_precision=detect_precision,
            tta=tta,
            max_pixels=max_pixels,
            timeout=timeout,
            save_every=save_every,
            update=update,
            checksum=checksum,
            overwrite=overwrite,
            engine=engine,
            ray=RaySettings(ray_address, num_actors, gpus_per_actor),
        )
        if contact_sheet and (config.thumbnails is None or output == "-"):
            raise UsageError("--contact-sheet needs --thumbnails and a table: give both")
        from batchage.command.progress import Shown, run
        from batchage.drawing import make_contact_sheets, prepare_folder, prepare_sheets

        shown = Shown(quiet, profile, json)
        if dry_run:
            from batchage.command.forecast import run as forecast

            forecast(config, list(inputs or []), files_from, shown)
            return
        if page:
            # Before the scan and not after it.
            prepare_folder(page)
        if contact_sheet:
            prepare_sheets(contact_sheet)
        unread = run(config, list(inputs or []), files_from, shown)
        if contact_sheet and config.thumbnails:
            sheets = make_contact_sheets(output, str(config.thumbnails), contact_sheet, quiet)
            if not quiet:
                typer.echo(f"contact sheets: {', '.join(map(str, sheets))}", err=True)
        if page:
            _make_report(output, page, str(config.thumbnails), quiet)
    if unread:
        raise typer.Exit(EXIT_UNREAD)


def _make_report(
    table: str, output: str | Path, thumbnails: str | None, quiet: bool = False
) -> None:
    from batchage.reporting import report as make

    page = make(table, output, thumbnails)
    if not quiet:
        typer.echo(f"open {page} in a browser", err=True)


@app.command()
def evaluate(
    table: Annotated[str, typer.Argument(help="Table or folder that a scan wrote, or its URL.")],
    labels: Annotated[
        Path,
        typer.Option(
            help="CSV file with path and age (or age_min, age_max); gender and group as wanted."
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="Folder for numbers and plots.")
    ] = "evaluation",
) -> None:
    """Compare a scan's table with labels: print the errors, save them and their plots.

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 terminated.
    """
    with _errors_to_exit_codes():
        from rich.console import Console

        from batchage.evaluation import evaluate as run_evaluation
        from batchage.evaluation import show

        evaluation = run_evaluation(table, labels, output)
        for description, n in evaluation.counts.items():
            typer.echo(f"{n:,} {description}")
        show(Console(), evaluation.metrics)
        typer.echo(f"saved in {output}: {', '.join(f.name for f in evaluation.files)}", err=True)


@app.command()
def report(
    table: Annotated[str, typer.Argument(help="Table or folder that a scan wrote, or its URL.")],
    output: Annotated[str, typer.Option("-o", "--output", help="Folder for the page.")] = "report",
    thumbnails: Annotated[
        str | None,
        typer.Option(help="Folder of thumbnails; otherwise where the scan wrote them."),
    ] = None,
) -> None:
    """Make a page of a scan's results: charts, a gallery of faces, what could not be read.

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 terminated.
    """
    with _errors_to_exit_codes():
        _make_report(table, output, thumbnails)


@app.command()
def thumbnails(
    table: Annotated[str, typer.Argument(help="Table or folder that a scan wrote, or its URL.")],
    output: Annotated[
        str, typer.Option("-o", "--output", help="Folder for the thumbnails, or its URL.")
    ] = "thumbs",
    photos: Annotated[
        str | None,
        typer.Option(help="Folder of the photos, or its URL, if they are elsewhere now."),
    ] = None,
    side: Annotated[
        int | None, typer.Option(help="Longest side of a thumbnail in pixels; a scan's are 640.")
    ] = None,
    contact_sheet: ContactSheet = None,
    quiet: Quiet = False,
) -> None:
    """Draw the thumbnails of a scan from its table, without looking for faces again.

    Exit codes: 0 done, 1 failed, 2 usage, 3 done but some photos could not be drawn, 130
    interrupted, 143 terminated.
    """
    with _errors_to_exit_codes():
        _set_up_logging(verbose=False, quiet=False, log_file=None)
        from batchage.drawing import run

        not_drawn = run(table, output, photos, side, contact_sheet, quiet)
    if not_drawn:
        raise typer.Exit(EXIT_UNREAD)


@app.command()
def compact(
    table: Annotated[str, typer.Argument(help="Table or folder that a scan wrote, or its URL.")],
    output: Annotated[
        str,
        typer.Option("-o", "--output", help="What to write, a path or URL, as of batchage scan."),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a finished output.")
    ] = False,
) -> None:
    """Write a scan's tables in another format or place, such as a folder of files as one.

    Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted, 143 terminated.
    """
    with _errors_to_exit_codes():
        from batchage.results import compact as run_compaction

        paths = run_compaction(table, output, overwrite)
        typer.echo(f"written: {without_password(', '.join(map(str, paths)))}", err=True)


@app.command()
def info() -> None:
    """Show version, devices, the precisions chosen and why, and the bundles with their hashes."""
    with _errors_to_exit_codes():
        from importlib.metadata import version

        from rich.console import Console
        from rich.table import Table

        from batchage.networks import (
            choose_compute,
            count_gpus,
            describe,
            has_tensorflow,
            shipped_bundles,
        )
        from batchage.version import __version__

        compute = choose_compute()
        table = Table(show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        table.add_row("batchage", __version__)
        table.add_row("python", sys.version.split()[0])
        table.add_row("openvino", version("openvino"))
        table.add_row("tensorflow", "installed" if has_tensorflow() else "not installed")
        table.add_row("GPUs", str(count_gpus()))
        table.add_row("runs on", f"{compute.device} in {compute.precision}: {compute.reason}")
        table.add_row("finds faces in", compute.detect_precision)
        for path in shipped_bundles():
            table.add_row(f"bundle {path.name}", describe(path))
        Console().print(table)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(help=f"Options in TOML; {DEFAULT_FILE} in the current folder if it is there."),
    ] = None,
) -> None:
    if version:
        from batchage.version import __version__

        typer.echo(f"batchage {__version__}")
        raise typer.Exit
    if config or DEFAULT_FILE.is_file():
        with _errors_to_exit_codes():
            context.default_map = read_options(config or DEFAULT_FILE, context)
    command = context.invoked_subcommand
    for name in unknown_variables(os.environ, context) if command else ():
        message = f"batchage: {name} is no option and is ignored; see batchage {command} --help"
        typer.echo(message, err=True)


def main() -> None:
    """Entry point of the `batchage` command."""
    app()
