"""File systems in memory that stand for remote ones."""

import threading

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from batchage.places import patience


class FlakyFileSystem(MemoryFileSystem):
    """`flaky://`: what is in `memory://`, with requests that fail when told to.

    Attributes:
        failures: Errors to raise, by the path they are about; each is raised once.
        says_size: Whether listings and looks at files say how large they are.
        requests: What was asked for.
    """

    protocol = "flaky"
    failures: dict[str, list[Exception]] = {}  # noqa: RUF012
    says_size = True
    requests: list[tuple[str, str]] = []  # noqa: RUF012
    lock = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def _may_fail(self, verb, path):
        with self.lock:
            self.requests.append((verb, path))
            errors = self.failures.get(path)
            if errors:
                raise errors.pop(0)

    def _shown(self, info):
        return info if self.says_size else {**info, "size": None}

    def ls(self, path, detail=True, **more):
        self._may_fail("ls", path)
        found = super().ls(path, detail, **more)
        return [self._shown(info) for info in found] if detail else found

    def info(self, path, **more):
        self._may_fail("info", path)
        return self._shown(super().info(path, **more))

    def cat_file(self, path, start=None, end=None, **more):
        self._may_fail("cat", path)
        return super().cat_file(path, start, end, **more)


@pytest.fixture
def memory():
    """The file system `memory://`, empty."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def no_waits(monkeypatch):
    """Failed requests are repeated at once."""
    monkeypatch.setattr(patience, "FIRST_WAIT", 0)
    monkeypatch.setattr(patience, "LONGEST_WAIT", 0)


@pytest.fixture
def flaky(memory, no_waits, monkeypatch):
    """The class of `flaky://`."""
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    monkeypatch.setattr(FlakyFileSystem, "failures", {})
    monkeypatch.setattr(FlakyFileSystem, "requests", [])
    monkeypatch.setattr(FlakyFileSystem, "says_size", True)
    return FlakyFileSystem
