"""Bodies of requests as versions differ in them: what an old one could not say is not heard.

As in dockerd, most fields of later versions are passed over; a few are refused, because a
client that sets one depends on it. Pure; must not know how anything is done.
"""

from collections.abc import Mapping

import msgspec

from aiod.api.history.change import GATE, Rules
from aiod.errors import InvalidParameterError
from aiod.networks import model
from aiod.networks.requests import NetworkRequest
from aiod.store.models import (
    ContainerConfig,
    EndpointSettings,
    ExecConfig,
    HostConfig,
    Mount,
    NetworkingConfig,
)

replace = msgspec.structs.replace

_SHAREABLE = "shareable"
_NO_KERNEL_MEMORY = (
    "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. "
    "Limitation discarded."
)
_OWN_MAC = (
    "The container-wide MacAddress field is now deprecated. "
    "It should be specified in EndpointsConfig instead."
)
_NO_SUCH_NETWORK = (
    "unable to migrate container-wide MAC address to a specific network: "
    "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks"
)
_DRIVER_IGNORED = (
    "WARNING: the container-wide volume-driver configuration is ignored for volumes specified "
    "via 'mount'. Use '--mount type=volume,volume-driver=...' instead"
)


class Gone(msgspec.Struct, frozen=True):
    """Fields of `HostConfig` that the latest version has not."""

    KernelMemory: int = 0


class GoneRest(msgspec.Struct, frozen=True):
    """A create's body, as far as it has such fields."""

    HostConfig: Gone | None = None


class Create(msgspec.Struct, frozen=True):
    """What a create asks for; `read_only_below`: a read-only bind has all below it read-only."""

    config: ContainerConfig
    host: HostConfig
    networking: NetworkingConfig
    gone: Gone = Gone()
    read_only_below: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def mounts(self) -> list[Mount]:
        """`HostConfig.Mounts`."""
        return self.host.Mounts or []

    @property
    def endpoints(self) -> Mapping[str, EndpointSettings]:
        """`NetworkingConfig.EndpointsConfig`."""
        return self.networking.EndpointsConfig or {}

    @property
    def mode(self) -> str:
        """The network that it is on first."""
        mode = self.host.NetworkMode
        return model.DEFAULT if mode in ("", "default") else mode

    def with_host(self, **fields: object) -> "Create":
        """With other fields of `HostConfig`."""
        return replace(self, host=replace(self.host, **fields))

    def with_mounts(self, mounts: list[Mount]) -> "Create":
        """With other `Mounts`; where there are none, as it is."""
        return self.with_host(Mounts=mounts) if self.mounts else self

    def with_endpoints(self, endpoints: Mapping[str, EndpointSettings]) -> "Create":
        """With other `EndpointsConfig`; where there are none, as it is."""
        if not self.endpoints:
            return self
        return replace(self, networking=NetworkingConfig(dict(endpoints)))

    def warned(self, warning: str) -> "Create":
        """With a warning more."""
        return replace(self, warnings=(*self.warnings, warning))


class Update(msgspec.Struct, frozen=True):
    """What an update asks for."""

    host: HostConfig
    gone: Gone = Gone()
    warnings: tuple[str, ...] = ()


class ExecStart(msgspec.Struct, frozen=True):
    """The body of `POST /exec/{id}/start`."""

    Detach: bool = False
    Tty: bool = False
    ConsoleSize: tuple[int, int] | None = None


CREATE = Rules[Create]("POST /containers/create")
UPDATE = Rules[Update]("POST /containers/{id}/update")
EXEC = Rules[ExecConfig]("POST /containers/{id}/exec")
EXEC_START = Rules[ExecStart]("POST /exec/{id}/start")
NETWORK = Rules[NetworkRequest]("POST /networks/create")
ALL = (CREATE, UPDATE, EXEC, EXEC_START, NETWORK)


@CREATE.before((1, 25), GATE)
def _client_removes(asked: Create) -> Create:
    """`AutoRemove` is heard; of old, the client removed the container."""
    return asked.with_host(AutoRemove=False)


@CREATE.before((1, 40), GATE)
def _whole_trees(asked: Create) -> Create:
    """`Mounts.BindOptions.NonRecursive` is heard."""
    return asked.with_mounts([_bind(mount, NonRecursive=False) for mount in asked.mounts])


@CREATE.before((1, 40))
def _shareable_ipc(asked: Create) -> Create:
    """`IpcMode` is `private` unless it is said; before, `shareable`."""
    return asked if asked.host.IpcMode else asked.with_host(IpcMode=_SHAREABLE)


