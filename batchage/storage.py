"""Places of files: on this machine, or anywhere that fsspec reaches.

A local file is a `pathlib.Path`. Any other one is a `UPath`, which has the same methods, or, where
there are many of them, its URL. Credentials are found by the libraries' own means.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from batchage.errors import BatchageError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from upath import UPath

    AnyPath: TypeAlias = Path | UPath

T = TypeVar("T")

# Two letters at least: a single one is a drive of Windows.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")
LOCAL_SCHEMES = frozenset(["file", "local"])
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

TRIES = 5
"""Of a request that fails for reasons that may pass."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds between tries, at most: doubled each time, and drawn by chance below."""
_FINAL = (
    BatchageError,
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    ImportError,
    TypeError,
    AttributeError,
)
_SERVER_ERROR = 500
_NOT_FOUND = 404
_FORBIDDEN = (401, 403)
_PRECONDITION_FAILED = 412
"""The only condition that is ever made is that a file doesn't exist."""
_PASSING = (408, 429)
"""HTTP's Request Timeout and Too Many Requests."""


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


def is_url(place: object) -> bool:
    """Whether it is the URL of a place elsewhere."""
    return scheme_of(place) not in (None, *LOCAL_SCHEMES)


def scheme_of(place: object) -> str | None:
    """`s3` of `s3://bucket/photos`; None of what is no URL."""
    found = _SCHEME.match(place) if isinstance(place, str) else None
    return found[1].lower() if found else None


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
        return Path(url.partition("://")[2])
    _require_packages(url)
    from upath import UPath

    try:
        return _named(UPath(url))
    except (ImportError, ValueError) as error:
        shown = without_password(url)
        raise UsageError(f"{shown}: this kind of address can't be used ({_text(error)})") from None


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
    from batchage.hosted import HostedPath

    return cast("UPath", HostedPath._from_upath(place)) if HostedPath.is_needed(place) else place


def _require_packages(url: str) -> None:
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
        _require_packages(url)
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
    _require_packages(place)
    from fsspec.core import url_to_fs

    extra = EXTRA_OF_SCHEME.get(scheme_of(place) or "", "")
    try:
        return url_to_fs(place, **_OPTIONS_OF_EXTRA.get(extra, {}), **options)[0]
    except (ImportError, ValueError) as error:
        shown = without_password(place)
        raise UsageError(f"{shown}: this kind of address can't be used ({_text(error)})") from None
    except OSError:
        raise
    # Each library has its own types.
    except Exception as error:
        raise OSError(errno.EIO, _text(error)) from error


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return _PASSWORD.sub(r"\1@", url)


def without_slash(url: str) -> str:
    """A folder's URL as it stands in a table."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rstrip('/')}"


def reason_of(error: Exception) -> str:
    """Why a request failed, in a few words."""
    error = _cause_of(error)
    if isinstance(error, FileNotFoundError):
        return "no such file or directory"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower() if error.errno != errno.EIO else error.strerror
    return _text(error)


def _cause_of(error: Exception) -> Exception:
    """What went wrong: of HTTP, fsspec says of each failure that there is no such file."""
    cause = error.__cause__
    is_http = type(cause).__module__.partition(".")[0] == "aiohttp"
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and is_http:
        return error if getattr(cause, "status", None) == _NOT_FOUND else cause
    return error


def _text(error: Exception) -> str:
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    if isinstance(status, int) and message:
        return f"{status} {message}".lower()
    return without_password(" ".join(str(error).split())[:200]) or type(error).__name__


def patiently(call: Callable[..., T], *arguments: Any, **more: Any) -> T:
    """What `call` gives, after waiting and trying again where it failed for the moment.

    Args:
        call: A request to another machine that may be made more than once.
        *arguments: Its arguments.
        **more: Its named arguments.

    Raises:
        OSError: It can't be had: of whatever type the library's own error is.
    """
    if find_spec("tenacity") is None:
        # It says itself which extra is needed.
        return call(*arguments, **more)
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    tries = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(FIRST_WAIT, max=LONGEST_WAIT),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    try:
        return tries(call, *arguments, **more)
    except (OSError, *_FINAL):
        raise
    # Each library has its own types.
    except Exception as error:
        status = _status(error)
        if status == _NOT_FOUND:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        if status == _PRECONDITION_FAILED:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        if status in _FORBIDDEN:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
        raise OSError(errno.EIO, _text(error)) from error


def _may_pass(failure: BaseException) -> bool:
    if not isinstance(failure, Exception):
        return False
    error = _cause_of(failure)
    if isinstance(error, _FINAL):
        return False
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return False
    status = _status(error)
    return status is None or status >= _SERVER_ERROR or status in _PASSING


def _status(error: Exception) -> int | None:
    """That of the HTTP answer that is the reason, if one is."""
    # As aiohttp, the libraries of Azure and gcsfs call it.
    for name in ("status", "status_code", "code"):
        status = getattr(error, name, None)
        if isinstance(status, int):
            return status
    return None
