"""Each row of the reconcile table, produced for real, and what a new daemon makes of it.

The daemon's own log says which row decided; a row without a drill fails the suite.
"""

import contextlib
import http.client
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from aiod.shim.protocol import EXIT_FILE
from aiod.tasks.recovery import TABLE
from tests.drills.test_daemon_killed import finish
from tests.drills.test_others_killed import reboot
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.processes import Identity, send, wait_gone
from tests.support.witness import Witness, counting_command

Drill = Callable[[AiodDaemon], None]
DRILLS: dict[str, Drill] = {}


def row(title: str) -> Callable[[Drill], Drill]:
    """Name the row of the table that a drill produces."""

    def named(drill: Drill) -> Drill:
        DRILLS[title] = drill
        return drill

    return named


@pytest.mark.parametrize("title", [one.title for one in TABLE])
def test_row(daemon: AiodDaemon, title: str) -> None:
    daemon.flags = ["--log-level", "debug"]
    with daemon.api() as api:
        bystander = Witness.start(api, daemon)
    DRILLS[title](daemon)
    with daemon.api() as api:
        # A reboot ends it too; then it has been recorded as that.
        if bystander.init.alive():
            bystander.assert_undisturbed(api)
        else:
            assert api.state(bystander.container)["ExitCode"] == 255
    finish(daemon)


def assert_decided(daemon: AiodDaemon, container: str, title: str) -> None:
    """The newest daemon's log names the row."""
    log = daemon.log.read_text()
    decisions = [line for line in log.splitlines() if f"container {container[:12]}: " in line]
    assert any(f": {title}: " in line for line in decisions), decisions


def die_at(daemon: AiodDaemon, point: str, method: str, path: str) -> None:
    """Have a call end in the daemon's death at `point`."""
    daemon.sigkill()
    daemon.crash_at(point)
    cut_off = contextlib.suppress(OSError, http.client.HTTPException)
    with cut_off, daemon.api() as api:
        api.send(method, path)
    assert daemon.wait_death() == -signal.SIGKILL, daemon.log_tail()


