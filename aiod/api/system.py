"""Routes of the tag System: ping, version, info.

Says of the machine what the kernel says, and of the engine what is there; every field
shown is true. Must not know containers or images beyond their counts.
"""

import asyncio
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from aiohttp import web

import aiod
from aiod.api import replies, versions
from aiod.api.history.replies import INFO, shown
from aiod.api.hostinfo import HostInfo, go_arch, host_info
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.config import RegistrySettings
from aiod.images.registry.proxies import masked
from aiod.native import initprogram
from aiod.networks import model
from aiod.store.records import Status
from aiod.wire.times import rfc3339

_NO_CACHE = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
    "Builder-Version": "",
    "Swarm": "inactive",
}
_INDEX = "https://index.docker.io/v1/"  # by which clients know Docker Hub's credentials
_LOOPBACK = "127.0.0.0/8"
_DRIVERS = {"overlay": "overlay2"}
_PROXIES = {"HttpProxy": "http_proxy", "HttpsProxy": "https_proxy", "NoProxy": "no_proxy"}
LOG_DRIVERS = ("json-file", "local", "none")


def version_reply() -> dict[str, object]:
    """The answer of version, which is the same for as long as the daemon runs."""
    machine = os.uname()
    arch = go_arch(machine.machine)
    details = {
        "ApiVersion": versions.text(versions.LATEST),
        "Arch": arch,
        "Experimental": "false",
        "KernelVersion": machine.release,
        "MinAPIVersion": versions.text(versions.OLDEST),
        "Os": "linux",
        "PythonVersion": platform.python_version(),
    }
    return {
        "Platform": {"Name": "aiod"},
        "Components": [{"Name": "Engine", "Version": aiod.__version__, "Details": details}],
        "Version": aiod.__version__,
        "ApiVersion": versions.text(versions.LATEST),
        "MinAPIVersion": versions.text(versions.OLDEST),
        "GitCommit": "",
        "GoVersion": f"none (Python {platform.python_version()})",
        "Os": "linux",
        "Arch": arch,
        "KernelVersion": machine.release,
        "BuildTime": "",
    }


class SystemRoutes:
    """`/_ping`, `/version`, `/info`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._of_version = msgspec.Raw(replies.encode(version_reply()))

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("GET", "/_ping", self._ping, interruptible=True),
            Route("HEAD", "/_ping", self._ping, interruptible=True),
            Route("GET", "/version", self._version, interruptible=True),
            Route("GET", "/info", self._info, interruptible=True),
        ]

    async def _ping(self, call: Call) -> web.StreamResponse:
        if call.request.method == "HEAD":
            return web.Response(headers={**_NO_CACHE, "Content-Length": "0"})
        return web.Response(body=b"OK", headers=_NO_CACHE)

    async def _version(self, call: Call) -> web.StreamResponse:
        return replies.json(self._of_version)

    async def _info(self, call: Call) -> web.StreamResponse:
        return replies.json(shown(INFO, await self._known(), call.version))

    async def _known(self) -> dict[str, object]:
        host = await asyncio.to_thread(host_info, self._services.config.paths.root)
        images = await self._services.images.list({}, all_images=True)
        snapshotter = self._services.containers.roots.default
        return {
            "ID": self._services.engine_id,
            **self._counts(),
            "Images": len(images),
            **_machine(host),
            **_engine(host),
            **_cgroup_features(host),
            "Driver": _DRIVERS.get(snapshotter, snapshotter),
            "RegistryConfig": _registries(self._services.config.registries),
            "DockerRootDir": str(self._services.config.paths.root),
            "Debug": self._services.config.log_level == "debug",
            "NFd": await asyncio.to_thread(_count, Path("/proc/self/fd")),
            "NGoroutines": len(asyncio.all_tasks()),
            "SystemTime": rfc3339(time.time_ns()),
            "NEventsListener": self._services.events.listeners,
        }

    def _counts(self) -> dict[str, int]:
        states = [record.state.status for record in self._services.containers.list()]
        running, paused = states.count(Status.RUNNING), states.count(Status.PAUSED)
        return {
            "Containers": len(states),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": len(states) - running - paused,
        }


def _count(directory: Path) -> int:
    return len(os.listdir(directory))


def _registries(settings: RegistrySettings) -> dict[str, object]:
    """How registries are reached, in dockerd's words."""
    mirrors = list(settings.mirrors_of("docker.io"))
    indexes = {"docker.io": _index("docker.io", mirrors, secure=True)}
    for entry in settings.insecure:
        if "/" not in entry:
            indexes[entry] = _index(entry, [], secure=False)
    networks = [entry for entry in settings.insecure if "/" in entry]
    return {
        "InsecureRegistryCIDRs": [*networks, *({_LOOPBACK} - set(networks))],
        "IndexConfigs": indexes,
        "Mirrors": mirrors,
    }


def _index(name: str, mirrors: list[str], *, secure: bool) -> dict[str, object]:
    official = name == "docker.io"
    return {"Name": name, "Mirrors": mirrors, "Secure": secure, "Official": official}


def _machine(host: HostInfo) -> dict[str, object]:
    return {
        "KernelVersion": host.kernel,
        "OperatingSystem": host.system,
        "OSVersion": host.system_version,
        "OSType": "linux",
        "Architecture": host.machine,
        "NCPU": host.cpus,
        "MemTotal": host.memory,
        "Name": host.name,
        "IPv4Forwarding": host.ipv4_forwarding,
        **{field: masked(_environment(name)) for field, name in _PROXIES.items()},
    }


def _environment(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.upper()) or ""


def _engine(host: HostInfo) -> dict[str, object]:
    return {
        "DriverStatus": [["Backing Filesystem", host.filesystem]],
        "Plugins": {
            "Volume": ["local"],
            "Network": list(model.DRIVERS),
            "Authorization": None,
            "Log": list(LOG_DRIVERS),
        },
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": host.cgroup_version,
        "IndexServerAddress": _INDEX,
        "GenericResources": None,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": aiod.__version__,
        "Runtimes": {"aiod": {"path": "aiod-runtime"}},
        "DefaultRuntime": "aiod",
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": initprogram.PROGRAM.name if initprogram.IS_THERE else "",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": list(host.security),
        "CDISpecDirs": [],
        "FirewallBackend": {"Driver": "nftables", "Info": []},
        "Warnings": list(host.warnings),
    }


_FEATURES: dict[str, Callable[[HostInfo], bool]] = {
    "MemoryLimit": lambda host: "memory" in host.controllers,
    "SwapLimit": lambda host: host.swap_limit,
    "CpuCfsPeriod": lambda host: host.cpu_quota,
    "CpuCfsQuota": lambda host: host.cpu_quota,
    "CPUShares": lambda host: "cpu" in host.controllers,
    "CPUSet": lambda host: "cpuset" in host.controllers,
    "PidsLimit": lambda host: "pids" in host.controllers,
    "OomKillDisable": lambda host: host.oom_kill_disable,
}


def _cgroup_features(host: HostInfo) -> dict[str, bool]:
    return {name: present(host) for name, present in _FEATURES.items()}
