"""Names of places: paths of this machine, and URLs of what fsspec reaches.

A local file is a `pathlib.Path`. Any other one is a `UPath`, which has the same methods, or, where
there are many of them, its URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

from batchage.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from upath import UPath

# As text, since it stands for what an extra brings.
AnyPath: TypeAlias = "Path | UPath"
"""A file's or folder's place: a `UPath` has the methods of a `Path`."""
# Two letters at least: a single one is a drive of Windows.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://|(file):/", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")
LOCAL_SCHEMES = frozenset(["file", "local"])
_FILE = re.compile(r"(?://(?:localhost|127\.0\.0\.1)?(?=/)|(?!//))(/.*)", re.IGNORECASE | re.DOTALL)
EXTRA_OF_SCHEME = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "adl": "az",
    "http": "http",
    "https": "http",
    "sftp": "sftp",
    "ssh": "sftp",
}
"""Extras of the schemes that need more than fsspec itself."""


def is_url(place: object) -> bool:
    """Whether it is the URL of a place elsewhere."""
    return scheme_of(place) not in (None, *LOCAL_SCHEMES)


def scheme_of(place: object) -> str | None:
    """`s3` of `s3://bucket/photos`; None of what is no URL."""
    found = _SCHEME.match(place) if isinstance(place, str) else None
    return (found[1] or found[2]).lower() if found else None


def locate(place: str | os.PathLike[str] | UPath) -> AnyPath:
    """A place by its name.

    Args:
        place: A path or a URL.

    Raises:
        MissingExtraError: An optional package is needed for it.
        UsageError: There is no such kind of URL.
    """
    scheme = scheme_of(place)
    if scheme is None:
        is_local = isinstance(place, (str, os.PathLike))
        return Path(place) if is_local else _named(cast("UPath", place))  # type: ignore[arg-type]
    url = str(place)
    if scheme in LOCAL_SCHEMES:
        return Path(local_path(url))
    require_packages(url)
    from upath import UPath

    try:
        return _named(UPath(url))
    except (ImportError, ValueError) as error:
        shown = without_password(url)
        raise UsageError(
            f"{shown}: this kind of address can't be used ({error_text(error)})"
        ) from None


def local_path(url: str) -> str:
    """What a URL of this machine names: `/a b.jpg` of `file:///a%20b.jpg` or `file:/a%20b.jpg`.

    `local://`, which only fsspec knows, is taken as it stands, as fsspec does.

    Raises:
        UsageError: It is of another machine.
    """
    scheme, _, rest = url.partition(":")
    if scheme.lower() == "local":
        return rest.removeprefix("//")
    named = _FILE.fullmatch(rest)
    if not named:
        raise UsageError(f"{url}: names no file of this machine; give a path, or file:///...")
    return os.fsdecode(unquote_to_bytes(os.fsencode(named[1])))


def as_spelled(path: str) -> str:
    """The path of what is there, however Unicode spells it; `path` itself where nothing is.

    Macs take letters apart (é in NFD), others keep them whole (NFC), and lists and tables travel.
    """
    if path.isascii() or os.path.lexists(path):
        return path
    spelled: list[str] = []
    for part in path.split("/"):
        ways = (part, normalize("NFC", part), normalize("NFD", part))
        known = (way for way in ways if not way or os.path.lexists("/".join([*spelled, way])))
        if (way := next(known, None)) is None:
            return path
        spelled.append(way)
    return "/".join(spelled)


def common_parts(places: Iterable[str]) -> list[str]:
    """The parts between slashes that paths or URLs begin with alike; none where there are none."""
    alike: list[str] | None = None
    for place in places:
        parts = place.split("/")
        if alike is None:
            alike = parts
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(alike, parts, strict=False))
        alike = [part for part, _ in pairs]
    return alike or []


def on_this_machine(place: str | os.PathLike[str]) -> Path:
    """A path, of what is not written elsewhere.

    Raises:
        UsageError: It is a URL.
    """
    found = None if is_url(place) else locate(place)
    if not isinstance(found, Path):
        raise UsageError(
            f"{without_password(str(place))}: this is written on this machine only; give a path"
        )
    return found


def _named(place: UPath) -> UPath:
    from batchage.places._hosted import HostedPath

    return cast("UPath", HostedPath._from_upath(place)) if HostedPath.is_needed(place) else place


def require_packages(url: str) -> None:
    """See that what `url` needs is installed.

    Raises:
        MissingExtraError: It isn't.
        UsageError: There is no such kind of URL.
    """
    scheme = scheme_of(url) or ""
    shown, extra = without_password(url), EXTRA_OF_SCHEME.get(scheme, "remote")
    if not all(find_spec(name) for name in ("fsspec", "upath", "tenacity")):
        raise MissingExtraError(
            f"{shown}: needs the extra {extra}: pip install 'batchage[{extra}]'"
        )
    from fsspec.registry import get_filesystem_class, known_implementations, registry

    # It asks once more with each request where it may not ask, and has a warning each time.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    if scheme not in known_implementations and scheme not in registry:
        raise UsageError(f"{shown}: there is no such kind of address; use s3, gs, az, http or sftp")
    try:
        get_filesystem_class(scheme)
    except ImportError:
        raise MissingExtraError(
            f"{shown}: needs the extra {extra}: pip install 'batchage[{extra}]'"
        ) from None


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return _PASSWORD.sub(r"\1@", url)


def without_slash(url: str) -> str:
    """A folder's URL as it stands in a table."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rstrip('/')}"


def error_text(error: Exception) -> str:
    """What a library's error says, in one line that may be shown."""
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    if isinstance(status, int) and message:
        return f"{status} {message}".lower()
    return without_password(" ".join(str(error).split())[:200]) or type(error).__name__
