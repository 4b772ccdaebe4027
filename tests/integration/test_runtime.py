"""The native runtime on the real kernel: what containers are, and what is said when not."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from aiod.native import plan, runtime, spec
from aiod.native.errors import NativeError
from aiod.native.steps import Flag, Op
from tests.support import mounts
from tests.support.containers import Box, extract, finish
from tests.support.processes import children

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def open_scratch(scratch: Path) -> Path:
    """Everybody may pass: another user's namespace is mounted below it."""
    scratch.chmod(0o711)
    return scratch


@pytest.fixture(scope="module")
def lower(open_scratch: Path) -> Iterator[Path]:
    with _directory(open_scratch) as directory:
        yield extract(directory)


@pytest.fixture
def box(open_scratch: Path, lower: Path) -> Iterator[Box]:
    with _directory(open_scratch) as directory:
        before, others = _descriptors(), children()
        box = Box(directory, (lower,))
        yield box
        box.close()
        assert mounts.mount_points(directory) == []
        assert _descriptors() == before
        assert children() == others


@contextlib.contextmanager
def _directory(scratch: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=scratch, prefix="b") as made:
        os.chmod(made, 0o755)
        yield Path(made)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _linux(container: spec.Spec, **fields: object) -> spec.Spec:
    return replace(container, linux=replace(container.linux, **fields))


def test_namespaces_and_pid_one(box: Box) -> None:
    script = "echo $$; hostname; ls /proc/self/ns/; ip link | grep -c '^[0-9]'; cat /proc/self/comm"
    container = replace(box.describe("sh", "-c", script), hostname="box")
    lines = box.run(container).output.split("\n")
    assert lines[0] == "1"
    assert lines[1] == "box"
    assert socket.gethostname() != "box"
    assert lines[-3:] == ["1", "cat", ""]


def test_file_systems(box: Box) -> None:
    mounted = box.run(box.describe("cat", "/proc/mounts")).output
    table = {fields[1]: fields for line in mounted.splitlines() if (fields := line.split())}
    assert table["/"][0] == "overlay"
    assert table["/proc"][2] == "proc"
    assert {"nosuid", "nodev", "noexec"} <= set(table["/proc"][3].split(","))
    assert table["/dev"][2] == "tmpfs"
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= set(table["/dev/pts"][3].split(","))
    assert table["/sys"][3].startswith("ro,")
    assert table["/dev/mqueue"][2] == "mqueue"
    assert str(box.base) not in "".join(table)


def test_default_devices(box: Box) -> None:
    script = "ls -l /dev/null /dev/tty; readlink /dev/fd /dev/ptmx; echo x >/dev/null; ls /dev"
    container = _linux(
        box.describe("sh", "-c", script),
        devices=(spec.Device("c", "/dev/more/mine", 1, 5, 0o640, 3, 4),),
    )
    output = box.run(container).output
    assert "crw-rw-rw-    1 root     root        1,   3" in output
    assert "pts/ptmx" not in output.split("\n")[0]
    assert {"full", "random", "urandom", "zero", "stdin", "more"} <= set(output.split())
    made = box.run(replace(container, process=box.describe("ls", "-ln", "/dev/more/mine").process))
    assert made.output.startswith("crw-r-----    1 3        4           1,   5")


def test_masked_and_read_only_paths(box: Box) -> None:
    script = (
        "cat /etc/passwd; ls /sys/kernel; touch /etc/x /etc/new; echo $?; touch /home/x; echo $?"
    )
    container = _linux(
        box.describe("sh", "-c", script),
        masked_paths=("/etc/passwd", "/sys/kernel", "/absent", "/etc/passwd/below"),
        readonly_paths=("/etc", "/absent"),
    )
    assert box.run(container).output.split("\n")[-3:] == ["1", "0", ""]
    assert "root:" not in box.run(container).output


def test_read_only_root(box: Box) -> None:
    container = box.describe("sh", "-c", "touch /x; echo $?; touch /dev/shm/x; echo $?")
    container = replace(container, root=spec.Root("rootfs", readonly=True))
    assert box.run(container).output.split("\n")[-3:] == ["1", "0", ""]


