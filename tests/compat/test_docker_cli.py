"""One test for each thing the unmodified `docker` command is promised to do."""

import contextlib
import json
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import rootfs
from tests.support.binaries import require
from tests.support.engine import Engine, eventually
from tests.support.playground import Site

FOREVER = ("sleep", "1000000")


class Containers:
    """`docker run` with clean-up: every container made through it is removed at the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: list[str] = []

    def name(self) -> str:
        """A name nobody else uses."""
        name = f"t{time.monotonic_ns()}"
        self._names.append(name)
        return name

    def background(self, *command: str, flags: tuple[str, ...] = ()) -> str:
        """`docker run -d`; returns the name."""
        name = self.name()
        flags = ("--network", "none", "--name", name, *flags)
        self._engine.docker("run", "-d", *flags, "base", *command)
        return name

    def remove(self) -> None:
        """Remove all of them, whichever still exist."""
        for name in self._names:
            self._engine.docker("rm", "-f", name, check=False)


@pytest.fixture
def containers(engine: Engine) -> Iterator[Containers]:
    made = Containers(engine)
    yield made
    made.remove()


@pytest.fixture
def process(engine: Engine) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start docker commands in the background; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            child = stack.enter_context(engine.spawn(*arguments))
            stack.callback(child.kill)
            return child

        yield start


def read_until(child: subprocess.Popen[bytes], text: bytes, seconds: float = 30.0) -> bytes:
    """Read the child's output until `text` has come."""
    assert child.stdout is not None
    descriptor, output = child.stdout.fileno(), b""
    deadline = time.monotonic() + seconds
    while text not in output:
        left = deadline - time.monotonic()
        ready = left > 0 and bool(select.select([descriptor], [], [], left)[0])
        data = child.stdout.read1(65536) if ready else b""  # type: ignore[attr-defined]
        assert data, f"no {text!r} in {output!r}"
        output += data
    return output


def inspect(engine: Engine, name: str) -> Any:
    return json.loads(engine.docker("inspect", name).stdout)[0]


def only_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_version(engine: Engine) -> None:
    version = json.loads(engine.docker("version", "--format", "{{json .}}").stdout)
    assert version["Server"]["Os"] == "linux"
    assert version["Server"]["ApiVersion"]
    assert version["Server"]["KernelVersion"]
    assert "Server" in engine.docker("version").stdout


def test_info(engine: Engine) -> None:
    info = json.loads(engine.docker("info", "--format", "{{json .}}").stdout)
    assert info["OSType"] == "linux"
    assert info["NCPU"] >= 1
    assert info["MemTotal"] > 0
    assert not info.get("ServerErrors")


def test_load(engine: Engine) -> None:
    archive = rootfs.docker_archive("loaded:1", [rootfs.busybox_tar()])
    done = engine.docker("load", stdin=archive)
    assert "Loaded image: loaded:1" in done.stdout
    image = json.loads(engine.docker("image", "inspect", "loaded:1").stdout)[0]
    assert image["RepoTags"] == ["loaded:1"]
    assert image["Config"]["Cmd"] == ["sh"]
    engine.docker("rmi", "loaded:1")


def test_load_saved_by_skopeo(engine: Engine, tmp_path: Path) -> None:
    skopeo = require("skopeo")
    source, saved = tmp_path / "source.tar", tmp_path / "saved.tar"
    source.write_bytes(rootfs.docker_archive("skopeo:1", [rootfs.busybox_tar()]))
    command = [skopeo, "--insecure-policy", "--tmpdir", str(tmp_path), "copy"]
    target = f"docker-archive:{saved}:skopeo:1"
    subprocess.run([*command, f"docker-archive:{source}", target], check=True, capture_output=True)
    assert "Loaded image: skopeo:1" in engine.docker("load", "-i", str(saved)).stdout
    engine.docker("rmi", "skopeo:1")


