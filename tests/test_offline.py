"""Commands open no socket, with a kernel filter that ends any process that tries, and leave no file
where none was named."""

import ast
import os
import platform
import subprocess
import sys

import pytest

from batchage.write import read_table
from tests.command import PHOTOS, ROOT

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
COMMAND = "from batchage.__main__ import main; main()"
TRY = "import socket; socket.socket()"
LOOK_UP = "import socket; socket.getaddrinfo('example.org', 443)"
QUIETING = {"CI", "DO_NOT_TRACK", "MPLCONFIGDIR", "RAY_USAGE_STATS_ENABLED"}
"""Variables that keep some libraries from what they do by default."""
FOLDERS = {"XDG_CACHE_HOME": ".c", "XDG_CONFIG_HOME": ".f", "XDG_DATA_HOME": ".d"}
filtered = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the filter is written for Linux on x86-64",
)


def run_filtered(code, *arguments, home, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in QUIETING and k[:4] != "XDG_"}
    temporary = home / "temporary"
    temporary.mkdir(parents=True, exist_ok=True)
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), **variables}
    result = subprocess.run(
        [sys.executable, "-c", FILTERED + code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, timeout=300, check=False, env=environment,
    )  # fmt: skip
    if result.returncode == 77:
        pytest.skip("this kernel takes no system call filter")
    return result


@filtered
def test_the_filter_works(tmp_path):
    assert run_filtered(TRY, home=tmp_path).returncode == -31  # SIGSYS
    assert run_filtered(LOOK_UP, home=tmp_path).returncode == -31


@filtered
def test_commands_open_no_socket_and_write_where_they_may(tmp_path):
    home, photos = tmp_path / "home", tmp_path / "photos"
    photos.mkdir()
    # Its label wants a font of the machine's.
    (photos / "日本語 ไทย 🙂.jpg").write_bytes((PHOTOS / "portraits" / "collins.jpg").read_bytes())
    labels = tmp_path / "labels.csv"
    labels.write_text("path,age,gender\nportraits/collins.jpg,40,female\n")
    table, thumbnails, page = (tmp_path / name for name in ("r.parquet", "thumbs", "page"))
    output = ("-o", table, "--thumbnails", thumbnails, "--crops", tmp_path / "crops")
    for arguments, variables in (
        (("scan", PHOTOS, photos, *output, "--report", page), {}),
        (("info",), {name: str(home / folder) for name, folder in FOLDERS.items()}),
        (("thumbnails", table, "-o", tmp_path / "drawn"), {}),
        (("evaluate", table, "--labels", labels, "-o", tmp_path / "evaluation"), {}),
        (("compact", table, "-o", tmp_path / "r.sqlite"), {}),
    ):
        result = run_filtered(COMMAND, *arguments, home=home, **variables)
        assert result.returncode == 0, result.stderr.decode()
        assert [path.name for path in home.rglob("*")] == ["temporary"], arguments
    assert read_table(table).num_rows == 18


def imported(file):
    """Modules that a file imports, or imports names from."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_openvino_is_imported_only_where_its_telemetry_is_blocked_before():
    files = [
        file
        for folder in ("batchage", "train", "scripts")
        for file in ROOT.glob(f"{folder}/**/*.py")
    ]
    users = [f for f in files if any(n.partition(".")[0] == "openvino" for n in imported(f))]
    assert users
    for file in users:
        is_inside = file.parent == ROOT / "batchage" / "networks"
        assert is_inside or "batchage.networks" in imported(file), file


@pytest.mark.parametrize(
    "module",
    ["batchage.pipeline", "batchage.analyzer", "batchage.engines._ray_data", "train.quantize"],
)
def test_telemetry_is_blocked_in_every_process_that_may_import_openvino(module):
    pytest.importorskip("ray" if "ray" in module else "batchage")
    code = (
        f"import sys, {module}; assert sys.modules['openvino_telemetry'] is None;"
        "import openvino; assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
