"""How a command's process begins and ends, whatever its streams, locale and libraries are like."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from batchage.write import read_table
from tests.builders import pictures_in
from tests.command import PHOTOS, ROOT, command, run

# Arrow reads ahead in a thread of its own; the last object keeps an interpreter that goes down
# busy until that thread comes back to Python.
AT_WORK = """
import io, sys, threading, time
import pyarrow.csv
from batchage.__main__ import main

class Slow(io.RawIOBase):
    began = threading.Event()
    def readable(self):
        return True
    def read(self, size=-1):
        if self.began.is_set():
            time.sleep(0.5)
        self.began.set()
        return b"1,2\\n" * 1000

class Last:
    def __del__(self):
        time.sleep(1)

reader, last = pyarrow.csv.open_csv(Slow()), Last()
"""


def run_shell(line, **variables):
    """The command with redirections of a shell's."""
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {line}', "bash", *variables.pop("arguments")],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["evaluate", "missing.parquet", "--labels", "missing.csv"], 2),
        (["report", "missing.parquet", "-o", "page"], 2),
        (["--version"], 0),
    ],
)
def test_a_thread_that_is_still_at_work_aborts_no_command(arguments, code):
    result = subprocess.run(
        [sys.executable, "-c", AT_WORK + "main()", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr.count("\n")) == (code, min(code, 1)), result.stderr


@pytest.mark.parametrize(
    ("arguments", "line", "code", "sentence"),
    [
        (["--version"], ">/dev/full", 1, "standard output: can't be written (no space left"),
        (["--version"], ">&-", 1, "standard output: can't be written (bad file descriptor"),
        (["info", "--help"], ">&-", 1, "standard output: can't be written"),
        (["scan", "missing"], "2>&-", 2, ""),
        (["scan", "missing"], ">&- 2>&-", 2, ""),
        (["scan", "missing"], "<&- >&- 2>&-", 2, ""),
        (["scan", "-"], "<&-", 2, "standard input: the list can't be read"),
        (["scan", "missing"], ">&-", 2, "missing"),
    ],
)
def test_closed_streams(arguments, line, code, sentence):
    result = run_shell(line, arguments=command(*arguments))
    assert result.returncode == code, result.stderr
    assert sentence in result.stderr
    assert result.stderr.count("\n") == bool(sentence)


def test_a_reader_that_is_gone():
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        command("scan", "--help"), cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    os.close(write)
    assert result.returncode == 1
    assert result.stderr.startswith("batchage: standard output: can't be written (broken pipe)")
    assert result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """Where a locale with an encoding of its own is."""
    folder = tmp_path_factory.mktemp("locales")
    if not shutil.which("localedef"):
        pytest.skip("there is no localedef")
    made = subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("localedef has no sources of locales")
    return folder


def test_names_are_the_same_in_every_locale(locales, tmp_path):
    names = ["Müller.jpg", "日本語.jpg"]
    photo = (PHOTOS / "portraits" / "collins.jpg").read_bytes()
    (tmp_path / "写真").mkdir()
    for name in names:
        (tmp_path / "写真" / name).write_bytes(photo)
    places = ("写真", "-o", "表.csv", "--thumbnails", "絵", "--overwrite")
    for locale in ("en_US.ISO-8859-1", "POSIX"):
        result = run("scan", *places, cwd=tmp_path, LOCPATH=str(locales), LC_ALL=locale)
        assert result.returncode == 0, result.stderr
        faces = read_table(tmp_path / "表.csv").to_pydict()
        assert faces["image_path"] == names
        assert set(faces["root"]) == {str(tmp_path / "写真")}
        assert len(set(faces["thumbnail"])) == len(pictures_in(tmp_path / "絵")) == 2


# A library that is stopped half-way may say that it is broken.
HALF_WAY = """
import sys, time
print("importing", file=sys.stderr, flush=True)
try:
    time.sleep(0.5)
except BaseException:
    raise ImportError("this library is broken")
sys.path.remove({folder!r})
del sys.modules["openvino"]
import openvino
"""


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_import_is_ended_before_the_command_is(tmp_path, number, code, word):
    (tmp_path / "openvino.py").write_text(HALF_WAY.format(folder=str(tmp_path)))
    process = subprocess.Popen(
        command("scan", PHOTOS / "portraits", "-o", tmp_path / "r.parquet", "-q"),
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stderr.readline() == "importing\n"
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == code, said
    assert said.startswith(f"batchage: {word}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "kilobytes"),
    [(["info"], 1_000_000), (["scan", PHOTOS, "-o", "-"], 600_000), (["report", "r.csv"], 400_000)],
)
def test_too_little_memory_is_said_before_libraries_crash(arguments, kilobytes):
    result = subprocess.run(
        ["bash", "-c", f'ulimit -v {kilobytes}; exec "$@"', "bash", *command(*arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.startswith("batchage: this process may have ")
    assert "raise the limit" in result.stderr
    assert result.stderr.count("\n") == 1
