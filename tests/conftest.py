"""Settings of the whole suite."""

from hypothesis import settings

# Machines are shared and slow at times: a timed assertion would fail for nothing.
settings.register_profile("batchage", deadline=None)
settings.load_profile("batchage")

pytest_plugins = ["tests.fake_scans", "tests.remote", "tests.s3_server"]
