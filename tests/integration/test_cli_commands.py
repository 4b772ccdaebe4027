"""The commands that list, look and change, against a real daemon, for people and for scripts."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from aiod import __version__
from aiod.cli import main
from tests.support import rootfs
from tests.support.command import AIOD, Aiod, read_until
from tests.support.engine import Engine, eventually
from tests.support.terminal import Terminal

FOREVER = ("sleep", "1000000")
THREE = ("sh", "-c", "for i in 1 2 3; do echo $i; done; echo e >&2")


@pytest.fixture
def cli(aiod: Engine) -> Iterator[Aiod]:
    command = Aiod(aiod)
    yield command
    command.remove_all()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker-archive of one image, cli/made:1."""
    file = tmp_path_factory.mktemp("archive") / "image.tar"
    file.write_bytes(rootfs.docker_archive("cli/made:1", [rootfs.busybox_tar()]))
    return file


def test_ps_for_people(cli: Aiod) -> None:
    running, ended = cli.background(*FOREVER), cli.background("sh", "-c", "exit 3")
    cli.ok("wait", ended)
    title, *rows = cli.ok("ps", "-a").splitlines()
    assert re.split(r" {2,}", title) == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS",
                                         "PORTS", "NAMES"]  # fmt: skip
    by_name = {row.split()[-1]: row for row in rows}
    assert re.match(r'[0-9a-f]{12}   base +"sleep 1000000" +\S.* ago +Up ', by_name[running])
    assert "Exited (3)" in by_name[ended]
    alone = cli.ok("ps")
    assert running in alone
    assert ended not in alone


def test_ps_cuts_short_and_does_not(cli: Aiod) -> None:
    name = cli.background("sh", "-c", "sleep 1000000; echo a long command")
    chosen = ("ps", "--filter", f"name={name}")
    assert "a long command" not in cli.ok(*chosen)
    whole = cli.ok(*chosen, "--no-trunc").splitlines()[1]
    assert "a long command" in whole
    assert re.match(r"[0-9a-f]{64} ", whole)


def test_ps_for_scripts(cli: Aiod) -> None:
    name = cli.background("false")
    cli.ok("wait", name)
    chosen = ("ps", "-a", "-f", f"name={name}", "-f", "exited=1")
    (row,) = json.loads(cli.ok(*chosen, "--json"))
    assert (row["Names"], row["State"]) == ([f"/{name}"], "exited")
    assert cli.ok(*chosen, "-q") == row["Id"][:12] + "\n"
    assert cli.ok(*chosen, "-q", "--no-trunc") == row["Id"] + "\n"
    assert cli.ok("ps", "-l", "-q").strip() == row["Id"][:12]
    assert json.loads(cli.ok("ps", "--filter", "name=nobody", "--json")) == []
    assert "colour" in cli.fails("ps", "--filter", "colour=red")
    assert "NAME=VALUE" in cli.fails("ps", "--filter", "red", status=125)


def test_logs(cli: Aiod) -> None:
    name = cli.background(*THREE)
    cli.ok("wait", name)
    done = cli("logs", name)
    assert (done.stdout, done.stderr) == ("1\n2\n3\n", "e\n")
    stamped = cli("logs", "-t", name)
    stamp, text = stamped.stdout.splitlines()[1].split(" ")
    assert text == "2"
    assert cli("logs", "--since", stamp, name).stdout.splitlines()[-2:] == ["2", "3"]
    assert cli("logs", "--until", "10m", name).stdout == ""
    assert cli("logs", "--since", "10m", name).stdout == "1\n2\n3\n"
    lines = cli("logs", "--tail", "2", name)
    assert len((lines.stdout + lines.stderr).splitlines()) == 2
    assert "'few'" in cli.fails("logs", "--tail", "few", name, status=125)
    assert "is no time" in cli.fails("logs", "--since", "soon", name, status=125)
    assert "No such container: nobody" in cli.fails("logs", "nobody")


def test_logs_of_a_terminal_are_raw(cli: Aiod) -> None:
    name = cli.background("echo", "text", flags=("-t",))
    cli.ok("wait", name)
    assert cli("logs", name).stdout == "text\r\n"


def test_logs_follow_to_the_end_and_until_interrupted(cli: Aiod) -> None:
    name = cli.background("sh", "-c", "echo first; read x; echo got $x", flags=("-i",))
    with cli.spawned("logs", "-f", name) as left, cli.spawned("logs", "-f", name) as follower:
        read_until(left, b"first\n")
        left.send_signal(signal.SIGINT)
        assert left.wait(30) == 130
        assert left.stderr is not None
        assert left.stderr.read() == b""
        read_until(follower, b"first\n")
        cli.ok("attach", name, stdin=b"more\n")
        read_until(follower, b"got more\n")
        assert follower.wait(30) == 0