def test_bind_mounts(box: Box) -> None:
    source = box.base / "source"
    source.mkdir()
    (source / "file").write_text("content\n")
    container = box.describe(
        "sh",
        "-c",
        "cat /new/dir/file /etc/one; touch /new/dir/x; echo $?; touch /ro/x; echo $?",
        mounts=(
            spec.Mount("/new/dir", "bind", str(source), ("rbind", "rprivate")),
            spec.Mount("/ro", "bind", str(source), ("rbind", "ro")),
            spec.Mount("/etc/one", "", "source/file", ("bind", "rro")),
        ),
    )
    assert box.run(container).output.split("\n")[-6:-3] == ["content", "content", "0"]
    assert (source / "x").exists()


def test_a_link_in_the_image_does_not_lead_outside(box: Box, tmp_path: Path) -> None:
    outside = box.base / "outside"
    outside.mkdir()
    image = box.base / "image"
    image.mkdir()
    (image / "trap").symlink_to(f"../../../../../..{outside}")
    (image / "file").symlink_to(f"{outside}/made")
    box.lower = (image, *box.lower)
    container = box.describe(
        "sh",
        "-c",
        f"ls {outside}",
        mounts=(
            spec.Mount("/trap/below", "tmpfs", "tmpfs", ()),
            spec.Mount("/file", "bind", "/etc/hostname", ("bind",)),
        ),
    )
    assert set(box.run(container).output.split()) == {"below", "made"}
    assert list(outside.iterdir()) == []


def test_user_groups_and_capabilities(box: Box) -> None:
    held = ("CAP_NET_RAW",)
    container = box.describe(
        "sh",
        "-c",
        "id; umask; grep -E 'Cap|NoNew' /proc/self/status",
        user=spec.User(1000, 1000, 0o27, (5, 7)),
        capabilities=spec.Capabilities(("CAP_CHOWN", *held), held, held, held, held),
        no_new_privileges=True,
    )
    lines = box.run(container).output.split("\n")
    assert lines[0].startswith("uid=1000(user) gid=1000(user) groups=5,7")
    assert lines[1] == "0027"
    sets = dict(line.split(":\t") for line in lines[2:-1])
    assert {name: int(sets[name], 16) for name in sets if name != "NoNewPrivs"} == {
        "CapInh": 1 << 13,
        "CapPrm": 1 << 13,
        "CapEff": 1 << 13,
        "CapBnd": 1 << 13 | 1,
        "CapAmb": 1 << 13,
    }
    assert sets["NoNewPrivs"] == "1"


def test_no_capabilities_unless_given(box: Box) -> None:
    lines = box.run(box.describe("grep", "Cap", "/proc/self/status")).output.split()
    assert set(lines[1::2]) == {"0" * 16}


def test_working_directory_is_made(box: Box) -> None:
    container = box.describe("sh", "-c", "pwd; stat -c %u .", cwd="/a/b", user=spec.User(1000))
    assert box.run(container).output == "/a/b\n0\n"


def test_working_directory_that_leads_out_is_refused(box: Box) -> None:
    with pytest.raises(NativeError, match=r"chdir .*: too many levels of symbolic links"):
        box.run(box.describe("pwd", cwd="/proc/1/cwd/../.."))
    with pytest.raises(NativeError, match=r'chdir to cwd \("/proc/self/fd/5"\)'):
        box.run(box.describe("pwd", cwd="/proc/self/fd/5"))


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home"), (12, "/")])
def test_home_is_the_users(box: Box, uid: int, home: str) -> None:
    container = box.describe("sh", "-c", "echo $HOME", user=spec.User(uid), env=ENV_BIN)
    assert box.run(container).output == f"{home}\n"
    container = box.describe("sh", "-c", "echo $HOME", env=(*ENV_BIN, "HOME=/mine"))
    assert box.run(container).output == "/mine\n"


def test_limits_and_oom_score(box: Box) -> None:
    current = int(Path("/proc/self/oom_score_adj").read_text())
    container = box.describe(
        "sh",
        "-c",
        "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj",
        rlimits=(spec.Rlimit("RLIMIT_NOFILE", 100, 200),),
        oom_score_adj=current + 7,
    )
    assert box.run(container).output == f"100\n200\n{current + 7}\n"
    lowered = box.describe("true", oom_score_adj=-900)  # a wish, without CAP_SYS_RESOURCE
    assert box.run(lowered).code == 0


