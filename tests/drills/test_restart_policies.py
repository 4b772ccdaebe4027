"""Restart policies over the daemon's death: they resume at once, with their history and counts."""

import signal

import pytest

from tests.drills.test_daemon_killed import finish
from tests.drills.test_others_killed import last_events
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.http import Api, Json
from tests.support.processes import Identity
from tests.support.witness import Witness, counting_command

FAILING = ["sh", "-c", "echo run; exit 1"]


def policy(name: str, most: int = 0) -> Json:
    return {"RestartPolicy": {"Name": name, "MaximumRetryCount": most}}


def reaching(api: Api, container: str, status: str) -> Json:
    """The container's details once it has that status."""
    return eventually(
        lambda: api.inspect(container), lambda found: found["State"]["Status"] == status
    )


def test_counts_resume(daemon: AiodDaemon) -> None:
    """Five starts in all, whether the daemon lives or not."""
    with daemon.api() as api:
        container = api.run(*FAILING, HostConfig=policy("on-failure", 4))
        eventually(lambda: api.inspect(container)["RestartCount"], lambda count: count >= 1)
    daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        found = reaching(api, container, "exited")
        assert found["RestartCount"] == 4
        assert found["State"]["ExitCode"] == 1
        assert api.logs(container) == b"run\n" * 5
    assert last_events(daemon, container) == ["create", *["start", "die"] * 5]
    finish(daemon)


def test_killed_during_the_wait_for_the_next_start(daemon: AiodDaemon) -> None:
    """The wait goes on where it was: neither anew from 100 ms, nor forgotten."""
    with daemon.api() as api:
        container = api.run(*FAILING, HostConfig=policy("always"))
        eventually(lambda: api.inspect(container)["RestartCount"], lambda count: count >= 4)
        told = reaching(api, container, "restarting")["RestartCount"]
    daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        before = api.inspect(container)["RestartCount"]
        assert before >= told
        eventually(lambda: api.inspect(container)["RestartCount"], lambda now: now > before)
        starts = api.logs(container).count(b"run\n")
        assert starts <= api.inspect(container)["RestartCount"] + 1
    finish(daemon)


@pytest.mark.parametrize("name", ["always", "unless-stopped", "on-failure"])
def test_one_that_ended_meanwhile_runs_again(daemon: AiodDaemon, name: str) -> None:
    with daemon.api() as api:
        witness = Witness.start(api, daemon, HostConfig=policy(name))
    daemon.sigkill()
    witness.end()
    daemon.restart()
    with daemon.api() as api:
        found = reaching(api, witness.container, "running")
        assert found["State"]["Pid"] != witness.init.pid
        assert found["RestartCount"] == 1
    assert last_events(daemon, witness.container) == ["create", "start", "die", "start"]
    finish(daemon)


def test_one_that_succeeded_meanwhile_stays_ended(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        command = counting_command(0)
        witness = Witness.start(api, daemon, Cmd=command, HostConfig=policy("on-failure"))
    daemon.sigkill()
    witness.end()
    daemon.restart()
    with daemon.api() as api:
        found = api.inspect(witness.container)
        assert (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 0)
        assert found["RestartCount"] == 0
    finish(daemon)


@pytest.mark.parametrize(("name", "again"), [("always", True), ("unless-stopped", False)])
def test_stopped_by_hand(daemon: AiodDaemon, name: str, again: bool) -> None:
    """It stays stopped while this daemon lives; `always` starts with the next."""
    with daemon.api() as api:
        witness = Witness.start(api, daemon, HostConfig=policy(name))
        api.call("POST", f"/containers/{witness.container}/stop")
        assert api.state(witness.container)["Status"] == "exited"
    assert daemon.stop() == 0
    daemon.restart()
    with daemon.api() as api:
        if again:
            reaching(api, witness.container, "running")
        else:
            assert api.state(witness.container)["Status"] == "exited"
    finish(daemon)


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_given_up_during_the_wait_for_the_next_start(daemon: AiodDaemon, verb: str) -> None:
    with daemon.api() as api:
        container = api.run(*FAILING, HostConfig=policy("unless-stopped"))
        eventually(lambda: api.inspect(container)["RestartCount"], lambda count: count >= 4)
        eventually(lambda: api.state(container)["Status"], lambda status: status == "restarting")
        api.call("POST", f"/containers/{container}/{verb}")
        found = api.inspect(container)
        assert found["State"]["Status"] == "exited"
    daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        assert api.state(container)["Status"] == "exited"
        assert api.inspect(container)["RestartCount"] == found["RestartCount"]
    finish(daemon)


@pytest.mark.parametrize("point", ["start.intent-written", "start.bundle-written"])
def test_killed_in_a_restart(daemon: AiodDaemon, point: str) -> None:
    """It is counted once, when it was decided, however many daemons try to make it."""
    with daemon.api() as api:
        witness = Witness.start(api, daemon, HostConfig=policy("on-failure", 1))
    daemon.sigkill()
    daemon.crash_at(point)
    init: Identity = witness.init
    witness.end(signal.SIGKILL)
    assert daemon.wait_death() == -signal.SIGKILL
    daemon.restart()
    with daemon.api() as api:
        found = reaching(api, witness.container, "running")
        assert found["RestartCount"] == 1
        assert found["State"]["Pid"] != init.pid
    finish(daemon)


def test_removal_of_one_that_waits_for_its_next_start(daemon: AiodDaemon) -> None:
    with daemon.api() as api:
        container = api.run(*FAILING, HostConfig=policy("always"))
        eventually(lambda: api.state(container)["Status"], lambda status: status == "restarting")
        eventually(lambda: api.inspect(container)["RestartCount"], lambda count: count >= 3)
        api.remove(container)
    assert last_events(daemon, container)[-1] == "destroy"
    finish(daemon)
