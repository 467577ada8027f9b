"""Settings of the whole suite."""

import os
import sys

from hypothesis import settings

# Many tests start the command: it isn't compiled each time, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Machines are shared and slow at times: a timed assertion would fail for nothing.
settings.register_profile("batchage", deadline=None, max_examples=50)
settings.load_profile("batchage")

SERVERS = {"s3", "s3_server", "server", "site", "proxy"}
"""Fixtures that start a server on this machine."""

SLOW = (
    "test_ray_faults.py",
    "test_train.py",
    "test_file_sink.py",
    "test_examples.py",
    "test_cli.py",
    "test_remote_scan.py",
    "test_faults.py",
    "test_ray_engine.py",
    "test_docs.py",
    "test_remote_output.py",
    "test_settings.py",
    "test_inference.py",
    "test_rooms.py",
    "test_hostile.py",
    "test_train_export.py",
    "test_moved.py",
    "test_offline.py",
    "test_process.py",
)
"""Files whose tests scan, train or build for many seconds, the slowest first."""

pytest_plugins = ["tests.fake_scans", "tests.remote", "tests.s3_server"]


def pytest_collection_modifyitems(items):
    """Mark the tests that are slow or need servers, and put the fast tests first."""
    for item in items:
        if item.path.name in SLOW:
            item.add_marker("slow")
        if SERVERS & set(item.fixturenames):
            item.add_marker("servers")
    items.sort(key=_place)


def _place(item):
    # While the slowest file waits for its clusters, another process does the fast tests.
    if item.path.name == SLOW[0]:
        return -1
    if item.get_closest_marker("slow"):
        return 1 + SLOW.index(item.path.name)
    return int(item.get_closest_marker("servers") is not None)
