"""The commands of `aiod-runtime` that look at containers, or act on ones that are there.

Owns their arguments and output, which are runc's; must not know how containers are made.
"""

import json
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from aiod.native import bundleplan, capabilities, mountoptions, plan, records, spec
from aiod.native.commandsession import Session
from aiod.native.errors import NativeError

_ID = click.argument("container_id")
_FORMAT = click.option("--format", "-f", "form", type=click.Choice(["table", "json"]),
                       default="table")  # fmt: skip


def signal_number(name: str) -> int:
    """`9`, `KILL` or `SIGKILL`. Raises NativeError for what is no signal."""
    if name.isdecimal() and 0 <= int(name) <= signal.SIGRTMAX:
        return int(name)
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    try:
        return int(signal.Signals[full])
    except KeyError as error:
        raise NativeError("kill", 22, f"unknown signal {name!r}") from error


@click.command()
@click.option("--all", "-a", "everything", is_flag=True, help="Every process, not the first.")
@_ID
@click.argument("name", default="SIGTERM")
@click.pass_obj
def kill(session: Session, container_id: str, name: str, everything: bool) -> None:
    """Signal a container's processes."""
    session.runtime.kill(container_id, signal_number(name), everything=everything)


@click.command()
@click.option("--force", "-f", is_flag=True, help="End it first; no error if it is not there.")
@_ID
@click.pass_obj
def delete(session: Session, container_id: str, force: bool) -> None:
    """Remove what is left of a container."""
    if force and not records.Directory(session.runtime.root, container_id).path.exists():
        return
    session.runtime.delete(container_id, force=force)


@click.command()
@_ID
@click.pass_obj
def pause(session: Session, container_id: str) -> None:
    """Stop every process of a container."""
    session.runtime.cgroup(container_id).freeze()


@click.command()
@_ID
@click.pass_obj
def resume(session: Session, container_id: str) -> None:
    """Let the processes of a paused container go on."""
    session.runtime.cgroup(container_id).thaw()


@click.command()
@_FORMAT
@_ID
@click.argument("ps_args", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def ps(session: Session, container_id: str, form: str, ps_args: tuple[str, ...]) -> None:
    """List the processes of a container."""
    if ps_args:
        raise NativeError("ps", 95, "options of ps(1) are not supported")
    pids = session.runtime.cgroup(container_id).processes()
    if form == "json":
        print(json.dumps(pids))
        return
    print(f"{'PID':>8} COMMAND")
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        print(f"{pid:>8} {command.rstrip(bytes(1)).replace(bytes(1), b' ').decode()}")


@dataclass(frozen=True)
class _Row:
    id: str
    pid: int
    status: str
    bundle: str
    created: str


@click.command("list")
@_FORMAT
@click.option("--quiet", "-q", is_flag=True, help="Only the ids.")
@click.pass_obj
def list_(session: Session, form: str, quiet: bool) -> None:
    """List the containers."""
    rows = []
    for directory in records.all_in(session.runtime.root):
        try:
            record = directory.load()
            status = session.runtime.status(record)
        except NativeError as error:
            print(f"aiod-runtime: {error}", file=sys.stderr)
            continue
        pid = 0 if status == "stopped" else record.pid
        rows.append(_Row(record.id, pid, status, record.bundle, record.created))
    if quiet:
        print("".join(f"{row.id}\n" for row in rows), end="")
    elif form == "json":
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print(f"{'ID':<32} {'PID':>8} {'STATUS':<8} {'CREATED':<27} BUNDLE")
        for row in rows:
            print(f"{row.id:<32} {row.pid:>8} {row.status:<8} {row.created:<27} {row.bundle}")


@click.command()
@click.option("--resources", "-r", default="", help="File with linux.resources, - for stdin.")
@click.option("--memory", type=int, help="Limit in bytes.")
@click.option("--memory-reservation", type=int, help="Bytes.")
@click.option("--memory-swap", type=int, help="Memory and swap together, in bytes.")
@click.option("--cpu-shares", type=int)
@click.option("--cpu-quota", type=int, help="Microseconds in a period.")
@click.option("--cpu-period", type=int, help="Microseconds.")
@click.option("--cpuset-cpus", default="")
@click.option("--cpuset-mems", default="")
@click.option("--pids-limit", type=int)
@_ID
@click.pass_obj
def update(session: Session, /, container_id: str, resources: str, **options: Any) -> None:
    """Change a container's limits."""
    wanted = _read_resources(resources) if resources else _resources(options)
    session.runtime.cgroup(container_id).update(wanted)


def _read_resources(path: str) -> spec.Resources:
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        return msgspec.json.decode(data, type=spec.Resources)
    except msgspec.DecodeError as error:
        raise NativeError("--resources", 22, str(error)) from error


def _resources(options: dict[str, Any]) -> spec.Resources:
    pids = options["pids_limit"]
    return spec.Resources(
        memory=spec.Memory(
            limit=options["memory"],
            reservation=options["memory_reservation"],
            swap=options["memory_swap"],
        ),
        cpu=spec.Cpu(
            shares=options["cpu_shares"],
            quota=options["cpu_quota"],
            period=options["cpu_period"],
            cpus=options["cpuset_cpus"],
            mems=options["cpuset_mems"],
        ),
        pids=None if pids is None else spec.Pids(pids),
    )


_PROC_FLAGS = ("nosuid", "noexec", "nodev")
_MOUNTS = (
    spec.Mount("/proc", "proc", "proc"),
    spec.Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    spec.Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance",
               "ptmxmode=0666", "mode=0620", "gid=5")),
    spec.Mount("/dev/shm", "tmpfs", "shm", (*_PROC_FLAGS, "mode=1777", "size=65536k")),
    spec.Mount("/dev/mqueue", "mqueue", "mqueue", _PROC_FLAGS),
    spec.Mount("/sys", "sysfs", "sysfs", (*_PROC_FLAGS, "ro")),
)  # fmt: skip
_KEPT = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")


