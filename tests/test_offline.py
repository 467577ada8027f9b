"""A local scan opens no socket: with a kernel filter that ends any process that tries."""

import os
import platform
import subprocess
import sys

import pytest

from batchage.write import read_table
from tests.command import ROOT

# A classic BPF program: on x86-64, the system call number 41, socket(2), ends the process.
FILTERED = """
import ctypes, struct, sys
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL = 0x7FFF0000, 0x80000000
program = b"".join(struct.pack("HBBI", *line) for line in [
    (LOAD, 0, 0, 0), (EQUAL, 0, 1, 41), (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW)])
code = ctypes.create_string_buffer(program, len(program))
filter_ = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
filter_ = ctypes.create_string_buffer(filter_, len(filter_))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no new privileges"
if libc.prctl(22, 2, ctypes.byref(filter_), 0, 0) != 0:
    sys.exit(77)
sys.argv = ["batchage", *sys.argv[1:]]
"""
SCAN = "from batchage.command.app import main; main()"
TRY = "import socket; socket.socket()"
LOOK_UP = "import socket; socket.getaddrinfo('example.org', 443)"
pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the filter is written for Linux on x86-64",
)


def run_filtered(code, *arguments, home):
    # Some libraries are quiet where CI is set, as it may be here.
    environment = {k: v for k, v in os.environ.items() if k != "CI"}
    result = subprocess.run(
        [sys.executable, "-c", FILTERED + code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, timeout=300, check=False,
        env={**environment, "HOME": str(home)},
    )  # fmt: skip
    if result.returncode == 77:
        pytest.skip("this kernel takes no system call filter")
    return result


def test_the_filter_works(tmp_path):
    assert run_filtered(TRY, home=tmp_path).returncode == -31  # SIGSYS
    assert run_filtered(LOOK_UP, home=tmp_path).returncode == -31


def test_scan_opens_no_socket_and_writes_where_it_may(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    output = tmp_path / "r.parquet"
    result = run_filtered(
        SCAN,
        "scan",
        "examples/photos",
        "-o",
        output,
        "--thumbnails",
        tmp_path / "thumbs",
        home=home,
    )
    assert result.returncode == 0, result.stderr.decode()
    assert read_table(output).num_rows == 17
    assert list(home.rglob("*")) == []
