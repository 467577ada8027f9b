"""Settings of the whole suite."""

from hypothesis import settings

# Machines are shared and slow at times: a timed assertion would fail for nothing.
settings.register_profile("batchage", deadline=None)
settings.load_profile("batchage")

SERVERS = {"s3", "s3_server", "server", "site", "proxy"}
"""Fixtures that start a server on this machine."""

SLOW = {
    "test_cli.py",
    "test_docs.py",
    "test_examples.py",
    "test_faults.py",
    "test_file_sink.py",
    "test_hostile.py",
    "test_inference.py",
    "test_moved.py",
    "test_offline.py",
    "test_process.py",
    "test_ray_engine.py",
    "test_ray_faults.py",
    "test_remote_output.py",
    "test_remote_scan.py",
    "test_rooms.py",
    "test_settings.py",
    "test_train.py",
    "test_train_export.py",
}
"""Files whose tests scan, train or build for many seconds."""

pytest_plugins = ["tests.fake_scans", "tests.remote", "tests.s3_server"]


def pytest_collection_modifyitems(items):
    """Mark the tests that are slow or need servers, and put the fast tests first."""
    for item in items:
        if item.path.name in SLOW:
            item.add_marker("slow")
        if SERVERS & set(item.fixturenames):
            item.add_marker("servers")
    items.sort(key=lambda item: sum(map(bool, map(item.get_closest_marker, ("slow", "servers")))))