def test_sysctl(box: Box) -> None:
    container = box.describe(
        "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shm_rmid_forced"
    )
    sysctl = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}
    assert box.run(_linux(container, sysctl=sysctl)).output == "1\n1\n"


def test_terminal(box: Box) -> None:
    size = spec.ConsoleSize(40, 100)
    script = "tty; stty size; ls -l /dev/console; echo x >/dev/tty; ls /proc/self/fd"
    container = box.describe("sh", "-c", script, terminal=True, console_size=size)
    lines = box.run(container).output.split("\n")
    assert lines[0] == "/dev/pts/0"
    assert lines[1] == "40 100"
    assert lines[2].startswith("crw--w----")
    assert lines[3:] == ["x", "0  1  2  3", ""]


def test_only_the_standard_streams_are_inherited(box: Box) -> None:
    leaked = os.open("/", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        output = box.run(box.describe("ls", "/proc/self/fd")).output
    finally:
        os.close(leaked)
    assert output.split() == ["0", "1", "2", "3"]


def test_signals_are_as_the_kernel_made_them(box: Box) -> None:
    output = box.run(box.describe("grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/self/status")).output
    assert set(output.split()[1::2]) == {"0" * 16}


def test_created_is_not_started(box: Box) -> None:
    task = box.create(box.describe("touch", "/ran"))
    assert Path(f"/proc/{task.pid}/exe").resolve() == Path("/proc/self/exe").resolve()
    assert not (box.base / "upper" / "ran").exists()
    task.abort()
    assert not (box.base / "upper" / "ran").exists()


@pytest.mark.parametrize(
    ("command", "kind", "message"),
    [
        ("absent", "not-found", "executable file not found in $PATH"),
        ("/absent", "not-found", "stat /absent: no such file or directory"),
        ("/etc/passwd/x", "not-found", "stat /etc/passwd/x: not a directory"),
        ("not-executable", "not-executable", "permission denied"),
        ("/etc/not-executable", "not-executable", "permission denied"),
        ("/etc", "not-executable", "is a directory: permission denied"),
    ],
)
def test_command_that_cannot_be_executed(box: Box, command: str, kind: str, message: str) -> None:
    with pytest.raises(NativeError) as caught:
        box.create(box.describe(command))
    assert (caught.value.kind, caught.value.message) == (kind, message)
    sleeper, container = box.sleeper()
    with pytest.raises(NativeError) as caught:
        box.exec(sleeper, container, spec.Process(args=(command,), env=("PATH=/bin:/etc",)))
    assert (caught.value.kind, caught.value.message) == (kind, message)


def test_failure_of_the_execve_itself(box: Box) -> None:
    script = box.base / "script"
    script.write_text("no format\n")
    script.chmod(0o755)
    mount = spec.Mount("/script", "bind", str(script), ("bind",))
    task = box.create(box.describe("/script", mounts=(mount,)))
    with pytest.raises(NativeError) as caught:
        task.start()
    assert (caught.value.kind, caught.value.errno) == ("not-executable", 8)
    script.write_text("#!/absent/interpreter\n")
    task = box.create(box.describe("/script", mounts=(mount,)))
    with pytest.raises(NativeError) as caught:
        task.start()
    assert caught.value.kind == "not-found"


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (spec.Mount("/x", "nofs", "x"), 'mount "nofs" on "/x": no such device'),
        (
            spec.Mount("/x", "tmpfs", "x", ("size=y",)),
            'mount "tmpfs" on "/x": invalid argument (tmpfs: Bad value for \'size\')',
        ),
        (
            spec.Mount("/x", "bind", "/absent", ("bind",)),
            'bind "/absent" on "/x": no such file or directory',
        ),
        (
            spec.Mount("/etc/passwd/x", "tmpfs", "x"),
            'mount "tmpfs" on "/etc/passwd/x": not a directory',
        ),
    ],
)
def test_failing_step_is_named(box: Box, mount: spec.Mount, message: str) -> None:
    with pytest.raises(NativeError) as caught:
        box.create(box.describe("true", mounts=(mount,)))
    assert str(caught.value) == message


