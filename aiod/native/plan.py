"""From a runtime specification to a plan: the flat list of steps that makes a container.

Owns the order of the steps and what each is called; touches nothing of the system, so that a
plan can be printed, compared and tested without root. Must not know how steps are carried out.
Source: runtime-spec `config.md`, `config-linux.md`, `runtime.md` ("Lifecycle").
"""

from pathlib import Path

import msgspec

from aiod.native import filesystem, processsteps, spec
from aiod.native.errors import NativeError
from aiod.native.filesystem import CgroupMount
from aiod.native.steps import Op, Step, Sync, render_step

__all__ = ["CgroupMount", "ExecPlan", "Plan", "build_plan", "exec_plan", "render"]

# clone(2), unshare(2)
NAMESPACES = {
    "user": 0x10000000,
    "mount": 0x00020000,
    "pid": 0x20000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "network": 0x40000000,
    "cgroup": 0x02000000,
    "time": 0x00000080,
}


class Plan(msgspec.Struct, frozen=True):
    """A container to create.

    `clone_flags` are the namespaces made with the first process; the cgroup namespace is made
    by a step, when the cgroup has been joined. The first `leading` steps are carried out by an
    intermediate process, because a pid or user namespace is only joined by children.
    """

    clone_flags: int
    leading: int
    steps: tuple[Step, ...]
    argv: tuple[str, ...]
    env: tuple[str, ...]
    terminal: bool
    uid_maps: tuple[spec.IdMapping, ...] = ()
    gid_maps: tuple[spec.IdMapping, ...] = ()
    oom_score_adj: int | None = None


class ExecPlan(msgspec.Struct, frozen=True):
    """A further process of a running container; the namespaces are its init's."""

    leading: int
    steps: tuple[Step, ...]
    argv: tuple[str, ...]
    env: tuple[str, ...]
    terminal: bool
    oom_score_adj: int | None = None


def build_plan(
    container: spec.Spec,
    bundle: Path,
    cgroups: tuple[CgroupMount, ...] = (),
    *,
    programs: Path | None = None,
) -> Plan:
    """The plan of `container`, relative paths being below `bundle`.

    `cgroups` says what a mount of type `cgroup` shows: the container's own directory in each
    hierarchy. `programs` is where `aiod.native.seccomp.save` put the filter, if not beside the
    bundle; it is only faster. Raises NativeError, naming the part, for what the specification
    gets wrong.
    """
    process = container.process
    if process is None or not process.args:
        raise NativeError("process.args", 22, "no command given")
    made, joined = _namespaces(container)
    root = filesystem.Builder(container, bundle, cgroups, made=frozenset(made))
    new_cgroup = "cgroup" in made
    filters = processsteps.seccomp_filter(container.linux.seccomp, programs or bundle)
    steps = [
        *joined,
        *_user_namespace(made, joined),
        Step(Op.SESSION, "start a session"),
        Step(Op.KEYRING, "make a session keyring"),
        *([_CGROUP, _UNSHARE_CGROUP] if new_cgroup else []),
        *root.steps(),
        *_names(container, made, joined),
        *processsteps.settle(process, filters, make_cwd=True),
        *([] if new_cgroup else [_CGROUP]),
        *processsteps.finish(process, filters, death_signal=9),
    ]
    return Plan(
        clone_flags=sum(NAMESPACES[name] for name in made if name != "cgroup"),
        leading=len(joined) if any(step.type in ("pid", "user") for step in joined) else 0,
        steps=tuple(steps),
        argv=process.args,
        env=process.env,
        terminal=process.terminal,
        uid_maps=container.linux.uid_mappings,
        gid_maps=container.linux.gid_mappings,
        oom_score_adj=process.oom_score_adj,
    )