@CREATE.before((1, 40), GATE)
def _no_kernel_memory_of_tcp(asked: Create) -> Create:
    """`KernelMemoryTCP` is looked at (and refused by aiod)."""
    return asked.with_host(KernelMemoryTCP=msgspec.UNSET)


@CREATE.before((1, 42), GATE)
def _sources_are_there(asked: Create) -> Create:
    """`Mounts.BindOptions.CreateMountpoint` is heard."""
    return asked.with_mounts([_bind(mount, CreateMountpoint=False) for mount in asked.mounts])


@CREATE.before((1, 42), GATE)
def _options_of_other_types(asked: Create) -> Create:
    """Mounts with options of another type are refused; before, only binds with `VolumeOptions`."""
    return asked.with_mounts([_own_options(mount) for mount in asked.mounts])


@CREATE.before((1, 42))
def _no_console_size(asked: Create) -> Create:
    """`HostConfig.ConsoleSize` is heard; before, clients resize once it runs."""
    return asked.with_host(ConsoleSize=None)


@CREATE.before((1, 42))
def _kernel_memory(asked: Create) -> Create:
    """`KernelMemory` is passed over; before, a warning said that it is discarded."""
    return asked.warned(_NO_KERNEL_MEMORY) if asked.gone.KernelMemory > 0 else asked


@CREATE.before((1, 43), GATE)
def _no_annotations(asked: Create) -> Create:
    """`HostConfig.Annotations` are heard."""
    return asked.with_host(Annotations=msgspec.UNSET)


@CREATE.before((1, 44), GATE)
def _one_interval(asked: Create) -> Create:
    """`Healthcheck.StartInterval` is heard."""
    check = asked.config.Healthcheck
    if not check:
        return asked
    return replace(asked, config=replace(asked.config, Healthcheck=replace(check, StartInterval=0)))


@CREATE.before((1, 44))
def _read_only_itself(asked: Create) -> Create:
    """What is mounted below a read-only bind is read-only, too; before, only the bind itself.

    `BindOptions.ReadOnlyForceRecursive` was refused then.
    """
    for mount in asked.mounts:
        if mount.BindOptions and mount.BindOptions.ReadOnlyForceRecursive:
            raise InvalidParameterError(
                "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"
            )
    return replace(asked, read_only_below=False)


@CREATE.before((1, 44))
def _one_network(asked: Create) -> Create:
    """Any number of networks is joined; before, more than one was refused."""
    if len(asked.endpoints) > 1:
        names = ", ".join(sorted(asked.endpoints))
        raise InvalidParameterError(
            f"Container cannot be created with multiple network endpoints: {names}"
        )
    return asked


@CREATE.before((1, 44))
def _one_address(asked: Create) -> Create:
    """`EndpointsConfig.*.MacAddress` is heard; before, `Config.MacAddress` alone."""
    ends = {name: replace(end, MacAddress="") for name, end in asked.endpoints.items()}
    return asked.with_endpoints(ends)


@CREATE.since((1, 44))
def _old_address(asked: Create) -> Create:
    """`Config.MacAddress` has a warning, and `NetworkMode` must be among the networks."""
    if not asked.config.MacAddress or _has_no_network(asked.mode):
        return asked
    named = {model.DEFAULT if name == "default" else name for name in asked.endpoints}
    if named and asked.mode not in (*named, model.NONE):
        raise InvalidParameterError(_NO_SUCH_NETWORK)
    return asked.warned(_OWN_MAC)


@CREATE.before((1, 45), GATE)
def _no_subpath(asked: Create) -> Create:
    """`Mounts.VolumeOptions.Subpath` is heard; before, it was refused."""
    if any(mount.VolumeOptions and mount.VolumeOptions.Subpath for mount in asked.mounts):
        raise InvalidParameterError("VolumeOptions.Subpath needs API v1.45 or newer")
    return asked


@CREATE.before((1, 47))
def _interface_settings(asked: Create) -> Create:
    """`Sysctls` of `eth0` stay what they are; before, the main network got them, with a warning."""
    moved = _of_interfaces(asked)
    if not moved:
        return asked
    said = ",".join(_on_network(name, value) for name, value in moved.items())
    ends = dict(asked.endpoints) or {asked.mode: EndpointSettings()}
    main = asked.mode if asked.mode in ends else next(iter(ends))
    options = dict(ends[main].DriverOpts or {})
    own = options.get(model.INTERFACE_SYSCTLS)
    options[model.INTERFACE_SYSCTLS] = f"{said},{own}" if own else said
    ends[main] = replace(ends[main], DriverOpts=options)
    kept = {k: v for k, v in (asked.host.Sysctls or {}).items() if k not in moved} or msgspec.UNSET
    told = f'"{",".join(moved)}" to DriverOpts{{"{model.INTERFACE_SYSCTLS}":"{said}"}}'
    asked = replace(asked, networking=NetworkingConfig(ends)).with_host(Sysctls=kept)
    return asked.warned(f"Migrated sysctl {told}.")


