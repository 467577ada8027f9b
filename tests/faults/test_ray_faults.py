"""Scans by Ray whose actors, nodes and drivers are killed: the tables are the undisturbed ones."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.command import ROOT, run, start
from tests.faults.ray_driver import DEADLY, KILLER
from tests.faults.scans import finish, make_photos, rows, wait_for_part

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
    result = run("scan", photos, "-o", output, "-q", "--detect-size", "320")
    assert result.returncode == 3, result.stderr
    return photos, rows(output)


def descendants(process, name):
    """Numbers of the processes that came of one, and are called so."""
    commands, parents = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            number = int(place.name)
            commands[number] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            # The name before it may hold anything.
            parents[number] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
    found = {process.pid}
    for _ in range(len(parents)):
        found |= {number for number, parent in parents.items() if parent in found}
    return {number for number in found if commands[number].startswith(name)}


def kill_actors(process):
    actors = descendants(process, ACTOR)
    assert actors
    for number in actors:
        os.kill(number, signal.SIGKILL)


class Driver:
    """A process that scans by Ray, which is killed with all that it started at the end."""

    def __init__(self, photos, output, **more):
        asked = {"photos": str(photos), "output": str(output), **more}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.ray_driver", json.dumps(asked)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},  # for Ray's workers
        )  # fmt: skip

    def wait_for_records(self, count):
        for _ in range(count):
            line = self.process.stdout.readline()
            assert line, finish(self.process)

    def say(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self):
        code, said = finish(self.process)
        assert code == 0, said


def is_alive(number):
    try:
        # Of one that is dead but still listed, nothing is left.
        return bool(Path(f"/proc/{number}/cmdline").read_bytes())
    except OSError:
        return False


def test_actors_that_are_killed(undisturbed, tmp_path):
    photos, expected = undisturbed
    driver = Driver(photos, tmp_path / "r.parquet")
    driver.wait_for_records(MANY)
    kill_actors(driver.process)
    driver.wait_for_records(MANY)
    kill_actors(driver.process)
    driver.end()
    assert rows(tmp_path / "r.parquet") == expected


def test_a_driver_that_is_killed_and_started_again(undisturbed, tmp_path):
    photos, expected = undisturbed
    output = tmp_path / "r.parquet"
    driver = Driver(photos, output)
    driver.wait_for_records(MANY)
    wait_for_part(driver.process, output)
    actors = descendants(driver.process, ACTOR)
    assert len(actors) == 2
    driver.process.kill()
    driver.process.communicate()
    parts = list((tmp_path / "r.parquet.parts").glob("*.images.parquet"))
    assert parts
    for _ in range(600):
        if not any(map(is_alive, actors)):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the actors go on without their driver")
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


def test_standard_output_is_data_whatever_dies(undisturbed):
    photos, (_, faces) = undisturbed
    process = start(
        "scan", photos, "-o", "-", "--engine", "ray", "--detect-size", "320", "-q",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        lines = [process.stdout.readline() for _ in range(2)]
        kill_actors(process)
        lines += list(process.stdout)
    assert process.returncode == 3
    found = list(csv.DictReader(lines))
    assert [row["image_path"] for row in found] == [row["image_path"] for row in faces]
