"""Restart policies: whether, and when, as dockerd decides it."""

from typing import Any

import msgspec
import pytest

from aiod.store.models import RestartSettings
from aiod.store.records import RunState, Status
from aiod.tasks import restart

SECOND = 10**9
ENDED = 1_000 * SECOND


def ended(ran_ns: int = SECOND, **fields: object) -> RunState:
    """A run that has just ended."""
    state = RunState(Status.RUNNING, started_ns=ENDED - ran_ns, finished_ns=ENDED)
    return msgspec.structs.replace(state, **fields)


def policy(name: str, most: int = 0) -> RestartSettings:
    return RestartSettings(name, most)


@pytest.mark.parametrize(
    ("name", "most", "fields", "again"),
    [
        ("no", 0, {"exit_code": 1}, False),
        ("", 0, {"exit_code": 1}, False),
        ("always", 0, {"exit_code": 0}, True),
        ("always", 0, {"exit_code": 1}, True),
        ("always", 0, {"manually_stopped": True}, False),
        ("unless-stopped", 0, {"exit_code": 0}, True),
        ("unless-stopped", 0, {"manually_stopped": True}, False),
        ("on-failure", 0, {"exit_code": 0}, False),
        ("on-failure", 0, {"exit_code": 1, "restart_count": 1000}, True),
        ("on-failure", 0, {"exit_code": 1, "manually_stopped": True}, False),
        ("on-failure", 3, {"exit_code": 1, "restart_count": 2}, True),
        ("on-failure", 3, {"exit_code": 1, "restart_count": 3}, False),
        ("on-failure", 3, {"exit_code": 0, "restart_count": 0}, False),
        ("on-failure", 0, {"exit_code": 255, "exit_known": False}, True),
    ],
)
def test_whether(name: str, most: int, fields: dict[str, Any], again: bool) -> None:
    assert (restart.retry(policy(name, most), ended(**fields)) is not None) is again


def test_the_wait_doubles_up_to_a_minute() -> None:
    waits, delay = [], 0
    for _ in range(12):
        found = restart.retry(policy("always"), ended(restart_delay_ns=delay))
        assert found is not None
        assert found.at_ns == ENDED + found.delay_ns
        delay = found.delay_ns
        waits.append(delay / SECOND)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]


@pytest.mark.parametrize(("ran", "wait"), [(9.9, 12.8), (10.0, 0.1), (3600.0, 0.1)])
def test_a_steady_run_starts_the_wait_anew(ran: float, wait: float) -> None:
    state = ended(int(ran * SECOND), restart_delay_ns=int(6.4 * SECOND))
    found = restart.retry(policy("always"), state)
    assert found is not None
    assert found.delay_ns == int(wait * SECOND)


def test_a_clock_set_back_is_no_steady_run() -> None:
    found = restart.retry(policy("always"), ended(-SECOND, restart_delay_ns=SECOND))
    assert found is not None
    assert found.delay_ns == 2 * SECOND


@pytest.mark.parametrize(
    ("name", "fields", "started"),
    [
        ("always", {"manually_stopped": True}, True),
        ("always", {}, True),
        ("always", {"started_ns": 0}, False),
        ("unless-stopped", {"manually_stopped": True}, False),
        ("unless-stopped", {}, True),
        ("unless-stopped", {"started_ns": 0}, False),
        ("on-failure", {"exit_code": 1}, False),
        ("no", {"exit_code": 1}, False),
    ],
)
def test_at_a_daemons_start(name: str, fields: dict[str, Any], started: bool) -> None:
    """`always` forgets that it was stopped by hand; one that never ran is not started."""
    state = ended(status=Status.EXITED, **fields)
    assert restart.wanted_at_boot(policy(name), state) is started