def template() -> spec.Spec:
    """A specification to begin with: a shell, isolated, with few capabilities."""
    return spec.Spec(
        process=spec.Process(
            args=("sh",),
            env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"),
            terminal=True,
            capabilities=spec.Capabilities(_KEPT, _KEPT, (), _KEPT, ()),
            rlimits=(spec.Rlimit("RLIMIT_NOFILE", 1024, 1024),),
            no_new_privileges=True,
        ),
        root=spec.Root("rootfs", readonly=True),
        hostname="aiod-runtime",
        mounts=_MOUNTS,
        linux=spec.Linux(
            namespaces=tuple(
                spec.Namespace(kind) for kind in ("pid", "network", "ipc", "uts", "mount")
            ),
            masked_paths=(
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ),
            readonly_paths=(
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ),
        ),
    )  # fmt: skip


@click.command("spec")
@click.option("--bundle", "-b", default=".", help="Directory to write config.json to.")
def make_spec(bundle: str) -> None:
    """Write a config.json to begin with."""
    path = Path(bundle) / "config.json"
    try:
        with open(path, "xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(template()), indent=2) + b"\n")
    except FileExistsError as error:
        raise NativeError("spec", 17, f'"{path}" exists already') from error


@click.command("plan")
@click.argument("bundle", default=".")
def show_plan(bundle: str) -> None:
    """Print the steps that would make the container of a bundle."""
    print(plan.render(bundleplan.plan_of(Path(bundle))), end="")


@click.command()
def features() -> None:
    """Print what this runtime supports, as JSON (runtime-spec, features.md)."""
    document = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop",
        ],
        "mountOptions": mountoptions.names(),
        "linux": {
            "namespaces": sorted(plan.NAMESPACES),
            "capabilities": list(capabilities.known()),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False},
            "seccomp": {"enabled": True},
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
        },
    }  # fmt: skip
    print(json.dumps(document, indent=2))


COMMANDS = (kill, delete, pause, resume, ps, list_, update, make_spec, show_plan, features)
