"""The process of `batchage` and `python -m batchage`."""

import sys

from batchage.machine import limit_libraries
from batchage.process import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated, begin, end


def main() -> None:
    """Carry out the command line and end the process."""
    begin()
    try:
        limit_libraries()
        from batchage.command import run

        code = run()
    except Terminated:
        print("batchage: terminated", file=sys.stderr)
        code = EXIT_TERMINATED
    except KeyboardInterrupt:
        print("batchage: interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    end(code)


if __name__ == "__main__":
    main()
