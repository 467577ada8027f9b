"""Lets the pages on Python show what the settings' fields say: named in `mkdocs.yml`."""

from __future__ import annotations

import importlib
from dataclasses import fields, is_dataclass
from typing import Any

import griffe

from batchage.options import attributes_section


class Options(griffe.Extension):
    """Adds to the docstrings of dataclasses of settings what their fields say."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Read the fields of the class itself, as its source doesn't tell them plainly."""
        if cls.docstring is None or "documented" not in cls.module.imports:
            return
        found = getattr(importlib.import_module(cls.module.path), cls.name, None)
        if is_dataclass(found) and isinstance(found, type):
            cls.docstring.value += f"\n\n{attributes_section(found)}"
            for field in fields(found):
                _show_default(cls.members.get(field.name), field.default)


def _show_default(attribute: Any, default: object) -> None:
    """Put a default into the signature that the source has as the name of a constant."""
    for argument in getattr(getattr(attribute, "value", None), "arguments", ()):
        if getattr(argument, "name", "") == "default" and isinstance(
            argument.value, griffe.ExprName
        ):
            argument.value = repr(default)
