"""Options of commands out of `batchage.toml`.

    [scan]
    output = "faces.sqlite"
    detect-size = 1280
    exclude = ["thumbs"]

A table a command, named as its flags are; flags and environment variables come before them.
What is spelled as an option and is none is an error in the file. In the environment, where others
may have set it, it is named.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from batchage.errors import UsageError

DEFAULT_FILE = Path("batchage.toml")
"""In the folder that a command is given in."""


def read_options(path: Path, context: typer.Context) -> dict[str, dict[str, Any]]:
    """Options by command and parameter, as a context's `default_map` takes them.

    Args:
        path: The file.
        context: Of the program, which knows its commands.

    Raises:
        UsageError: The file can't be read, or there is no such command, flag or value.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path}: the settings can't be read ({error.strerror}); check --config"
        ) from None
    except ValueError as error:
        raise UsageError(f"{path}: is not TOML: {error}") from None
    commands: dict[str, Any] = context.command.commands  # type: ignore[attr-defined]
    found: dict[str, dict[str, Any]] = {}
    for name, table in content.items():
        if name not in commands or not isinstance(table, dict):
            known = ", ".join(f"[{command}]" for command in commands)
            raise UsageError(f"{path}: {name}: put options into a table of a command: {known}")
        found[name] = _options(table, commands[name], context, f"{path}: [{name}]")
    return found


def _options(
    table: dict[str, Any], command: Any, context: typer.Context, place: str
) -> dict[str, Any]:
    """Values by parameter, checked as on the command line."""
    inner = type(context)(command, parent=context, info_name=command.name)
    flags = {flag: param for param in command.params for flag in param.opts}
    found: dict[str, Any] = {}
    for key, value in table.items():
        param = flags.get(f"--{key}")
        if param is None or key == "help":
            raise UsageError(f"{place} has no option {key}; see batchage {command.name} --help")
        wanted = "true or false" if param.is_flag else "a list" if param.multiple else "one value"
        is_kind = {
            "true or false": isinstance(value, bool),
            "a list": isinstance(value, list),
            "one value": isinstance(value, (str, int, float)) and not isinstance(value, bool),
        }
        if not is_kind[wanted]:
            raise UsageError(f"{place} {key} = {value!r}: give {wanted}")
        try:
            param.process_value(inner, value)
        except typer.BadParameter as error:
            raise UsageError(f"{place} {key}: {error.message}") from None
        found[param.name] = value
    return found


def unknown_variables(names: Iterable[str], context: typer.Context) -> list[str]:
    """Those names of environment variables that look like an option of the command called.

    They begin as its variables do, or are one of these without the command's name.

    Args:
        names: Of all variables.
        context: Of the program, which knows the command.
    """
    command = context.command.commands[context.invoked_subcommand]  # type: ignore[attr-defined]
    every = f"{context.auto_envvar_prefix}_"
    prefix = f"{every}{command.name.upper()}_"
    options = {p.name.upper() for p in command.params if p.param_type_name == "option"}
    # Those of the program itself.
    short = options - {param.name.upper() for param in context.command.params}
    return sorted(
        name
        for name in names
        if (name.startswith(prefix) and name.removeprefix(prefix) not in options)
        or (name.startswith(every) and name.removeprefix(every) in short)
    )
