"""Every field of a create body is granted, with an effect that can be seen, or refused by name.

The tables say which; a field of the models that no table has fails the suite, so that none can
come to be ignored silently. What is granted has the same effect in dockerd.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from aiod.store import models
from tests.support.engine import Engine
from tests.support.http import Api, frames

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Granted:
    """A field's value, what else it needs, and what a script in the container prints then.

    `unified` is what it prints where the host has cgroup v2 alone, if that differs.
    """

    value: Any
    script: str
    prints: str
    config: Fields = field(default_factory=dict)
    unified: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A field whose effect is seen elsewhere, or that only describes: inspect tells it again."""

    value: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """A field that aiod does not have yet, with a value that would have an effect."""

    value: Any


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A field that takes more than one container: its tests are in another module."""

    module: str


Case = Granted | Shown | Refused | Elsewhere


def limit(old: str, new: str) -> str:
    """A script that prints a limit from the files of cgroup v1 or v2, as the host has them."""
    return f"cd /sys/fs/cgroup; cat {old} 2>/dev/null || cat {new}"


def namespace(kind: str) -> str:
    """What a process that is in the host's namespace of that kind prints of it."""
    return os.readlink(f"/proc/self/ns/{kind}") + "\n"


MIB = 1 << 20
STATUS = "/proc/self/status"
TTY = {"Tty": True}
CONFIG: dict[str, Case] = {
    "Hostname": Granted("box", "hostname", "box\n"),
    "Domainname": Granted("example.org", "cat /proc/sys/kernel/domainname", "example.org\n"),
    "User": Granted("1000:5", "echo $(id -u):$(id -g)", "1000:5\n"),
    "AttachStdin": Shown(True),
    "AttachStdout": Shown(True),
    "AttachStderr": Shown(True),
    "ExposedPorts": Shown({"80/tcp": {}}),
    "Tty": Granted(True, "test -t 1 && echo terminal", "terminal\r\n"),
    "OpenStdin": Shown(True),
    "StdinOnce": Shown(True),
    "Env": Granted(["A=b c"], 'echo "$A"', "b c\n"),
    "Cmd": Shown(["a", "b c"]),
    "Entrypoint": Shown(["a", "b c"]),
    "Image": Shown("base:latest"),
    "WorkingDir": Granted("/tmp", "pwd", "/tmp\n"),
    "OnBuild": Shown(["RUN true"]),
    "Labels": Shown({"a": "b"}),
    "StopSignal": Shown("SIGUSR1"),
    "StopTimeout": Shown(1),
    "Shell": Shown(["/bin/sh", "-c"]),
    "ArgsEscaped": Shown(True),
    "Healthcheck": Shown({"Test": ["CMD", "true"], "Interval": 10**9}),
    "Volumes": Granted({"/own": {}}, "grep -c ' /own ' /proc/mounts", "1\n"),
    "NetworkDisabled": Shown(True),
    "MacAddress": Shown("02:42:ac:11:00:02"),
}
DEVICE = [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/own", "CgroupPermissions": "r"}]
THROTTLE = [{"Path": "/dev/null", "Rate": 1}]
HOST: dict[str, Case] = {
    "Binds": Granted(["/proc/self:/bound:ro"], "grep -c ' /bound ' /proc/mounts", "1\n"),
    "ContainerIDFile": Shown("/cid"),
    "AutoRemove": Shown(True),
    "Annotations": Shown({"a": "b"}),
    "PidMode": Granted("host", "readlink /proc/self/ns/pid", namespace("pid")),
    "IpcMode": Granted("host", "readlink /proc/self/ns/ipc", namespace("ipc")),
    "UTSMode": Granted("host", "readlink /proc/self/ns/uts", namespace("uts")),
    "Init": Granted(True, "head -c 17 /proc/1/cmdline", "/sbin/docker-init"),
    "RestartPolicy": Shown({"Name": "on-failure", "MaximumRetryCount": 3}),
    "LogConfig": Shown({"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}),
    "NetworkMode": Granted("host", "readlink /proc/self/ns/net", ""),
    "CapAdd": Granted(["SYS_TIME"], f"grep CapEff {STATUS}", "CapEff:\t00000000aa0425fb\n"),
    "CapDrop": Granted(["ALL"], f"grep CapEff {STATUS}", "CapEff:\t0000000000000000\n"),
    "CgroupnsMode": Granted("private", "cut -d: -f3 /proc/self/cgroup | sort -u", "/\n"),
    "GroupAdd": Granted(["1234"], "id -G | grep -c 1234", "1\n"),
    "OomScoreAdj": Granted(500, "cat /proc/self/oom_score_adj", "500\n"),
    "Privileged": Granted(True, "test -w /proc/sys/kernel/domainname && echo free", "free\n"),
    "ReadonlyRootfs": Granted(True, "touch /x 2>/dev/null || echo fixed", "fixed\n"),
    "SecurityOpt": Granted(["no-new-privileges"], f"grep NoNew {STATUS}", "NoNewPrivs:\t1\n"),
    "Tmpfs": Granted({"/own": "size=65536"}, "grep -c ' /own tmpfs.*size=64k' /proc/mounts", "1\n"),
    "ShmSize": Granted(MIB, "grep -c ' /dev/shm .*size=1024k' /proc/mounts", "1\n"),
    "Sysctls": Granted({"kernel.shmmni": "77"}, "cat /proc/sys/kernel/shmmni", "77\n"),
    "Ulimits": Granted([{"Name": "nofile", "Soft": 100, "Hard": 200}],
                       "echo $(ulimit -Sn) $(ulimit -Hn)", "100 200\n"),
    "MaskedPaths": Granted(["/proc/version"], "wc -c </proc/version", "0\n"),
    "ReadonlyPaths": Granted(["/tmp"], "touch /tmp/x 2>/dev/null || echo fixed", "fixed\n"),
    "ConsoleSize": Granted([33, 77], "stty size", "33 77\r\n", config=TTY),
    "Devices": Granted(DEVICE, "stat -c %t:%T /dev/own", "1:3\n"),
    "DeviceCgroupRules": Shown(["c 1:3 r"]),
    "Memory": Granted(64 * MIB, limit("memory/memory.limit_in_bytes", "memory.max"),
                      f"{64 * MIB}\n"),
    "MemoryReservation": Granted(
        32 * MIB, limit("memory/memory.soft_limit_in_bytes", "memory.low"), f"{32 * MIB}\n"
    ),
    "MemorySwap": Shown(128 * MIB),
    "MemorySwappiness": Shown(7),
    "OomKillDisable": Shown(True),
    "CpuShares": Granted(512, limit("cpu/cpu.shares", "cpu.weight"), "512\n", unified="20\n"),
    "CpuPeriod": Granted(50_000, limit("cpu/cpu.cfs_period_us", "cpu.max"), "50000\n",
                         unified="max 50000\n"),
    "CpuQuota": Granted(25_000, limit("cpu/cpu.cfs_quota_us", "cpu.max"), "25000\n",
                        unified="25000 100000\n"),
    "NanoCpus": Granted(5 * 10**8, limit("cpu/cpu.cfs_quota_us", "cpu.max"), "50000\n",
                        unified="50000 100000\n"),
    "CpusetCpus": Granted("0", limit("cpuset/cpuset.cpus", "cpuset.cpus"), "0\n"),
    "CpusetMems": Granted("0", limit("cpuset/cpuset.mems", "cpuset.mems"), "0\n"),
    "PidsLimit": Granted(77, limit("pids/pids.max", "pids.max"), "77\n"),
    "BlkioWeight": Shown(100),
    "BlkioWeightDevice": Shown([{"Path": "/dev/null", "Weight": 100}]),
    "BlkioDeviceReadBps": Shown(THROTTLE),
    "BlkioDeviceWriteBps": Shown(THROTTLE),
    "BlkioDeviceReadIOps": Shown(THROTTLE),
    "BlkioDeviceWriteIOps": Shown(THROTTLE),
    "PortBindings": Elsewhere("test_ports"),
    "VolumeDriver": Shown("local"),
    "VolumesFrom": Granted(["donor"], "grep -c ' /given ' /proc/mounts", "1\n"),
    "Dns": Granted(["10.0.0.1"], "grep nameserver /etc/resolv.conf", "nameserver 10.0.0.1\n"),
    "DnsOptions": Granted(["ndots:1"], "grep options /etc/resolv.conf", "options ndots:1\n"),
    "DnsSearch": Granted(["example.org"], "grep search /etc/resolv.conf", "search example.org\n"),
    "ExtraHosts": Granted(["a:10.0.0.1"], "grep 10.0.0.1 /etc/hosts", "10.0.0.1\ta\n"),
    "Cgroup": Refused("container:other"),
    "Links": Elsewhere("test_names"),
    "PublishAllPorts": Elsewhere("test_ports"),
    "StorageOpt": Refused({"size": "1g"}),
    "UsernsMode": Refused("private"),
    "Runtime": Refused("other"),
    "Isolation": Refused("process"),
    "CgroupParent": Refused("/other"),
    "CpuRealtimePeriod": Refused(1000),
    "CpuRealtimeRuntime": Refused(1000),
    "DeviceRequests": Refused([{"Count": -1, "Capabilities": [["gpu"]]}]),
    "KernelMemoryTCP": Refused(MIB),
    "CpuCount": Refused(1),
    "CpuPercent": Refused(1),
    "IOMaximumIOps": Refused(1),
    "IOMaximumBandwidth": Refused(1),
    "Mounts": Granted([{"Type": "tmpfs", "Target": "/own"}],
                      "grep -c ' /own tmpfs ' /proc/mounts", "1\n"),
}  # fmt: skip
ENDPOINT: dict[str, Any] = {
    "IPAMConfig": {"IPv4Address": "10.0.0.1"},
    "Links": ["a:b"],
    "MacAddress": "02:42:ac:11:00:02",
    "Aliases": ["a"],
    "DriverOpts": {"a": "b"},
    "GwPriority": 1,
}
NOT_IN_DOCKERD_20 = {"GwPriority"}
BEYOND_DOCKERD = {"Privileged", "ConsoleSize", "Annotations"}
# What later releases show otherwise than 20.10; and what is the engine's own.
UNLIKE = {"MaskedPaths", "OomKillDisable", "RestartPolicy", "Runtime"}
# Another field must have a value too, for this one to be possible.
NEEDS: Fields = {"MemorySwap": {"Memory": 64 * MIB}}


def cases(kind: type[Granted] | type[Shown] | type[Refused]) -> list[Any]:
    tables = (("Config", CONFIG), ("HostConfig", HOST))
    return [
        pytest.param(where, name, case, id=name)
        for where, table in tables
        for name, case in table.items()
        if isinstance(case, kind)
    ]


def body(where: str, fields: Fields) -> Fields:
    asked: Fields = {"Image": "base", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    if where == "Config":
        return {**asked, **fields}
    return {**asked, "HostConfig": {**asked["HostConfig"], **fields}}


@pytest.fixture(scope="module", autouse=True)
def donor(engine: Engine) -> Iterator[None]:
    """A container whose volumes others can have."""
    with engine.api() as api:
        made = api.create("donor", Image="base", Volumes={"/given": {}})
    yield
    with engine.api() as api:
        api.call("DELETE", f"/containers/{made}", force="1", v="1")


@contextlib.contextmanager
def created(api: Api, asked: Fields) -> Iterator[str]:
    container = api.call("POST", "/containers/create", asked)["Id"]
    try:
        yield container
    finally:
        api.call("DELETE", f"/containers/{container}", force="1", v="1")


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (models.ContainerConfig, CONFIG),
        (models.HostConfig, HOST),
        (models.EndpointSettings, ENDPOINT),
    ],
)
def test_every_field_is_in_a_table(model: type[msgspec.Struct], table: Fields) -> None:
    assert {found.encode_name for found in msgspec.structs.fields(model)} == set(table)


@pytest.mark.parametrize(("where", "name", "case"), cases(Granted))
def test_granted(engine: Engine, where: str, name: str, case: Granted) -> None:
    if engine.name == "dockerd" and name in BEYOND_DOCKERD:
        pytest.skip("dockerd 20.10, or runc without CAP_SYS_RESOURCE, cannot")
    asked = body(where, {name: case.value})
    asked |= {"Cmd": ["sh", "-c", case.script], **case.config}
    with engine.api() as api, created(api, asked) as container:
        api.start(container)
        assert api.wait(container) == 0
        reply = api.send("GET", f"/containers/{container}/logs", stdout=1, stderr=1)
        output = reply.body
        if not asked.get("Tty"):
            output = b"".join(data for _, data in frames(reply.body))
        if case.prints:
            assert output.decode() in (case.prints, case.unified or case.prints)
        inspected = api.inspect(container)
        shown = {**inspected["Config"], "HostConfig": inspected["HostConfig"]}
        assert _value(shown, where, name) == case.value or name in ("Env", "MaskedPaths")


def _value(inspected: Fields, where: str, name: str) -> Any:
    return inspected[name] if where == "Config" else inspected["HostConfig"].get(name)


@pytest.mark.parametrize(("where", "name", "case"), cases(Shown))
def test_shown(engine: Engine, where: str, name: str, case: Shown) -> None:
    if engine.name == "dockerd" and name in BEYOND_DOCKERD:
        pytest.skip("dockerd 20.10 cannot")
    asked = body(where, {name: case.value, **NEEDS.get(name, {})})
    with engine.api() as api:
        reply = api.send("POST", "/containers/create", asked)
        assert reply.status == 201, reply.message
        made = reply.json()
        inspected = api.inspect(made["Id"])
        api.remove(made["Id"])
    shown = inspected[where].get(name)
    discarded = [warning for warning in made["Warnings"] or () if "discarded" in warning]
    if name == "Labels":
        shown = {key: value for key, value in shown.items() if key in case.value}
    assert shown == case.value or (discarded and not shown)


@pytest.mark.parametrize(("where", "name", "case"), cases(Refused))
def test_refused(aiod: Engine, where: str, name: str, case: Refused) -> None:
    with aiod.api() as api:
        reply = api.send("POST", "/containers/create", body(where, {name: case.value}))
    assert reply.status in (400, 501), reply.body
    assert name in reply.message


@pytest.mark.parametrize(("name", "value"), ENDPOINT.items())
def test_shown_endpoint(engine: Engine, name: str, value: Any) -> None:
    """A network that is not there yet is looked for at the start, not at the create."""
    asked = body("HostConfig", {"NetworkMode": "later"})
    asked["NetworkingConfig"] = {"EndpointsConfig": {"later": {name: value}}}
    with engine.api() as api, created(api, asked) as container:
        networks = api.inspect(container)["NetworkSettings"]["Networks"]
    assert list(networks) == ["later"]
    if engine.name != "dockerd" or name not in NOT_IN_DOCKERD_20:
        assert networks["later"][name] == value


def test_zero_values_ask_for_nothing(engine: Engine) -> None:
    """Go's clients send every field that has no `omitempty`."""
    zero = msgspec.to_builtins(models.HostConfig(NetworkMode="none"))
    asked = {"Image": "base", "Cmd": ["true"], "HostConfig": zero}
    with engine.api() as api, created(api, asked) as container:
        assert api.inspect(container)["HostConfig"]["NetworkMode"] == "none"


def test_defaults_are_those_of_dockerd(engine: Engine, dockerd: Engine) -> None:
    shown = []
    for each in (engine, dockerd):
        with each.api() as api, created(api, body("Config", {})) as container:
            inspected = api.inspect(container)
            hostname = inspected["Config"].pop("Hostname")
            assert hostname == container[:12]
            inspected["Config"].pop("Labels")  # the image's
            shown.append((inspected["Config"], inspected["HostConfig"]))
    for ours, theirs in zip(*shown, strict=True):
        both = (ours.keys() & theirs.keys()) - UNLIKE
        assert {name: ours[name] for name in both} == {name: theirs[name] for name in both}
