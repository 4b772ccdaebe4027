"""What a cgroup uses, read from files as each version of the kernel's hierarchies writes them."""

from pathlib import Path

import pytest

from aiod.native.cgrouplayout import Layout
from aiod.native.cgroupusage import BlockCount, host_cpu, read

V1 = {
    "cpuacct/c/cpuacct.usage": "5000000000\n",
    "cpuacct/c/cpuacct.usage_percpu": "2000000000 3000000000 \n",
    "cpuacct/c/cpuacct.stat": "user 300\nsystem 200\n",
    "cpu/c/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 700\n",
    "memory/c/memory.usage_in_bytes": "4096\n",
    "memory/c/memory.max_usage_in_bytes": "8192\n",
    "memory/c/memory.failcnt": "3\n",
    "memory/c/memory.limit_in_bytes": "67108864\n",
    "memory/c/memory.stat": "cache 1\ntotal_inactive_file 2\n",
    "pids/c/pids.current": "7\n",
    "pids/c/pids.max": "max\n",
    "blkio/c/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Total 10\nTotal 10\n",
    "blkio/c/blkio.throttle.io_serviced_recursive": "8:0 Write 2\n8:0 Total 2\nTotal 2\n",
}
V2 = {
    "unified/c/cpu.stat": (
        "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\n"
        "nr_throttled 4\nthrottled_usec 7\n"
    ),
    "unified/c/memory.current": "4096\n",
    "unified/c/memory.max": "max\n",
    "unified/c/memory.events": "low 0\noom 3\noom_kill 1\n",
    "unified/c/memory.stat": "anon 1\ninactive_file 2\n",
    "unified/c/pids.current": "7\n",
    "unified/c/pids.max": "50\n",
    "unified/c/io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
}
CONTROLLERS = ("cpuacct", "cpu", "memory", "pids", "blkio")


def written(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_version_1(tmp_path: Path) -> None:
    written(tmp_path, V1)
    layout = Layout({name: tmp_path / name for name in CONTROLLERS}, None, frozenset())
    found = read(layout, "/c")
    assert found is not None
    assert (found.cpu.total_ns, found.cpu.per_cpu_ns) == (5 * 10**9, (2 * 10**9, 3 * 10**9))
    assert (found.cpu.user_ns, found.cpu.system_ns) == (3 * 10**9, 2 * 10**9)
    assert (found.cpu.periods, found.cpu.throttled_periods, found.cpu.throttled_ns) == (10, 4, 700)
    assert (found.memory.usage, found.memory.max_usage, found.memory.failures) == (4096, 8192, 3)
    assert (found.memory.limit, found.memory.details) == (
        64 << 20, {"cache": 1, "total_inactive_file": 2},
    )  # fmt: skip
    assert (found.pids, found.pids_limit) == (7, 0)
    assert found.bytes == (BlockCount(8, 0, "read", 10),)
    assert found.operations == (BlockCount(8, 0, "write", 2),)


def test_version_2(tmp_path: Path) -> None:
    written(tmp_path, V2)
    layout = Layout({}, tmp_path / "unified", frozenset({"cpu", "memory", "pids", "io"}))
    found = read(layout, "c")
    assert found is not None
    assert (found.cpu.total_ns, found.cpu.user_ns, found.cpu.system_ns) == (
        5 * 10**9, 3 * 10**9, 2 * 10**9,
    )  # fmt: skip
    assert found.cpu.per_cpu_ns == ()
    assert found.cpu.throttled_ns == 7000
    assert (found.memory.usage, found.memory.limit, found.memory.failures) == (4096, 0, 3)
    assert (found.pids, found.pids_limit) == (7, 50)
    assert found.bytes == (BlockCount(8, 0, "read", 10), BlockCount(8, 0, "write", 20))
    assert found.operations is None


def test_some_of_both(tmp_path: Path) -> None:
    """Each controller where it is: memory of version 1, the rest of version 2."""
    written(tmp_path, V1 | V2)
    layout = Layout({"memory": tmp_path / "memory"}, tmp_path / "unified", frozenset({"pids"}))
    found = read(layout, "/c")
    assert found is not None
    assert found.memory.limit == 64 << 20
    assert found.cpu.total_ns == 5 * 10**9
    assert found.pids_limit == 50


@pytest.mark.parametrize("unified", [True, False])
def test_one_that_is_gone(tmp_path: Path, unified: bool) -> None:
    v1 = {} if unified else {name: tmp_path / name for name in CONTROLLERS}
    assert read(Layout(v1, tmp_path if unified else None, frozenset()), "/c") is None


def test_all_processors() -> None:
    first, second = host_cpu(), host_cpu()
    assert first.online >= 1
    assert second.total_ns >= first.total_ns > 0
