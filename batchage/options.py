"""Settings as fields of dataclasses: all that is said of one stands at its field, once.

    detect_size: int = field(
        default=960, metadata=told("Longest side in pixels …", FACES, check=MULTIPLE_OF_64)
    )

The command line, `batchage.toml`, the environment, the docstrings and the pages of documentation
are made of that. Nothing here needs a library for command lines.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from batchage.errors import UsageError

T = TypeVar("T")
Route = tuple[str, ...]
"""Names of the fields that lead to a setting."""
OUTPUT, FILES, FACES, SPEED, GOING_ON, CLUSTER = GROUPS = (
    "Output",
    "Which files",
    "Faces and model",
    "Speed",
    "Resuming and updating",
    "Cluster",
)
"""Headings of the help, in its order."""
_KEY, _NOTE = "batchage", "batchage.note"
_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_WORDS = {
    **dict.fromkeys(["1", "true", "yes", "on", "t", "y"], True),
    **dict.fromkeys(["0", "false", "no", "off", "f", "n"], False),
}
# Seen by type checkers only, or text while the program runs; what has it has a `read`, too.
_UNRESOLVED = {"AnyPath": str}


@dataclass(frozen=True, slots=True)
class Check:
    """What a value must be.

    Attributes:
        holds: Whether it is.
        wanted: What to give instead: `a number between 0 and 1`.
    """

    holds: Callable[[Any], bool]
    wanted: str


ONE_OR_MORE = Check(lambda n: n >= 1, "1 or more")
ZERO_OR_MORE = Check(lambda n: n >= 0, "0 or more")


@dataclass(frozen=True, slots=True)
class Told:
    """What a field's metadata say of it.

    Attributes:
        help: A sentence or two, without markup.
        group: Heading that it stands under in the help; None is no option but an argument.
        flag: Its name for users where that is not the field's.
        short: One letter for it.
        shown: What stands for its value in the help.
        check: What a value must be; None as a value is not checked.
        choices: Gives the words to complete, and is called only then.
        read: Makes the value of a text, such as a path; called last, on what was checked.
        otherwise: What commands take where nothing is given, if not the field's default.
    """

    help: str
    group: str | None
    flag: str | None = None
    short: str | None = None
    shown: str | None = None
    check: Check | None = None
    choices: Callable[[], Iterable[str]] | None = None
    read: Callable[[str], Any] | None = None
    otherwise: str | None = None


def told(help: str, group: str | None = None, **more: Any) -> dict[str, Told]:
    """Metadata of a field that users can set; as of `Told`."""
    return {_KEY: Told(help, group, **more)}


def one_of(words: Sequence[str], group: str, of: str = "") -> dict[str, Told]:
    """Metadata of a field that is one of these words; `of` begins the sentence that names them."""
    named = f"{', '.join(words[:-1])} or {words[-1]}"
    check = Check(words.__contains__, named)
    return told(f"{of}{named}.", group, shown="NAME", check=check, choices=lambda: words)


def noted(text: str) -> dict[str, str]:
    """Metadata of a field that only programs set, or that holds further settings."""
    return {_NOTE: text}


@dataclass(frozen=True, slots=True)
class Setting:
    """A field that users can set.

    Attributes:
        path: Where it is.
        told: What its metadata say.
        kind: `bool`, `int`, `float` or `str`: of one value.
        is_repeated: Whether it takes several.
        default: What commands take where nothing is given.
        is_required: Whether there is no default.
    """

    path: Route
    told: Told
    kind: type
    is_repeated: bool
    default: Any
    is_required: bool

    @property
    def name(self) -> str:
        """In the file of settings: `detect-size`."""
        return (self.told.flag or self.path[-1]).replace("_", "-")

    @property
    def flag(self) -> str:
        """On the command line: `--detect-size`; of an argument: `TABLE`."""
        return f"--{self.name}" if self.told.group else self.name.upper()

    @property
    def flags(self) -> list[str]:
        """All that stand in the help."""
        short = [f"-{self.told.short}"] if self.told.short else []
        # Only what is on at first is turned off.
        negative = [f"--no-{self.name}"] if self.default is True else []
        return [*short, self.flag, *negative]

    @property
    def shown_default(self) -> str:
        """The default in the help; empty where its text says what happens, and for flags."""
        if self.is_required or self.kind is bool or self.default in (None, ()):
            return ""
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def variable(self, command: str) -> str:
        """In the environment: `BATCHAGE_SCAN_DETECT_SIZE`."""
        return f"BATCHAGE_{command}_{self.name}".replace("-", "_").upper()

    def of_text(self, text: str, place: str) -> Any:
        """One value, as a flag or a variable gives it.

        Raises:
            UsageError: It is none; `place` says where it stands.
        """
        try:
            value = _WORDS[text.strip().lower()] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            raise UsageError(f"{place}: give {_WANTED[self.kind]}") from None
        return self._checked(value, place)

    def of_toml(self, value: Any, place: str) -> Any:
        """The value, as a file gives it.

        Raises:
            UsageError: It is none; `place` says where it stands.
        """
        if not self.is_repeated:
            return self._one_of_toml(value, place)
        if not isinstance(value, list):
            raise UsageError(f"{place}: give a list")
        return tuple(self._one_of_toml(each, place) for each in value)

    def _one_of_toml(self, value: Any, place: str) -> Any:
        # TOML's 60 is a number like 60.0, and its true is none.
        kinds = (int, float) if self.kind is float else self.kind
        if not isinstance(value, kinds) or isinstance(value, bool) is not (self.kind is bool):
            raise UsageError(f"{place}: give {_WANTED[self.kind]}")
        try:
            return self._checked(self.kind(value), place)
        # A whole number that is too large for a float.
        except OverflowError:
            raise UsageError(f"{place}: give {_WANTED[self.kind]}") from None

    def _checked(self, value: Any, place: str) -> Any:
        # An empty path is the current folder, which nobody names so.
        if self.told.read and not value:
            raise UsageError(
                f"{place}: give a {(self.told.shown or 'place').lower()}, or leave it out"
            )
        check = self.told.check
        if check and not check.holds(value):
            raise UsageError(f"{place}: give {check.wanted}")
        return value


@cache
def settings_of(cls: type) -> tuple[Setting, ...]:
    """What users can set, in the order of the fields; those of dataclasses inside it among them."""
    hints = _hints(cls)
    found: list[Setting] = []
    for each in fields(cls):
        hint = hints[each.name]
        if is_dataclass(hint):
            assert isinstance(hint, type)
            found += [
                Setting(
                    (each.name, *s.path), s.told, s.kind, s.is_repeated, s.default, s.is_required
                )
                for s in settings_of(hint)
            ]
        elif _KEY in each.metadata:
            about: Told = each.metadata[_KEY]
            is_repeated = get_origin(hint) is tuple
            kinds = [kind for kind in get_args(hint) or (hint,) if kind not in (type(None), ...)]
            kind = str if about.read else kinds[0]
            assert kind in _WANTED, f"{cls.__name__}.{each.name}: no option can be of {hint}"
            default = each.default if about.otherwise is None else about.otherwise
            found.append(
                Setting((each.name,), about, kind, is_repeated, default, default is MISSING)
            )
    names = [setting.name for setting in found]
    assert len(names) == len({*names}), f"{cls.__name__}: two options of one name in {names}"
    return tuple(found)


def options_of(cls: type) -> dict[str, Setting]:
    """Those of them that are options, by name."""
    return {setting.name: setting for setting in settings_of(cls) if setting.told.group}


def build(cls: type[T], values: Mapping[Route, Any]) -> T:
    """An instance with values that were checked; the others are defaults.

    Raises:
        UsageError: They don't go together.
    """
    hints = _hints(cls)
    arguments: dict[str, Any] = {}
    for name in hints:
        inside = {path[1:]: value for path, value in values.items() if path[0] == name}
        if is_dataclass(hints[name]):
            arguments[name] = build(hints[name], inside)
        elif () in inside:
            arguments[name] = inside[()]
    return cls(**arguments)


def check_fields(instance: Any) -> None:
    """Check the values, also those of programs; for `__post_init__`.

    Raises:
        UsageError: One is not what it must be.
    """
    for each in fields(instance):
        about: Told | None = each.metadata.get(_KEY)
        value = getattr(instance, each.name)
        if about is None or about.check is None or value is None:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            if not about.check.holds(one):
                name = each.name.replace("_", " ")
                raise UsageError(f"{name} {one}: give {about.check.wanted}")


def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, localns=_UNRESOLVED)


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean X?`, where one is near."""
    near = get_close_matches(name, [*names], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def at_flag(setting: Setting, text: str) -> str:
    """Where a flag's value stands."""
    return f"{setting.flag} {shlex.quote(text)}"


def at_key(file: object, command: str, key: str, value: Any) -> str:
    """Where a file's value stands; JSON's spelling is TOML's, nearly."""
    return f"{file}: [{command}] {key} = {json.dumps(value, ensure_ascii=False, default=str)}"


def documented(cls: type[T]) -> type[T]:
    """Add to a dataclass's docstring what its fields say: a decorator above `@dataclass`."""
    cls.__doc__ = f"{cls.__doc__}\n\n{attributes_section(cls)}"
    return cls


def attributes_section(cls: type) -> str:
    """The fields as a section of a docstring."""
    assert is_dataclass(cls)
    lines = ["Attributes:"]
    for each in fields(cls):
        about: Told | None = each.metadata.get(_KEY)
        text = about.help if about else each.metadata.get(_NOTE, "")
        if about and about.check and about.choices is None:
            text += f" It is {about.check.wanted}."
        lines.append(f"    {each.name}: {text}")
    return "\n".join(lines)
