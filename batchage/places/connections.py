"""Connections to places that fsspec reaches; credentials are found by the libraries' own means."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchage.errors import BatchageError, UsageError
from batchage.places.names import (
    EXTRA_OF_SCHEME,
    error_text,
    require_packages,
    scheme_of,
    without_password,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

N_REQUESTS = 32
"""Requests to other machines that are under way at once, at most."""
N_CONNECTIONS = 4
"""To one place, where each takes one request at a time."""
_WITHOUT_CACHE: dict[str, Any] = {"use_listings_cache": False}
# Of botocore only 10 go out at once by default.
_BOTOCORE = {"max_pool_connections": N_REQUESTS}
_OPTIONS_OF_EXTRA = {
    # More than one part of a file at once takes a request for its size first.
    "s3": {**_WITHOUT_CACHE, "config_kwargs": _BOTOCORE, "max_concurrency": 1},
    "gs": _WITHOUT_CACHE,
    "az": _WITHOUT_CACHE,
    "http": _WITHOUT_CACHE,
}


@dataclass(frozen=True, slots=True)
class _Connections:
    """Those to one place."""

    idle: list[AbstractFileSystem] = field(default_factory=list)
    allowed: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(N_CONNECTIONS)
    )


# By place: those that many threads use at once, and those that one does.
_shared: dict[str, AbstractFileSystem] = {}
_connections: dict[str, _Connections] = {}


def filesystem_of(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system that has `url`, and the path there; it keeps no listings.

    Where a library sends one request at a time, it is a new connection.

    Raises:
        MissingExtraError: An optional package is needed for it.
        UsageError: There is no such kind of URL.
        OSError: It can't be connected to.
    """
    place = _place_of(url)
    found = _shared.get(place)
    if found is None:
        found = _connect(place, skip_instance_cache=not _is_async(url))
        if found.async_impl:
            _shared[place] = found
    return found, str(found._strip_protocol(url))


@contextmanager
def connected(url: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """As `filesystem_of`, for requests that many threads send at once.

    Where a library sends one request at a time, there are a few connections, which the threads
    share; one that failed is not used again.
    """
    place = _place_of(url)
    if _is_async(url):
        yield filesystem_of(url)
        return
    connections = _connections.setdefault(place, _Connections())
    with connections.allowed:
        files = connections.idle.pop() if connections.idle else None
        files = files or _connect(place, skip_instance_cache=True)
        try:
            yield files, str(files._strip_protocol(url))
        except (BatchageError, FileNotFoundError, PermissionError):
            connections.idle.append(files)
            raise
        connections.idle.append(files)


def strip(url: str) -> str:
    """The path of `url` as its file system calls it."""
    return str(_class_of(url)._strip_protocol(url))


def _class_of(url: str) -> type[AbstractFileSystem]:
    if _place_of(url) not in _shared:
        require_packages(url)
    from fsspec.registry import get_filesystem_class

    found: type[AbstractFileSystem] = get_filesystem_class(scheme_of(url))
    return found


def _is_async(url: str) -> bool:
    return bool(_class_of(url).async_impl)


def _place_of(url: str) -> str:
    """Scheme and host or bucket."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.lower()}://{rest.partition('/')[0]}"


def _connect(place: str, **options: Any) -> AbstractFileSystem:
    require_packages(place)
    from fsspec.core import url_to_fs

    extra = EXTRA_OF_SCHEME.get(scheme_of(place) or "", "")
    try:
        return url_to_fs(place, **_OPTIONS_OF_EXTRA.get(extra, {}), **options)[0]
    except (ImportError, ValueError) as error:
        shown = without_password(place)
        raise UsageError(
            f"{shown}: this kind of address can't be used ({error_text(error)})"
        ) from None
    except OSError:
        raise
    # Each library has its own types.
    except Exception as error:
        raise OSError(errno.EIO, error_text(error)) from error
