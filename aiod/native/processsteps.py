"""The steps that make a process what it is to be: streams, limits, identity, rights, command.

Owns their order, which matters: see `settle`. Touches nothing of the system; the same for a
container's first process and for any further one. Source: runtime-spec `config.md` ("POSIX
process", "Linux Process"); capabilities(7), seccomp(2).
"""

from pathlib import Path

from aiod.native import seccomp, spec
from aiod.native.errors import NativeError
from aiod.native.steps import Capabilities, Flag, Op, Step

RLIMITS = (
    "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS",
    "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
)  # fmt: skip
_DEFAULT_PATH = "/bin:/usr/bin"  # execvp(3), where the environment has none
_DEFAULT_UMASK = 0o022
_LARGEST_ID = (1 << 32) - 2  # -1 is "as it is" to setresuid(2)
_UNLIMITED = (1 << 64) - 1


def settle(process: spec.Process, filters: list[Step], *, make_cwd: bool = False) -> list[Step]:
    """Everything up to the rights the command will have; `filters` is of `seccomp_filter`.

    Limits first, while they may be raised. The seccomp filter is installed when the capabilities
    that no_new_privs would replace are still there, but as late as that allows. The working
    directory is entered as root, and again as the user if only the user may; with `make_cwd` one
    that is not there is made.
    """
    user = process.user
    for number in (user.uid, user.gid, *user.additional_gids):
        if not 0 <= number <= _LARGEST_ID:
            raise NativeError("process.user", 22, f"no id: {number}")
    umask = _DEFAULT_UMASK if user.umask is None else user.umask
    rights = process.capabilities or spec.Capabilities()
    steps = [_rlimit(limit) for limit in process.rlimits]
    if not any(entry.startswith("HOME=") for entry in process.env):
        steps.append(Step(Op.HOME, "look up the home directory", uid=user.uid))
    steps += [
        Step(Op.STDIO, "set up the standard streams", uid=user.uid),
        Step(Op.CWD, _cwd(process), path=process.cwd, flags=Flag.MAKE if make_cwd else Flag(0)),
        Step(Op.UMASK, f"set the umask {umask:04o}", mode=umask),
        Step(Op.BOUNDING, "drop capabilities from the bounding set", set=_mask(rights.bounding)),
        Step(
            Op.IDENTITY, f"become user {user.uid}:{user.gid}",
            uid=user.uid, gid=user.gid, groups=user.additional_gids,
        ),
    ]  # fmt: skip
    if not process.no_new_privileges:
        steps += filters
    capabilities = Capabilities(
        effective=_mask(rights.effective),
        permitted=_mask(rights.permitted),
        inheritable=_mask(rights.inheritable),
        ambient=_mask(rights.ambient),
    )
    steps.append(Step(Op.CAPABILITIES, "set the capabilities", capabilities=capabilities))
    if process.no_new_privileges:
        steps.append(Step(Op.NO_NEW_PRIVS, "set no_new_privs"))
    steps.append(Step(Op.CWD, _cwd(process), path=process.cwd, flags=Flag.TELL))
    return [*_labels(process), *steps]


def finish(process: spec.Process, filters: list[Step], *, death_signal: int) -> list[Step]:
    """From a process with its final rights to its command; it is "created" at READY."""
    candidates = _candidates(process)
    steps = [
        Step(Op.LOOKUP, f'exec "{process.args[0]}"', candidates=candidates),
        Step(Op.READY, "wait for the start", number=death_signal),
    ]
    if process.no_new_privileges:
        steps += filters
    return [*steps, Step(Op.EXEC, f'exec "{process.args[0]}"')]


def _cwd(process: spec.Process) -> str:
    if not process.cwd.startswith("/"):
        raise NativeError("process.cwd", 22, f"{process.cwd!r} is no absolute path")
    return f'chdir to cwd ("{process.cwd}")'


def _candidates(process: spec.Process) -> tuple[str, ...]:
    name = process.args[0]
    if "/" in name or not name:
        return (name,)
    path = _DEFAULT_PATH
    for entry in process.env:
        if entry.startswith("PATH="):
            path = entry[len("PATH=") :]
    return tuple(f"{directory or '.'}/{name}" for directory in path.split(":"))


def _rlimit(limit: spec.Rlimit) -> Step:
    name = f"limit {limit.type}"
    if limit.type not in RLIMITS:
        raise NativeError(name, 22, "unknown limit")
    number = RLIMITS.index(limit.type)
    soft, hard = (_UNLIMITED if value < 0 else value for value in (limit.soft, limit.hard))
    return Step(Op.RLIMIT, name, number=number, set=soft, clear=hard)


def _mask(names: tuple[str, ...]) -> int:
    from aiod.native import capabilities  # after the plan's own checks: it reads the kernel's

    try:
        return capabilities.mask(names)
    except KeyError as error:
        raise NativeError("process.capabilities", 22, f"unknown: {error}") from error


def seccomp_filter(profile: spec.Seccomp | None, bundle: Path) -> list[Step]:
    """The step that installs the filter of `profile`; its program may be beside the bundle.

    Raises NativeError.
    """
    if profile is None:
        return []
    flags = seccomp.flags_of(profile)
    program = seccomp.load(profile, bundle)
    return [Step(Op.SECCOMP, "install the seccomp filter", program=program, flags=flags)]


def _labels(process: spec.Process) -> list[Step]:
    """Confinement that takes effect at the execve."""
    steps = []
    if process.apparmor_profile and process.apparmor_profile != "unconfined":
        steps.append(
            Step(
                Op.WRITE, f'apply the AppArmor profile "{process.apparmor_profile}"',
                "/proc/thread-self/attr/apparmor/exec", f"exec {process.apparmor_profile}",
            )
        )  # fmt: skip
    if process.selinux_label:
        steps.append(
            Step(
                Op.WRITE, f'apply the SELinux label "{process.selinux_label}"',
                "/proc/thread-self/attr/exec", process.selinux_label,
            )
        )  # fmt: skip
    return steps
