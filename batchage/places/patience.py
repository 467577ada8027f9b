"""Requests that may fail for the moment: tried again, and what is said where they fail for good."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

from batchage.errors import BatchageError
from batchage.places.names import error_text

T = TypeVar("T")

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


def reason_of(error: Exception) -> str:
    """Why a request failed, in a few words."""
    error = _cause_of(error)
    if isinstance(error, FileNotFoundError):
        return "no such file or directory"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower() if error.errno != errno.EIO else error.strerror
    return error_text(error)


def _cause_of(error: Exception) -> Exception:
    """What went wrong: of HTTP, fsspec says of each failure that there is no such file."""
    cause = error.__cause__
    is_http = type(cause).__module__.partition(".")[0] == "aiohttp"
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and is_http:
        return error if getattr(cause, "status", None) == _NOT_FOUND else cause
    return error


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
        raise OSError(errno.EIO, error_text(error)) from error


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
