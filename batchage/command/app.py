"""The command line: commands out of dataclasses of settings; errors to sentences and exit codes.

click splits the command line, writes help and completes; values are taken by `batchage.options`.

Exit codes: 0 done; 1 failed; 2 usage; 3 done, but some files could not be read; 130 interrupted;
143 terminated.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from batchage.command import calibrate, compact, evaluate, info, report, scan, thumbnails
from batchage.command.base import Command, say
from batchage.command.settings import DEFAULT_FILE, gather, unknown_variables
from batchage.errors import BatchageError, UsageError
from batchage.machine import require_addresses
from batchage.options import GROUPS, Setting, build, nearest, settings_of
from batchage.places import without_password
from batchage.process import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated

ONE_LINE = 24
"""Longest names of an option that share a line with what it does."""
NO_MEMORY = (
    "there is not enough memory; end other programs, or give this one more (ulimit -v, or the "
    "container's limit)"
)
SHOWN = {bool: "", int: "NUMBER", float: "NUMBER", str: "TEXT"}
"""What stands for a value in the help, unless a setting says it."""

COMMANDS = {
    "scan": scan.COMMAND,
    "evaluate": evaluate.COMMAND,
    "report": report.COMMAND,
    "thumbnails": thumbnails.COMMAND,
    "compact": compact.COMMAND,
    "calibrate": calibrate.COMMAND,
    "info": info.COMMAND,
}
CALLS = {name: command.call for name, command in COMMANDS.items()}


def _write_section(
    formatter: click.HelpFormatter, heading: str, rows: Iterable[tuple[str, str]]
) -> None:
    """Write a heading and what stands under it; nothing is cut off or torn at a hyphen."""
    rows = list(rows)
    if not rows:
        return
    column = min(max(len(names) for names, _ in rows), ONE_LINE) + 4
    wrapper = textwrap.TextWrapper(
        max(formatter.width, column + 20),
        initial_indent=" " * column,
        subsequent_indent=" " * column,
        break_on_hyphens=False,
        break_long_words=False,
    )
    formatter.write(f"\n{heading}:\n")
    for names, text in rows:
        wrapped = wrapper.fill(text)
        if len(names) + 4 > column or not wrapped:
            formatter.write(f"  {names}\n{wrapped}\n" if wrapped else f"  {names}\n")
        else:
            formatter.write(f"  {names:<{column - 2}}{wrapped[column:]}\n")


def _row(setting: Setting) -> tuple[str, str]:
    shown = setting.told.shown or SHOWN[setting.kind]
    names = ", ".join(setting.flags) + (f" {shown}" if setting.told.group and shown else "")
    default = f" [default: {setting.shown_default}]" if setting.shown_default else ""
    default = " [required]" if setting.is_required and setting.told.group else default
    repeated = " May be repeated." if setting.told.group and setting.is_repeated else ""
    return names, f"{setting.told.help}{repeated}{default}"


class SettingsCommand(click.Command):
    """A command whose options are the fields of a dataclass."""

    def __init__(self, name: str, command: Command) -> None:
        """Make the options."""
        self.settings = settings_of(command.call)
        super().__init__(
            name,
            callback=lambda **given: _run(name, command, given),
            params=[_parameter(setting) for setting in self.settings],
            help="\n\n".join(command.about),
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all options, each under its heading."""
        for heading in (None, *GROUPS):
            rows = [_row(setting) for setting in self.settings if setting.told.group == heading]
            _write_section(formatter, heading or "Arguments", rows)
        _write_section(formatter, "Help", [("-h, --help", "Show this and stop.")])


def _parameter(setting: Setting) -> click.Parameter:
    # click wants an identifier and gives values by it.
    name = setting.name.replace("-", "_")
    complete = _completion(setting)
    if setting.told.group is None:
        # Never required for click, whose sentence doesn't say what is missing.
        return click.Argument(
            [name],
            nargs=-1 if setting.is_repeated else 1,
            required=False,
            type=click.UNPROCESSED,
            metavar=f"[{setting.flag}]..." if setting.is_repeated else setting.flag,
            shell_complete=complete,
        )
    spelled = setting.flags
    if setting.kind is bool:
        # `-q`, `--quiet`, or `--recursive/--no-recursive`; None where it isn't given.
        spelled = ["/".join(spelled)] if setting.default else spelled
        return click.Option([name, *spelled], is_flag=True, default=None, help=setting.told.help)
    return click.Option(
        [name, *spelled],
        multiple=setting.is_repeated,
        default=None,
        type=click.UNPROCESSED,
        help=setting.told.help,  # zsh and fish show it
        shell_complete=complete,
    )