def test_load_oci_layout(engine: Engine) -> None:
    if engine.name == "dockerd":
        pytest.skip("dockerd 20.10 reads docker archives only")
    engine.docker("load", stdin=rootfs.oci_layout("oci:1", [rootfs.busybox_tar()]))
    assert engine.docker("run", "--rm", "--network", "none", "oci:1", "echo", "x").stdout == "x\n"
    engine.docker("rmi", "oci:1")


def test_import(engine: Engine) -> None:
    done = engine.docker("import", "--change", "CMD [\"echo\", \"hi\"]", "-", "imported:1",
                         stdin=rootfs.busybox_tar())  # fmt: skip
    assert only_line(done.stdout).startswith("sha256:")
    run = engine.docker("run", "--rm", "--network", "none", "imported:1")
    assert run.stdout == "hi\n"
    engine.docker("rmi", "imported:1")


def test_images(engine: Engine) -> None:
    rows = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    if engine.name == "dockerd":
        assert "base:latest" in rows
    engine.load(rootfs.docker_archive("listed:1", [rootfs.busybox_tar()]))
    rows = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert "listed:1" in rows
    one = engine.docker("images", "-q", "listed:1").stdout
    assert len(only_line(one)) == 12
    engine.docker("rmi", "listed:1")
    assert engine.docker("images", "-q", "listed:1").stdout == ""


def test_run_echo(site: Site) -> None:
    """On the default network, which the dockerd of the other tests has not."""
    done = site.engine.docker("run", "--rm", "--name", "passing", "base", "echo", "hi")
    assert done.stdout == "hi\n"
    assert site.engine.docker("ps", "-aq", "--filter", "name=passing").stdout == ""


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_run_carries_exit_code(engine: Engine, code: int) -> None:
    command = ("base", "sh", "-c", f"exit {code}")
    done = engine.docker("run", "--rm", "--network", "none", *command, check=False)
    assert done.returncode == code


def test_run_separates_streams_and_reads_stdin(engine: Engine) -> None:
    flags = ("--rm", "-i", "--network", "none")
    done = engine.docker("run", *flags, "base", "sh", "-c", "cat; echo error >&2", stdin=b"in\n")
    assert (done.stdout, done.stderr) == ("in\n", "error\n")


def test_run_killed_by_signal(engine: Engine) -> None:
    flags = ("--rm", "--network", "none")
    done = engine.docker("run", *flags, "base", "sh", "-c", "sleep 100 & kill -9 $!; wait $!",
                         check=False)  # fmt: skip
    assert done.returncode == 137


def test_run_absent_command(engine: Engine) -> None:
    done = engine.docker("run", "--rm", "--network", "none", "base", "no-such", check=False)
    assert done.returncode == 127
    assert "no-such" in done.stderr
    assert "executable file not found" in done.stderr
    assert done.stderr.startswith("docker: Error response from daemon: ")


def test_run_not_executable(engine: Engine) -> None:
    flags = ("--rm", "--network", "none")
    done = engine.docker("run", *flags, "base", "/etc", check=False)
    assert done.returncode == 126
    assert "permission denied" in done.stderr


def test_run_options(engine: Engine) -> None:
    flags = ("--rm", "--network", "none", "-e", "COLOUR=blue", "-w", "/tmp", "-u", "1000:1000",
             "--hostname", "box", "--read-only", "--entrypoint", "sh")  # fmt: skip
    script = "echo $COLOUR $(pwd) $(id -u):$(id -g) $(hostname); touch /x 2>/dev/null || echo ro"
    done = engine.docker("run", *flags, "base", "-c", script)
    assert done.stdout == "blue /tmp 1000:1000 box\nro\n"


