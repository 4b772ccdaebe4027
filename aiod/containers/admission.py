"""Which of a client's wishes aiod can grant: everything else is refused by its name.

Owns the list of granted fields and the checks of their values; pure. Must not know how a
container is made.
"""

import os
import re
import secrets
from collections.abc import Iterable
from typing import NoReturn

import msgspec

from aiod.containers import (
    healthrules,
    limits,
    mountrequests,
    networking,
    resources,
    security,
    sharing,
)
from aiod.containers.units import signal_number, size_of
from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.native import capabilities, initprogram
from aiod.networks import hostfiles, joining, links, portrequests
from aiod.store.models import (
    ContainerConfig,
    ExecConfig,
    HostConfig,
    LogSettings,
    NetworkingConfig,
)

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_LARGEST_SIZE = 0xFFFF  # of a terminal: ioctl_tty(2), struct winsize
_GRANTED = frozenset(
    {
        "Annotations", "AutoRemove", "Binds", "BlkioDeviceReadBps", "BlkioDeviceReadIOps",
        "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps", "BlkioWeight", "BlkioWeightDevice",
        "CapAdd", "CapDrop",
        "ConsoleSize", "ContainerIDFile", "CpuPeriod", "CpuQuota", "CpuShares", "CpusetCpus",
        "CpusetMems", "DeviceCgroupRules", "Devices", "Dns", "DnsOptions", "DnsSearch",
        "ExtraHosts", "GroupAdd", "Init", "IpcMode", "Links", "LogConfig", "MaskedPaths",
        "Memory",
        "MemoryReservation", "MemorySwap", "MemorySwappiness", "Mounts", "NanoCpus", "NetworkMode",
        "OomKillDisable", "OomScoreAdj", "PidMode", "PidsLimit", "PortBindings", "Privileged",
        "PublishAllPorts", "ReadonlyPaths", "ReadonlyRootfs", "RestartPolicy", "SecurityOpt",
        "ShmSize", "Sysctls", "Tmpfs", "UTSMode", "Ulimits", "VolumeDriver", "VolumesFrom",
    }
)  # fmt: skip
_HARMLESS = {
    "CgroupnsMode": ("", "private", "host"),
    "UsernsMode": ("", "host"), "Isolation": ("", "default"),
    "Runtime": ("", "aiod"), "Cgroup": ("",),
}  # fmt: skip
# In dockerd's words, where there is nothing that could be supported.
_IMPOSSIBLE = {
    "CgroupnsMode": "invalid cgroup namespace mode: {}",
    "UsernsMode": "invalid user namespace mode: {}",
    "Isolation": "invalid isolation '{}': linux only supports 'default'",
}


def check_name(name: str) -> None:
    """Raise InvalidParameterError, in dockerd's words, for a name that is none."""
    if not _NAME.match(name):
        raise InvalidParameterError(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )


def new_id() -> str:
    """64 hex digits, never all decimal in the first twelve, which are the host's name."""
    while True:
        made = secrets.token_hex(32)
        if not made[:12].isdigit():
            return made


def network_mode(host: HostConfig) -> str:
    """The mode in effect: a network's name, `none`, `host` or another container's."""
    return networking.DEFAULT if host.NetworkMode in ("", "default") else host.NetworkMode


def check(config: ContainerConfig, host: HostConfig, networking: NetworkingConfig) -> None:
    """Refuse what cannot be granted.

    Raises InvalidParameterError for impossible values, UnsupportedError for options.
    """
    _check_config(config)
    default = HostConfig()
    for field in msgspec.structs.fields(HostConfig):
        name = field.name
        value = getattr(host, name)
        if name in _GRANTED or (name in _HARMLESS and value in _HARMLESS[name]):
            continue
        # Go's clients send zero values for what was not asked for.
        if value == getattr(default, name) or (not value and name not in _HARMLESS):
            continue
        _refuse(field.encode_name, value)
    sharing.check(config, host)
    _check_init(host)
    limits.check(host, os.cpu_count() or 1, resources.MEMORY_NODES)
    resources.check(host)
    security.check(host.SecurityOpt or ())
    _check_log(host.LogConfig)
    check_restart_policy(host)
    _check_capabilities(host)
    check_console(host.ConsoleSize)
    mountrequests.check(host)
    hostfiles.check(host)
    portrequests.exposed(config, host)
    portrequests.requested(config, host)
    _check_links(host)
    joining.check_mode(config, host)
    for settings in (networking.EndpointsConfig or {}).values():
        joining.check_form(settings)


