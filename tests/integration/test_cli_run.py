"""`aiod run`, `exec`, `attach` and `start` as a user meets them, on pipes and on a terminal."""

import json
import os
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Aiod, read_until
from tests.support.engine import Engine, eventually
from tests.support.terminal import Terminal

NONE = ("--network", "none")
FOREVER = ("sleep", "1000000")
TRAP = ("sh", "-c", "trap 'echo got int; exit 3' INT; trap 'echo got usr1' USR1; echo ready; "
        "while :; do sleep 0.1; done")  # fmt: skip


@pytest.fixture
def cli(aiod: Engine) -> Iterator[Aiod]:
    command = Aiod(aiod)
    yield command
    command.remove_all()


def _names(cli: Aiod) -> list[str]:
    with cli.engine.api() as api:
        return [row["Names"][0].removeprefix("/") for row in api.containers()]


def test_output_and_exit_code_are_the_containers(cli: Aiod) -> None:
    done = cli("run", "--rm", *NONE, "base", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_default_network_needs_no_option_and_no_warning(cli: Aiod) -> None:
    done = cli("run", "--rm", "base", "ls", "/sys/class/net")
    assert (done.returncode, done.stdout, done.stderr) == (0, "eth0\nlo\n", "")


def test_large_output_arrives_whole(cli: Aiod) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' x"
    assert cli.ok("run", "--rm", *NONE, "base", "sh", "-c", script) == "x" * 3_000_000


def test_input_from_a_pipe(cli: Aiod) -> None:
    assert cli.ok("run", "--rm", "-i", *NONE, "base", "cat", stdin=b"x" * 500_000) == "x" * 500_000


def test_without_i_no_input_is_read(cli: Aiod) -> None:
    assert cli.ok("run", "--rm", *NONE, "base", "cat", stdin=b"ignored") == ""


def test_no_arguments_on_a_pipe_is_a_shell_that_reads_it(cli: Aiod) -> None:
    done = cli("run", "--rm", *NONE, stdin=b"echo hi from $0; exit 5\n")
    assert (done.returncode, done.stdout) == (5, "hi from /bin/sh\n")


def test_no_arguments_on_a_terminal_is_a_shell(cli: Aiod) -> None:
    before = set(_names(cli))
    with cli.terminal("run") as terminal:
        terminal.expect(b"# ")
        terminal.write(b"tty; echo $((40+2))\n")
        terminal.expect(b"/dev/pts/0")
        terminal.expect(b"42")
        terminal.write(b"exit 6\n")
        assert terminal.finish() == 6
    (made,) = set(_names(cli)) - before
    cli.ok("rm", made)


def test_terminal_mode_is_raw_and_put_back(cli: Aiod) -> None:
    with cli.terminal("run", "--rm", "-it", *NONE, "base", "sh") as terminal:
        terminal.expect(b"# ")
        assert not _canonical(terminal)
        terminal.write(b"exit\n")
        terminal.expect(b"exit")
        assert terminal.finish() == 0
        assert _canonical(terminal)


def _canonical(terminal: Terminal) -> bool:
    return bool(termios.tcgetattr(terminal._master)[3] & termios.ICANON)


def test_terminal_is_put_back_when_the_command_is_ended(cli: Aiod) -> None:
    name = cli.background(*FOREVER)
    with cli.terminal("exec", "-it", name, "sh") as terminal:
        terminal.expect(b"# ")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.finish() == 128 + signal.SIGTERM
        assert _canonical(terminal)


def test_window_has_the_users_size_and_follows_it(cli: Aiod) -> None:
    name = cli.background(*FOREVER)
    starts = (("run", "--rm", "-it", *NONE, "base", "sh"), ("exec", "-it", name, "sh"))
    for arguments in starts:
        with cli.terminal(*arguments, rows=33, columns=101) as terminal:
            terminal.expect(b"# ")
            eventually(lambda t=terminal: _typed_size(t), lambda seen: seen == b"33 101")  # type: ignore[misc]
            terminal.resize(40, 132)
            eventually(lambda t=terminal: _typed_size(t), lambda seen: seen == b"40 132")  # type: ignore[misc]
            terminal.write(b"exit 2\n")
            assert terminal.finish() == 2


def _typed_size(terminal: Terminal) -> bytes:
    terminal.write(b"echo w=$(stty size)=\n")
    terminal.expect(b"\nw=")
    return terminal.expect(b"=")[:-1]


@pytest.mark.parametrize("what", ["run", "exec"])
def test_terminal_that_goes_away_ends_the_command(cli: Aiod, what: str) -> None:
    name = cli.background(*FOREVER)
    run = ("run", "--rm", "-it", *NONE, "--name", cli.name(), "base", "sh")
    terminal = cli.terminal(*(run if what == "run" else ("exec", "-it", name, "sh")))
    with terminal:
        terminal.expect(b"# ")
        terminal.hang_up()
        assert terminal.process.wait(30) == 128 + signal.SIGHUP


def test_detach_keys_leave_it_running(cli: Aiod) -> None:
    name = cli.name()
    with cli.terminal("run", "-it", *NONE, "--name", name, "base", "sh") as terminal:
        terminal.expect(b"# ")
        terminal.write(b"echo $((1+1))2")
        terminal.expect(b"))2")
        terminal.write(b"\x10\x11")
        assert terminal.finish() == 0
        assert _canonical(terminal)
    with cli.terminal("attach", name) as terminal:
        terminal.write(b"\n")
        terminal.expect(b"22")
        terminal.write(b"exit 9\n")
        assert terminal.finish() == 9


def test_other_detach_keys(cli: Aiod) -> None:
    name = cli.background(*FOREVER)
    keys = ("--detach-keys", "ctrl-a,x")
    with cli.terminal("exec", *keys, "-it", name, "sh") as terminal:
        terminal.expect(b"# ")
        terminal.write(b"\x10\x11echo $((40+2))\n")
        terminal.expect(b"42")
        terminal.write(b"\x01x")
        assert terminal.finish() == 0
    assert "ctrl-" in cli.fails("exec", "--detach-keys", "ctrl-!", name, "true", status=125)


def test_interrupt_on_a_terminal_goes_to_the_container(cli: Aiod) -> None:
    with cli.terminal("run", "--rm", "-it", *NONE, "base", *TRAP) as terminal:
        terminal.expect(b"ready")
        terminal.write(b"\x03")
        terminal.expect(b"got int")
        assert terminal.finish() == 3


def test_signals_are_passed_on(cli: Aiod) -> None:
    with cli.spawned("run", "--rm", *NONE, "base", *TRAP) as child:
        read_until(child, b"ready")
        child.send_signal(signal.SIGUSR1)
        read_until(child, b"got usr1")
        child.send_signal(signal.SIGINT)
        read_until(child, b"got int")
        assert child.wait(30) == 3


def test_third_interrupt_ends_a_command_whose_container_does_not_listen(cli: Aiod) -> None:
    name = cli.name()
    arguments = ("run", *NONE, "--name", name, "base", "sh", "-c", "echo ready; exec sleep 1000")
    with cli.spawned(*arguments) as child:
        read_until(child, b"ready")
        assert eventually(lambda: _interrupted(child), lambda code: code is not None) == 130
        assert child.stderr is not None
        assert b"Traceback" not in child.stderr.read()
    with cli.engine.api() as api:
        assert api.state(name)["Running"]


def _interrupted(child: subprocess.Popen[bytes]) -> int | None:
    child.send_signal(signal.SIGINT)
    return child.poll()


def test_killed_client_ends_what_reads_from_it_and_leaves_nothing(cli: Aiod) -> None:
    name = cli.name()
    arguments = ("run", "--rm", "-i", *NONE, "--name", name, "base", "cat")
    with cli.spawned(*arguments) as child:
        assert child.stdin is not None
        child.stdin.write(b"hello\n")
        child.stdin.flush()
        read_until(child, b"hello")
        child.kill()
        child.wait()
    eventually(lambda: _names(cli), lambda names: name not in names)


def test_killed_client_leaves_a_container_that_goes_by_itself(cli: Aiod) -> None:
    name = cli.name()
    script = "trap 'exit 0' USR1; echo ready; while :; do sleep 0.1; done"
    with cli.spawned("run", "--rm", *NONE, "--name", name, "base", "sh", "-c", script) as child:
        read_until(child, b"ready")
        child.kill()
        child.wait()
    with cli.engine.api() as api:
        assert api.state(name)["Running"]
    cli.ok("kill", "-s", "USR1", name)
    eventually(lambda: _names(cli), lambda names: name not in names)


def test_closed_output_is_quiet(cli: Aiod) -> None:
    with cli.spawned("run", "--rm", *NONE, "base", "sh", "-c", "while :; do echo x; done") as child:
        read_until(child, b"x")
        assert child.stdout is not None
        child.stdout.close()
        assert child.wait(30) == 141
        assert child.stderr is not None
        assert child.stderr.read() == b""
    with cli.engine.api() as api:
        for row in api.containers():
            if "while :; do echo x" in row["Command"]:
                api.remove(row["Id"])


def test_detached_prints_the_id_alone(cli: Aiod) -> None:
    name = cli.name()
    identity = cli.ok("run", "-d", *NONE, "--name", name, "base", *FOREVER)
    with cli.engine.api() as api:
        assert api.inspect(name)["Id"] == identity.strip()
    other = cli.name()
    document = json.loads(cli.ok("run", "-d", "--json", "--name", other, "base", *FOREVER))
    assert len(document["Id"]) == 64
    assert document["Warnings"] == []


def test_options_reach_the_container(cli: Aiod, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "in").write_text("from the host\n")
    (tmp_path / "vars").write_text("# mine\nSIZE=big\n")
    flags = ("-e", "COLOUR=blue", "-e", "OWN", "--env-file", str(tmp_path / "vars"), "-w", "/tmp",
             "-u", "1000:1000", "--hostname", "box", "--read-only", "--memory", "64m",
             "-v", f"{tmp_path}:/data:ro", "--entrypoint", "sh", "--label", "a=b")  # fmt: skip
    script = ("echo $COLOUR $OWN $SIZE $(pwd) $(id -u):$(id -g) $(hostname) $(cat /data/in); "
              "touch /x 2>/dev/null || echo read-only")  # fmt: skip
    done = cli("run", "--rm", *NONE, *flags, "base", "-c", script, OWN="mine")
    assert done.stdout == "blue mine big /tmp 1000:1000 box from the host\nread-only\n"


def test_limits_reach_the_container(cli: Aiod) -> None:
    name = cli.background(*FOREVER, flags=("-m", "64m", "--cpus", "0.5", "--restart", "always"))
    with cli.engine.api() as api:
        host = api.inspect(name)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (64 << 20, 500_000_000)
    assert host["RestartPolicy"]["Name"] == "always"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--no-such", "base"), 125, "--no-such"),
        (("-m", "lots", "base"), 125, "invalid size 'lots'"),
        (("--network", "mesh", "base"), 125, "mesh"),
        (("no-such-image", "true"), 125, "No such image: no-such-image:latest"),
        (("--name", "-bad-", *NONE, "base"), 125, "Invalid container name"),
        ((*NONE, "--runtime", "other", "base"), 125, "Runtime"),
        ((*NONE, "base", "no-such-command"), 127, "executable file not found"),
        ((*NONE, "base", "/etc"), 126, "permission denied"),
    ],
)
def test_failures_have_dockers_status_and_leave_nothing(
    cli: Aiod, arguments: tuple[str, ...], status: int, words: str
) -> None:
    before = _names(cli)
    assert words in cli.fails("run", "--rm", *arguments, status=status)
    assert _names(cli) == before