def test_run_volume(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    flags = ("--rm", "--network", "none", "-v", f"{tmp_path}:/data")
    done = engine.docker("run", *flags, "base", "sh", "-c", "cat /data/in; echo back >/data/out")
    assert done.stdout == "from the host\n"
    assert (tmp_path / "out").read_text() == "back\n"


def test_run_detached(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    state = inspect(engine, name)["State"]
    assert state["Running"]
    command = Path(f"/proc/{state['Pid']}/cmdline")
    # dockerd's runtime may be a moment from executing it.
    eventually(command.read_bytes, lambda told: told.startswith(b"sleep\0"))


def test_run_terminal(engine: Engine) -> None:
    flags = ("run", "--rm", "-it", "--network", "none", "base", "sh")
    with engine.terminal(*flags) as terminal:
        terminal.expect(b"# ")
        terminal.write(b"tty; echo cols=$(stty size | cut -d' ' -f2)\n")
        terminal.expect(b"/dev/pts/0")
        terminal.expect(b"cols=80")
        terminal.resize(40, 132)
        eventually(lambda: _typed_width(terminal), lambda seen: seen == b"132")
        terminal.write(b"exit 7\n")
        assert terminal.finish() == 7


def _typed_width(terminal: Any) -> bytes:
    terminal.write(b"echo w=$(stty size | cut -d' ' -f2)=\n")
    terminal.expect(b"\nw=")
    return bytes(terminal.expect(b"=")[:-1])


def test_terminal_interrupt(engine: Engine) -> None:
    command = ("sh", "-c", "trap 'echo interrupted; exit 3' INT; echo ready; "
               "while :; do sleep 0.1; done")  # fmt: skip
    with engine.terminal("run", "--rm", "-it", "--network", "none", "base", *command) as terminal:
        terminal.expect(b"ready")
        terminal.write(b"\x03")
        terminal.expect(b"interrupted")
        assert terminal.finish() == 3


def test_ps_all(engine: Engine, containers: Containers) -> None:
    running, ended = containers.background(*FOREVER), containers.background("false")
    assert engine.docker("wait", ended).stdout == "1\n"
    listing = engine.docker("ps", "-a", "--format", "{{.Names}} {{.Image}} {{.Status}}").stdout
    rows = {line.split()[0]: line for line in listing.splitlines()}
    assert "base Up" in rows[running]
    assert "base Exited (1)" in rows[ended]
    only = engine.docker("ps", "--format", "{{.Names}}").stdout.split()
    assert running in only
    assert ended not in only
    filters = ("--filter", f"name={ended}", "--filter", "status=exited")
    assert len(only_line(engine.docker("ps", "-aq", *filters).stdout)) == 12


def test_logs(engine: Engine, containers: Containers) -> None:
    script = "for i in 1 2 3; do echo $i; done; read x; echo e >&2"
    name = containers.background("sh", "-c", script, flags=("-i",))
    # Two streams have an order only if the second waits until the first has been logged.
    eventually(lambda: engine.docker("logs", name).stdout, lambda text: text == "1\n2\n3\n")
    engine.docker("attach", "--sig-proxy=false", name, stdin=b"go\n")
    engine.docker("wait", name)
    done = engine.docker("logs", name)
    assert (done.stdout, done.stderr) == ("1\n2\n3\n", "e\n")
    assert engine.docker("logs", "--tail", "2", name).stdout == "3\n"
    stamped = engine.docker("logs", "--timestamps", name).stdout.splitlines()
    stamp, text = stamped[0].split(" ")
    assert text == "1"
    assert stamp.endswith("Z")
    later = engine.docker("logs", "--since", stamped[2].split(" ")[0], name).stdout
    assert later.splitlines()[-1] == "3"
    assert "1" not in later


def test_logs_follow(
    engine: Engine, containers: Containers, process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    name = containers.background("sh", "-c", "echo first; read x; echo got $x", flags=("-i",))
    follower = process("logs", "-f", name)
    read_until(follower, b"first\n")
    engine.docker("attach", "--sig-proxy=false", name, stdin=b"more\n")
    read_until(follower, b"got more\n")
    assert follower.wait(30) == 0


def test_exec_terminal(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    with engine.terminal("exec", "-it", "-e", "A=b", name, "sh") as terminal:
        terminal.expect(b"# ")
        terminal.write(b"tty; echo A=$A; exit 9\n")
        terminal.expect(b"/dev/pts/")
        terminal.expect(b"A=b")
        assert terminal.finish() == 9


def test_exec(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    done = engine.docker("exec", "-i", name, "sh", "-c", "cat; echo e >&2; exit 5",
                         stdin=b"text", check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (5, "text", "e\n")
    absent = engine.docker("exec", name, "no-such", check=False)
    assert absent.returncode in (126, 127)
    user = engine.docker("exec", "-u", "1000:5", "-w", "/tmp", name, "sh", "-c", "id -u; pwd")
    assert user.stdout == "1000\n/tmp\n"
    assert engine.docker("exec", "-u", "root", name, "id", "-u").stdout == "0\n"


def test_exec_unknown_user(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    done = engine.docker("exec", "-u", "nobody-here", name, "id", check=False)
    assert done.returncode == 126
    assert "unable to find user nobody-here: no matching entries in passwd file" in done.stdout


def test_exec_detached(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    engine.docker("exec", "-d", name, "touch", "/tmp/done")
    probe = ("exec", name, "test", "-e", "/tmp/done")
    eventually(lambda: engine.docker(*probe, check=False).returncode, lambda code: code == 0)


def test_attach(
    engine: Engine, containers: Containers, process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    name = containers.background("sh", "-c", "read x; echo $x; exit 4", flags=("-i",))
    client = process("attach", name)
    assert client.stdin is not None
    client.stdin.write(b"hello\n")
    client.stdin.flush()
    read_until(client, b"hello\n")
    assert client.wait(30) == 4


def test_stop(engine: Engine, containers: Containers) -> None:
    obedient = containers.background(
        "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    )
    eventually(lambda: engine.docker("logs", obedient).stdout, lambda text: "ready" in text)
    assert engine.docker("stop", obedient).stdout == f"{obedient}\n"
    assert inspect(engine, obedient)["State"]["ExitCode"] == 3
    # The init of a pid namespace ignores what it has no handler for.
    stubborn = containers.background(*FOREVER)
    engine.docker("stop", "-t", "1", stubborn)
    state = inspect(engine, stubborn)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)


def test_start_again(engine: Engine, containers: Containers) -> None:
    name = containers.background("sh", "-c", "echo x >>/n; wc -l </n")
    engine.docker("wait", name)
    assert engine.docker("start", "-a", name).stdout == "2\n"
    engine.docker("restart", name)
    engine.docker("wait", name)
    assert engine.docker("logs", name).stdout == "1\n2\n3\n"


def test_kill_signal(engine: Engine, containers: Containers) -> None:
    name = containers.background(
        "sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done"
    )
    eventually(lambda: engine.docker("logs", name).stdout, lambda text: "ready" in text)
    engine.docker("kill", "-s", "USR1", name)
    eventually(lambda: engine.docker("logs", name).stdout, lambda text: "usr1" in text)
    engine.docker("kill", "--signal", "KILL", name)
    assert engine.docker("wait", name).stdout == "137\n"
    again = engine.docker("kill", name, check=False)
    assert again.returncode == 1
    assert "is not running" in again.stderr


def test_wait(
    engine: Engine, containers: Containers, process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    name = containers.background("sh", "-c", "read x; exit 6", flags=("-i",))
    waiter = process("wait", name)
    engine.docker("attach", name, stdin=b"\n", check=False)
    output, _ = waiter.communicate(timeout=30)
    assert output == b"6\n"
    assert engine.docker("wait", name).stdout == "6\n"


def test_inspect_format(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    template = "{{.Name}} {{.State.Status}} {{.Config.Image}} {{.HostConfig.NetworkMode}}"
    assert engine.docker("inspect", "-f", template, name).stdout == (f"/{name} running base none\n")
    assert inspect(engine, name)["Config"]["Cmd"] == list(FOREVER)
    absent = engine.docker("inspect", "no-such-thing", check=False)
    assert absent.returncode == 1
    assert "no such object: no-such-thing" in absent.stderr.lower()


def test_rename(engine: Engine, containers: Containers) -> None:
    old, new = containers.background(*FOREVER), containers.name()
    container = inspect(engine, old)["Id"]
    engine.docker("rename", old, new)
    assert inspect(engine, new)["Id"] == container
    assert engine.docker("inspect", old, check=False).returncode == 1


def test_pause(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    engine.docker("pause", name)
    assert inspect(engine, name)["State"]["Status"] == "paused"
    assert "(Paused)" in engine.docker("ps", "--filter", f"name={name}").stdout
    refused = engine.docker("exec", name, "true", check=False)
    assert "is paused" in refused.stderr
    engine.docker("unpause", name)
    assert inspect(engine, name)["State"]["Status"] == "running"
    assert engine.docker("exec", name, "echo", "back").stdout == "back\n"


def test_top(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    title, row = eventually(
        lambda: engine.docker("top", name).stdout.splitlines(),
        lambda lines: lines[1].endswith("sleep 1000000"),
    )
    assert title.split()[:3] == ["UID", "PID", "PPID"]
    assert row.split()[1] == str(inspect(engine, name)["State"]["Pid"])
    assert "sleep" in engine.docker("top", name, "-o", "pid,comm").stdout


@pytest.mark.parametrize("directory", ["/no/such", "relative", "/bin/busybox"])
def test_exec_in_a_directory_that_is_none(
    engine: Engine, containers: Containers, directory: str
) -> None:
    name = containers.background("sleep", "1000")
    done = engine.docker("exec", "-w", directory, name, "true", check=False)
    assert done.returncode == 126
    assert "OCI runtime exec failed: exec failed: " in done.stderr + done.stdout
    assert engine.docker("exec", name, "ls", "/no", check=False).returncode == 1


def test_events_since(engine: Engine, containers: Containers) -> None:
    name = containers.background("sh", "-c", "exit 2")
    engine.docker("wait", name)
    engine.docker("rename", name, renamed := containers.name())
    engine.docker("rm", renamed)
    container = f"container={renamed}"
    until = str(int(time.time()) + 1)
    flags = ("--since", "10m", "--until", until, "--format", "{{json .}}")
    lines = engine.docker("events", *flags, "--filter", "type=container").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    mine = [
        event for event in events if event["Actor"]["Attributes"].get("name") in (name, renamed)
    ]
    actions = [event["Action"] for event in mine if event["Action"] != "attach"]
    assert actions == ["create", "start", "die", "rename", "destroy"], container
    assert mine[[e["Action"] for e in mine].index("die")]["Actor"]["Attributes"]["exitCode"] == "2"
    assert [event["timeNano"] for event in mine] == sorted(event["timeNano"] for event in mine)


def test_events_live(
    engine: Engine, containers: Containers, process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    name = containers.name()
    follower = process("events", "--since", "1m", "--filter", f"container={name}")
    engine.docker("create", "--network", "none", "--name", name, "base", "true")
    assert b"container create" in read_until(follower, b"\n")
    engine.docker("rm", name)
    read_until(follower, b"container destroy")


def test_remove_by_force(engine: Engine, containers: Containers) -> None:
    name = containers.background(*FOREVER)
    refused = engine.docker("rm", name, check=False)
    assert refused.returncode == 1
    assert "force remove" in refused.stderr
    assert engine.docker("rm", "-f", name).stdout == f"{name}\n"
    assert engine.docker("inspect", name, check=False).returncode == 1


def test_restart_policy(engine: Engine, containers: Containers) -> None:
    name = containers.background("sh", "-c", "exit 1", flags=("--restart", "on-failure:2"))
    state = eventually(
        lambda: inspect(engine, name), lambda seen: seen["State"]["Status"] == "exited"
    )
    assert (state["RestartCount"], state["State"]["ExitCode"]) == (2, 1)


def test_limits(engine: Engine) -> None:
    flags = ("--rm", "--network", "none", "--memory", "64m", "--pids-limit", "50", "--cpus", "0.5")
    script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max"
    done = engine.docker("run", *flags, "base", "sh", "-c", script)
    assert done.stdout == f"{64 << 20}\n"
