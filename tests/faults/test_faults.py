"""Real scans of a real folder, killed, starved of disk space, locked out: nothing may be lost."""

import collections
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from batchage.write import output_paths
from tests.command import start
from tests.faults.scans import finish, make_photos, rows, wait_for_part

SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


def scan(photos, output, before=()):
    options = ("--save-every", "0.3", "--detect-size", "320", "-q")
    return start("scan", photos, "-o", output, *options, before=before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Photos, the rows of a scan that nothing disturbs, and the seconds it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    photos = make_photos(folder / "photos", 60)
    started = time.monotonic()
    assert finish(scan(photos, folder / "r.parquet"))[0] == 3
    return photos, rows(folder / "r.parquet"), time.monotonic() - started


def kill_until_finished(undisturbed, folder, n_kills, seed, report=print):
    """Kill scans at random moments, each time going on with the same command.

    A scan that finishes before its kill is compared and begun anew.
    """
    photos, expected, seconds = undisturbed
    rng = random.Random(seed)
    kills, parts_at_kill, finished = collections.Counter(), [], 0
    output = folder / "r.parquet"
    parts = output.with_name("r.parquet.parts")
    while True:
        n_parts = len(list(parts.glob("*.images.parquet")))
        process = scan(photos, output)
        is_last = kills.total() >= n_kills
        chosen = rng.choice(SIGNALS)
        try:
            # Also in the middle of loading, but mostly while photos are scanned.
            process.wait(timeout=None if is_last else rng.triangular(0.0, 1.2, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            # What a scan says of going on depends on whether it has saved anything.
            while chosen != signal.SIGKILL and process.poll() is None:
                if len(list(parts.glob("*.images.parquet"))) > n_parts:
                    break
                time.sleep(0.02)
            process.send_signal(chosen)
        code, said = finish(process)
        # A kill may come after the last rename, while Python ends.
        if code == 3 or (output.exists() and not (parts / "scan.json").exists()):
            assert rows(output) == expected
            finished += 1
            if is_last:
                break
            for path in output_paths(output):
                path.unlink()
            continue
        kills[chosen.name] += 1
        parts_at_kill.append(len(list(parts.glob("*.images.parquet"))))
        # Before Python takes signals, and after, they end it by themselves.
        assert code in (-chosen, 128 + chosen), (code, said)
        if code > 0:
            assert "same command goes on" in said
    assert {path.name for path in folder.iterdir()} == {path.name for path in output_paths(output)}
    report(
        f"{kills.total()} kills {dict(kills)}, parts that were saved at each: {parts_at_kill}; "
        f"{finished} finished scans, each with the {len(expected[0])} images and "
        f"{len(expected[1])} faces of the undisturbed one, equal in every value"
    )


def test_killed_scans_end_as_undisturbed_ones(undisturbed, tmp_path):
    kill_until_finished(undisturbed, tmp_path, 3, seed=1)


@pytest.mark.soak
def test_fifty_kills(undisturbed, tmp_path):
    kill_until_finished(undisturbed, tmp_path, 50, seed=2)


def test_full_disk(undisturbed, tmp_path):
    photos, expected, _ = undisturbed
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("a small file system can't be mounted here")
    try:
        output = disk / "r.parquet"
        process = scan(photos, output)
        wait_for_part(process, output)
        with pytest.raises(OSError, match="No space"):  # noqa: SIM117
            with (disk / "ballast").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        code, said = finish(process)
        assert code == 1
        assert "No space left on device" in said
        assert "the same command" in said
        (disk / "ballast").unlink()
        assert finish(scan(photos, output))[0] == 3
        assert rows(output) == expected
    finally:
        subprocess.run(["umount", disk], check=True)


def test_permissions_that_are_revoked(undisturbed, tmp_path):
    photos, expected, _ = undisturbed
    before = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("permissions don't bind root, and there is no setpriv")
        # Root without the capabilities by which it passes permissions over.
        before = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    output = tmp_path / "out" / "r.parquet"
    output.parent.mkdir()
    process = scan(photos, output, before=before)
    wait_for_part(process, output)
    folders = (output.parent, output.with_name("r.parquet.parts"))
    for folder in folders:
        folder.chmod(0o500)
    code, said = finish(process)
    assert code == 1
    assert "Permission denied" in said
    for folder in folders:
        folder.chmod(0o700)
    assert finish(scan(photos, output, before=before))[0] == 3
    assert rows(output) == expected