@row("a removal was begun")
def a_removal_was_begun(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    die_at(daemon, "remove.intent-written", "DELETE", f"/containers/{victim.container}?force=1")
    assert victim.init.alive()
    daemon.restart()
    assert_decided(daemon, victim.container, "a removal was begun")
    wait_gone(victim.init)
    wait_gone(victim.shim)
    with daemon.api() as api:
        assert victim.container not in [one["Id"] for one in api.containers()]


@row("nobody owns it")
def nobody_owns_it(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    daemon.sigkill()
    connection = sqlite3.connect(daemon.paths.database)
    with connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM containers WHERE id = ?", (victim.container,))
    connection.close()
    daemon.restart()
    wait_gone(victim.init)
    wait_gone(victim.shim)
    assert not daemon.paths.shim(victim.container).exists()
    assert not daemon.paths.container(victim.container).exists()


@row("it had ended, the shim was not released")
def it_had_ended(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    die_at(daemon, "stop.exit-taken", "POST", f"/containers/{victim.container}/kill?signal=USR1")
    assert victim.shim.alive()
    daemon.restart()
    assert_decided(daemon, victim.container, "it had ended, the shim was not released")
    wait_gone(victim.shim)
    with daemon.api() as api:
        state = api.state(victim.container)
        assert (state["Status"], state["ExitCode"]) == ("exited", 17)


@row("the host was restarted while it ran")
def the_host_was_restarted(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    daemon.sigkill()
    reboot(daemon)
    daemon.restart()
    assert_decided(daemon, victim.container, "the host was restarted while it ran")
    with daemon.api() as api:
        state = api.state(victim.container)
        assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 255, 0)
        assert "restarted" in state["Error"]
        api.start(victim.container)


@row("the host was restarted during its start")
def the_host_was_restarted_during_its_start(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        victim = api.create(Image="base", Cmd=counting_command())
    die_at(daemon, "start.spawned", "POST", f"/containers/{victim}/start")
    reboot(daemon)
    daemon.restart()
    assert_decided(daemon, victim, "the host was restarted during its start")
    with daemon.api() as api:
        state = api.state(victim)
        assert (state["Status"], state["ExitCode"], state["Error"]) == ("created", 0, "")
        api.start(victim)


@row("it ended meanwhile")
def it_ended_meanwhile(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    daemon.sigkill()
    victim.end()
    eventually((daemon.paths.shim(victim.container) / EXIT_FILE).exists, bool)
    daemon.restart()
    assert_decided(daemon, victim.container, "it ended meanwhile")
    with daemon.api() as api:
        state = api.state(victim.container)
        assert (state["Status"], state["ExitCode"]) == ("exited", 17)
    wait_gone(victim.shim)


@row("it runs")
def it_runs(daemon: AiodDaemon) -> None:
    """Also one whose start nobody lived to record."""
    with daemon.api() as api:
        recorded = Witness.start(api, daemon)
        victim = api.create(Image="base", Cmd=counting_command())
    die_at(daemon, "start.spawned", "POST", f"/containers/{victim}/start")
    daemon.restart()
    for container in (recorded.container, victim):
        assert_decided(daemon, container, "it runs")
    with daemon.api() as api:
        recorded.assert_undisturbed(api)
        Witness.of(api, daemon, victim).assert_undisturbed(api)


@row("it has ended and its shim is about to say so")
def its_shim_is_about_to_say_so(daemon: AiodDaemon) -> None:
    """The shim is stopped between its container's end and the record of it."""
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    daemon.sigkill()
    send(victim.shim, signal.SIGSTOP)
    victim.end()
    daemon.restart()
    title = "it has ended and its shim is about to say so"
    assert_decided(daemon, victim.container, title)
    send(victim.shim, signal.SIGCONT)
    with daemon.api() as api:
        assert api.wait(victim.container) == 17
    wait_gone(victim.shim)


@row("the start never came to a process")
def the_start_never_came_to_a_process(daemon: AiodDaemon) -> None:
    """Neither one that has only a bundle, nor one made and not let go, which runs nothing."""
    with daemon.api() as api:
        victim = api.create(Image="base", Cmd=counting_command())
        held = api.create(Image="base", Cmd=["touch", "/ran"], AttachStdout=True)
    die_at(daemon, "start.bundle-written", "POST", f"/containers/{victim}/start")
    daemon.crash_at("start.spawned")
    daemon.docker("start", "-a", held, check=False)
    assert daemon.wait_death() == -signal.SIGKILL
    daemon.restart()
    assert_decided(daemon, victim, "the start never came to a process")
    assert_decided(daemon, held, "the start never came to a process")
    eventually(lambda: [daemon.paths.shim(one).exists() for one in (victim, held)],
               lambda found: not any(found))  # fmt: skip
    with daemon.api() as api:
        for container in (victim, held):
            assert api.state(container)["Status"] == "created"
    assert not Path(daemon.paths.container(held) / "upper/ran").exists()


@row("its shim died, or its files are damaged: it may not run unsupervised")
def its_shim_died(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    daemon.sigkill()
    send(victim.shim)
    wait_gone(victim.shim)
    daemon.restart()
    title = "its shim died, or its files are damaged: it may not run unsupervised"
    assert_decided(daemon, victim.container, title)
    wait_gone(victim.init)
    with daemon.api() as api:
        state = api.state(victim.container)
        assert (state["Status"], state["ExitCode"]) == ("exited", 137)
        assert state["Error"] == "the exit is unknown: its shim died"


def test_every_row_has_its_drill() -> None:
    assert set(DRILLS) == {one.title for one in TABLE}


def test_a_live_shim_is_never_swept(daemon: AiodDaemon) -> None:
    """Its files name another process, its directory is half gone: it is still its container's."""
    with daemon.api() as api:
        victim = Witness.start(api, daemon)
    daemon.sigkill()
    (daemon.paths.shim(victim.container) / "shim.json").unlink()
    daemon.restart()
    with daemon.api() as api:
        victim.assert_undisturbed(api)
    assert Identity.of(victim.shim.pid) == victim.shim
    finish(daemon)


def test_a_shim_without_directory_is_ended(daemon: AiodDaemon) -> None:
    """No file leads to it any more; it is found all the same."""
    with daemon.api() as api:
        bystander, victim = Witness.start(api, daemon), Witness.start(api, daemon)
    daemon.sigkill()
    connection = sqlite3.connect(daemon.paths.database)
    with connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM containers WHERE id = ?", (victim.container,))
    connection.close()
    for name in ("shim.json", "init.json"):
        (daemon.paths.shim(victim.container) / name).unlink()
    daemon.restart()
    wait_gone(victim.shim)
    wait_gone(victim.init)
    with daemon.api() as api:
        bystander.assert_undisturbed(api)
    finish(daemon)
