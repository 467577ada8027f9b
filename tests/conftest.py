"""Settings of the whole suite."""

from hypothesis import settings

# Machines are shared and slow at times: a timed assertion would fail for nothing.
settings.register_profile("batchage", deadline=None)
settings.load_profile("batchage")

SERVERS = {"s3", "s3_server", "server", "site", "proxy"}
"""Fixtures that start a server on this machine."""

pytest_plugins = ["tests.fake_scans", "tests.remote", "tests.s3_server"]


def pytest_collection_modifyitems(items):
    """Mark the tests that need servers, and put the fast tests first."""
    for item in items:
        if SERVERS & set(item.fixturenames):
            item.add_marker("servers")
    items.sort(key=lambda item: sum(map(bool, map(item.get_closest_marker, ("slow", "servers")))))