def test_terminal_asked_for_on_a_pipe(cli: Aiod) -> None:
    before = _names(cli)
    assert "not a TTY" in cli.fails("run", "-it", *NONE, "base")
    assert _names(cli) == before


def test_exec_streams_and_exit_code(cli: Aiod) -> None:
    name = cli.background(*FOREVER)
    done = cli("exec", "-i", name, "sh", "-c", "cat; echo err >&2; exit 5", stdin=b"in\n")
    assert (done.returncode, done.stdout, done.stderr) == (5, "in\n", "err\n")
    script = "id -u; pwd; echo $A"
    flags = ("-u", "1000", "-w", "/tmp", "-e", "A=b")
    assert cli.ok("exec", *flags, name, "sh", "-c", script) == "1000\n/tmp\nb\n"
    absent = cli("exec", name, "no-such")
    assert absent.returncode == 127
    assert "executable file not found" in absent.stderr + absent.stdout


def test_exec_detached(cli: Aiod) -> None:
    name = cli.background(*FOREVER)
    assert cli.ok("exec", "-d", name, "touch", "/tmp/done") == ""
    eventually(lambda: cli("exec", name, "test", "-e", "/tmp/done").returncode,
               lambda status: status == 0)  # fmt: skip


def test_exec_on_a_terminal(cli: Aiod) -> None:
    name = cli.background(*FOREVER)
    with cli.terminal("exec", "-it", name, "sh") as terminal:
        terminal.expect(b"# ")
        terminal.write(b"tty; exit 9\n")
        terminal.expect(b"/dev/pts/")
        assert terminal.finish() == 9


