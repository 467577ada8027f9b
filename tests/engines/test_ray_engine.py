"""The engine `ray`: the same tables as the local one's."""

import asyncio
from dataclasses import replace
from importlib import util

import pytest

from batchage.config import RaySettings, ScanConfig
from batchage.errors import MissingExtraError, UsageError
from batchage.places import locate
from tests.builders import pictures_in
from tests.command import PHOTOS, run
from tests.faults.scans import rows

pytest.importorskip("ray")


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    """Of another one's."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def scan(output, *more):
    return run("scan", PHOTOS, "-o", output, *more)


def test_the_command_gives_the_tables_of_the_local_engine(tmp_path):
    local = scan(tmp_path / "local.parquet", "-q")
    assert local.returncode == 0, local.stderr
    told = scan(
        tmp_path / "ray.csv", "--engine", "ray", "--num-actors", "2",
        "--thumbnails", tmp_path / "thumbs",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    # Nothing of what Ray says of itself.
    assert "ray::" not in told.stderr
    assert "Warning" not in told.stderr
    assert "core_worker" not in told.stderr
    images, faces = rows(tmp_path / "ray.csv")
    expected_images, expected_faces = rows(tmp_path / "local.parquet")
    pictures = {row["thumbnail"] for row in images if row["thumbnail"]}
    assert sorted(pictures) == pictures_in(tmp_path / "thumbs")
    for row in (*images, *faces, *expected_images, *expected_faces):
        del row["thumbnail"]
    assert images == expected_images
    assert faces == expected_faces


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "ray", "--ray-address", "127.0.0.1:1"], "no Ray cluster answers at"),
        (["--engine", "ray", "--ray-address", "ray://h:1"], "submit the command as a job"),
        (["--engine", "spark"], "no such engine; choose one of local, ray"),
        (["--num-actors", "2"], "give --engine ray too"),
        (["--engine", "ray", "--num-actors", "0"], "give 1 or more"),
        (["--engine", "ray", "--gpus-per-actor", "-1"], "give 0 or more"),
        (["--engine", "ray", "--dry-run"], "give it without --engine"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(tmp_path, arguments, said):
    result = scan(tmp_path / "r.csv", *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_extra_is_named(monkeypatch):
    from batchage.engines import create_engine
    from batchage.profile import Profile

    monkeypatch.setattr("batchage.engines.ray.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'batchage\[ray\]'"):
        create_engine(ScanConfig(engine="ray"), Profile())
    assert util.find_spec("ray")


def share_out(n_cpus, n_gpus, device="auto", **asked):
    from batchage.engines._ray_cluster import share_out

    config = ScanConfig(engine="ray", device=device)
    found = share_out(replace(config, ray=RaySettings(**asked)), n_cpus, n_gpus)
    return found.n_actors, found.cpus, found.gpus


def test_a_cluster_is_divided_among_actors():
    assert share_out(2, 0) == (2, 1.0, 0.0)
    assert share_out(16, 0, num_actors=4) == (4, 4.0, 0.0)
    assert share_out(2, 0, num_actors=4) == (4, 0.5, 0.0)
    assert share_out(32, 4) == (4, 8.0, 1.0)
    assert share_out(32, 4, gpus_per_actor=0.5) == (8, 4.0, 0.5)
    assert share_out(32, 4, device="cpu") == (32, 1.0, 0.0)
    with pytest.raises(UsageError, match="the cluster has 1 GPUs"):
        share_out(8, 1, gpus_per_actor=2)


def test_units_know_where_actors_died():
    from batchage.engines._ray_data import WHOLE, _Units

    async def story():
        units = _Units()
        waiting = asyncio.create_task(units.get(0))
        # Ray's actors may do these in any order.
        await units.end(2)
        await units.put(1, ["c"])
        assert not waiting.done()
        await units.put(0, ["a", "b"])
        assert await waiting == ["a", "b"]
        assert await units.begin(0) == {}
        assert await units.begin(0) == {WHOLE: 1}
        await units.is_at(0, 1)
        assert await units.begin(0) == {WHOLE: 1, 1: 1}
        await units.drop(0)
        # Read again after its reader died, and scanned again after its records came.
        assert await units.get(0) == []
        assert await units.begin(0) == {}
        assert await units.get(1) == ["c"]
        assert await units.get(2) is None

    asyncio.run(story())


def test_from_a_store_into_a_store(tmp_path, s3_server):
    bucket = s3_server.bucket()
    s3_server.upload(PHOTOS, f"{bucket}/photos")
    local = scan(tmp_path / "local.parquet", "-q")
    assert local.returncode == 0, local.stderr
    told = run(
        "scan", f"{bucket}/photos", "-o", f"{bucket}/results", "--engine", "ray", "-q",
        "--thumbnails", f"{bucket}/thumbs",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    found, expected = rows(locate(f"{bucket}/results")), rows(tmp_path / "local.parquet")
    pictures = {row["thumbnail"] for row in found[0] if row["thumbnail"]}
    assert sorted(pictures) == pictures_in(locate(f"{bucket}/thumbs"))
    differing = ("root", "thumbnail", "modified_at")
    for row in (*found[0], *found[1], *expected[0], *expected[1]):
        for name in differing:
            row.pop(name, None)
    assert found == expected
