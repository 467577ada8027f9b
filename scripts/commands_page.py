"""Write `docs/commands.md`, the reference of all commands, from their settings.

python -m scripts.commands_page
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from batchage.command import COMMANDS, Command
from batchage.options import GROUPS, Setting, settings_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
HEAD = """# Commands

Generated from the settings in `batchage/config.py` and `batchage/command/` by
`python -m scripts.commands_page`. `batchage --help` shows the same.

Every option of a command may also stand in its table of `batchage.toml` (`detect-size = 1280` in
`[scan]`) and in the environment (`BATCHAGE_SCAN_DETECT_SIZE`); flags come before the environment,
and this before the file. Before a command, `--config FILE` names another file than `batchage.toml`,
`--version` shows the version, and `--show-completion bash`, `zsh` or `fish` prints what teaches the
shell the options.
"""


def default_of(setting: Setting) -> str:
    """What happens where the setting is not given, as a table's cell."""
    if setting.is_required:
        return "required"
    if setting.kind is bool:
        return "on" if setting.default else "off"
    return f"`{setting.shown_default}`" if setting.shown_default else "–"


def row(setting: Setting) -> str:
    """A table's row."""
    names = ", ".join(f"`{flag}`" for flag in setting.flags)
    if setting.told.group is None:
        names = f"`{setting.flag}{'…' if setting.is_repeated else ''}`"
    repeated = " May be repeated." if setting.told.group and setting.is_repeated else ""
    text = f"{setting.told.help}{repeated}".replace("|", "\\|")
    return f"| {names} | {text} | {default_of(setting)} |"


def table(heading: str, settings: Iterable[Setting]) -> list[str]:
    """A table of arguments or options, where there are any."""
    rows = [row(setting) for setting in settings]
    head = [f"| {heading} | what it does | default |", "|---|---|---|"]
    return ["\n".join([*head, *rows])] if rows else []


def section(name: str, command: Command) -> list[str]:
    """The paragraphs of one command."""
    settings = settings_of(command.call)
    parts = [f"## batchage {name}", *command.about]
    parts += table("argument", (s for s in settings if s.told.group is None))
    for group in GROUPS:
        parts += table(group, (s for s in settings if s.told.group == group))
    return parts


def commands_page() -> str:
    """The page's text."""
    parts = [HEAD.strip()]
    for name, command in COMMANDS.items():
        parts += section(name, command)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")