def test_exec_in_what_does_not_run(cli: Aiod) -> None:
    assert "No such container: nobody" in cli.fails("exec", "nobody", "true")
    name = cli.background("true")
    cli.ok("wait", name)
    assert "is not running" in cli.fails("exec", name, "true")


def test_attach_and_start(cli: Aiod) -> None:
    name = cli.background("sh", "-c", "read x; echo got $x; exit 4", flags=("-i",))
    done = cli("attach", name, stdin=b"this\n")
    assert (done.returncode, done.stdout) == (4, "got this\n")
    assert "start it first" in cli.fails("attach", name)
    done = cli("start", "-ai", name, stdin=b"that\n")
    assert (done.returncode, done.stdout) == (4, "got that\n")
    assert cli.ok("start", name) == f"{name}\n"
    assert "nobody" in cli.fails("start", "nobody")


def test_create_then_start(cli: Aiod) -> None:
    name = cli.name()
    identity = cli.ok("create", *NONE, "--name", name, "base", "echo", "made").strip()
    with cli.engine.api() as api:
        assert api.state(identity)["Status"] == "created"
    assert cli.ok("start", "-a", name) == "made\n"


def test_engine_that_dies_meanwhile_is_told_of(new_daemon: Engine) -> None:
    new_daemon.start()
    cli = Aiod(new_daemon)
    with cli.spawned("run", "--rm", *NONE, "base", "sh", "-c", "echo ready; sleep 1000") as child:
        read_until(child, b"ready")
        new_daemon.sigkill()
        assert child.wait(30) == 125
        assert child.stderr is not None
        assert b"the connection to the engine was lost" in child.stderr.read()
    new_daemon.restart()