def test_forbidden_limit_is_named(box: Box) -> None:
    limits = (spec.Rlimit("RLIMIT_NOFILE", 1 << 40, 1 << 40),)
    with pytest.raises(NativeError, match="limit RLIMIT_NOFILE: operation not permitted"):
        box.create(box.describe("true", rlimits=limits))


@pytest.mark.parametrize("old_api", [False, True], ids=["fsconfig", "mount"])
def test_hundred_layers(box: Box, old_api: bool) -> None:
    layers = []
    for number in range(100):
        layer = box.base / ("layer-with-quite-a-long-name-" * 4 + str(number))
        layer.mkdir()
        (layer / f"from-{number}").touch()
        (layer / "top").write_text(f"{number}\n")
        layers.append(layer)
    box.lower = (*reversed(layers), *box.lower)
    container = box.describe("sh", "-c", "cat /top; ls / | grep -c from-; wc -l </proc/mounts")
    made = plan.build_plan(container, box.base)
    if old_api:
        steps = tuple(
            replace(step, flags=Flag.OLD_MOUNT) if step.op is Op.ROOT_MOUNT else step
            for step in made.steps
        )
        made = replace(made, steps=steps)
    assert box.run_plan(made).output == "99\n100\n7\n"


def test_exec_joins_everything(box: Box) -> None:
    sleeper, container = box.sleeper()
    script = "for n in mnt pid ipc uts net; do ls -l /proc/self/ns/$n /proc/1/ns/$n; done; ps"
    process = spec.Process(args=("sh", "-c", script), env=("PATH=/bin",), cwd="/tmp")
    output = box.exec(sleeper, container, replace(process, capabilities=_PTRACE)).output
    links = [line.split(" -> ")[1] for line in output.split("\n") if " -> " in line]
    assert len(links) == 10
    assert links[::2] == links[1::2]
    assert "sleep 1000" in output


_PTRACE = spec.Capabilities(*((("CAP_SYS_PTRACE",),) * 4))


def test_exec_user_directory_and_terminal(box: Box) -> None:
    sleeper, container = box.sleeper()
    process = spec.Process(
        args=("sh", "-c", "tty; id -u; pwd; grep CapEff /proc/self/status"),
        env=ENV_BIN,
        cwd="/bin",
        terminal=True,
        user=spec.User(1000, 1000),
    )
    result = box.exec(sleeper, container, process)
    assert result.output == f"/dev/pts/0\n1000\n/bin\nCapEff:\t{'0' * 16}\n"
    assert box.exec(sleeper, container, spec.Process(args=("false",), env=ENV_BIN)).code == 1
    absent = spec.Process(args=("pwd",), env=ENV_BIN, cwd="/not/there")
    with pytest.raises(NativeError, match=r'chdir to cwd \("/not/there"\): no such file'):
        box.exec(sleeper, container, absent)
    assert box.exec(sleeper, container, spec.Process(args=("ls", "/"), env=ENV_BIN)).output


ENV_BIN = ("PATH=/bin",)


def test_exec_in_a_container_that_ended(box: Box) -> None:
    sleeper, container = box.sleeper()
    os.kill(sleeper.pid, 9)
    os.waitid(os.P_PIDFD, sleeper.pidfd, os.WEXITED | os.WNOWAIT)
    with pytest.raises(NativeError, match="join the container's namespaces"):
        box.exec(sleeper, container, spec.Process(args=("true",), env=ENV_BIN))


@pytest.mark.parametrize("late", [False, True])
def test_seccomp(box: Box, late: bool) -> None:
    profile = spec.Seccomp(
        "SCMP_ACT_ALLOW",
        syscalls=(spec.SeccompSyscalls(("mkdir", "mkdirat"), "SCMP_ACT_ERRNO", 99),),
    )
    script = "mkdir /tmp/x; echo $?; grep -E 'Seccomp:|NoNew' /proc/self/status"
    container = _linux(box.describe("sh", "-c", script, no_new_privileges=late), seccomp=profile)
    assert box.run(container).output.split()[-5:] == [
        "1",
        "NoNewPrivs:",
        str(int(late)),
        "Seccomp:",
        "2",
    ]