def exec_plan(process: spec.Process, container: spec.Spec, programs: Path) -> ExecPlan:
    """The plan of a further `process` of `container`. Raises NativeError like `build_plan`."""
    if not process.args:
        raise NativeError("process.args", 22, "no command given")
    types = [namespace.type for namespace in container.linux.namespaces]
    flags = sum(NAMESPACES[name] for name in types)
    join = Step(Op.SETNS, "join the container's namespaces", flags=flags)
    become = [_BECOME_ROOT] if "user" in types else []
    filters = processsteps.seccomp_filter(container.linux.seccomp, programs)
    steps = [
        join,
        *become,
        Step(Op.ROOT_HERE, "open the container's root"),
        Step(Op.SESSION, "start a session"),
        Step(Op.KEYRING, "make a session keyring"),
        *([filesystem.console(process, "")] if process.terminal else []),
        *processsteps.settle(process, filters),
        _CGROUP,
        *processsteps.finish(process, filters, death_signal=0),
    ]
    return ExecPlan(
        leading=1,
        steps=tuple(steps),
        argv=process.args,
        env=process.env,
        terminal=process.terminal,
        oom_score_adj=process.oom_score_adj,
    )


def render(plan: Plan | ExecPlan) -> str:
    """The plan for people, one line for each step, in order."""
    lines = []
    if isinstance(plan, Plan):
        made = [name for name, flag in NAMESPACES.items() if plan.clone_flags & flag]
        lines.append(f"{'clone':<16} new namespaces: {', '.join(made) or 'none'}")
        for kind, maps in (("uid", plan.uid_maps), ("gid", plan.gid_maps)):
            for entry in maps:
                ids = f"{entry.container_id} {entry.host_id} {entry.size}"
                lines.append(f"{kind + '_map':<16} {ids}")
    if plan.oom_score_adj is not None:
        lines.append(f"{'oom_score_adj':<16} {plan.oom_score_adj}")
    lines += [render_step(step) for step in plan.steps]
    lines.append(f"{'argv':<16} {msgspec.json.encode(plan.argv).decode()}")
    return "\n".join(lines) + "\n"


_CGROUP = Step(Op.SYNC, "join the cgroup", sync=Sync.CGROUP)
_UNSHARE_CGROUP = Step(Op.UNSHARE, "make a cgroup namespace", flags=NAMESPACES["cgroup"])
_BECOME_ROOT = Step(Op.USERNS_ROOT, "become root of the user namespace")


def _namespaces(container: spec.Spec) -> tuple[list[str], list[Step]]:
    """Which to make, and the steps that join the others: the user namespace comes first."""
    made: list[str] = []
    joined: list[Step] = []
    seen: set[str] = set()
    for namespace in container.linux.namespaces:
        if namespace.type not in NAMESPACES or namespace.type in seen:
            raise NativeError("linux.namespaces", 22, f"unknown or repeated: {namespace.type!r}")
        seen.add(namespace.type)
        if not namespace.path:
            made.append(namespace.type)
            continue
        name = f'join the {namespace.type} namespace "{namespace.path}"'
        flag = NAMESPACES[namespace.type]
        joined.append(Step(Op.SETNS, name, source=namespace.path, type=namespace.type, flags=flag))
    if "mount" not in made:
        raise NativeError("linux.namespaces", 22, "a container needs a mount namespace of its own")
    return made, sorted(joined, key=lambda step: step.type != "user")


def _user_namespace(made: list[str], joined: list[Step]) -> list[Step]:
    if "user" in made:
        return [Step(Op.SYNC, "write the id maps", sync=Sync.MAPS), _BECOME_ROOT]
    return [_BECOME_ROOT] if any(step.type == "user" for step in joined) else []


def _names(container: spec.Spec, made: list[str], joined: list[Step]) -> list[Step]:
    steps = []
    for op, kind, value in (
        (Op.HOSTNAME, "hostname", container.hostname),
        (Op.DOMAINNAME, "domain name", container.domainname),
    ):
        if not value:
            continue
        if "uts" not in made and not any(step.type == "uts" for step in joined):
            raise NativeError(kind, 22, "it would be the host's: there is no UTS namespace")
        steps.append(Step(op, f'set the {kind} "{value}"', source=value))
    return steps
