"""Health checks: what is run and when, and what a result makes of the health."""

from typing import Any

import msgspec
import pytest

from aiod.containers import healthrules
from aiod.errors import InvalidParameterError
from aiod.images.config import Healthcheck
from aiod.store.models import ContainerConfig, HealthConfig
from aiod.store.records import Health, HealthStatus, ProbeResult, RunState, Status

SECOND = 10**9
STARTED = 1_000 * SECOND


def plan(**asked: Any) -> healthrules.Plan:
    config = ContainerConfig(Healthcheck=HealthConfig(Test=["CMD", "probe"], **asked))
    found = healthrules.plan(config)
    assert found is not None
    return found


def result(code: int, at: float = 1.0) -> ProbeResult:
    began = STARTED + int(at * SECOND)
    return ProbeResult(began, began + SECOND // 10, code, "")


def running(health: Health) -> RunState:
    return RunState(Status.RUNNING, started_ns=STARTED, health=health)


def after(probed: healthrules.Plan, *results: ProbeResult) -> Health:
    """The health of a run of which these are the results."""
    health = Health(HealthStatus.STARTING)
    for one in results:
        health = healthrules.judged(running(health), probed, one)
    return health


@pytest.mark.parametrize(
    ("test", "command"),
    [
        (["CMD", "a", "b c"], ("a", "b c")),
        (["CMD-SHELL", "a b"], ("/bin/sh", "-c", "a b")),
        (["NONE"], None),
        (["OTHER", "a"], None),
        ([], None),
        (None, None),
    ],
)
def test_what_is_run(test: list[str] | None, command: tuple[str, ...] | None) -> None:
    found = healthrules.plan(ContainerConfig(Healthcheck=HealthConfig(Test=test)))
    assert (found.command if found else None) == command


def test_the_shell_is_the_containers() -> None:
    asked = HealthConfig(Test=["CMD-SHELL", "a b"])
    found = healthrules.plan(ContainerConfig(Healthcheck=asked, Shell=["/bin/ash", "-ec"]))
    assert found is not None
    assert found.command == ("/bin/ash", "-ec", "a b")


def test_without_a_check_there_is_no_health() -> None:
    assert healthrules.plan(ContainerConfig()) is None
    assert healthrules.begun(RunState(), ContainerConfig()) == Health()
    assert healthrules.ended(Health()) == Health()


def test_defaults_are_those_of_dockerd() -> None:
    found = plan()
    times = (found.interval, found.timeout, found.start_period, found.start_interval)
    assert times == (30 * SECOND, 30 * SECOND, 0, 5 * SECOND)
    assert found.retries == 3


def test_the_image_fills_in_what_was_not_asked_for() -> None:
    image = Healthcheck(test=["CMD", "own"], interval=7, retries=9)
    assert healthrules.merged(msgspec.UNSET, None) is msgspec.UNSET
    assert healthrules.merged(msgspec.UNSET, image) == HealthConfig(["CMD", "own"], 7, 0, 9)
    asked = HealthConfig(Interval=5)
    assert healthrules.merged(asked, image) == HealthConfig(["CMD", "own"], 5, 0, 9)
    assert healthrules.merged(asked, None) == asked


@pytest.mark.parametrize("name", ["Interval", "Timeout", "StartPeriod", "StartInterval"])
def test_durations_that_cannot_be(name: str) -> None:
    healthrules.check(msgspec.structs.replace(HealthConfig(), **{name: 10**6}))
    for wrong in (10**6 - 1, -1):
        with pytest.raises(InvalidParameterError, match=f"{name} in Healthcheck cannot be less"):
            healthrules.check(msgspec.structs.replace(HealthConfig(), **{name: wrong}))
    with pytest.raises(InvalidParameterError, match="Retries in Healthcheck cannot be negative"):
        healthrules.check(HealthConfig(Retries=-1))


def test_failures_add_up_and_a_success_forgets_them() -> None:
    probed = plan(Retries=2)
    assert after(probed, result(1)).status is HealthStatus.STARTING
    assert after(probed, result(1), result(1)).status is HealthStatus.UNHEALTHY
    healthy = after(probed, result(1), result(0), result(1))
    assert (healthy.status, healthy.failing_streak) == (HealthStatus.HEALTHY, 1)
    again = after(probed, result(1), result(1), result(-1), result(0))
    assert (again.status, again.failing_streak) == (HealthStatus.HEALTHY, 0)


def test_failures_while_it_starts_do_not_count() -> None:
    probed = plan(Retries=1, StartPeriod=10 * SECOND)
    early = after(probed, result(1, at=9.9))
    assert (early.status, early.failing_streak) == (HealthStatus.STARTING, 0)
    assert after(probed, result(1, at=10.0)).status is HealthStatus.UNHEALTHY
    # Once it has been well, it has started.
    assert after(probed, result(0, at=1), result(1, at=2)).status is HealthStatus.UNHEALTHY


def test_the_last_five_results_are_kept() -> None:
    results = [result(0, at=number) for number in range(7)]
    assert after(plan(), *results).log == tuple(results[2:])


def test_a_new_run_starts_anew_with_the_log_of_the_last() -> None:
    old = after(plan(Retries=1), result(1))
    assert healthrules.ended(old).status is HealthStatus.UNHEALTHY
    config = ContainerConfig(Healthcheck=HealthConfig(Test=["CMD", "probe"]))
    begun = healthrules.begun(running(old), config)
    assert begun == Health(HealthStatus.STARTING, 0, old.log)


def test_when() -> None:
    probed = plan(Interval=30 * SECOND, StartPeriod=10 * SECOND, StartInterval=2 * SECOND)
    state = running(Health(HealthStatus.STARTING))
    assert healthrules.due_ns(state, probed) == STARTED + 2 * SECOND
    for one, wait in ((result(1, at=3), 2), (result(1, at=11), 30), (result(0, at=3), 30)):
        health = healthrules.judged(state, probed, one)
        due = healthrules.due_ns(running(health), probed)
        assert due == one.ended_ns + wait * SECOND
    # The results of a run before this one are no reason to hurry, or to wait.
    old = msgspec.structs.replace(state, health=Health(HealthStatus.STARTING, 0, (result(0, -5),)))
    assert healthrules.due_ns(old, probed) == STARTED + 2 * SECOND