@CREATE.since((1, 47))
def _no_interface_settings(asked: Create) -> Create:
    """`Sysctls` that name an interface are refused: `DriverOpts` of its network have them."""
    for name in _of_interfaces(asked):
        raise InvalidParameterError(
            f'interface specific sysctl setting "{name}" must be supplied using driver option '
            f"'{model.INTERFACE_SYSCTLS}'"
        )
    return asked


@CREATE.before((1, 48), GATE)
def _equal_networks(asked: Create) -> Create:
    """`EndpointsConfig.*.GwPriority` is heard."""
    return asked.with_endpoints(
        {name: replace(end, GwPriority=0) for name, end in asked.endpoints.items()}
    )


@CREATE.before((1, 48), GATE)
def _no_image_mounts(asked: Create) -> Create:
    """A mount of type `image` is looked at; before, it was refused as too new."""
    if any(mount.Type == "image" for mount in asked.mounts):
        raise InvalidParameterError('Mount type "Image" needs API v1.48 or newer')
    return asked


@CREATE.since((1, 48))
def _driver_warning(asked: Create) -> Create:
    """A warning says that `VolumeDriver` is not for `Mounts`."""
    if asked.host.VolumeDriver and any(map(_without_driver, asked.mounts)):
        return asked.warned(_DRIVER_IGNORED)
    return asked


@UPDATE.before((1, 40))
def _same_processes(asked: Update) -> Update:
    """`PidsLimit` is heard."""
    return replace(asked, host=replace(asked.host, PidsLimit=None))


@UPDATE.before((1, 42))
def _updated_kernel_memory(asked: Update) -> Update:
    """`KernelMemory` is passed over; before, a warning said that it is discarded."""
    if asked.gone.KernelMemory <= 0:
        return asked
    return replace(asked, warnings=(*asked.warnings, _NO_KERNEL_MEMORY))


@EXEC.before((1, 42))
def _no_exec_size(asked: ExecConfig) -> ExecConfig:
    """`ConsoleSize` is heard."""
    return replace(asked, ConsoleSize=None)


@EXEC_START.before((1, 42))
def _no_start_size(asked: ExecStart) -> ExecStart:
    """`ConsoleSize` is heard."""
    return replace(asked, ConsoleSize=None)


@NETWORK.before((1, 48), GATE)
def _always_ipv4(asked: NetworkRequest) -> NetworkRequest:
    """`EnableIPv4` is heard."""
    return replace(asked, EnableIPv4=None)


def _bind(mount: Mount, **fields: bool) -> Mount:
    if not mount.BindOptions:
        return mount
    return replace(mount, BindOptions=replace(mount.BindOptions, **fields))


def _own_options(mount: Mount) -> Mount:
    return replace(
        mount,
        VolumeOptions=mount.VolumeOptions if mount.Type in ("volume", "bind") else None,
        TmpfsOptions=mount.TmpfsOptions if mount.Type == "tmpfs" else None,
    )


def _without_driver(mount: Mount) -> bool:
    config = mount.VolumeOptions.DriverConfig if mount.VolumeOptions else None
    return mount.Type == "volume" and not (config and config.Name)


def _has_no_network(mode: str) -> bool:
    return mode == model.HOST or mode.startswith("container:")


def _of_interfaces(asked: Create) -> dict[str, str]:
    """The `Sysctls` that name an interface. Raises InvalidParameterError for one but the first."""
    if _has_no_network(asked.mode):
        return {}
    found = {}
    for name, value in (asked.host.Sysctls or {}).items():
        parts = name.split(".", 4)
        if len(parts) == 5 and parts[0] == "net" and parts[3].startswith("eth"):
            found[name] = value
    return found


def _on_network(name: str, value: str) -> str:
    """A setting of `eth0` as one of whatever interface the network has."""
    family, group, interface, setting = name.split(".", 4)[1:]
    if interface != "eth0":
        raise InvalidParameterError(
            f"unable to determine network endpoint for sysctl {name}, use driver option "
            f"'{model.INTERFACE_SYSCTLS}' to set per-interface sysctls"
        )
    return f"net.{family}.{group}.IFNAME.{setting}={value}"
