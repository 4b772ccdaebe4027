"""`aiod-runtime` as a program, with real cgroups."""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

import aiod
from aiod.native import spec
from aiod.native.commandcontrol import template
from tests.support import mounts
from tests.support.containers import extract

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and cgroups")

replace = msgspec.structs.replace
_ENV = os.environ | {"PYTHONPATH": str(Path(aiod.__file__).parents[1])}
_MAIN = "from aiod.native.command import main; main(prog_name='aiod-runtime')"


@dataclass(frozen=True)
class Program:
    base: Path
    cgroup: str

    def __call__(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        options = ("--root", str(self.base / "root"), "--log", str(self.base / "log"))
        done = subprocess.run(
            [sys.executable, "-c", _MAIN, *options, "--log-format", "json", *args],
            cwd=self.base,
            env=_ENV,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if check else subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def bundle(self, *args: str, **process: object) -> spec.Spec:
        made = template()
        assert made.process is not None
        process = {"terminal": False, **process}
        made = replace(
            made,
            process=replace(made.process, args=args, **process),
            mounts=(*made.mounts, spec.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("ro",))),
            linux=replace(
                made.linux,
                cgroups_path=self.cgroup,
                resources=spec.Resources(pids=spec.Pids(50)),
            ),
        )
        (self.base / "config.json").write_bytes(spec.encode(made))
        return made

    def create(self, name: str, *args: str) -> int:
        """The container's process outlives the program, which must not hold our pipes open."""
        subprocess.run(
            [sys.executable, "-c", _MAIN, "--root", str(self.base / "root"), "create",
             "--pid-file", "pid", *args, name],
            cwd=self.base, env=_ENV, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return int((self.base / "pid").read_text())

    def status(self, name: str) -> str:
        return str(json.loads(self("state", name).stdout)["status"])

    def ended(self, pid: int) -> None:
        """Wait until a process that is not ours is gone."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        assert select.select([descriptor], [], [], 30)[0]
        os.close(descriptor)


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def program(tmp_path: Path, rootfs: Path) -> Iterator[Program]:
    (tmp_path / "rootfs").symlink_to(rootfs)
    cgroup = f"/aiod-test-{os.getpid()}"
    program = Program(tmp_path, cgroup)
    yield program
    for directory in (tmp_path / "root").glob("*"):
        program("delete", "--force", directory.name)
    assert list(mounts.cgroups(cgroup.strip("/"))) == []


def test_lifecycle(program: Program) -> None:
    program.bundle("sleep", "1000")
    pid = program.create("one")
    assert program.status("one") == "created"
    assert mounts.cgroup_pids(program.cgroup) == {pid}
    program("start", "one")
    assert program.status("one") == "running"
    program("pause", "one")
    assert program.status("one") == "paused"
    program("resume", "one")
    assert json.loads(program("ps", "-f", "json", "one").stdout) == [pid]
    assert program("list", "-q").stdout == "one\n"
    done = program("exec", "one", "sh", "-c", "echo $HOME; exit 3", check=False)
    assert (done.returncode, done.stdout) == (3, "/root\n")
    program("kill", "one", "KILL")
    program.ended(pid)
    assert program.status("one") == "stopped"
    program("delete", "one")
    assert program("list", "-q").stdout == ""


def test_run(program: Program) -> None:
    program.bundle("sh", "-c", "cat /sys/fs/cgroup/pids/pids.max /proc/1/comm; exit 4")
    done = program("run", "one", check=False)
    assert done.returncode == 4
    assert done.stdout.split()[-1] == "sh"
    assert program("list", "-q").stdout == ""


def test_update(program: Program) -> None:
    program.bundle("sleep", "1000")
    program.create("one")
    program("update", "--pids-limit", "7", "one")
    limits = {
        file.read_text().strip()
        for directory in mounts.cgroups(program.cgroup.strip("/"))
        if (file := directory / "pids.max").exists()
    }
    assert limits <= {"7"}


def test_errors_are_logged(program: Program) -> None:
    program.bundle("absent")
    done = program("run", "one", check=False)
    assert done.returncode == 1
    message = 'exec "absent": executable file not found in $PATH'
    assert done.stdout == f"aiod-runtime: {message}\n"
    entry = json.loads((program.base / "log").read_text())
    assert (entry["level"], entry["msg"]) == ("error", message)
    assert program("create", "--no-pivot", "one", check=False).returncode == 1


def test_console_socket(program: Program) -> None:
    program.bundle("sh", "-c", "tty; read x", terminal=True)
    path = program.base / "console"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        program.create("one", "--console-socket", str(path))
        connection, _ = listener.accept()
        with connection:
            _, (console,), _, _ = socket.recv_fds(connection, 4096, 1)
    program("start", "one")
    with os.fdopen(console, "rb", buffering=0) as terminal:
        assert terminal.read(100) == b"/dev/pts/0\r\n"
    assert program("create", "two", check=False).stdout.endswith("needs --console-socket\n")


def test_spec_plan_and_features(program: Program) -> None:
    program("spec")
    assert program("spec", check=False).returncode == 1
    assert 'mount "proc" on "/proc"' in program("plan").stdout
    failed = program("plan", "/absent", check=False)
    assert failed.returncode == 1
    assert failed.stdout == 'aiod-runtime: read "/absent/config.json": no such file or directory\n'
    assert "bind" in json.loads(program("features").stdout)["mountOptions"]