def _completion(setting: Setting) -> Any:
    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if setting.told.choices is None:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(c) for c in setting.told.choices() if c.startswith(incomplete)]

    return complete


class Program(click.Group):
    """The commands; only the one called is made."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names in the order of the help."""
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The one of a name."""
        return SettingsCommand(cmd_name, COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the one called.

        Raises:
            UsageError: There is none.
        """
        if not ctx.resilient_parsing and args[0] not in COMMANDS and args[0][:1] != "-":
            hint = nearest(args[0], COMMANDS) or "; see batchage --help"
            raise UsageError(f"{args[0]}: there is no such command{hint}")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands and the program's own options."""
        rows = [(name, command.about[0]) for name, command in COMMANDS.items()]
        _write_section(formatter, "Commands", rows)
        records = [p.get_help_record(ctx) for p in self.get_params(ctx)]
        _write_section(formatter, "Options", [record for record in records if record])


def _run(name: str, command: Command, given: dict[str, Any]) -> int:
    try:
        file: Path | None = click.get_current_context().obj
        flags = {key.replace("_", "-"): value for key, value in given.items()}
        values = gather(name, CALLS, flags, os.environ, file)
        for sentence in unknown_variables(os.environ, name, command.call):
            say(f"batchage: {sentence}")
        call: Any = build(command.call, values)
        require_addresses(command.loads_networks)
        return command.run(call)
    # click would leave out what they say.
    except Terminated as signalled:
        return _said(f"terminated{signalled}", EXIT_TERMINATED)
    except KeyboardInterrupt as signalled:
        return _said(f"interrupted{signalled}", EXIT_INTERRUPTED)


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from batchage.version import __version__

        click.echo(f"batchage {__version__}")
        context.exit()


def _show_completion(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value and not context.resilient_parsing:
        shell = get_completion_class(value)
        if shell is None:
            raise UsageError(f"--show-completion {value}: give bash, zsh or fish")
        click.echo(shell(program, {}, "batchage", "_BATCHAGE_COMPLETE").source())
        context.exit()


def _choose_file(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    context.obj = Path(value) if value else None


def _help_without_command() -> None:
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


program = Program(
    "batchage",
    help="Find every face in a folder of photos and write one tidy table of ages and genders.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    callback=_help_without_command,
    subcommand_metavar="COMMAND ...",
    params=[
        click.Option(
            ["--config"],
            metavar="FILE",
            envvar="BATCHAGE_CONFIG",
            callback=_choose_file,
            expose_value=False,
            help=f"Options in TOML; {DEFAULT_FILE} in the current folder if it is there.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version.",
        ),
        click.Option(
            ["--show-completion"],
            metavar="SHELL",
            is_eager=True,
            expose_value=False,
            callback=_show_completion,
            help="Print the completion script for bash, zsh or fish.",
        ),
    ],
)


def _sentence(error: click.ClickException) -> str:
    """Of what click itself finds wrong with a command line."""
    where = "batchage"
    if isinstance(error, click.UsageError) and error.ctx:
        where = error.ctx.command_path
    if isinstance(error, click.NoSuchOption):
        options = error.ctx.command.params if error.ctx else []
        known = [spelled for option in options for spelled in option.opts if spelled[:2] == "--"]
        near = nearest(error.option_name, known)
        return f"{error.option_name}: there is no such option{near or f'; see {where} --help'}"
    if isinstance(error, click.BadOptionUsage):
        # "Option '--output' requires an argument.", or "does not take a value."; its ctx is None.
        return (
            f"{error.option_name}: {'takes no' if 'not take' in error.message else 'needs a'} value"
        )
    return f"{error.format_message().rstrip('.')}; see {where} --help"


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line, that of this process where none is given; the exit code."""
    try:
        code = program.main(arguments, prog_name="batchage", standalone_mode=False) or 0
        sys.stdout.flush()
    except click.ClickException as error:
        return _said(_sentence(error), UsageError.exit_code)
    except BatchageError as error:
        return _said(str(error), error.exit_code)
    except click.Abort:
        return _said("interrupted", EXIT_INTERRUPTED)
    except MemoryError:
        return _said(NO_MEMORY, BatchageError.exit_code)
    return int(code)


def _said(message: str, code: int) -> int:
    """Print one sentence; the exit code that goes with it."""
    one_line = message.replace("\n", "\\n")
    say(f"batchage: {without_password(one_line)}")
    return code
