"""Every error that batchage raises on purpose.

    BatchageError
    ├── UsageError        the call or the command line can't be carried out as given
    │   └── MissingExtraError  an optional package is needed; the message has the install line
    ├── BundleError       a model bundle is missing, damaged or doesn't fit
    ├── DecodeError       one file can't be turned into pixels (becomes a row, never ends a scan)
    │   ├── TooLargeError       the picture has more pixels than allowed
    │   ├── DecodeTimeoutError  the decoder took too long
    │   └── DecoderCrashError   the decoder's process died
    ├── EngineError       the machines of a cluster can't do their part
    ├── MemoryLimitError  the system grants the process too little memory
    ├── WorkerError       the processes that decode can't be started
    └── OutputError       a result can't be written

A message is one sentence that names the file and the remedy.
"""


class BatchageError(Exception):
    """Base of all errors that a user can cause; `exit_code` is the command's."""

    exit_code = 1


class UsageError(BatchageError):
    """The call can't be carried out as given."""

    exit_code = 2


class MissingExtraError(UsageError):
    """An optional package is needed."""


class BundleError(BatchageError):
    """A model bundle is missing, damaged or doesn't fit this version."""


class DecodeError(BatchageError):
    """A file can't be turned into pixels."""


class TooLargeError(DecodeError):
    """A picture has more pixels than the limit allows."""


class DecodeTimeoutError(DecodeError):
    """Decoding took longer than the limit allows."""


class DecoderCrashError(DecodeError):
    """The process that decoded the file died of it."""


class EngineError(BatchageError):
    """The machines of a cluster can't do their part."""


class MemoryLimitError(BatchageError):
    """The system grants the process too little memory."""


class WorkerError(BatchageError):
    """The processes that decode can't be started."""


class OutputError(BatchageError):
    """A result can't be written."""


def one_line(error: BaseException | None) -> str:
    """What an exception says, short and without line breaks."""
    return " ".join(str(error).split())[:200] or type(error).__name__