def test_output_left_blocking_for_others(cli: Aiod) -> None:
    """O_NONBLOCK is shared with whoever else has the pipe, who would not expect it."""
    read, write = os.pipe()
    try:
        child = subprocess.Popen(
            ["sh", "-c", '"$@"; exec cat /proc/self/fdinfo/1', "sh", "aiod", "version"],
            stdout=write,
            env={**cli.environment, "PATH": f"{Path(os.sys.executable).parent}:/usr/bin:/bin"},  # type: ignore[attr-defined]
        )
        assert child.wait(30) == 0
        flags = next(line for line in os.read(read, 65536).decode().splitlines()
                     if line.startswith("flags:"))  # fmt: skip
        assert not int(flags.split()[1], 8) & os.O_NONBLOCK
    finally:
        os.close(read)
        os.close(write)


def test_slow_reader_gets_all_of_a_container_that_is_long_gone(cli: Aiod) -> None:
    name = cli.name()
    script = "until [ -e /go ]; do sleep 0.05; done; head -c 3000000 /dev/zero | tr '\\0' x; exit 4"
    with cli.spawned("run", "--rm", *NONE, "--name", name, "base", "sh", "-c", script) as child:
        eventually(lambda: _status(cli, name), lambda status: status == "running")
        cli.ok("exec", name, "touch", "/go")
        eventually(lambda: _status(cli, name), lambda status: status == "gone")
        assert child.stdout is not None
        assert child.stdout.read() == b"x" * 3_000_000
        assert child.wait(30) == 4


def test_slow_reader_holds_no_restart_up(cli: Aiod) -> None:
    name = cli.name()
    script = (
        "if mkdir /first; then head -c 3000000 /dev/zero | tr '\\0' x; exit 1; fi; sleep 1000000"
    )
    policy = ("--restart", "on-failure", "--name", name)
    with cli.spawned("run", *policy, *NONE, "base", "sh", "-c", script) as child:
        eventually(lambda: _restarts(cli, name), lambda found: found == (1, "running"))
        assert child.stdout is not None
        assert child.stdout.read() == b"x" * 3_000_000
        assert child.wait(30) == 1


def test_reader_that_leaves_after_the_end_holds_nothing_up(cli: Aiod) -> None:
    name = cli.name()
    script = "head -c 30000000 /dev/zero"
    with cli.spawned("run", *NONE, "--name", name, "base", "sh", "-c", script) as child:
        eventually(lambda: _status(cli, name), lambda status: status == "exited")
        child.kill()
    cli.ok("rm", name)


def _restarts(cli: Aiod, name: str) -> tuple[int, str]:
    with cli.engine.api() as api:
        reply = api.send("GET", f"/containers/{name}/json")
        if reply.status != 200:
            return -1, "not there"
        found = reply.json()
        return found["RestartCount"], found["State"]["Status"]


def _status(cli: Aiod, name: str) -> str:
    with cli.engine.api() as api:
        reply = api.send("GET", f"/containers/{name}/json")
        return str(reply.json()["State"]["Status"]) if reply.status == 200 else "gone"


@pytest.mark.parametrize("what", ["run", "exec"])
def test_what_is_typed_right_before_the_detach_keys_arrives(cli: Aiod, what: str) -> None:
    name = cli.name() if what == "run" else cli.background(*FOREVER)
    run = ("run", "-it", *NONE, "--name", name, "base", "sh")
    with cli.terminal(*(run if what == "run" else ("exec", "-it", name, "sh"))) as terminal:
        terminal.expect(b"# ")
        terminal.write(b"touch /typed\n\x10\x11")
        assert terminal.finish() == 0
    eventually(lambda: cli("exec", name, "ls", "/typed").returncode, lambda code: code == 0)
