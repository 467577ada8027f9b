"""Values of options out of `batchage.toml` and the environment."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from batchage.errors import UsageError
from batchage.options import Route, at_flag, at_key, nearest, options_of, settings_of

DEFAULT_FILE = Path("batchage.toml")
"""In the folder that a command is given in."""
Values = dict[Route, Any]
"""By the route to the setting."""


def gather(
    command: str,
    calls: Mapping[str, type],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None,
) -> Values:
    """All values of a command: flags before the environment, this before the file, and defaults.

    Args:
        command: Its name.
        calls: The dataclasses of all commands; the whole file is checked.
        flags: What stands on the command line, by name; None and nothing is not there.
        environment: All variables.
        file: Named by the user, or None.

    Raises:
        UsageError: A value is wrong, one is missing, or the file can't be read.
    """
    settings = settings_of(calls[command])
    values: Values = {s.path: s.told.otherwise for s in settings if s.told.otherwise is not None}
    if file or DEFAULT_FILE.is_file():
        values |= from_file(file or DEFAULT_FILE, calls).get(command, {})
    values |= from_environment(environment, command, calls[command])
    for setting in settings:
        given = flags.get(setting.name)
        if isinstance(given, bool):
            values[setting.path] = given
        elif isinstance(given, str):
            values[setting.path] = setting.of_text(given, at_flag(setting, given))
        elif given:
            values[setting.path] = tuple(setting.of_text(g, at_flag(setting, g)) for g in given)
    for setting in settings:
        if setting.is_required and setting.path not in values:
            raise UsageError(
                f"{setting.flag} is missing: {setting.told.help} See batchage {command} --help"
            )
        if setting.told.read and setting.path in values:
            value, read = values[setting.path], setting.told.read
            values[setting.path] = tuple(map(read, value)) if setting.is_repeated else read(value)
    return values


def from_file(path: Path, calls: Mapping[str, type]) -> dict[str, Values]:
    """Values by command.

    Raises:
        UsageError: The file can't be read, or there is no such command, option or value.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path}: the settings can't be read ({error.strerror}); check --config"
        ) from None
    except ValueError as error:
        raise UsageError(f"{path}: is not TOML: {error}") from None
    found: dict[str, Values] = {}
    for command, table in content.items():
        if command not in calls or not isinstance(table, dict):
            known = ", ".join(f"[{name}]" for name in calls)
            raise UsageError(
                f"{path}: {command}: put options into a table of a command: {known}"
                f"{'' if command in calls else nearest(command, calls)}"
            )
        options = options_of(calls[command])
        found[command] = {}
        for key, value in table.items():
            if key not in options:
                hint = nearest(key, options) or f"; see batchage {command} --help"
                raise UsageError(f"{path}: [{command}] has no option {key}{hint}")
            place = at_key(path, command, key, value)
            found[command][options[key].path] = options[key].of_toml(value, place)
    return found


def from_environment(environment: Mapping[str, str], command: str, call: type) -> Values:
    """Values; an empty variable is none, and several values stand apart by spaces."""
    found: Values = {}
    for setting in options_of(call).values():
        name = setting.variable(command)
        if text := environment.get(name):
            texts = text.split() if setting.is_repeated else [text]
            values = [setting.of_text(t, f"{name}={shlex.quote(t)}") for t in texts]
            found[setting.path] = tuple(values) if setting.is_repeated else values[0]
    return found


def unknown_variables(names: Iterable[str], command: str, call: type) -> list[str]:
    """A sentence for each variable that looks like an option of the command and is none."""
    variables = [setting.variable(command) for setting in options_of(call).values()]
    prefix = f"BATCHAGE_{command}_".upper()
    arguments = {s.variable(command) for s in settings_of(call)} - {*variables}
    # Without the command's name, which is easily forgotten.
    short = {f"BATCHAGE_{name.removeprefix(prefix)}": name for name in variables}
    return [
        f"{name} is not an option and is ignored"
        + (
            f"; did you mean {short[name]}?"
            if name in short
            else (name not in arguments and nearest(name, variables))
            or f"; see batchage {command} --help"
        )
        for name in sorted(names)
        if (name.startswith(prefix) and name not in variables) or name in short
    ]
