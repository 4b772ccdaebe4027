"""The daemon dies while a call waits: stop, pause, removal; and what nobody was there to see."""

import os
import signal
from pathlib import Path

import pytest

from tests.drills.test_daemon_killed import exec_code, finish, under_way
from tests.drills.test_others_killed import last_events
from tests.support import leaks
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.processes import Identity, wait_gone
from tests.support.witness import Witness, counted

DEAF = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]


def test_killed_while_a_stop_waits(daemon: AiodDaemon) -> None:
    """The next daemon is as patient as the container was told to be, and then ends it."""
    with daemon.api() as api:
        container = api.run(*DEAF, StopTimeout=1)
        init = Identity.of(api.state(container)["Pid"])
        eventually(lambda: api.logs(container), bool)
    with under_way(daemon, "POST", f"/containers/{container}/stop?t=600"):
        eventually(lambda: last_events(daemon, container), lambda heard: "kill" in heard)
        daemon.sigkill()
    assert init.alive()
    daemon.restart()
    with daemon.api() as api:
        assert api.wait(container) == 137
        assert api.state(container)["Status"] == "exited"
    eventually(lambda: last_events(daemon, container)[-1], lambda last: last == "stop")
    finish(daemon)


def test_it_stops_while_no_daemon_runs(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        script = (
            "trap 'echo asked; until test -e /go; do sleep 0.05; done; exit 5' TERM; echo up; "
            "while :; do sleep 0.05; done"
        )
        container = api.run("sh", "-c", script)
        init = Identity.of(api.state(container)["Pid"])
        eventually(lambda: api.logs(container), bool)
    with under_way(daemon, "POST", f"/containers/{container}/stop?t=600"):
        with daemon.api() as api:
            eventually(lambda: api.logs(container), lambda said: b"asked" in said)
        daemon.sigkill()
    Path(f"/proc/{init.pid}/root/go").touch()
    wait_gone(init)
    daemon.restart()
    with daemon.api() as api:
        assert api.wait(container) == 5
    heard = eventually(lambda: last_events(daemon, container), lambda said: said[-1] == "stop")
    assert heard[-3:] == ["kill", "die", "stop"]
    finish(daemon)


def test_a_paused_container_is_taken_up_as_paused(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
        api.call("POST", f"/containers/{witness.container}/pause")
        before = counted(api.logs(witness.container))  # or one more, on its way to the log
    daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        state = api.state(witness.container)
        assert (state["Status"], state["Pid"]) == ("paused", witness.init.pid)
        assert counted(api.logs(witness.container)) in (before, before + 1)
        api.call("POST", f"/containers/{witness.container}/unpause")
        witness.assert_undisturbed(api)
    finish(daemon)


@pytest.mark.parametrize(
    ("verb", "point", "status"),
    [("pause", "pause.frozen", "paused"), ("unpause", "unpause.thawed", "running")],
)
def test_the_kernel_knows_of_a_pause_that_was_not_recorded(
    daemon: AiodDaemon, verb: str, point: str, status: str
) -> None:
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
        if verb == "unpause":
            api.call("POST", f"/containers/{witness.container}/pause")
    daemon.sigkill()
    daemon.crash_at(point)
    with under_way(daemon, "POST", f"/containers/{witness.container}/{verb}"):
        assert daemon.wait_death() == -signal.SIGKILL
    daemon.restart()
    with daemon.api() as api:
        assert api.state(witness.container)["Status"] == status
        assert last_events(daemon, witness.container)[-1] == verb
        if status == "paused":
            api.call("POST", f"/containers/{witness.container}/unpause")
        witness.assert_undisturbed(api)
    finish(daemon)


@pytest.mark.parametrize("point", ["pause.frozen", "commit.held"])
def test_a_container_goes_on_whose_commit_was_cut_off(daemon: AiodDaemon, point: str) -> None:
    """It was paused for the image alone, which nobody makes any more."""
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
    daemon.sigkill()
    daemon.crash_at(point)
    with under_way(daemon, "POST", f"/commit?container={witness.container}&repo=never"):
        assert daemon.wait_death() == -signal.SIGKILL
    daemon.restart()
    with daemon.api() as api:
        assert api.state(witness.container)["Status"] == "running"
        witness.assert_undisturbed(api)
        heard = last_events(daemon, witness.container)
        assert heard.count("pause") == heard.count("unpause") == int(point == "commit.held")
        # a pause that somebody asks for outlives a daemon again
        api.call("POST", f"/containers/{witness.container}/pause")
    daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        assert api.state(witness.container)["Status"] == "paused"
        api.call("POST", f"/containers/{witness.container}/unpause")
    finish(daemon)


@pytest.mark.parametrize("ending", ["stop", "kill", "remove"])
def test_a_paused_container_can_be_ended(daemon: AiodDaemon, ending: str) -> None:
    """By another daemon than the one that froze it."""
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
        api.call("POST", f"/containers/{witness.container}/pause")
    daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        if ending == "remove":
            api.remove(witness.container)
        else:
            api.call("POST", f"/containers/{witness.container}/{ending}")
            assert api.state(witness.container)["Status"] == "exited"
    wait_gone(witness.init)
    finish(daemon)


@pytest.mark.parametrize(
    "point",
    ["remove.intent-written", "remove.marked", "remove.files-removed", "remove.recorded"],
)
def test_killed_in_a_removal_by_force(daemon: AiodDaemon, point: str) -> None:
    """Nothing stays "removing": the next daemon has finished it before it answers."""
    with daemon.api() as api:
        bystander, victim = Witness.start(api, daemon), Witness.start(api, daemon)
    daemon.sigkill()
    daemon.crash_at(point)
    with under_way(daemon, "DELETE", f"/containers/{victim.container}?force=1"):
        assert daemon.wait_death() == -signal.SIGKILL
    daemon.restart()
    with daemon.api() as api:
        assert [one["Id"] for one in api.containers()] == [bystander.container]
        bystander.assert_undisturbed(api)
    heard = last_events(daemon, victim.container)
    assert heard.count("destroy") == 1
    assert heard[-1] == "destroy"
    leaks.assert_none(daemon)
    finish(daemon)


def test_out_of_memory_while_no_daemon_runs(daemon: AiodDaemon) -> None:
    hungry = "trap 'exec tail /dev/zero' USR1; echo up; while :; do sleep 0.1; done"
    with daemon.api() as api:
        limits = {"Memory": 8 << 20, "MemorySwap": 8 << 20}
        container = api.run("sh", "-c", hungry, HostConfig=limits)
        init = Identity.of(api.state(container)["Pid"])
        eventually(lambda: api.logs(container), bool)
        daemon.sigkill()
    os.kill(init.pid, signal.SIGUSR1)
    wait_gone(init)
    daemon.restart()
    with daemon.api() as api:
        assert api.wait(container) == 137
        assert api.state(container)["OOMKilled"]
    assert last_events(daemon, container)[-2:] == ["oom", "die"]
    finish(daemon)


def test_an_exec_ends_with_its_container(daemon: AiodDaemon) -> None:
    """Whether a daemon sees it or not, no exec is running in a container that is not."""
    with daemon.api() as api:
        seen, unseen = Witness.start(api, daemon), Witness.start(api, daemon)
        execs = []
        for witness in (seen, unseen):
            asked = {"Cmd": ["sleep", "1000"]}
            made = api.call("POST", f"/containers/{witness.container}/exec", asked)["Id"]
            api.call("POST", f"/exec/{made}/start", {"Detach": True})
            execs.append(made)
        api.call("POST", f"/containers/{seen.container}/kill")
        assert exec_code(api, execs[0]) == 137
    daemon.sigkill()
    unseen.end(signal.SIGKILL)
    daemon.restart()
    with daemon.api() as api:
        for one in execs:
            assert exec_code(api, one) == 137
    finish(daemon)


@pytest.mark.parametrize("where", ["header", "pages"])
def test_a_damaged_database_is_refused_in_one_line(daemon: AiodDaemon, where: str) -> None:
    """Nothing of it is thrown away, and containers go on."""
    with daemon.api() as api:
        witness = Witness.start(api, daemon)
    assert daemon.stop() == 0
    path = daemon.paths.database
    good = path.read_bytes()
    damaged = b"\xff" * 4096 + good[4096:] if where == "header" else (
        good[:4096] + b"\xff" * (len(good) - 4096)
    )  # fmt: skip
    path.write_bytes(damaged)
    before = len(daemon.log.read_bytes())
    assert not daemon.launch()
    assert daemon.wait_death() == 1
    said = daemon.log.read_text()[before:].splitlines()
    assert [line for line in said if line.startswith("aiod: ")] == said[-1:]
    assert str(path) in said[-1]
    assert not any("Traceback" in line for line in said)
    assert path.read_bytes() == damaged
    assert witness.init.alive()
    path.write_bytes(good)
    daemon.restart()
    with daemon.api() as api:
        witness.assert_undisturbed(api)
    finish(daemon)
