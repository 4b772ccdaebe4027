"""SIGKILL of a shim, of the template and of an init; damaged files; reused pids; a reboot."""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from aiod.shim.protocol import INIT_FILE, SHIM_FILE, InitState, ShimState, read_struct, write_struct
from tests.drills.test_daemon_killed import finish, under_way
from tests.support import leaks, mounts
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.http import Json
from tests.support.processes import Identity, arguments, parent, send, wait_gone
from tests.support.witness import Witness, counted, counting_command

_PIDFD_GETFD = 438


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with containers."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def ended(daemon: AiodDaemon, witness: Witness) -> Json:
    with daemon.api() as api:
        assert api.wait(witness.container) != 0
        return api.state(witness.container)


@pytest.mark.parametrize("daemon_runs", [True, False])
def test_shim_killed(daemon: AiodDaemon, daemon_runs: bool) -> None:
    """No container without supervision: its init goes too, recorded as 137 with the reason."""
    with daemon.api() as api:
        bystander, victim = Witness.start(api, daemon), Witness.start(api, daemon)
    if not daemon_runs:
        daemon.sigkill()
    send(victim.shim)
    wait_gone(victim.shim)
    if not daemon_runs:
        daemon.restart()
    state = ended(daemon, victim)
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    assert "shim" in state["Error"]
    wait_gone(victim.init)
    with daemon.api() as api:
        bystander.assert_undisturbed(api)
        assert counted(api.logs(victim.container)) > 0
        api.start(victim.container)
    finish(daemon)


def template_of(daemon: AiodDaemon) -> Identity:
    """The process that shims are forked from."""
    (pid,) = (
        pid
        for pid, command in daemon.processes().items()
        if parent(pid) == daemon.pid and "aiod.shim.zygote" in command
    )
    return Identity.of(pid)


def has_a_request(template: Identity) -> bool:
    """Whether there is one that it has not read: its socket is its argument, pidfd_getfd(2)."""
    words = arguments(template.pid)
    number = int(words[words.index("aiod.shim.zygote") + 1])
    pidfd = os.pidfd_open(template.pid)
    descriptor = ctypes.CDLL(None).syscall(_PIDFD_GETFD, pidfd, number, 0)
    os.close(pidfd)
    assert descriptor >= 0
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


def test_no_start_comes_later_than_its_daemon(daemon: AiodDaemon) -> None:
    """A template that has not come to a request when its daemon dies never does."""
    with daemon.api() as api:
        bystander = Witness.start(api, daemon)
        late = api.create(Image="base", Cmd=counting_command())
    template = template_of(daemon)
    send(template, signal.SIGSTOP)
    with under_way(daemon, "POST", f"/containers/{late}/start"):
        eventually(lambda: has_a_request(template), bool)
        daemon.sigkill()
    wait_gone(template)
    daemon.restart()
    with daemon.api() as api:
        assert api.state(late)["Status"] == "created"
        bystander.assert_undisturbed(api)
        Witness.start(api, daemon).assert_undisturbed(api)
        api.start(late)
    finish(daemon)


def test_template_killed(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
        template = template_of(daemon)
        send(template)
        wait_gone(template)
        witness.assert_undisturbed(api)
        Witness.start(api, daemon).assert_undisturbed(api)
        witness.assert_undisturbed(api)
    finish(daemon)


@pytest.mark.parametrize("daemon_runs", [True, False])
def test_init_killed(daemon: AiodDaemon, daemon_runs: bool) -> None:
    with daemon.api() as api:
        bystander, victim = Witness.start(api, daemon), Witness.start(api, daemon)
    if not daemon_runs:
        daemon.sigkill()
    victim.end(signal.SIGKILL)
    if not daemon_runs:
        daemon.restart()
    state = ended(daemon, victim)
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 137, False)
    assert state["FinishedAt"] > state["StartedAt"]
    with daemon.api() as api:
        bystander.assert_undisturbed(api)
    finish(daemon)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _overwrite(path: Path) -> None:
    path.write_bytes(b"\x00\xff{]" * 20)


