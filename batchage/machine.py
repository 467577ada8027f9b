"""What this process may use of its machine: processors and memory, as its container limits them."""

from __future__ import annotations

import contextlib
import math
import os
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from batchage.errors import MemoryLimitError

MB = 1 << 20
ADDRESSES, ADDRESSES_WITH_NETWORKS, ADDRESSES_PER_CORE = 768 * MB, 1792 * MB, 128 * MB
"""What libraries ask the system for, most of which is never used; with less they crash."""
UNLIMITED = 1 << 60
"""Bytes from which on version 1 of control groups means none."""
THREADS = ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "TF_NUM_INTRAOP_THREADS")
"""What libraries (the first: Arrow and NumPy's) look up before they start their threads."""
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Quota:
    """What the control groups of a process leave it.

    Attributes:
        cores: Processor time a second, in seconds; None where nothing limits it.
        memory: Bytes; None where nothing limits it.
    """

    cores: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class _Mount:
    """A hierarchy of control groups.

    Attributes:
        point: Where it is mounted.
        root: The group that is seen there.
        controllers: What it limits, in version 1; None in version 2, where there is one for all.
    """

    point: Path
    root: PurePosixPath
    controllers: frozenset[str] | None


def read_quota(system: Path = Path("/")) -> Quota:
    """The smallest limits of this process's control groups and all that these are in.

    Args:
        system: The folder that has `proc`, and whatever is mounted.
    """
    cores: list[float] = []
    memory: list[int] = []
    for folder in _groups(system):
        # What can't be read or understood limits nothing.
        with contextlib.suppress(ValueError, IndexError, ZeroDivisionError):
            allowed, period = _read(folder / "cpu.max").split()
            cores.append(int(allowed) / int(period))
        with contextlib.suppress(ValueError, ZeroDivisionError):
            allowed, period = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
            cores.append(int(allowed) / int(period))
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(ValueError):
                memory.append(int(_read(folder / name)))
    return Quota(
        min((n for n in cores if n > 0), default=None),
        min((n for n in memory if 0 < n < UNLIMITED), default=None),
    )


def _groups(system: Path) -> Iterator[Path]:
    """Folders of the groups that this process is in, each with those above it."""
    mounts = list(_mounts(system))
    for line in _read(system / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        named, _, path = rest.partition(":")
        controllers = set(named.split(",")) if named else None
        for mount in mounts:
            if (mount.controllers is None) != (controllers is None):
                continue
            if controllers and mount.controllers and not controllers <= mount.controllers:
                continue
            group = PurePosixPath(path)
            # A group outside of what is mounted is named from elsewhere: the mount has its own.
            is_seen = group.is_relative_to(mount.root) and ".." not in group.parts
            inside = group.relative_to(mount.root) if is_seen else ""
            folder = mount.point / inside
            while True:
                yield folder
                if folder == mount.point or mount.point not in folder.parents:
                    break
                folder = folder.parent


def _mounts(system: Path) -> Iterator[_Mount]:
    for line in _read(system / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, about = before.split(), after.split()
        if len(fields) < 5 or len(about) < 3 or about[0] not in ("cgroup", "cgroup2"):
            continue
        root, point = (_OCTAL.sub(lambda m: chr(int(m[1], 8)), text) for text in fields[3:5])
        controllers = frozenset(about[2].split(",")) if about[0] == "cgroup" else None
        yield _Mount(system / point.lstrip("/"), PurePosixPath(root), controllers)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _quota() -> Quota:
    return read_quota()


def _allowed() -> int:
    """Processors that the system lets this process run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores() -> int:
    """Processors that this process may keep busy, a part of one counted as one."""
    quota = _quota().cores
    allowed = _allowed()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def has_quota() -> bool:
    """Whether that is less than the processors that libraries see."""
    return cores() < _allowed()


def memory() -> int | None:
    """Bytes that this process and those it starts may hold; None where only the machine limits it.

    What is not in a control group is not heeded.
    """
    return _quota().memory


def require_addresses(with_networks: bool) -> None:
    """See that libraries can have the addresses that they ask for.

    Args:
        with_networks: Whether networks are to be loaded.

    Raises:
        MemoryLimitError: A limit (`ulimit -v`) lets them have less.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = ADDRESSES_WITH_NETWORKS if with_networks else ADDRESSES
    needed += cores() * ADDRESSES_PER_CORE
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise MemoryLimitError(
            f"this process may have {limit // MB:,} MB of address space (ulimit -v), and needs "
            f"{needed // MB:,} MB, most of which it never fills; raise the limit"
        )


def limit_libraries() -> None:
    """Have libraries that are loaded from now on, here and in new processes, heed a quota."""
    if has_quota():
        for name in THREADS:
            os.environ.setdefault(name, str(cores()))
