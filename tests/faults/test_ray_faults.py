"""Scans by Ray whose actors, nodes and drivers are killed: the tables are the undisturbed ones."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from tests.faults.ray_driver import DEADLY, KILLER
from tests.faults.scans import ROOT, finish, make_photos, rows

pytest.importorskip("ray")
ACTOR = "ray::MapWorker(MapBatches(_Scanner))"
MANY = 12
"""Records after which a fault comes: some units are done then, and some are not."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Photos, and the rows of a scan on this machine."""
    folder = tmp_path_factory.mktemp("undisturbed")
    photos = make_photos(folder / "photos", 60)
    output = folder / "r.parquet"
    command = [sys.executable, "-m", "batchage", "scan", photos, "-o", output, "-q"]
    result = subprocess.run(
        [*command, "--detect-size", "320"], cwd=ROOT, check=False, capture_output=True
    )
    assert result.returncode == 3, result.stderr
    return photos, rows(output)


class Driver:
    """A process that scans by Ray, which is killed with all that it started at the end."""

    def __init__(self, photos, output, **more):
        asked = {"photos": str(photos), "output": str(output), **more}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.ray_driver", json.dumps(asked)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},  # for Ray's workers
        )  # fmt: skip

    def wait_for_records(self, count):
        for _ in range(count):
            line = self.process.stdout.readline()
            assert line, finish(self.process)

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self):
        code, said = finish(self.process)
        assert code == 0, said


def ray_processes(name=""):
    """Their numbers, as far as they belong to this process."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                with open(f"/proc/{entry.name}/cmdline", "rb") as file:  # noqa: PTH123
                    command = file.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if command.startswith(name or "ray::") or (not name and "raylet" in command[:200]):
                found.append(int(entry.name))
    return found


def kill_actors():
    for number in ray_processes(ACTOR):
        os.kill(number, signal.SIGKILL)


def test_actors_that_are_killed(undisturbed, tmp_path):
    photos, expected = undisturbed
    driver = Driver(photos, tmp_path / "r.parquet")
    driver.wait_for_records(MANY)
    assert ray_processes(ACTOR)
    kill_actors()
    driver.wait_for_records(MANY)
    kill_actors()
    driver.end()
    assert rows(tmp_path / "r.parquet") == expected


def test_a_driver_that_is_killed_and_started_again(undisturbed, tmp_path):
    photos, expected = undisturbed
    output = tmp_path / "r.parquet"
    driver = Driver(photos, output)
    driver.wait_for_records(MANY)
    driver.process.kill()
    driver.process.communicate()
    parts = list((tmp_path / "r.parquet.parts").glob("*.images.parquet"))
    assert parts
    for _ in range(600):
        if not ray_processes():
            break
        time.sleep(0.1)
    else:
        pytest.fail("what the driver had started goes on without it")
    driver = Driver(photos, output)
    driver.end()
    assert rows(output) == expected


def test_a_node_that_is_killed(undisturbed, tmp_path):
    photos, expected = undisturbed
    driver = Driver(photos, tmp_path / "r.parquet", nodes=2)
    driver.wait_for_records(MANY)
    driver.say("kill node")
    driver.end()
    assert rows(tmp_path / "r.parquet") == expected


def test_a_photo_that_kills_its_actors_is_given_up(undisturbed, tmp_path):
    photos, (images, faces) = undisturbed
    deadly = photos / "2" / "deadly.png"
    Image.new("RGB", DEADLY[::-1]).save(deadly)
    try:
        Driver(photos, tmp_path / "r.parquet", nodes=2, detector=KILLER).end()
    finally:
        deadly.unlink()
    found_images, found_faces = rows(tmp_path / "r.parquet")
    failed = [row for row in found_images if row["image_path"] == "2/deadly.png"]
    assert [(row["status"], row["error"]) for row in failed] == [
        ("failed", "the process that scanned it died 3 times")
    ]
    assert [row for row in found_images if row not in failed] == images
    assert found_faces == faces