@pytest.mark.parametrize("damage", [_truncate, _empty, _overwrite, Path.unlink])
def test_damaged_files_of_running_containers(daemon: AiodDaemon, damage: object) -> None:
    """The daemon comes up, all else is right, and the containers can be removed."""
    names = ("shim.json", "init.json", "config.json", "request.json")
    with daemon.api() as api:
        bystander = Witness.start(api, daemon)
        victims = [Witness.start(api, daemon) for _ in names]
    daemon.sigkill()
    assert callable(damage)
    for victim, name in zip(victims, names, strict=True):
        damage(daemon.paths.shim(victim.container) / name)
    daemon.restart()
    with daemon.api() as api:
        bystander.assert_undisturbed(api)
        for victim in victims:
            state = api.state(victim.container)
            if state["Running"]:
                victim.assert_undisturbed(api)
            else:
                assert state["ExitCode"] != 0
                assert state["Error"]
                assert not victim.init.alive()
            api.remove(victim.container)
    for victim in victims:
        wait_gone(victim.init)
        wait_gone(victim.shim)
    finish(daemon)


@pytest.mark.parametrize("damage", [_truncate, _empty, _overwrite])
def test_damaged_exit_record(daemon: AiodDaemon, damage: object) -> None:
    """An exit that nobody can know is never 0."""
    with daemon.api() as api:
        bystander = Witness.start(api, daemon)
        victim = Witness.start(api, daemon, Cmd=counting_command(0))
    daemon.sigkill()
    victim.end()
    record = daemon.paths.shim(victim.container) / "exit.json"
    eventually(record.exists, bool)
    send(victim.shim)
    wait_gone(victim.shim)
    assert callable(damage)
    damage(record)
    daemon.restart()
    state = ended(daemon, victim)
    assert state["ExitCode"] in (137, 255)
    assert state["Error"]
    with daemon.api() as api:
        bystander.assert_undisturbed(api)
    finish(daemon)


def test_reused_pid_is_spared(daemon: AiodDaemon, innocent: subprocess.Popen[bytes]) -> None:
    """The pid of a dead container now belongs to another process, which must survive."""
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    daemon.sigkill()
    send(victim.shim)
    wait_gone(victim.shim)
    send(victim.init)
    wait_gone(victim.init)
    directory = daemon.paths.shim(victim.container)
    shim, init = (
        read_struct(directory / SHIM_FILE, ShimState),
        read_struct(directory / INIT_FILE, InitState),
    )
    assert shim is not None
    assert init is not None
    (directory / "exit.json").unlink(missing_ok=True)
    write_struct(directory / SHIM_FILE, msgspec.structs.replace(shim, pid=innocent.pid))
    write_struct(directory / INIT_FILE, msgspec.structs.replace(init, pid=innocent.pid))
    for process in (victim.shim, victim.init):
        replace_in_database(daemon.paths.database, f":{process.pid},", f":{innocent.pid},")
    daemon.restart()
    with daemon.api() as api:
        state = api.state(victim.container)
        assert (state["Status"], state["Pid"]) == ("exited", 0)
        assert state["ExitCode"] == 137
        api.send("POST", f"/containers/{victim.container}/kill")
        api.remove(victim.container)
    assert innocent.poll() is None
    finish(daemon)


def reboot(daemon: AiodDaemon) -> None:
    """What a reboot does to a root whose daemon is dead: another boot id, and /run empty."""
    for pid in daemon.processes():
        with contextlib.suppress(ProcessLookupError):
            process = Identity.of(pid)
            send(process)
            wait_gone(process)
    mounts.unmount_all(daemon.base)
    mounts.remove_cgroups(daemon.cgroup)
    shutil.rmtree(daemon.paths.state)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert replace_in_database(daemon.paths.database, boot, boot[::-1]) > 0


