"""Health checks over the daemon's death: they resume at once, with their history and counts."""

from tests.drills.test_daemon_killed import finish
from tests.drills.test_others_killed import last_events
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually

SECOND = 10**9


def test_the_history_resumes(daemon: AiodDaemon) -> None:
    check = {"Test": ["CMD", "false"], "Interval": SECOND // 5, "Retries": 1000}
    with daemon.api() as api:
        container = api.run("sleep", "1000000", Healthcheck=check)
        eventually(
            lambda: api.state(container)["Health"]["FailingStreak"], lambda streak: streak >= 3
        )
    daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        before = api.state(container)["Health"]
        assert before["FailingStreak"] >= 3
        assert len(before["Log"]) >= 3
        after = eventually(
            lambda: api.state(container)["Health"],
            lambda found: found["FailingStreak"] > before["FailingStreak"],
        )
    assert after["Status"] == "starting"
    assert after["Log"][0]["Start"] >= before["Log"][0]["Start"]
    assert [a for a in last_events(daemon, container) if a.startswith("health_status")] == []
    finish(daemon)


def test_a_probe_under_way_is_ended_and_made_again(daemon: AiodDaemon) -> None:
    """Nobody reads the answer of the first one any more, and it would hang for ever."""
    script = "test -e /asked && exit 0; touch /asked; exec sleep 1000000"
    check = {"Test": ["CMD", "sh", "-c", script], "Interval": SECOND // 5, "Timeout": 1000 * SECOND}
    with daemon.api() as api:
        container = api.run("sleep", "1000000", Healthcheck=check)

        def probes() -> list[list[str]]:
            found = api.call("GET", f"/containers/{container}/top", ps_args="-o pid,args")
            return [row for row in found["Processes"] if row[-1] == "sleep 1000000"]

        eventually(probes, lambda found: len(found) == 2)
    daemon.sigkill()
    daemon.restart()
    with daemon.api() as api:
        eventually(
            lambda: api.state(container)["Health"]["Status"], lambda status: status == "healthy"
        )
        eventually(probes, lambda found: len(found) == 1)
    finish(daemon)
