"""What there are several of: detectors, formats, engines; of batchage, or of other packages.

A package adds one by an entry point, in its `pyproject.toml`:

    [project.entry-points."batchage.detectors"]
    mine = "my_package.faces:MyDetector"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from batchage.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name, imported when they are needed."""

    def __init__(self, kind: str, shipped: Mapping[str, str]) -> None:
        """Nothing is imported yet.

        Args:
            kind: What they are, such as `detector`; then `batchage.detectors` is the group of
                entry points.
            shipped: Those that come with batchage, as `module:attribute` by name.
        """
        self.kind = kind
        self._shipped = dict(shipped)
        self._registered: dict[str, T] = {}

    def register(self, name: str, thing: T) -> None:
        """Make one known in this process.

        Raises:
            UsageError: One that comes with batchage is called so.
        """
        if name in self._shipped:
            raise UsageError(
                f"{name}: batchage already has a {self.kind} of that name; choose another"
            )
        self._registered[name] = thing

    def __iter__(self) -> Iterator[str]:
        """The names: those of batchage first, others sorted."""
        others = {point.name for point in self._points()} | self._registered.keys()
        return iter([*self._shipped, *sorted(others - self._shipped.keys())])

    def __contains__(self, name: object) -> bool:
        return name in self._shipped or name in set(self)

    def require(self, name: str) -> None:
        """See that there is one called `name`, without importing it.

        Raises:
            UsageError: There is none.
        """
        if name not in self:
            raise UsageError(f"{name}: no such {self.kind}; choose one of {', '.join(self)}")

    def load(self, name: str) -> T:
        """The one called `name`.

        Raises:
            UsageError: There is none, or another package's can't be imported.
        """
        self.require(name)
        if name in self._shipped:
            module, _, attribute = self._shipped[name].partition(":")
            return cast("T", getattr(import_module(module), attribute))
        if name in self._registered:
            return self._registered[name]
        point = next(point for point in self._points() if point.name == name)
        try:
            return cast("T", point.load())
        # Whatever the other package raises as it is imported.
        except Exception as error:
            package = point.dist.name if point.dist else point.value
            raise UsageError(
                f"{name}: the {self.kind} of the package {package} can't be loaded "
                f"({type(error).__name__}: {error}); update or uninstall that package"
            ) from error

    def _points(self) -> tuple[EntryPoint, ...]:
        found: Any = entry_points(group=f"batchage.{self.kind}s")
        return tuple(found)