def test_reboot(daemon: AiodDaemon, innocent: subprocess.Popen[bytes]) -> None:
    """Another boot id in the records, /run empty, all processes gone."""
    with daemon.api() as api:
        plain = Witness.start(api, daemon)
        always = Witness.start(api, daemon, HostConfig={"RestartPolicy": {"Name": "always"}})
        stopped = Witness.start(
            api, daemon, HostConfig={"RestartPolicy": {"Name": "unless-stopped"}}
        )
        api.call("POST", f"/containers/{stopped.container}/stop", t=0)
        passing = Witness.start(api, daemon, HostConfig={"AutoRemove": True})
    daemon.sigkill()
    reboot(daemon)
    # After a reboot the pids of before belong to anyone.
    replace_in_database(daemon.paths.database, f":{plain.init.pid},", f":{innocent.pid},")
    daemon.restart()
    with daemon.api() as api:
        state = api.state(plain.container)
        assert state["Status"] == "exited"
        assert state["ExitCode"] in (137, 255)
        assert state["Error"]
        assert counted(api.logs(plain.container)) > 0
        eventually(lambda: api.state(always.container)["Status"], lambda s: s == "running")
        assert not api.state(stopped.container)["Running"]
        assert passing.container not in [row["Id"] for row in api.containers()]
        assert last_events(daemon, passing.container)[-2:] == ["die", "destroy"]
    assert innocent.poll() is None
    finish(daemon)


def last_events(daemon: AiodDaemon, container: str) -> list[str]:
    """What the event log says of a container, up to now."""
    flags = ("--since", "1h", "--until", f"{time.time():.9f}", "--filter", f"container={container}")
    return daemon.docker("events", *flags, "--format", "{{.Action}}").stdout.split()


def replace_in_database(path: Path, old: str, new: str) -> int:
    """Replace text in every text or JSON column of the containers' table; returns how many rows."""
    connection = sqlite3.connect(path)
    changed = 0
    with connection:
        columns = connection.execute("SELECT name, type FROM pragma_table_info('containers')")
        for column, kind in columns.fetchall():
            if kind not in ("TEXT", "BLOB", "ANY"):
                continue
            changed += connection.execute(
                f"UPDATE containers SET {column} = CAST(replace({column}, ?, ?) AS {kind}) "
                f"WHERE instr({column}, ?) > 0",
                (old, new, old),
            ).rowcount
    connection.close()
    return changed


def test_bad_record_hides_no_other(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        witness, victim = Witness.start(api, daemon), Witness.start(api, daemon)
    daemon.sigkill()
    connection = sqlite3.connect(daemon.paths.database)
    with connection:
        columns = connection.execute("SELECT name, type FROM pragma_table_info('containers')")
        documents = [name for name, kind in columns.fetchall() if kind in ("TEXT", "BLOB")]
        for column in documents:
            connection.execute(
                f"UPDATE OR IGNORE containers SET {column} = substr({column}, 1, 20) "
                f"WHERE id = ? AND instr({column}, '{{') = 1",
                (victim.container,),
            )
    connection.close()
    daemon.restart()
    with daemon.api() as api:
        witness.assert_undisturbed(api)
        layers = set(daemon.paths.overlay.iterdir())
        api.remove(witness.container)
        api.call("DELETE", "/images/base")
        assert set(daemon.paths.overlay.iterdir()) == layers, "the victim may stand on them"
        api.send("DELETE", f"/containers/{victim.container}", force="1")
    leaks.assert_none(daemon)


def test_two_daemons_never_share_a_root(daemon: AiodDaemon) -> None:
    second = AiodDaemon(daemon.base / "second")
    second.paths = daemon.paths
    assert not second.launch()
    assert second.wait_death() > 0
    assert "lock" in second.log_tail() or "another" in second.log_tail()
    finish(daemon)
