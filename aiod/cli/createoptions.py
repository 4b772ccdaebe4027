"""The options that `run` and `create` share, and the body of a create that they make.

Owns the options' names and meaning; must not know what is done with the container then.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from aiod.cli import completing, healthoptions, netoptions, terminal, values
from aiod.cli.mountspecs import mount
from aiod.cli.options import flag, many
from aiod.store.models import ContainerConfig, HostConfig, LogSettings, NetworkingConfig

F = TypeVar("F", bound=Callable[..., Any])

BUILT_IN = "base"
_FILE = click.Path(path_type=Path)

# Values that go into the body as they are: option, member of HostConfig.
_LISTS = {
    "cap_add": "CapAdd",
    "cap_drop": "CapDrop",
    "device_cgroup_rule": "DeviceCgroupRules",
    "group_add": "GroupAdd",
    "security_opt": "SecurityOpt",
    "volumes_from": "VolumesFrom",
}
_PLAIN = {
    "memory": "Memory",
    "memory_swap": "MemorySwap",
    "memory_reservation": "MemoryReservation",
    "cpus": "NanoCpus",
    "cpu_shares": "CpuShares",
    "cpuset_cpus": "CpusetCpus",
    "pids_limit": "PidsLimit",
    "shm_size": "ShmSize",
    "oom_score_adj": "OomScoreAdj",
    "read_only": "ReadonlyRootfs",
    "privileged": "Privileged",
    "rm": "AutoRemove",
    "pid": "PidMode",
    "ipc": "IpcMode",
    "uts": "UTSMode",
    "volume_driver": "VolumeDriver",
    "userns": "UsernsMode",
    "runtime": "Runtime",
}


class CreateBody(ContainerConfig, frozen=True):
    """`Config`, `HostConfig` and `NetworkingConfig` as one body."""

    HostConfig: HostConfig = HostConfig()
    NetworkingConfig: NetworkingConfig = NetworkingConfig()


def _size(name: str, text: str, *more: str) -> Callable[[F], F]:
    return click.option(name, *more, callback=values.size, metavar="SIZE", help=text)


_OPTIONS = (
    flag("-i", "--interactive", text="Keep standard input open."),
    flag("-t", "--tty", text="Give it a terminal."),
    flag("--rm", text="Remove it when it ends."),
    click.option("--name", default="", help="Its name."),
    many("-e", "--env", metavar="NAME[=VALUE]", text="A variable; a mere name passes yours on"),
    click.option("--env-file", type=_FILE, multiple=True, help="File of variables (repeatable)."),
    many("-v", "--volume", metavar="[SOURCE:]TARGET[:OPTIONS]",
         text="A directory of the host, a volume by name, or a new one",
         shell_complete=completing.mounts),
    many("--mount", metavar="type=TYPE,source=SOURCE,target=TARGET[,...]",
         text="The same at length; volume, bind or tmpfs"),
    many("--volumes-from", metavar="CONTAINER[:ro]", text="The volumes of another container",
         shell_complete=completing.containers),
    click.option("--volume-driver", default="", help="The driver of new volumes."),
    click.option("-w", "--workdir", default="", help="Directory to start in."),
    click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Whom to run as."),
    click.option("--entrypoint", help="Instead of the image's; empty for none."),
    click.option("--restart", default="no", metavar="POLICY",
                 help="no, always, unless-stopped or on-failure[:N]."),
    _size("--memory", "Limit of memory.", "-m"),
    _size("--memory-swap", "Limit of memory and swap together; -1 for none."),
    _size("--memory-reservation", "Memory kept for it under pressure."),
    click.option("--cpus", callback=values.cpus, metavar="NUMBER", help="Processors, as 1.5."),
    click.option("--cpu-shares", type=int, default=0, help="Relative weight."),
    click.option("--cpuset-cpus", default="", metavar="LIST", help="Processors, as 0-2,4."),
    click.option("--pids-limit", type=int, help="Most processes."),
    *netoptions.OPTIONS,
    *healthoptions.OPTIONS,
    flag("--read-only", text="Root file system read-only."),
    many("-l", "--label", metavar="NAME=VALUE", text="A label"),
    many("--tmpfs", metavar="PATH[:OPTIONS]", text="A file system in memory"),
    flag("--init", text="An init inside that reaps and passes signals on."),
    flag("--privileged", text="All capabilities and devices."),
    many("--cap-add", metavar="NAME", text="A capability more"),
    many("--cap-drop", metavar="NAME", text="A capability less"),
    many("--security-opt", metavar="OPTION", text="A security option"),
    many("--group-add", metavar="GROUP", text="A further group"),
    many("--device-cgroup-rule", metavar="RULE", text="A rule for devices"),
    many("--ulimit", metavar="NAME=SOFT[:HARD]", text="A resource limit"),
    many("--sysctl", metavar="NAME=VALUE", text="A kernel setting"),
    many("--annotation", metavar="NAME=VALUE", text="An annotation of its OCI bundle"),
    many("--storage-opt", metavar="NAME=VALUE", text="An option of its root"),
    _size("--shm-size", "Size of /dev/shm."),
    click.option("--oom-score-adj", type=int, default=0, help="-1000 to 1000."),
    click.option("--pid", default="", metavar="MODE", help="Namespace of processes.",
                 shell_complete=completing.namespace_modes),
    click.option("--ipc", default="", metavar="MODE", help="Namespace of IPC.",
                 shell_complete=completing.namespace_modes),
    click.option("--uts", default="", metavar="MODE", help="Namespace of host names."),
    click.option("--userns", default="", metavar="MODE", help="Namespace of users."),
    click.option("--runtime", default="", help="OCI runtime."),
    click.option("--log-driver", default="", help="json-file or none."),
    many("--log-opt", metavar="NAME=VALUE", text="An option of the log"),
    click.option("--stop-signal", help="What `stop` sends."),
    click.option("--stop-timeout", type=int, help="Seconds until `stop` kills."),
    click.option("--platform", default="", help="Refused unless it is this machine's."),
)  # fmt: skip


def create_options(command: F) -> F:
    """Give a command the shared options and the arguments `[IMAGE [COMMAND...]]`."""
    command = click.argument("command", nargs=-1, type=click.UNPROCESSED)(command)
    command = click.argument("image", required=False, shell_complete=completing.images)(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container as the options describe it."""

    body: CreateBody
    name: str
    platform: str

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the create."""
        found = {"name": self.name, "platform": self.platform}
        return {name: value for name, value in found.items() if value}


def wanted(options: dict[str, Any], *, attached: bool) -> Wanted:
    """What the options ask for; click.BadParameter for what they cannot mean.

    No image means the built-in one and, when attached, a shell to talk to.
    """
    image, command = options["image"], list(options["command"])
    talk = attached and not command and options["entrypoint"] is None
    on_terminal = terminal.is_terminal(terminal.STDIN) and terminal.is_terminal(terminal.STDOUT)
    shell = talk and (image is None or (image == BUILT_IN and on_terminal))
    stdin = options["interactive"] or shell
    tty = options["tty"] or (shell and on_terminal)
    networks = netoptions.network(options)
    body = CreateBody(
        Image=image or BUILT_IN,
        Cmd=command or None,
        AttachStdin=stdin and attached,
        AttachStdout=attached,
        AttachStderr=attached,
        OpenStdin=stdin,
        StdinOnce=stdin and attached,
        Tty=tty,
        Env=values.environment(options["env_file"], options["env"], os.environ) or None,
        HostConfig=_host(options, tty, networks.mode),
        NetworkingConfig=NetworkingConfig(networks.endpoints or None),
        **_config(options),
    )
    return Wanted(body, options["name"], options["platform"])


def _config(options: dict[str, Any]) -> dict[str, Any]:
    entrypoint = options["entrypoint"]
    found = {
        "User": options["user"],
        "WorkingDir": options["workdir"],
        "Entrypoint": None if entrypoint is None else [entrypoint],
        "Labels": values.labels(options["label"]) or None,
        "Volumes": {v: {} for v in options["volume"] if ":" not in v} or None,
        "StopSignal": options["stop_signal"],
        "StopTimeout": options["stop_timeout"],
    }
    given = {name: value for name, value in found.items() if value is not None}
    return given | netoptions.config(options) | healthoptions.config(options)


def _host(options: dict[str, Any], tty: bool, network_mode: str) -> HostConfig:
    size = terminal.window_size() if tty else None
    binds = [values.bind(v, Path.cwd()) for v in options["volume"] if ":" in v]
    mounts = [mount(text, Path.cwd()) for text in options["mount"]]
    tmpfs = values.tmpfs(options["tmpfs"])
    sysctls = values.pairs(options["sysctl"], "--sysctl")
    return HostConfig(
        NetworkMode=network_mode,
        Binds=binds or None,
        Mounts=mounts or msgspec.UNSET,
        ConsoleSize=[size.rows, size.columns] if size else None,
        RestartPolicy=values.restart_policy(options["restart"]),
        LogConfig=LogSettings(
            options["log_driver"], values.pairs(options["log_opt"], "--log-opt") or None
        ),
        Ulimits=[values.ulimit(text) for text in options["ulimit"]] or None,
        Tmpfs=tmpfs or msgspec.UNSET,
        Sysctls=sysctls or msgspec.UNSET,
        Annotations=values.labels(options["annotation"]) or msgspec.UNSET,
        StorageOpt=values.pairs(options["storage_opt"], "--storage-opt") or msgspec.UNSET,
        Init=options["init"] or msgspec.UNSET,
        **netoptions.host(options),
        **_as_given(options),
    )


def _as_given(options: dict[str, Any]) -> dict[str, Any]:
    lists = {member: list(options[name]) or None for name, member in _LISTS.items()}
    return lists | {member: options[name] for name, member in _PLAIN.items()}
