"""Where cgroups are: the layouts of hosts and containers, read from their mountinfo."""

from pathlib import Path

import pytest

from aiod.native import cgroups, spec
from aiod.native.cgroups import Cgroup, Layout, detect_layout
from aiod.native.errors import NativeError
from aiod.native.runtimecgroup import mounts_of

ROOT = "25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
V2 = (
    ROOT + "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 "
    "cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)
TMPFS = "30 23 0:25 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs ro,size=4096k,mode=755\n"
V1 = (
    ROOT
    + TMPFS
    + "31 30 0:27 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,name=systemd\n"
    "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 30 0:29 / /sys/fs/cgroup/memory rw,relatime shared:11 - cgroup cgroup rw,memory\n"
)
HYBRID = V1 + "34 30 0:30 / /sys/fs/cgroup/unified rw shared:12 - cgroup2 cgroup2 rw,nsdelegate\n"
NESTED = (
    "500 400 0:100 / / rw,relatime - overlay overlay rw\n"
    "501 500 0:101 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs rw,mode=755\n"
    "502 501 0:29 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:11 - cgroup cgroup rw,memory\n"
)
PIECES = "/sys/fs/cgroup"


def places(layout: Layout) -> dict[str, str]:
    return {name: str(where) for name, where in layout.v1.items()}


def test_version_2_alone() -> None:
    layout = detect_layout(V2)
    assert layout.v1 == {}
    assert layout.unified == Path(PIECES)
    assert layout.roots() == [Path(PIECES)]


def test_version_1_alone_with_shared_hierarchies() -> None:
    layout = detect_layout(V1)
    assert layout.unified is None
    assert places(layout) == {
        "cpu": f"{PIECES}/cpu,cpuacct",
        "cpuacct": f"{PIECES}/cpu,cpuacct",
        "memory": f"{PIECES}/memory",
    }
    assert layout.roots() == [Path(PIECES, "cpu,cpuacct"), Path(PIECES, "memory")]


def test_hybrid() -> None:
    layout = detect_layout(HYBRID)
    assert layout.unified == Path(PIECES, "unified")
    assert set(layout.v1) == {"cpu", "cpuacct", "memory"}
    assert layout.roots()[-1] == Path(PIECES, "unified")


def test_in_a_container_with_the_hosts_cgroup_namespace() -> None:
    assert places(detect_layout(NESTED)) == {"memory": f"{PIECES}/memory"}


def test_mounts_of_other_containers_are_not_taken() -> None:
    others = "600 1 0:29 /docker/abc /var/lib/x/memory rw - cgroup cgroup rw,memory\n"
    assert places(detect_layout(others + V1))["memory"] == f"{PIECES}/memory"
    with pytest.raises(NativeError, match="no cgroup hierarchy is mounted"):
        detect_layout(ROOT + others)


def test_escaped_mount_points() -> None:
    text = "30 23 0:26 / /a\\040b\\134c rw - cgroup2 cgroup2 rw\n"
    assert detect_layout(text).unified == Path("/a b\\c")


def test_what_a_container_sees() -> None:
    (mount,) = mounts_of(detect_layout(V2), "/aiod/x")
    assert (mount.name, mount.path) == ("", f"{PIECES}/aiod/x")
    shared, memory = mounts_of(detect_layout(HYBRID), "/aiod/x")
    assert (shared.name, shared.links) == ("cpu,cpuacct", ("cpu", "cpuacct"))
    assert (memory.name, memory.path) == ("memory", f"{PIECES}/memory/aiod/x")


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 39), (262_144, 10_000), (1, 1), (1 << 30, 10_000)]
)
def test_shares_as_weights(shares: int, weight: int) -> None:
    assert cgroups.weight(shares) == weight


@pytest.mark.parametrize(("docker", "weight"), [(10, 1), (500, 4950), (1000, 10_000)])
def test_block_weights(docker: int, weight: int) -> None:
    assert cgroups.io_weight(docker) == weight