def _refuse(name: str, value: object) -> NoReturn:
    if name in _IMPOSSIBLE:
        raise InvalidParameterError(f"HostConfig.{name}: {_IMPOSSIBLE[name].format(value)}")
    if name == "Runtime":
        raise InvalidParameterError(
            f"HostConfig.Runtime: unknown or invalid runtime name: {value}; there is but 'aiod'"
        )
    if name == "StorageOpt" and isinstance(value, dict):
        _refuse_storage(value)
    raise UnsupportedError(f"HostConfig.{name} is not supported by aiod yet")


def _refuse_storage(options: dict[str, str]) -> NoReturn:
    for name in options:
        if name.lower() != "size":
            raise InvalidParameterError(f"HostConfig.StorageOpt: Unknown option {name}")
    raise UnsupportedError(
        "HostConfig.StorageOpt: --storage-opt size is not supported: aiod sets no project quotas"
    )


def check_exec(config: ExecConfig) -> None:
    """Raise InvalidParameterError for what cannot be executed."""
    if not config.Cmd:
        raise InvalidParameterError("No exec command specified")
    _check_words(config.Cmd, config.Env)
    check_console(config.ConsoleSize)
    _check_words((config.User, config.WorkingDir), None)


def _check_words(words: Iterable[str], variables: list[str] | None) -> None:
    for text in (*words, *(variables or ())):
        if "\0" in text:
            raise InvalidParameterError(f"{text!r} has a null byte")
    for line in variables or ():
        if not line.partition("=")[0]:
            raise InvalidParameterError(f"invalid environment variable: {line}")


def _check_directory(path: str) -> None:
    if path and not path.startswith("/"):
        raise InvalidParameterError(
            f"the working directory '{path}' is invalid, it needs to be an absolute path"
        )


def _check_texts(config: ContainerConfig) -> None:
    _check_words((*(config.entrypoint or ()), *(config.command or ())), config.Env)
    _check_words((config.User, config.WorkingDir, config.Hostname, config.Domainname), None)


def _check_config(config: ContainerConfig) -> None:
    _check_texts(config)
    if config.Healthcheck:
        healthrules.check(config.Healthcheck)
    if config.StopSignal:
        signal_number(config.StopSignal)
    _check_directory(config.WorkingDir)


def _check_init(host: HostConfig) -> None:
    if host.Init and not initprogram.IS_THERE:
        raise UnsupportedError("HostConfig.Init: this aiod was built without docker-init")


def _check_log(settings: LogSettings) -> None:
    if settings.Type not in ("", "json-file", "local", "none"):
        raise InvalidParameterError(f"logger: no log driver named '{settings.Type}' is registered")
    for name, value in (settings.Config or {}).items():
        if name == "max-size":
            size_of(value)
        elif name != "max-file":
            driver = settings.Type or "json-file"
            raise InvalidParameterError(f"unknown log opt '{name}' for {driver} log driver")
        elif not re.fullmatch("[1-9][0-9]{0,5}", value):
            raise InvalidParameterError(f"max-file cannot be less than 1: '{value}'")


def check_restart_policy(host: HostConfig) -> None:
    """Raise InvalidParameterError for one that is none, or goes with nothing else asked for."""
    policy = host.RestartPolicy
    if policy.Name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidParameterError(
            f"invalid restart policy: unknown policy '{policy.Name}'; "
            f"use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    # Without a name there is no policy, whatever the count: so wrote clients of old.
    if policy.MaximumRetryCount and policy.Name not in ("", "on-failure"):
        raise InvalidParameterError(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if policy.MaximumRetryCount < 0:
        raise InvalidParameterError(
            "invalid restart policy: maximum retry count cannot be negative"
        )
    if host.AutoRemove and policy.Name not in ("", "no"):
        raise InvalidParameterError("can't create 'AutoRemove' container with restart policy")


def _check_links(host: HostConfig) -> None:
    for text in host.Links or ():
        links.parse(text)


def check_console(size: list[int] | None) -> None:
    """Raise InvalidParameterError for what is not a height and a width."""
    if size and (len(size) != 2 or not all(0 <= number <= _LARGEST_SIZE for number in size)):
        raise InvalidParameterError(f"ConsoleSize: expected [height, width], got {size}")


def _check_capabilities(host: HostConfig) -> None:
    try:
        capabilities.resolve(host.CapAdd, host.CapDrop, privileged=host.Privileged)
    except ValueError as error:
        raise InvalidParameterError(str(error)) from error