def test_user_namespace(box: Box) -> None:
    maps = (spec.IdMapping(0, 100000, 65536),)
    script = "id -u; cat /proc/self/uid_map; touch /tmp/mine; stat -c %u /tmp/mine; echo >/dev/null"
    container = _linux(
        box.describe("sh", "-c", script, terminal=True),
        namespaces=(*box.describe("x").linux.namespaces, spec.Namespace("user")),
        uid_mappings=maps,
        gid_mappings=maps,
    )
    assert box.run(container).output.split() == ["0", "0", "100000", "65536", "0"]
    assert (box.base / "upper/tmp/mine").stat().st_uid == 100000
    sleeper = box.create(replace(container, process=box.describe("sleep", "1000").process))
    sleeper.start()
    process = spec.Process(args=("sh", "-c", "id -u; id -g"), env=ENV_BIN, user=spec.User(7, 8))
    assert box.exec(sleeper, container, process).output == "7\n8\n"


def test_joined_namespaces(box: Box) -> None:
    sleeper, _ = box.sleeper()
    joined = tuple(
        spec.Namespace(kind, f"/proc/{sleeper.pid}/ns/{file}")
        for kind, file in (("pid", "pid"), ("ipc", "ipc"), ("network", "net"), ("uts", "uts"))
    )
    second = Box(_made(box.base / "second"), box.lower)
    script = "ps; ls -l /proc/self/ns/net"
    other = _linux(
        second.describe("sh", "-c", script), namespaces=(spec.Namespace("mount"), *joined)
    )
    output = second.run(other).output
    assert "sleep 1000" in output
    assert os.readlink(f"/proc/{sleeper.pid}/ns/net") in output


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_directory_root_without_overlay(box: Box, lower: Path) -> None:
    container = box.describe("ls", "/etc")
    container = replace(
        container, mounts=container.mounts[1:], root=spec.Root(str(lower), readonly=True)
    )
    before = sorted(os.listdir(lower / "dev"))
    assert "passwd" in box.run(container).output
    assert sorted(os.listdir(lower / "dev")) == before


@pytest.fixture
def unified() -> Iterator[Path]:
    for top in map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")):
        if (top / "cgroup.controllers").exists():
            directory = top / f"aiod-test-birthplace-{os.getpid()}"
            directory.mkdir()
            yield directory
            directory.rmdir()
            return
    pytest.skip("no cgroup2 hierarchy")


def test_born_in_a_cgroup(unified: Path, box: Box) -> None:
    container = box.describe("sleep", "1000")
    null = os.open("/dev/null", os.O_RDWR)
    birthplace = os.open(unified, os.O_RDONLY | os.O_DIRECTORY)
    streams = (null, null, null)
    made = plan.build_plan(container, box.base)
    task = runtime.create(made, streams, None, birthplace=birthplace)
    box.tasks.append(task)
    further = runtime.exec_process(
        task.pid,
        task.pidfd,
        plan.exec_plan(spec.Process(args=("true",), env=ENV_BIN), container, box.base),
        streams,
        None,
        birthplace=birthplace,
    )
    box.tasks.append(further)
    inside = {int(pid) for pid in (unified / "cgroup.procs").read_text().split()}
    os.close(null)
    os.close(birthplace)
    box.close()
    assert inside == {task.pid, further.pid}


class Joined:
    """A cgroup2 directory to be moved into."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, pid: int) -> None:
        (self.directory / "cgroup.procs").write_text(str(pid))


@pytest.mark.parametrize("private", [True, False])
def test_version_2_of_cgroups_inside(unified: Path, box: Box, private: bool) -> None:
    mount = spec.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro", "nosuid", "noexec", "nodev"))
    script = "cat /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x"
    container = box.describe("sh", "-c", f"{script} || echo refused", mounts=(mount,))
    if private:
        kinds = (*container.linux.namespaces, spec.Namespace("cgroup"))
        container = _linux(container, namespaces=kinds)
    made = plan.build_plan(container, box.base, (plan.CgroupMount("", str(unified)),))
    read, write = os.pipe()
    task = runtime.create(made, (write, write, write), Joined(unified))
    output = finish(task, read, write).output
    os.close(read)
    (own,) = [line for line in output.splitlines() if line.startswith("0::")]
    assert own == ("0::/" if private else f"0::/{unified.name}")
    assert "/sys/fs/cgroup/cgroup.procs" in output
    assert output.endswith("refused\n")
    assert os.listdir(unified).count("x") == 0