def test_a_reader_that_leaves_is_no_error(cli: Aiod) -> None:
    name = cli.background("sh", "-c", "seq 1 200000; sleep 1000")
    piped = 'set -o pipefail; "$@" | head -n 1'
    done = subprocess.run(
        ["bash", "-c", piped, "bash", AIOD, "logs", "-f", name],
        capture_output=True, env=cli.environment, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (141, b"1\n", b"")


def test_stop_start_restart_kill_wait(cli: Aiod) -> None:
    trap = "trap 'exit 3' TERM; trap 'exit 4' USR1; echo ready; while :; do sleep 0.1; done"
    name = cli.background("sh", "-c", trap)
    _ready(cli, name, 1)
    assert cli.ok("stop", name) == f"{name}\n"
    assert cli.ok("wait", name) == "3\n"
    assert cli.ok("start", name) == f"{name}\n"
    _ready(cli, name, 2)
    assert cli.ok("restart", "-t", "30", name) == f"{name}\n"
    _ready(cli, name, 3)
    assert cli.ok("kill", "-s", "USR1", name) == f"{name}\n"
    assert cli.ok("wait", name) == "4\n"
    assert "is not running" in cli.fails("kill", name)
    stubborn = cli.background(*FOREVER)
    cli.ok("stop", "-t", "0", stubborn)
    assert cli.ok("wait", stubborn) == "137\n"
    assert "FAST" in cli.fails("kill", "-s", "FAST", cli.background(*FOREVER))


def _ready(cli: Aiod, name: str, times: int) -> None:
    eventually(lambda: cli("logs", name).stdout.count("ready"), lambda seen: seen >= times)


def test_wait_while_it_runs(cli: Aiod) -> None:
    name = cli.background("sh", "-c", "read x; exit 6", flags=("-i",))
    with cli.spawned("wait", name) as waiter:
        cli("attach", name, stdin=b"\n")
        assert waiter.wait(30) == 0
        assert waiter.stdout is not None
        assert waiter.stdout.read() == b"6\n"


def test_pause_rename_top(cli: Aiod) -> None:
    old, new = cli.background(*FOREVER), cli.name()
    assert cli.ok("pause", old) == f"{old}\n"
    assert "(Paused)" in cli.ok("ps", "-f", f"name={old}")
    assert "is paused" in cli.fails("exec", old, "true")
    cli.ok("unpause", old)
    assert cli.ok("rename", old, new) == ""
    assert "No such container" in cli.fails("top", old)
    title, row = cli.ok("top", new).splitlines()
    assert title.split()[:2] == ["UID", "PID"]
    assert row.endswith("sleep 1000000")
    assert cli.ok("top", new, "-o", "pid,comm").splitlines()[0].split() == ["PID", "COMMAND"]
    assert json.loads(cli.ok("top", "--json", new))["Titles"][0] == "UID"


def test_remove(cli: Aiod) -> None:
    running, ended = cli.background(*FOREVER), cli.background("true")
    cli.ok("wait", ended)
    done = cli("rm", ended, running, "nobody")
    assert (done.returncode, done.stdout) == (1, f"{ended}\n")
    refused, unknown = done.stderr.splitlines()
    assert "running" in refused
    assert "No such container: nobody" in unknown
    assert cli.ok("rm", "-f", running) == f"{running}\n"
    assert cli.ok("rm", "-f", running) == ""
    assert "name ''" in cli.fails("rm", "")


def test_inspect(cli: Aiod) -> None:
    name = cli.background(*FOREVER)
    container, image = json.loads(cli.ok("inspect", name, "base"))
    assert (container["Name"], container["State"]["Status"]) == (f"/{name}", "running")
    assert container["Image"] == image["Id"]
    done = cli("inspect", "nobody", name)
    assert (done.returncode, len(json.loads(done.stdout))) == (1, 1)
    assert done.stderr == "aiod: no such object: nobody\n"
    assert "no such image" in cli.fails("inspect", "--type", "image", name)
    (sized,) = json.loads(cli.ok("inspect", "-s", name))
    assert sized["SizeRootFs"] > 0


def test_load_list_and_remove_an_image(cli: Aiod, archive: Path) -> None:
    assert cli.ok("load", "-i", str(archive)) == "Loaded image: cli/made:1\n"
    assert cli.ok("load", stdin=archive.read_bytes()) == "Loaded image: cli/made:1\n"
    title, row = cli.ok("images", "cli/made").splitlines()
    assert re.split(r" {2,}", title) == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    assert re.match(r"cli/made +1 +[0-9a-f]{12} +.* ago +[0-9.]+MB$", row)
    (found,) = json.loads(cli.ok("images", "--json", "cli/made"))
    assert found["RepoTags"] == ["cli/made:1"]
    assert cli.ok("images", "-q", "cli/made:1").strip() == found["Id"][7:19]
    assert cli.ok("run", "--rm", "--network", "none", "cli/made:1", "echo", "hi") == "hi\n"
    assert cli.ok("rmi", "cli/made:1").splitlines()[0] == "Untagged: cli/made:1"
    assert cli.ok("images", "-q", "cli/made:1") == ""
    assert "No such image" in cli.fails("rmi", "cli/made:1")


def test_load_shows_a_bar_on_a_terminal_only(cli: Aiod, archive: Path) -> None:
    with cli.terminal("load", "-i", str(archive)) as terminal:
        assert b"\x1b" in terminal.expect(b"Loaded image: cli/made:1")
        assert terminal.finish() == 0
    cli.ok("rmi", "cli/made:1")


def test_load_of_what_is_no_archive(cli: Aiod, tmp_path: Path) -> None:
    assert "absent: No such file" in cli.fails("load", "-i", str(tmp_path / "absent"))
    assert "Is a directory" in cli.fails("load", "-i", str(tmp_path))
    assert cli.fails("load", stdin=b"no tar at all")
    assert cli.fails("load", stdin=b"")
    with cli.terminal("load") as terminal:
        terminal.expect(b"aiod: load: the archive is expected from a pipe or a file")
        assert terminal.finish() == 1


def test_import(cli: Aiod, tmp_path: Path) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(rootfs.busybox_tar())
    identity = cli.ok("import", "-m", "by hand", str(file), "cli/imported:2").strip()
    assert identity.startswith("sha256:")
    (found,) = json.loads(cli.ok("inspect", "cli/imported:2"))
    assert (found["Id"], found["Comment"]) == (identity, "by hand")
    assert cli.ok("import", "-", "cli/imported:3", stdin=file.read_bytes()).startswith("sha256:")
    cli.ok("rmi", "cli/imported:2", "cli/imported:3")
    assert "URL" in cli.fails("import", "http://example.com/x.tar")


def test_events(cli: Aiod) -> None:
    name = cli.background("sh", "-c", "exit 2")
    cli.ok("wait", name)
    chosen = ("events", "--since", "10m", "--until", "0s", "--filter", f"container={name}")
    lines = [json.loads(line) for line in cli.ok(*chosen, "--json").splitlines()]
    assert [line["Action"] for line in lines] == ["create", "start", "die"]
    told = cli.ok(*chosen, "-f", "event=die")
    assert re.match(r"\d{4}-\S+T\S+ container die [0-9a-f]{64} \(.*exitCode=2.*\)\n$", told)


def test_events_as_they_happen(cli: Aiod) -> None:
    name, new = cli.background(*FOREVER), cli.name()
    asked = ("events", "--since", f"{time.time():.9f}", "--filter", "event=rename")
    with cli.spawned(*asked) as follower:
        for before, after in ((name, new), (new, name)):  # it listens when the first has come
            cli.ok("rename", before, after)
            read_until(follower, b"container rename")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == 130


def test_version_and_info(cli: Aiod) -> None:
    assert cli.ok("version").count(__version__) == 2
    document = json.loads(cli.ok("version", "--json"))
    assert document["Client"]["Version"] == document["Server"]["Version"] == __version__
    assert f"Server Version: {__version__}\n" in cli.ok("info")
    assert json.loads(cli.ok("info", "--json"))["ServerVersion"] == __version__


def test_no_daemon_is_told_of_and_how_to_start_one(cli: Aiod, tmp_path: Path) -> None:
    absent = f"unix://{tmp_path}/absent.sock"
    said = cli.fails("-H", absent, "ps")
    assert said.startswith(f"cannot reach the engine at {absent}: No such file or directory")
    assert "systemctl start aiod" in said
    assert "cannot reach" in cli.fails("-H", absent, "run", "base", "true", status=125)
    half = cli("-H", absent, "version", "--json")
    assert half.returncode == 1
    assert json.loads(half.stdout)["Server"] is None
    assert "invalid engine address" in cli.fails("-H", "ftp://x", "ps")


def test_wrong_usage_is_one_line(cli: Aiod) -> None:
    assert "aiod ps --help" in cli.fails("ps", "--colour", status=125)
    assert "No such command 'fly'" in cli.fails("fly", status=125)
    assert "CONTAINER" in cli.fails("stop", status=125)


def test_not_utf8_is_told_of(cli: Aiod) -> None:
    done = subprocess.run(
        [AIOD, "run", "base", os.fsdecode(b"\xff")],
        capture_output=True, env=cli.environment, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (125, b"aiod: an argument is not valid UTF-8\n")


def test_plan_of_a_bundle(cli: Aiod, tmp_path: Path) -> None:
    config = {
        "ociVersion": "1.2.0",
        "process": {"args": ["sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = cli.ok("runtime", "plan", str(tmp_path))
    assert told.splitlines()[0].startswith("clone")
    assert told.splitlines()[-1].startswith("argv")
    assert json.loads(cli.ok("runtime", "plan", "--json", str(tmp_path)))["argv"] == ["sh"]
    (tmp_path / "config.json").write_text("{")
    assert "config.json" in cli.fails("runtime", "plan", str(tmp_path))
    assert "o such file" in cli.fails("runtime", "plan", str(tmp_path / "absent"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cli: Aiod, shell: str) -> None:
    assert "_AIOD_COMPLETE" in cli.ok("completion", shell)


def test_completion_completes(cli: Aiod) -> None:
    done = cli(_AIOD_COMPLETE="bash_complete", COMP_WORDS="aiod res", COMP_CWORD="1")
    assert done.stdout == "plain,restart\n"


def _arguments(group: click.Group, *path: str) -> Iterator[tuple[str, click.Parameter]]:
    """Every argument of every command, by the command's words and its own."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _arguments(command, *path, name)
            continue
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                shown = parameter.metavar or parameter.name
                yield " ".join((*path, name, str(shown))), parameter


# What is no name of something that there is.
_NEW = re.compile(
    r"^(.* command|.* ps_options|completion .*|(container )?rename new|log(in|out) server|.* term"
    r"|.* \[PORT.*|.* \[REPOSITORY.*|(image )?tag NAME.*|(network|volume) create name"
    r"|runtime plan .*)$"
)


def test_every_name_is_completed() -> None:
    left = [
        words
        for words, argument in _arguments(main)
        if argument._custom_shell_complete is None and not _NEW.match(words)
    ]
    assert left == []


@pytest.fixture
def shell(cli: Aiod) -> Iterator[Terminal]:
    """A bash that a user types at, with the completion that the command prints."""
    path = f"{AIOD.parent}:{cli.environment['PATH']}"
    environment = {**cli.environment, "PATH": path, "PS1": "> ", "TERM": "dumb"}
    with Terminal(["bash", "--norc", "--noprofile", "-i"], environment) as shell:
        shell.write(b"source <(aiod completion bash); echo rea''dy\n")
        shell.expect(b"ready\r\n> ")
        yield shell


def test_bash_completes_names(cli: Aiod, shell: Terminal) -> None:
    """The words of a line, also those with a colon, which bash takes for words of their own."""
    box = cli.background(*FOREVER)
    start = box[:-1]

    def typed(line: str) -> str:
        """What the line is after a Tab; it is thrown away."""
        shell.write(f"{line}\t#".encode())
        found = shell.expect(b"#")
        shell.write(b"\x15")
        return found[found.rindex(b"aiod") : -1].replace(b"\a", b"").decode()

    def becomes(line: str, added: str) -> None:
        """An engine that does not answer soon has no names: it is asked again."""
        eventually(lambda: typed(line), lambda found: found == line + added)

    becomes(f"aiod container logs {start}", f"{box[-1]} ")
    becomes(f"aiod run --pid container:{start}", f"{box[-1]} ")
    becomes(f"aiod cp {start}", f"{box[-1]}:")
    becomes("aiod rmi base:lat", "est ")
    becomes("aiod cp /etc/hostn", "ame ")
    becomes("aiod build /et", "c/")


def test_commands_start_without_the_daemons_parts() -> None:
    script = ("import sys\nfrom aiod.cli import main\n"
              "main.get_command(None, 'ps'); main.get_command(None, 'run')\n"
              "print(*sorted(m for m in sys.modules))")  # fmt: skip
    done = subprocess.run(
        [AIOD.parent / "python", "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"aiohttp", "aiosqlite", "grpclib", "rich", "aiod.daemon", "aiod.api"}
