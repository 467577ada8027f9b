"""The command in a process of its own, as users run it; its output is 120 columns wide."""

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from batchage.command import run as run_here
from batchage.command.base import log

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "examples" / "photos"


def command(*arguments):
    return [sys.executable, "-m", "batchage", *map(str, arguments)]


def _settings(cwd, variables):
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **variables}
    # File names may hold any bytes.
    return {"cwd": cwd, "env": environment, "encoding": "utf-8", "errors": "surrogateescape"}


def run(*arguments, cwd=ROOT, stdin=None, **variables):
    """What came of it; `variables` are of its environment."""
    return subprocess.run(
        command(*arguments), **_settings(cwd, variables), input=stdin, capture_output=True,
        timeout=500, check=False,
    )  # fmt: skip


def refuse(*arguments, cwd=ROOT):
    """What came of it in this process: for what ends before anything is loaded."""
    out, err = io.StringIO(), io.StringIO()
    handlers, level = list(log.handlers), log.level
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            code = run_here(list(map(str, arguments)))
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
    finally:
        log.handlers[:] = handlers
        log.setLevel(level)


def start(*arguments, cwd=ROOT, before=(), stdout=subprocess.DEVNULL, **variables):
    """The process; what it says can be read from its `stderr`. `before` is a command to run it."""
    return subprocess.Popen(
        [*before, *command(*arguments)], **_settings(cwd, variables), stdout=stdout,
        stderr=subprocess.PIPE,
    )  # fmt: skip
