"""Which of a client's wishes aiod can grant: everything else is refused by its name.

Owns the list of granted fields and the checks of their values; pure. Must not know how a
container is made.
"""

import posixpath
import re
import secrets

import msgspec

from aiod.containers import resources, security
from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.native import capabilities
from aiod.store.models import ContainerConfig, HostConfig, NetworkingConfig

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_LEAST_MEMORY = 6 << 20
_GRANTED = frozenset(
    {
        "AutoRemove", "Binds", "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps",
        "BlkioDeviceWriteIOps", "BlkioWeight", "BlkioWeightDevice", "CapAdd", "CapDrop",
        "ConsoleSize", "CpuPeriod", "CpuQuota", "CpuShares", "CpusetCpus", "CpusetMems",
        "DeviceCgroupRules", "Devices", "GroupAdd", "LogConfig", "MaskedPaths", "Memory",
        "MemoryReservation", "MemorySwap", "MemorySwappiness", "NanoCpus", "NetworkMode",
        "OomKillDisable", "OomScoreAdj", "PidsLimit", "Privileged", "ReadonlyPaths",
        "ReadonlyRootfs", "RestartPolicy", "SecurityOpt", "ShmSize", "Sysctls", "Tmpfs", "Ulimits",
    }
)  # fmt: skip
_HARMLESS = {
    "IpcMode": ("", "private"), "CgroupnsMode": ("", "private", "host"), "PidMode": ("",),
    "UTSMode": ("",), "UsernsMode": ("", "host"), "Isolation": ("", "default"),
    "Runtime": ("", "aiod"), "Cgroup": ("",), "Init": (None, False),
}  # fmt: skip
_BIND_WORDS = {
    "ro": "access", "rw": "access", "z": "label", "Z": "label",
    **dict.fromkeys(("rprivate", "private", "rslave", "slave", "rshared", "shared"), "propagation"),
}  # fmt: skip
_CONFIG_REFUSED = ("Healthcheck", "MacAddress", "NetworkDisabled")
_NO_HEALTHCHECK: tuple[list[str] | None, ...] = (["NONE"], [], None)


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


def network_mode(host: HostConfig) -> tuple[str, tuple[str, ...]]:
    """The mode in effect, and warnings. Raises UnsupportedError for networks not there yet."""
    mode = host.NetworkMode
    if mode in ("none", "host"):
        return mode, ()
    if mode in ("", "default"):
        return "none", ("aiod has no bridge network yet: the container has the network none",)
    raise UnsupportedError(f"NetworkMode {mode!r} is not supported by aiod yet; use none or host")


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
        raise UnsupportedError(f"HostConfig.{field.encode_name} is not supported by aiod yet")
    _check_resources(host)
    resources.check(host)
    security.check(host.SecurityOpt or ())
    _check_policy(host)
    _check_capabilities(host)
    for bind in host.Binds or ():
        check_bind(bind)
    if getattr(networking, "EndpointsConfig", None):
        for name in networking.EndpointsConfig or {}:
            if name not in ("none", "host", "default", "bridge"):
                raise UnsupportedError(f"network {name!r}: aiod has no user-defined networks yet")


def _check_config(config: ContainerConfig) -> None:
    for name in _CONFIG_REFUSED:
        value = getattr(config, name)
        if name == "Healthcheck" and getattr(value, "Test", None) in _NO_HEALTHCHECK:
            continue
        if value is not msgspec.UNSET and value:
            raise UnsupportedError(f"{name} is not supported by aiod yet")
    if config.Volumes:
        raise UnsupportedError("Volumes is not supported by aiod yet")
    if config.WorkingDir and not config.WorkingDir.startswith("/"):
        raise InvalidParameterError(
            f"the working directory '{config.WorkingDir}' is invalid, "
            "it needs to be an absolute path"
        )


def check_bind(bind: str) -> tuple[str, str, tuple[str, ...]]:
    """Source, target and options of one of `Binds`. Raises for what is not an absolute bind."""
    parts = bind.split(":")
    invalid = f"invalid volume specification: '{bind}'"
    if len(parts) > 3 or not all(parts[:2]):
        raise InvalidParameterError(invalid)
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if not target.startswith("/"):
        raise InvalidParameterError(
            f'{invalid}: invalid mount config for type "bind": '
            f"invalid mount path: '{target}' mount path must be absolute"
        )
    if posixpath.normpath(target) in ("/", "//"):
        raise InvalidParameterError(
            f'{invalid}: invalid mount config for type "bind": '
            "invalid specification: destination can't be '/'"
        )
    options = _bind_options(parts[2]) if len(parts) == 3 else ()
    if not source.startswith("/"):
        _check_volume_name(source)
        raise UnsupportedError(f"HostConfig.Binds: {bind!r}: volumes are not supported by aiod yet")
    return source, target, options


def _bind_options(mode: str) -> tuple[str, ...]:
    """The words of a bind's mode, at most one of each kind."""
    options = tuple(mode.split(","))
    kinds = [_BIND_WORDS.get(option) for option in options]
    if None in kinds or len(set(kinds)) != len(kinds):
        raise InvalidParameterError(f"invalid mode: {mode}")
    return options


def _check_volume_name(name: str) -> None:
    if len(name) == 1:
        raise InvalidParameterError(
            f"create {name}: volume name is too short, "
            "names should be at least two alphanumeric characters"
        )
    if name and not _NAME.match(name):
        raise InvalidParameterError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )


def _check_resources(host: HostConfig) -> None:
    if host.Memory and host.Memory < _LEAST_MEMORY:
        raise InvalidParameterError("Minimum memory limit allowed is 6MB")
    if host.MemorySwap > 0 and not host.Memory:
        raise InvalidParameterError(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < host.MemorySwap < host.Memory:
        raise InvalidParameterError(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if host.NanoCpus < 0 or host.ShmSize < 0:
        raise InvalidParameterError("NanoCpus and ShmSize can not be less than 0")
    if host.NanoCpus and (host.CpuQuota or host.CpuPeriod):
        raise InvalidParameterError(
            "Conflicting options: Nano CPUs and CPU Period cannot both be set."
        )
    driver = host.LogConfig.Type
    if driver not in ("", "json-file", "local", "none"):
        raise InvalidParameterError(f"logger: no log driver named '{driver}' is registered")


def _check_policy(host: HostConfig) -> None:
    policy = host.RestartPolicy
    if policy.Name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise InvalidParameterError(
            f"invalid restart policy: unknown policy '{policy.Name}'; "
            f"use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.MaximumRetryCount and policy.Name != "on-failure":
        raise InvalidParameterError(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if policy.MaximumRetryCount < 0:
        raise InvalidParameterError(
            "invalid restart policy: maximum retry count cannot be negative"
        )
    if host.AutoRemove and policy.Name not in ("", "no"):
        raise InvalidParameterError("can't create 'AutoRemove' container with restart policy")


def _check_capabilities(host: HostConfig) -> None:
    try:
        capabilities.resolve(host.CapAdd, host.CapDrop, privileged=host.Privileged)
    except ValueError as error:
        raise InvalidParameterError(str(error)) from error
