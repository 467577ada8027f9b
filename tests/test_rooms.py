"""The house: rooms are entered by their doors, and what is built and plugged in works elsewhere."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from batchage.detect import DETECTORS
from batchage.errors import UsageError
from batchage.plugins import Registry
from tests.command import PHOTOS, ROOT

PACKAGE = ROOT / "batchage"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def imports_of(file):
    """Modules of batchage that a file imports, or imports names from."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (n.removeprefix("batchage.") for n in names if n.startswith("batchage."))


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_rooms_are_entered_by_their_doors(room):
    files = (PACKAGE / room).glob("*.py")
    inside = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in files
        for module in imports_of(file)
        if module.partition(".")[0] in ROOMS and module.partition(".")[0] != room and "." in module
    ]
    assert not inside


@pytest.mark.parametrize("room", ROOMS)
def test_doors_name_what_they_show(room):
    module = __import__(f"batchage.{room}", fromlist=["__all__"])
    assert all(hasattr(module, name) for name in getattr(module, "__all__", []))


def test_the_map_shows_the_layers_from_top_to_bottom():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    level = {name: i for i, layer in enumerate(layers) for name in layer.split(" | ")}
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [row.split(" | ")[0] for row in page.splitlines() if row.startswith("| `")]
    shown = [re.findall(r"`(\w+)(?:/|\.py)`", row) for row in rows]
    assert sorted(level) == sorted(name for row in shown for name in row)
    for above, below in pairwise(shown):
        assert max(level[name] for name in above) <= min(level[name] for name in below)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """An environment with batchage as a user installs it, and a package with plugins."""
    folder = tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels = folder / "wheels"
    plugin = write_plugin(folder / "plugin")
    for source in (ROOT, plugin):
        subprocess.run(
            [*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", wheels, source], check=True
        )
    target = folder / "site"
    # Into a folder of its own: what batchage needs is in this environment, as this checkout is.
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", target, *sorted(wheels.glob("*.whl"))],
        check=True,
    )
    return target


def write_plugin(folder):
    """A package that brings a detector and a format."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "tiny-plugin"\nversion = "1"\n'
        '[project.entry-points."batchage.detectors"]\nnobody = "tiny_plugin:Nobody"\n'
        'broken = "tiny_plugin:missing"\n'
        '[project.entry-points."batchage.formats"]\ntsv = "tiny_plugin:FORMAT"\n'
        '[project.entry-points."batchage.engines"]\nslow = "tiny_plugin:open_engine"\n'
        '[tool.hatch.build.targets.wheel]\nonly-include = ["tiny_plugin.py"]\n'
    )
    (folder / "tiny_plugin.py").write_text(
        "import csv, io\n"
        "from batchage.types import Detections\n"
        "from batchage.engines.local import open_engine\n"
        "class Nobody:\n"
        "    detector_id = 'nobody@1'\n"
        "    def __init__(self, settings, compute): pass\n"
        "    def detect(self, images): return [Detections.empty() for _ in images]\n"
        "class Writer:\n"
        "    def __init__(self, stream, schema):\n"
        "        self.text = io.TextIOWrapper(stream, encoding='utf-8', write_through=True)\n"
        "        self.rows = csv.writer(self.text, delimiter='\\t')\n"
        "        self.rows.writerow(schema.names)\n"
        "    def write(self, batch): self.rows.writerows(zip(*batch.to_pydict().values()))\n"
        "    def close(self): self.text.detach()\n"
        "class Tsv:\n"
        "    holds_both = False\n"
        "    def open_writer(self, stream, schema, metadata): return Writer(stream, schema)\n"
        "FORMAT = Tsv()\n"
    )
    return folder


def scan_elsewhere(site, folder, *arguments):
    """The command of the installed package, given in another folder than the checkout."""
    code = "from batchage.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "scan", PHOTOS / "portraits" / "collins.jpg", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_built_package_scans_from_another_folder(elsewhere, tmp_path):
    result = scan_elsewhere(elsewhere, tmp_path, "-o", "faces.csv")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "faces.csv").read_text().count("\n") == 2
    code = "import batchage; print(batchage.__file__)"
    place = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(elsewhere)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert Path(place.strip()).is_relative_to(elsewhere)
    installed = {p.relative_to(elsewhere).as_posix() for p in elsewhere.rglob("batchage/**/*.py")}
    assert {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*.py")} <= installed


def test_detectors_formats_and_engines_come_from_other_packages(elsewhere, tmp_path):
    result = scan_elsewhere(
        elsewhere, tmp_path, "-o", "faces.tsv", "--detector", "nobody", "--engine", "slow"
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "faces.tsv").read_text().startswith("image_path\t")
    assert "no_face" in (tmp_path / "faces.images.tsv").read_text()
    broken = scan_elsewhere(elsewhere, tmp_path, "-o", "b.csv", "--detector", "broken")
    assert broken.returncode == 2
    assert "broken: the detector of the package tiny-plugin can't be loaded" in broken.stderr
    assert "Traceback" not in broken.stderr
    unknown = scan_elsewhere(elsewhere, tmp_path, "-o", "c.csv", "--engine", "cluster")
    assert unknown.returncode == 2
    assert "cluster: no such engine; choose one of local, ray, slow" in unknown.stderr


def test_names_of_batchage_stay_its_own():
    registry = Registry("thing", {"ours": "tests.test_rooms:ROOT"})
    assert registry.load("ours") == ROOT
    registry.register("mine", 1)
    assert list(registry) == ["ours", "mine"]
    with pytest.raises(UsageError, match="ours: batchage already has a thing of that name"):
        registry.register("ours", 2)
    with pytest.raises(UsageError, match="theirs: no such thing; choose one of ours, mine"):
        registry.load("theirs")
    assert "retinaface-resnet50" in DETECTORS