class Files:
    """A cgroup directory of plain files, to see what is written where."""

    def __init__(self, layout: Layout, directory: Path, *names: str) -> None:
        self.directory = directory
        self.cgroup = Cgroup(layout, "/c")
        directory.mkdir(parents=True)
        for name in names:
            (directory / name).touch()

    def __getitem__(self, name: str) -> str:
        return (self.directory / name).read_text()


def test_block_limits_on_version_2(tmp_path: Path) -> None:
    layout = Layout({}, tmp_path, frozenset({"io"}))
    files = Files(layout, tmp_path / "c", "io.max", "io.weight")
    throttle = spec.ThrottleDevice(8, 16, 1048576)
    files.cgroup.apply(spec.Resources(block_io=spec.BlockIO(throttle_read_bps_device=(throttle,))))
    assert files["io.max"] == "8:16 rbps=1048576"
    files.cgroup.apply(spec.Resources(block_io=spec.BlockIO(weight=500)))
    assert files["io.weight"] == "4950"
    (files.directory / "io.bfq.weight").touch()
    files.cgroup.apply(spec.Resources(block_io=spec.BlockIO(weight=500)))
    assert files["io.bfq.weight"] == "500"


def test_block_limits_on_version_1(tmp_path: Path) -> None:
    layout = Layout({"blkio": tmp_path}, None, frozenset())
    names = ("blkio.throttle.write_iops_device", "blkio.bfq.weight", "blkio.bfq.weight_device")
    files = Files(layout, tmp_path / "c", *names)
    limits = spec.BlockIO(
        weight=10,
        weight_device=(spec.WeightDevice(8, 0, 20),),
        throttle_write_iops_device=(spec.ThrottleDevice(8, 0, 7),),
    )
    files.cgroup.apply(spec.Resources(block_io=limits))
    assert [files[name] for name in names] == ["8:0 7", "10", "8:0 20"]


def test_a_limit_of_an_absent_controller_is_named(tmp_path: Path) -> None:
    cgroup = Cgroup(Layout({}, tmp_path, frozenset({"memory"})), "/c")
    with pytest.raises(NativeError, match=r"cgroup pids\.max: this host has no pids controller"):
        cgroup.apply(spec.Resources(pids=spec.Pids(5)))
    with pytest.raises(NativeError, match=r"cgroup memory\.max: no such file or directory"):
        cgroup.apply(spec.Resources(memory=spec.Memory(limit=1 << 20)))
    with pytest.raises(NativeError, match="there is no such limit in cgroup v2"):
        cgroup.apply(spec.Resources(memory=spec.Memory(disable_oom_killer=True)))


def test_memory_and_swap_on_both_versions(tmp_path: Path) -> None:
    memory = spec.Memory(limit=64 << 20, swap=100 << 20, reservation=1 << 20)
    v2 = Files(
        Layout({}, tmp_path / "2", frozenset({"memory"})),
        tmp_path / "2/c",
        *("memory.max", "memory.low", "memory.swap.max"),
    )
    v2.cgroup.apply(spec.Resources(memory=memory))
    assert [v2["memory.max"], v2["memory.low"], v2["memory.swap.max"]] == [
        str(64 << 20),
        str(1 << 20),
        str(36 << 20),
    ]
    v1 = Files(
        Layout({"memory": tmp_path / "1"}, None, frozenset()),
        tmp_path / "1/c",
        *("memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.memsw.limit_in_bytes"),
    )
    v1.cgroup.apply(spec.Resources(memory=memory))
    assert v1["memory.memsw.limit_in_bytes"] == str(100 << 20)


def test_processor_limits_on_version_2(tmp_path: Path) -> None:
    layout = Layout({}, tmp_path, frozenset({"cpu", "cpuset"}))
    files = Files(layout, tmp_path / "c", "cpu.max", "cpu.weight", "cpuset.cpus")
    cpu = spec.Cpu(shares=1024, quota=50_000, cpus="0-1")
    files.cgroup.apply(spec.Resources(cpu=cpu))
    assert [files[name] for name in ("cpu.max", "cpu.weight", "cpuset.cpus")] == [
        "50000 100000",
        "39",
        "0-1",
    ]
