"""Write `docs/commands.md`, the reference of all commands, from the command line's own definitions.

python scripts/commands_page.py
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer.main

from batchage.command import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
HEAD = """# Commands

Made of the program's own help by `python scripts/commands_page.py`.
"""


def default_of(parameter: Any) -> str:
    """What happens where the parameter is not given, as a table's cell."""
    default = parameter.default
    if parameter.required:
        return "required"
    if default is None or default == ():
        return "–"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default}`"


def names_of(parameter: Any) -> str:
    """All spellings of a parameter."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}{'…' if parameter.nargs == -1 else ''}`"
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def cell(text: str) -> str:
    """Text for a table's cell."""
    return text.replace("|", "\\|")


def table(heading: str, parameters: Iterable[Any]) -> list[str]:
    """A table of arguments or options, where there are any."""
    rows = [
        f"| {names_of(p)} | {cell(p.help or '')}{' May be repeated.' if is_repeated(p) else ''} "
        f"| {cell(default_of(p))} |"
        for p in parameters
        if not getattr(p, "hidden", False)
    ]
    head = [f"| {heading} | what it does | default |", "|---|---|---|"]
    return ["\n".join([*head, *rows])] if rows else []


def is_repeated(parameter: Any) -> bool:
    """Whether an option may be given several times."""
    return bool(getattr(parameter, "multiple", False))


def section(name: str, command: Any) -> list[str]:
    """The paragraphs of one command."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    required = [p for p in options if p.required]
    usage = [
        name,
        *(f"{p.opts[-1]} …" for p in required),
        *(["[OPTIONS]"] if len(options) > len(required) else []),
        *(p.name.upper() if p.required else f"[{p.name.upper()}…]" for p in arguments),
    ]
    return [
        f"## {name}",
        inspect.cleandoc(command.help or ""),
        f"```\n{' '.join(usage)}\n```",
        *table("argument", arguments),
        *table("option", options),
    ]


def commands_page() -> str:
    """The page's text."""
    group: Any = typer.main.get_command(app)
    parts = [HEAD.strip()]
    for name, command in group.commands.items():
        parts += section(f"batchage {name}", command)
    parts += ["## batchage", *table("option", group.params)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")
