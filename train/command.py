"""What the training commands share: one sentence for an error, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from batchage.errors import BatchageError


@contextmanager
def explain_errors(command: str, after_interrupt: str = "nothing was written") -> Iterator[None]:
    """Turn errors that a user can cause into one sentence and an exit code.

    Args:
        command: The command's name.
        after_interrupt: What an interrupt leaves.
    """
    try:
        yield
    except BatchageError as error:
        print(f"{command}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        place = error.filename or "a file"
        print(
            f"{command}: {place}: {error.strerror or error}; check the path and the free space",
            file=sys.stderr,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{command}: stopped; {after_interrupt}", file=sys.stderr)
        sys.exit(130)
