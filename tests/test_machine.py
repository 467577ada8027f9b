"""What control groups leave a process, in made-up trees of them."""

import os

import pytest

from batchage import machine
from batchage.decode import decoded_bytes, n_decoders
from batchage.networks import choose_compute

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = (
    "31 30 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 {root} /sys/fs/cgroup/memory rw master:9 - cgroup cgroup rw,memory\n"
    "33 30 0:29 {root} /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd"
)


@pytest.fixture
def system(tmp_path):
    """Makes a machine's folder of its files by path, with what `/proc/self` says of groups."""

    def make(cgroup, mountinfo, files):
        named = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo}
        named |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
        for name, text in named.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return machine.read_quota(tmp_path)

    return make


def test_version_2_in_a_namespace_of_its_own(system):
    found = system("0::/", V2, {"cpu.max": "150000 100000", "memory.max": "1073741824"})
    assert found == machine.Quota(1.5, 1 << 30)


def test_version_2_at_every_level_upwards(system):
    files = {
        "kubepods/cpu.max": "800000 100000",
        "kubepods/memory.max": "2000000000",
        "kubepods/pod/cpu.max": "200000 100000",
        "kubepods/pod/memory.max": "max",
        "kubepods/pod/box/cpu.max": "max 100000",
        "kubepods/pod/box/memory.max": "8000000000",
        "kubepods/other/cpu.max": "10000 100000",
    }
    assert system("0::/kubepods/pod/box", V2, files) == machine.Quota(2.0, 2_000_000_000)


def test_version_1_seen_from_outside_and_from_inside(system):
    files = {
        "cpu,cpuacct/docker/box/cpu.cfs_quota_us": "250000",
        "cpu,cpuacct/docker/box/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/docker/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
        "memory/docker/box/memory.limit_in_bytes": "9223372036854771712",
        "memory/docker/memory.limit_in_bytes": "3000000000",
    }
    groups = "9:name=systemd:/docker/box\n4:memory:/docker/box\n1:cpu,cpuacct:/docker/box\n0::/"
    assert system(groups, V1.format(root="/"), files) == machine.Quota(2.5, 3_000_000_000)


def test_version_1_whose_mount_begins_at_the_group(system):
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "500000000",
    }
    groups = "4:memory:/docker/box\n1:cpu,cpuacct:/docker/box"
    found = system(groups, V1.format(root="/docker/box"), files)
    assert found == machine.Quota(0.5, 500_000_000)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "files"),
    [
        ("", "", {}),
        ("0::/", V2, {}),
        ("0::/", V2, {"cpu.max": "max 100000", "memory.max": "max"}),
        ("0::/", V2, {"cpu.max": "100000 0", "memory.max": "0"}),
        ("0::/", V2, {"cpu.max": "many", "memory.max": "-1"}),
        ("0::/../../elsewhere", V2, {}),
        ("nonsense", "nonsense - cgroup2\n\n - \n", {}),
    ],
)
def test_what_limits_nothing_or_cannot_be_understood(system, cgroup, mountinfo, files):
    assert system(cgroup, mountinfo, files) == machine.Quota()


@pytest.fixture
def quota(monkeypatch):
    """Sets what this process is said to be left, on a machine of eight processors."""
    monkeypatch.setattr(machine, "_allowed", lambda: 8)
    monkeypatch.setattr(os, "environ", {})
    return lambda *limits: monkeypatch.setattr(machine, "_quota", lambda: machine.Quota(*limits))


def test_everything_goes_by_the_quota(quota):
    quota(1.5, None)
    machine.limit_libraries()
    assert (machine.cores(), n_decoders()) == (2, 2)
    assert choose_compute("cpu").n_threads == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_without_a_quota_nothing_is_limited(quota):
    quota(None, None)
    machine.limit_libraries()
    assert (machine.cores(), n_decoders()) == (8, 8)
    assert choose_compute("cpu").n_threads == 0
    assert decoded_bytes() == 512 << 20
    assert not os.environ.keys() & set(machine.THREADS)


def test_a_small_container_holds_less(quota):
    quota(None, 1 << 30)
    assert n_decoders() == 2
    assert decoded_bytes() == 128 << 20
    quota(0.1, 1 << 20)
    assert (machine.cores(), n_decoders()) == (1, 1)
