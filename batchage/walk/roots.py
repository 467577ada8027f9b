"""The folder that the entries of a list have in common, which is the root of their rows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from batchage.places import common_parts, is_url, scheme_of, without_slash


@dataclass(slots=True)
class ListRoots:
    """Roots of a list: one here, and one for each host or bucket elsewhere.

    Attributes:
        here: The one of this machine, absolute; None where no entry is of it.
        elsewhere: URLs of the others, by scheme and host.
    """

    here: str | None = None
    elsewhere: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[str]) -> ListRoots:
        """The roots of all entries: paths, relative or not, and URLs."""
        roots = cls()
        shortest = ""
        urls: dict[str, str] = {}
        for entry in entries:
            if is_url(entry):
                host, path = _split(entry)
                known = urls.get(host)
                urls[host] = path if known is None else _common(known, path)
                continue
            if scheme_of(entry):
                # Of this machine, yet not to be used: it is a row of its own.
                continue
            path = os.path.abspath(entry)
            if not os.path.isabs(entry):
                roots._include(os.getcwd())
            roots._include(path)
            if not shortest or len(path) < len(shortest):
                shortest = path
        # The only file, or one that is listed again and again.
        if roots.here == shortest and not os.path.isdir(shortest):
            roots.here = os.path.dirname(shortest)
        roots.elsewhere = {
            host: without_slash(f"{host}/{path.rpartition('/')[0]}") for host, path in urls.items()
        }
        return roots

    def _include(self, path: str) -> None:
        self.here = path if self.here is None else os.path.commonpath([self.here, path])

    def root_of(self, entry: str) -> str | None:
        """The root of one of these entries."""
        return self.elsewhere[_split(entry)[0]] if is_url(entry) else self.here


def below(place: str, root: str) -> str:
    """The path of a place below its root; empty if it is the root itself."""
    start = root if root.endswith("/") else f"{root}/"
    return "" if place == root else place.removeprefix(start)


def _split(url: str) -> tuple[str, str]:
    """Scheme and host, with `://`, and the path, which ends with a slash if the URL does."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", path


def _common(one: str, other: str) -> str:
    """What two paths have in common: themselves, or a folder with a slash at its end."""
    if one == other:
        return one
    parts = common_parts((one, other))
    return "/".join([*parts, ""]) if parts else ""
